# The bridge over a network whose cable is pulled: Redis in one network namespace, the bridges of three hosts in another, and a
# pair of virtual interfaces between them.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use PubSubTest;
use PubSubTest::Redis;
BEGIN { PubSubTest::Redis::needed() }
use PubSubTest::Bridge;
use XT::Hosts;
use Test::More;

use constant { CLONE_NEWNET => 0x40000000, HERE => '10.111.47.1', THERE => '10.111.47.2', PORT => 6379 };

# Both ends are in namespaces of ours, which end with their processes: nothing of the machine's own network is touched.
my $unshare = sysnum('unshare');
plan skip_all => 'the package iproute2 is not installed' if system('ip -Version >/dev/null 2>&1') != 0;
plan skip_all => 'this process may not make network namespaces'
    if $> || !$unshare || syscall($unshare, CLONE_NEWNET) != 0 || !ip('link set lo up');

sub ip { return system("ip $_[0] >/dev/null 2>&1") == 0 }

# A process that only holds the other namespace, where Redis will be.
my $far = spawn(sub {
    my ($peer) = @_;
    XT::dies_with_parent();
    alarm 0;
    syscall($unshare, CLONE_NEWNET) == 0 or die "unshare: $!";
    ip('link set lo up');
    $peer->tell('ready');
    $peer->hear;
});
$far->hear;
plan skip_all => 'there are no virtual interfaces here' if !ip('link add here type veth peer name there netns ' . $far->pid);

my @far = ('nsenter', '-t', $far->pid, '-n');
sub far { return system("@far ip $_[0] >/dev/null 2>&1") == 0 }
ip("addr add @{[HERE]}/24 dev here") && ip('link set here up') && far("addr add @{[THERE]}/24 dev there") && far('link set there up')
    or plan skip_all => 'virtual interfaces cannot be set up here';

sub redis {
    return PubSubTest::Redis->start(
        prefix => \@far, where => "@{[THERE]}:@{[PORT]}", listen => ['--port', PORT, '--bind', THERE, '--protected-mode', 'no'],
    );
}

my @table;

sub storm {
    my ($name, $seconds, $fault, %how) = @_;
    subtest $name => sub {
        my $redis = redis();
        my $hosts = XT::Hosts->new(server => $redis->where, options => ['--timeout', 1], %{ $how{hosts} // {} });
        my ($count, $begun) = (0, now());
        my $end = $begun + $seconds;
        while (now() < $end) { $fault->($count++) ; $hosts->until_progress }
        my $result = $hosts->account(allowed => $how{allowed});
        push @table, [$name, $count, now() - $begun, $result];
    };
    return;
}

# Pulls the cable at one end, for so long.
sub pull {
    my ($seconds, $at) = @_;
    $at ? far('link set there down') : ip('link set here down');
    select undef, undef, undef, $seconds;
    $at ? far('link set there up') : ip('link set here up');
    return;
}

storm('the cable is pulled', seconds(), sub { select undef, undef, undef, rand 0.2; pull(rand 0.5, random(2)) });
storm('for longer than the bridges wait', seconds(), sub { pull(1.2 + rand 1.5, $_[0] % 2) }, hosts => { variant => 'Str', up => ['--pack', 20] });
storm('so long that rings are overrun', seconds(), sub { pull(1 + rand, 1) }, hosts => { out => 256 }, allowed => ['overrun']);

diag(sprintf '%-36s %6s %6s %8s %9s %7s %s', qw(storm faults time/s sent received worst/s lost));
for my $row (@table) {
    my ($name, $count, $time, $result) = @$row;
    diag(sprintf '%-36s %6d %6.1f %8d %9d %7.2f %s', $name, $count, $time, @$result{qw(sent messages worst)},
        $result->{overrun} ? "overrun $result->{overrun}" : 'none');
}
$far->tell('enough');
is($far->end, 0, 'the namespace ends');
done_testing;
