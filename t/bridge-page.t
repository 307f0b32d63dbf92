#!/usr/bin/env perl
# What the pages, the completion and the samples say of the bridge is what it does.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use Pod::Checker ();

use Data::PubSub::Shared::Bridge;
use Data::PubSub::Shared::Bridge::Config;
use Data::PubSub::Shared::Bridge::Options;
use PubSubTest;

my $root   = "$FindBin::Bin/..";
my $script = "$root/bin/pubsub-bridge";
my $page   = slurp("$root/lib/Data/PubSub/Shared/Bridge.pm");

# (exit status, what it printed, errors included)
sub command {
    my (@arguments) = @_;
    my $pid = open my $out, '-|' // die "fork: $!";
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        exec $^X, (map {"-I$_"} grep { !ref } @INC), $script, @arguments or die "exec: $!";
    }
    my $said = do { local $/; <$out> };
    close $out;
    return ($? >> 8, $said);
}

# The text of a section, headings of lower level included.
sub section {
    my ($text, $title) = @_;
    my ($found) = $text =~ /^=head1 \Q$title\E\n(.*?)^=(?:head1|cut)/ms or die "no section $title";
    return $found;
}

sub sorted { return [sort @_] }

# Names as options are: those that the half or command understands.
my %option = map { my %names = Data::PubSub::Shared::Bridge::Options::names_of($_); ($_ => \%names) } qw(up down);
$option{both} = { Data::PubSub::Shared::Bridge::Config::names(), status => 0, quiet => 1 };
$option{run}  = { status => 0, quiet => 1 };
$option{check} = {};
my %every = map { %$_ } values %option;

subtest 'the page of the command' => sub {
    my $checker = Pod::Checker->new(-quiet => 1);
    open my $null, '>', \my $complaints;
    $checker->parse_from_file($script, $null);
    is($checker->num_errors + $checker->num_warnings, 0, 'is well-formed') or diag $complaints;

    my $text = section(slurp($script), 'OPTIONS');
    my %documented = map { ($_ => 1) } map {/B<--([\w-]+)>/g} $text =~ /^=item (.*)/mg;
    delete @documented{qw(help man version)};
    is_deeply(sorted(keys %documented), sorted(keys %every), 'has all options');

    my ($status, $said) = command('--help');
    is($status, 0, '--help');
    like($said, qr/^Usage:\n.*^Options:\n/ms, 'prints synopsis and options');
    like($said, qr/^ +\Q--$_\E\b|, \Q--$_\E\b/m, "--$_ among them") for sort keys %every;
    is((command('help'))[1], $said, 'help');
    is((command($_, '--help'))[1], $said, "$_ --help") for sort keys %option;
    ($status, $said) = command('--man');
    is($status, 0, '--man');
    like($said, qr/^\Q$_\E\n/m, "has $_")
        for 'NAME', 'SYNOPSIS', 'OPTIONS', 'COMMANDS', 'CONFIGURATION FILE', 'CREDENTIALS', 'SIGNALS', 'EXIT STATUS', 'EXAMPLES';
    like((command('--version'))[1], qr/\Apubsub-bridge [\d.]+ \(perl [\d.]+\)\n\z/, '--version');
    is_deeply([command('frobnicate')], [2, "pubsub-bridge: unknown command 'frobnicate'\nTry: pubsub-bridge --help\n"], 'unknown command');
    is((command())[0], 2, 'no command');
};

# A backend that nobody reaches.
package PubSubTest::Nowhere {
    sub new          { return bless {}, shift }
    sub append       { return }
    sub check        { return }
    sub is_connected { return 0 }
}

# One that cannot.
package PubSubTest::Broken {
    use parent -norequire, 'PubSubTest::Nowhere';
    sub connect  { die "nobody there\n" }
    sub close    { return }
    sub hopeless { return }
}

subtest 'the page of the module' => sub {
    my %documented = map { (tr/_/-/r => 1) } section($page, 'OPTIONS') =~ /^=item (\w+) =>/mg;
    ok(delete $documented{'on-status'}, 'has on_status');
    my %both = map { %{ $option{$_} } } qw(up down);
    is_deeply(sorted(keys %documented), sorted(keys %both), 'has all options');

    my $folder = fresh_dir();
    my $status = section($page, 'STATUS');
    for my $half (qw(up down)) {
        my $object = Data::PubSub::Shared::Bridge->$half(
            ring => "$folder/$half", variant => 'Int', capacity => '1k', stream => 'test', backend => 'PubSubTest::Nowhere',
            from => 'now', state => "$folder/$half.state",
        );
        like($status, qr/^    $_ {2,}\S/m, "status of $half: $_") for sort keys %{ $object->status };
        is(Data::PubSub::Shared::Int->new("$folder/$half")->capacity, 1024, 'k in an option');
    }

    my $reasons = slurp("$root/lib/Data/PubSub/Shared/Bridge/Half.pm") =~ /^my %REASON = \((.*?)^\);/ms ? $1 : die;
    is_deeply(
        sorted(section($page, 'WHAT IS GUARANTEED') =~ /^=item ([a-z]+)$/mg), sorted($reasons =~ /^ +(\w+) +=>/mg),
        'has all causes of a loss',
    );
};

