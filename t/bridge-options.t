# What one may say to a bridge, and what it says to what one may not. No server is needed.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Sys::Hostname qw(hostname);
use Test::More;
use PubSubTest;
BEGIN { eval { require Redis::Fast; 1 } or plan(skip_all => 'Redis::Fast is not installed') }
use PubSubTest::Bridge;

my $folder = fresh_dir();
my ($out, $in) = ("$folder/out", "$folder/in");
variant('Int')->class->new($_, 16) for $out, $in;
my @nowhere = ('--server', "$folder/no-socket");

my $TRY = qr/^Try: pubsub-bridge --help$/m;

sub says {
    my ($arguments, $status, $pattern, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($found, $said) = bridge_ends(@$arguments);
    is($found, $status, "$name: exit status") or diag $said;
    return like($said, $pattern, $name);
}

# What a usage error says, and nothing else.
sub refused {
    my ($arguments, $text, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($found, $said) = bridge_ends(@$arguments);
    return is_deeply([$found, $said], [2, "pubsub-bridge: $text\nTry: pubsub-bridge --help\n"], $name // $text);
}

subtest 'commands' => sub {
    refused([], 'missing command');
    refused(['sideways'], "unknown command 'sideways'");
    refused(['up', 'x', '--ring', $out, '--stream', 's'], "unexpected argument 'x'");
    refused(['both', 'x', '--out', $out], "unexpected argument 'x'");
    refused(['check'], 'expected exactly one FILE');
    refused(['run', 'a', 'b'], 'expected exactly one FILE');
    says([$_], 0, qr/pubsub-bridge .*--stream/s, $_) for qw(--help help -h);
    says([$_, '--help'], 0, qr/pubsub-bridge .*--stream/s, "$_ --help") for qw(up down both);
    says([$_], 0, qr/\Apubsub-bridge [\d.]+ \(perl [\d.]+\)\n\z/, $_) for qw(--version -V);
};

subtest 'options' => sub {
    my %with = (ring => $out, stream => 's');
    my $SERVER = 'HOST:PORT, [IPV6]:PORT (ports are 1 to 65535), or the path of a socket';
    my $try = sub {
        my ($half, %more) = @_;
        my %all = (%with, %more);
        return [$half, map { defined $all{$_} ? ("--$_", $all{$_}) : () } sort keys %all];
    };
    refused(['up', '--stream', 's'], 'ring is required');
    refused(['down', '--ring', $in], 'stream is required');
    for my $bad (
        [stream => 'a b',             'a name without spaces'],
        [stream => '',                'a name without spaces'],
        [ring => '',                  'something'],
        [server => 'redis',           $SERVER],
        (map { [server => $_, $SERVER] } 'redis:', 'redis:0', 'redis:65536', 'redis:99999', 'redis:06379', '[::1]', '[redis]:6379', '[::1]:0'),
        [backend => 'a b',             'the name of a module'],
        [host => 'a/b',               'a name without space, # and /'],
        [host => 'a#b',               'a name without space, # and /'],
        [timeout => 0,                'a number of seconds from 1 to 9999'],
        [timeout => '1.5',            'a number of seconds from 1 to 9999'],
        [variant => 'Long',           'Int, Int32, Int16 or Str'],
        [capacity => 0,               'a number of 1 or more'],
        [capacity => '5x',            'a number of 1 or more'],
        ['msg-size' => -1,            'a number of 1 or more'],
        [mode => '0888',              'octal'],
        [batch => 0,                  'a number from 1 to 8000'],
        [batch => 8001,               'a number from 1 to 8000'],
        [pack => 0,                   'a number from 1 to 8000'],
        [pack => 8001,                'a number from 1 to 8000'],
        [maxlen => 0,                   'a number of 1 or more'],
        )
    {
        my ($name, $value, $words) = @$bad;
        refused($try->('up', $name => $value), "$name must be $words, not '$value'");
    }
    refused($try->('up', backend => 'Nothing'), "backend 'Nothing': Can't locate Data/PubSub/Shared/Bridge/Backend/Nothing.pm in \@INC");
    refused(['up', '--colour', 'red'], 'unknown option: colour');
    refused($try->('up',   gaps => $in), 'unknown option: gaps');
    refused($try->('down', pack => 5),   'unknown option: pack');
    refused($try->('down', from => 'noon'), "from must be start, now or an identifier, not 'noon'");
    refused($try->('up', from => '1-1'), "from must be start or now, not '1-1'");
    refused($try->('up', server => $_), "server '$_' is ambiguous: an IPv6 address needs brackets, as in [::1]:6379") for '::1:6379', '::1', 'fe80::1:6379';
    is({ Data::PubSub::Shared::Bridge::Options::complete('up', %with, server => $_) }->{server}, $_, "server $_")
        for '[::1]:6379', '[fe80::1%eth0]:1', 'redis.internal:65535', '127.0.0.1:10000', '/a:b:c';
    is_deeply({ Data::PubSub::Shared::Bridge::Options::complete('up', %with, maxlen => '2k', capacity => '1M') }->{maxlen}, 2048, 'k');

    my %all = Data::PubSub::Shared::Bridge::Options::complete('down', %with, skip_own => 'yes', 'msg-size' => 5);
    is_deeply([@all{qw(skip_own msg_size quiet from server timeout)}], [1, 5, 0, 'now', '127.0.0.1:6379', 10], 'defaults');
    is($all{host}, hostname() =~ s{[\s#/]}{-}gr, 'the name of this host');
    local @ENV{qw(STATE_DIRECTORY XDG_STATE_HOME)} = ('/var/lib/this', '/elsewhere');
    is({ Data::PubSub::Shared::Bridge::Options::complete('down', %with, stream => 'a/b:c') }->{state}, '/var/lib/this/a%2fb%3ac.down',
        'where the state is');
};

subtest 'rings' => sub {
    my @common = (@nowhere, '--stream', 's');
    says(['up', @common, '--ring', "$folder/none", '--state', "$folder/r1"], 1,
        qr/^pubsub-bridge: \Q$folder\E\/none: no such ring; to create it, give --variant and --capacity$/m, 'none');
    says(['up', @common, '--ring', "$folder/none", '--variant', 'int', '--state', "$folder/r1"], 1, qr/no such ring/, 'no capacity');
    says(['up', @common, '--ring', $out, '--variant', 'Str', '--state', "$folder/r1"], 1,
        qr/^pubsub-bridge: \Q$out\E: holds an Int ring, opened as Str$/m, 'another one');
    variant('Num')->class->new("$folder/num", 8);
    says(['up', @common, '--ring', "$folder/num", '--state', "$folder/r1"], 1,
        qr/^pubsub-bridge: \Q$folder\E\/num: holds a Num ring, and a bridge carries integers and strings$/m, 'floating-point numbers');
    says(['up', @common, '--ring', spew("$folder/text", "no ring\n"), '--state', "$folder/r1"], 1,
        qr/^pubsub-bridge: \Q$folder\E\/text: too small for a ring file$/m, 'no ring');
    symlink $out, "$folder/link" or die "symlink: $!";
    says(['up', @common, '--ring', "$folder/link", '--state', "$folder/r1"], 1, qr/symbolic links are refused/, 'a symbolic link');
    my $up = bridge('up', @common, '--ring', "$folder/made", '--variant', 'str', '--capacity', '1k', '--msg-size', 100, '--mode', '0640',
        '--state', "$folder/r1")->until_said(qr/starting/);
    my $made = variant('Str')->class->new("$folder/made");
    is_deeply([$made->capacity, $made->msg_size, (stat "$folder/made")[2] & 07777], [1024, 100, 0640], 'is made as one likes it');
    says(['down', @common, '--ring', $in, '--state', "$folder/r1"], 1, qr/another process uses this state file/, 'one state for two');
    $up->term;
};

subtest 'one ring for both ways' => sub {
    my @common = (@nowhere, '--stream', 's', '--state', "$folder/same");
    my $why = 'each message would return forever';
    refused(['both', @common, '--out', $out], '--out and --in are required, the ring to send from and the one to receive into');
    refused(['both', @common, '--out', $out, '--in', $out],
        "out and in are the same ring, $out: $why; applications publish to one and read the other", 'the same path');
    link $out, "$folder/hard" or die "link: $!";
    my @parts = split m{/}, $out;
    for my $other ("$folder/hard", "$folder/./out", "$folder/../$parts[-2]/out") {
        refused(['both', @common, '--out', $out, '--in', $other],
            "out and in are the same ring, $out: $why; applications publish to one and read the other", $other);
    }
    says(['both', @common, '--out', "$folder/new", '--in', "$folder/./new", '--variant', 'int', '--capacity', 16], 1,
        qr/new is both sent and received into: $why/, 'one that is made by this');
    unlink "$folder/new";

    # Halves that do not know of each other.
    my $up = bridge('up', @nowhere, '--stream', 's', '--ring', $out, '--state', "$folder/same.1")->until_said(qr/starting/);
    my $words = qr/is both sent and received into: each message would return forever/;
    for my $path ($out, "$folder/hard") {
        says(['down', @nowhere, '--stream', 'other', '--ring', $path, '--state', "$folder/same.2"], 1, $words, "down, while up has $path");
    }
    my $second = bridge('up', @nowhere, '--stream', 't', '--ring', $out, '--state', "$folder/same.3")->until_said(qr/starting/);
    my $down   = bridge('down', @nowhere, '--stream', 's', '--ring', $in, '--state', "$folder/same.4")->until_said(qr/starting/);
    says(['up', @nowhere, '--stream', 's', '--ring', $in, '--state', "$folder/same.2"], 1, $words, 'up, while down has it');
    says(['down', @nowhere, '--stream', 't', '--ring', $in, '--state', "$folder/same.2"], 1,
        qr/another process fills this ring from a stream/, 'two that fill it');
    $_->murder for $up, $second, $down;
    $down = bridge('down', @nowhere, '--stream', 's', '--ring', $out, '--state', "$folder/same.4")->until_said(qr/starting/);
    ok($down, 'the other way, when they are gone');
    $down->murder;
};

subtest 'credentials' => sub {
    my @common = ('up', @nowhere, '--stream', 's', '--ring', $out, '--state', "$folder/cred");
    my $file = "$folder/credentials";
    my $try = sub {
        my ($text, $pattern, $name, $mode) = @_;
        spew($file, $text);
        chmod $mode // 0600, $file;
        says([@common, '--credentials', $file], 1, $pattern, $name);
    };
    $try->("password = x\n", qr/^pubsub-bridge: credentials \Q$file\E: others may read it; please chmod 600$/m, 'readable for all', 0644);
    $try->("# comment\n\npassword\n", qr/^pubsub-bridge: credentials \Q$file\E: line 3: not NAME = VALUE$/m, 'no line');
    $try->("pasword = x\n", qr/^pubsub-bridge: credentials \Q$file\E: line 1: unknown name 'pasword'$/m, 'no name');
    $try->("tls = maybe\n", qr/^pubsub-bridge: tls must be yes or no, not 'maybe'$/m, 'tls');
    says([@common, '--credentials', "$folder/nothing"], 1, qr/^pubsub-bridge: credentials \Q$folder\E\/nothing: No such file/m, 'no file');
    spew($file, "  password =  a secret = #1  \nusername=me\ntls = no\n");
    chmod 0600, $file;
    local @ENV{qw(PUBSUB_BRIDGE_USERNAME PUBSUB_BRIDGE_CA_FILE PUBSUB_BRIDGE_TLS)} = ('you', '/ca', 'yes');
    is_deeply({ Data::PubSub::Shared::Bridge::Options::credentials($file) },
        { username => 'me', password => 'a secret = #1', tls => '', ca_file => '/ca' }, 'the file counts more than the environment');
    is_deeply({ Data::PubSub::Shared::Bridge::Options::credentials() }, { username => 'you', tls => 1, ca_file => '/ca' }, 'which counts alone');
};

subtest 'a file' => sub {
    eval { require Config::Tiny; 1 } or plan skip_all => 'Config::Tiny is not installed';
    my $file = "$folder/bridges";
    my $check = sub {
        my ($text, $status, $pattern, $name) = @_;
        spew($file, $text);
        says(['check', $file], $status, $pattern, $name);
    };
    local $ENV{STATE_DIRECTORY} = "$folder/states";
    $check->("server = $folder/no-socket\nquiet = yes\n[one]\nout = $out\nin = $in\n[two]\nstream=t/2\nserver=redis:1\nout=$folder/o2\n"
            . "in=$folder/i2\nvariant=str\ncapacity=16\nskip-own=yes\n", 0,
        qr{\Aone \s+up \s+ring\ \Q$out\E\ \(Int,\ 16\ slots\)\ \ stream\ one\ at\ \Q$folder\E/no-socket\ \ state\ \Q$folder\E/states/one\.up\n
           one \s+down \s+ring\ \Q$in\E\ .*\n
           two \s+up \s+ring\ \Q$folder\E/o2\ \(will\ be\ created\)\ \ stream\ t/2\ at\ redis:1\ \ state\ \Q$folder\E/states/t%2f2.up\n
           two \s+down \s.*\n\z}x, 'two bridges');
    ok(!-e "$folder/o2" && !-e "$folder/states", 'nothing is made');
    $check->("[one]\nout = $out\n", 0, qr/\Aone \s+up .*\n\z/, 'one way');
    $check->('', 1, qr/^pubsub-bridge: \Q$file\E: has no \[section\], and so no bridge$/m, 'an empty file');
    $check->("[one]\n", 1, qr/^pubsub-bridge: \Q$file\E: \[one\]: out or in is required/m, 'no ring');
    $check->("[one]\nout=$out\nin=$in\ncolour=red\n", 1, qr/^pubsub-bridge: \Q$file\E: \[one\]: unknown option 'colour'$/m, 'unknown');
    $check->("colour=red\n[one]\nout=$out\nin=$in\n", 1, qr/\[one\]: unknown option 'colour'$/m, 'unknown, for all');
    $check->("[one]\nout=$out\nin=$in\n[two]\nout=$folder/o\nin=$folder/i\npack=0\n", 1,
        qr/^pubsub-bridge: \Q$file\E: \[two\]: pack must be a number from 1 to 8000, not '0'$/m, 'in the second');
    $check->("[one]\nout=$out\nin=$out\n", 1, qr/\[one\]: out and in are the same ring/, 'the same ring');
    $check->("[one]\nout=$out\nin=$in\nstatus=/x\n", 1, qr/\[one\]: status is for all bridges and belongs above the first section$/m, 'status');
    $check->("[one]\nout=$out\nin=$in\n[two]\nout=$in\nin=$folder/i\n", 1,
        qr/^pubsub-bridge: \Q$file\E: \[\w+\] and \[\w+\] have the same ring, \Q$in\E$/m, 'from one into the other');
    $check->("[one]\nout=$out\nin=$in\nstream=s\n[two]\nstream=s\nout=$folder/o\nin=$folder/i\n", 1,
        qr/^pubsub-bridge: \Q$file\E: \[two\] and \[one\] have the same state file, /m, 'one state');
    $check->("[one]\nout=$folder/text\nin=$in\n", 1, qr/^pubsub-bridge up one: \Q$folder\E\/text: too small for a ring file$/m, 'no ring file');
    $check->("[one]\nout=$out\nin=$in\ncredentials=$folder/nothing\n", 1, qr/^pubsub-bridge up one: credentials .*No such file/m, 'no credentials');
    $check->("nonsense\n", 1, qr/^pubsub-bridge: \Q$file\E: Syntax error/m, 'nonsense');
    says(['check', "$folder/nothing"], 1, qr/^pubsub-bridge: \Q$folder\E\/nothing: .*No such file/m, 'no file');
};

done_testing;
