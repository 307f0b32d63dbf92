# `check` finds what would keep a bridge from starting; `run` runs the others; two that would send the same are refused.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;
use PubSubTest::Redis;
BEGIN {
    PubSubTest::Redis::needed();
    eval { require Config::Tiny; 1 } or plan(skip_all => 'Config::Tiny is not installed');
}
use PubSubTest::Bridge;

my $redis  = PubSubTest::Redis->start;
my $folder = fresh_dir();
local $ENV{STATE_DIRECTORY} = "$folder/states";

sub ring { my ($variant, $name) = @_; return variant($variant)->class->new("$folder/$name", 64) }

subtest 'check' => sub {
    ring(Int => 'o');
    ring(Str => 's');
    spew("$folder/text", "some text\n");
    my $finds = sub {
        my ($lines, $pattern, $name) = @_;
        my $file = spew("$folder/conf", "server = $folder/no-socket\n$lines");
        my ($status, $said) = bridge_ends('check', $file);
        is($status, defined $pattern ? 1 : 0, "$name: exit status") or diag $said;
        return defined $pattern ? like($said, qr/^pubsub-bridge:? $pattern$/m, $name) : unlike($said, qr/^pubsub-bridge/m, $name);
    };
    my $new = "variant = Int\ncapacity = 16\n";
    $finds->("[a]\nout = $folder/o\n", undef, 'a good one');
    $finds->("$new\[a]\nin = $folder/new\n", undef, 'a new one');
    $finds->("$new\[a]\nin = $folder/new\nfrom = 17-1\n", undef, 'from an identifier');
    $finds->("$new\[a]\nin = $folder/new\nfrom = yesterday\n",
        qr/\S+: \[a\]: from must be start, now or an identifier, not 'yesterday'/, 'from where?');
    $finds->("$new\[a]\nout = $folder/s\n", qr{up a: \Q$folder\E/s: holds a Str ring, opened as Int}, 'another variant');
    $finds->("[a]\nout = $folder/none\n", qr{up a: \Q$folder\E/none: no such ring; to create it, give --variant and --capacity}, 'no ring');
    $finds->("$new\[a]\nin = $folder/no/folder\n", qr{down a: \Q$folder\E/no/folder: no directory \Q$folder\E/no}, 'no folder');
    $finds->("[a]\nin = $folder/o\ngaps = $folder/text\n", qr{down a: \Q$folder\E/text: too small for a ring file}, 'gaps: no ring');
    ring(Int => 'gaps');
    $finds->("[a]\nin = $folder/o\ngaps = $folder/gaps\n", qr{down a: \Q$folder\E/gaps: holds an Int ring, opened as Str, as gaps need},
        'gaps: another variant');
    $finds->("[a]\nin = $folder/o\ngaps = $folder/no/gaps\n", qr{down a: \Q$folder\E/no/gaps: no directory .*}, 'gaps: no folder');
    $finds->("[a]\nin = $folder/o\nstate = $folder/text/state\n", qr{down a: \Q$folder\E/text/state\.down: \Q$folder\E/text is not a directory},
        'state');
    $finds->("backend = PubSubTest::NoLibrary\n[a]\nin = $folder/o\n", qr/down a: the Perl module Nothing is needed.*/, 'a missing library');
    $finds->("[a]\nout = $folder/none\n[b]\nout = $folder/o\n[c]\nout = $folder/text\n", qr{up c: .*too small.*}, 'all that is wrong');
    ok(!-e "$folder/new" && !-e "$folder/states", 'nothing is made');
};

# A backend whose library is missing.
package PubSubTest::NoLibrary {
    sub append { return }
    sub new    { die "the Perl module Nothing is needed and cannot be loaded\n" }
}

subtest 'run with a bad ring' => sub {
    my %out = map { $_ => ring(Int => "o$_") } 1 .. 5;
    my %in  = map { $_ => ring(Int => "i$_") } 1 .. 5;
    $out{3}->unlink;
    spew("$folder/o3", "no ring\n");
    my $file = spew("$folder/conf", "server = @{[ $redis->where ]}\nfrom = start\nstatus = $folder/run.status\n"
            . join '', map {"[b$_]\nout = $folder/o$_\nin = $folder/i$_\n"} 1 .. 5);
    my $run = bridge('run', $file);
    for my $number (1, 2, 4, 5) {
        my $sub = $in{$number}->subscribe_all;
        $out{$number}->publish($number);
        is_deeply([messages_in($sub, 1)], [$number], "bridge $number runs");
    }
    $run->until_said(qr{^pubsub-bridge up b3: \Q$folder\E/o3: too small for a ring file$}m);
    my $half = sub { return (read_status("$folder/run.status") // {})->{bridges}{b3}{up} // {} };
    until_true(sub { ($half->()->{error} // '') =~ /too small/ });
    # It is tried again.
    unlink "$folder/o3" or die "unlink: $!";
    my $sub = $in{3}->subscribe_all;
    ring(Int => 'o3')->publish(3);
    is_deeply([messages_in($sub, 1)], [3], 'the other one, too, when its ring is there');
    is($run->term, 0, 'the end');

    spew("$folder/o3", "no ring\n");
    my ($status, $said) = bridge_ends('run', spew("$folder/conf", "server = $folder/no-socket\n[a]\nout = $folder/text\n[b]\nout = $folder/text2\n"));
    is($status, 1, 'where all are bad it ends');
    like($said, qr/too small for a ring file/, 'and says why');
};

subtest 'two ups by hand' => sub {
    my $ring = ring(Int => 'two');
    my $up = sub {
        my ($number, $stream) = @_;
        return ('up', '--server', $redis->where, '--stream', $stream, '--ring', "$folder/two", '--state', "$folder/two.state$number");
    };
    my $first = bridge($up->(1, 'two'))->connected;
    link "$folder/two", "$folder/also" or die "link: $!";
    for my $path ("$folder/two", "$folder/also") {
        my ($status, $said) = bridge_ends($up->(2, 'two'), '--ring', $path);
        is($status, 1, 'the second is refused');
        like($said, qr/^pubsub-bridge: \Q$path\E: another process sends this ring into stream two at \S+$/m, 'and says why');
    }
    my $other = bridge($up->(3, 'other'))->connected;
    $ring->publish(7);
    until_true(sub { $redis->call(xlen => $_) == 1 }) for qw(two other);
    is_deeply([$first->murder, $other->term], [-9, 0], 'into another stream it may');
    my $next = bridge($up->(1, 'two'))->connected;
    is($next->term, 0, 'and when the first is gone');
};

subtest 'the mode of the ring for gaps' => sub {
    my $down = bridge('down', '--server', $redis->where, '--stream', 'gaps', '--ring', "$folder/mode", '--variant', 'Int', '--capacity', 16,
        '--mode', '660', '--gaps', "$folder/mode.gaps", '--state', "$folder/mode.state")->connected;
    is(sprintf('%o', (stat "$folder/$_")[2] & 07777), '660', $_) for 'mode', 'mode.gaps';
    $down->term;
};

done_testing;