subtest 'on_status' => sub {
    my $folder = fresh_dir();
    my @got;
    my $half = Data::PubSub::Shared::Bridge->up(
        ring => "$folder/ring", variant => 'Int', capacity => 16, stream => 'test', backend => 'PubSubTest::Broken',
        state => "$folder/state", quiet => 1,
        on_status => sub { my ($status, $half) = @_; push @got, $status; $half->stop if $status->{error} },
    );
    open my $saved, '>&', \*STDERR or die "dup: $!";
    open STDERR, '>', "$folder/err" or die "err: $!";
    my $all = $half->run;
    open STDERR, '>&', $saved or die "dup: $!";
    ok(!$all, 'run says that it could not finish');
    is($got[0]{direction}, 'up', 'the status comes');
    is($got[-1]{error}, 'nobody there', 'with what is wrong');
    ok(!$got[-1]{connected}, 'and that nothing is connected');
};

subtest 'completion' => sub {
    my $completion = "$root/completion/pubsub-bridge.bash";
    plan skip_all => 'no bash, or no completion' if !-e $completion || system "bash -c 'type compgen complete' >/dev/null 2>&1";
    my $complete = sub {
        my (@words) = @_;
        my $program = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pubsub_bridge; echo "${COMPREPLY[@]}"';
        open my $out, '-|', 'bash', '-c', $program, 'bash', $completion, 'pubsub-bridge', @words or die "bash: $!";
        return do { local $/; <$out> } =~ s/\n\z//r;
    };
    my $path = spew(fresh_dir() . '/some.ring', '');
    is($complete->('c'), 'check', 'of commands');
    is($complete->(qw(up --variant I)), 'Int Int32 Int16', 'of variants');
    is($complete->(qw(down --from n)), 'now', 'of beginnings');
    is($complete->('both', '--out', $path =~ s/ring\z//r), $path, 'of rings');
    is($complete->('check', $path =~ s/ring\z//r), $path, 'of configuration files');
    for my $name (sort keys %option) {
        my %names   = %{ $option{$name} };
        my %offered = map { ($_ => 1) } split ' ', $complete->($name, '--');
        is_deeply(
            sorted(keys %offered), sorted('--help', map { ("--$_", $names{$_} ? "--no-$_" : ()) } keys %names),
            "of the options of $name",
        );
    }
};

subtest 'the samples' => sub {
    my $samples = "$root/eg/bridge";
    plan skip_all => 'the samples are not here' if !-d $samples;
    SKIP: {
        skip 'Config::Tiny or Redis::Fast is not here', 2 if !eval { require Config::Tiny; require Redis::Fast; 1 };
        # The folders of the rings must be there.
        my $here = sub { my ($text) = @_; my $rings = fresh_dir(); return $text =~ s{/dev/shm/\w+/}{$rings/}gr };
        my ($status, $said) = command('check', spew(fresh_dir() . '/conf', $here->(slurp("$samples/pubsub-bridge.conf"))));
        is($status, 0, 'the configuration is right') or diag $said;
        skip 'Redis 1.999 is not here, for TLS', 1 if !eval { require Redis; Redis->VERSION('1.999'); 1 };
        my ($example) = section(slurp($script), 'CONFIGURATION FILE') =~ /\n\n((?:    .*\n|\n)+)/;
        my $folder = fresh_dir();
        my $credentials = spew("$folder/credentials", section(slurp($script), 'CREDENTIALS') =~ /\n\n((?:    .*\n)+)/);
        chmod 0600, $credentials;
        $example =~ s/^ +//mg;
        $example =~ s{/etc/pubsub-bridge\.credentials}{$credentials};
        ($status, $said) = command('check', spew("$folder/conf", $here->($example)));
        is($status, 0, 'so is that of the page') or diag $said;
    }
    SKIP: {
        skip 'systemd-analyze is not here', 2 if !grep { -x "$_/systemd-analyze" } split /:/, $ENV{PATH};
        my $folder = fresh_dir();
        for my $unit ('pubsub-bridge.service', 'pubsub-bridge@.service') {
            my $copy = spew("$folder/" . $unit =~ s/@/\@test/r, slurp("$samples/$unit") =~ s{/usr/bin/pubsub-bridge}{/bin/true}r);
            my $said = qx{systemd-analyze --man=no verify '$copy' 2>&1};
            is($? >> 8 ? $said : '', '', "$unit is a unit");
        }
    }
};

done_testing;
