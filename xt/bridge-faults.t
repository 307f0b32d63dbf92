# The bridge under faults: three hosts, one stream, and a Redis that is killed, stopped, cut off and made to forget; bridges
# that are killed at every moment. Whatever happens, each host receives one and the same order, nothing comes twice, and what
# did not come was counted, message for message. An argument is a pattern for the names of those storms that are wanted.

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
use List::Util qw(shuffle);
use Test::More;

my @table;

# One storm: faults by $fault->($hosts, $redis) until the time is up, or as many as there are to be.
sub storm {
    my ($name, $fault, %how) = @_;
    return if @ARGV && $name !~ $ARGV[0];
    subtest $name => sub {
        my $begun = now();
        my $redis = PubSubTest::Redis->start(%{ $how{redis} // {} });
        my $hosts = XT::Hosts->new(server => $redis->where, %{ $how{hosts} // {} });
        my $faults = 0;
        my $end = now() + seconds() * ($how{share} // 1);
        while ($how{times} ? $faults < $how{times} : now() < $end) {
            $faults++;
            $fault->($hosts, $redis, $faults);
        }
        $hosts->until_progress;
        my $result = $hosts->account(allowed => $how{allowed}, stream => $how{trims} ? undef : sub { in_stream($hosts, $redis) });
        push @table, [$name, $faults, now() - $begun, $result];
    };
    return;
}

sub pause { select undef, undef, undef, rand $_[0]; return }

storm('redis is killed and starts again', sub {
    my ($hosts, $redis) = @_;
    pause(0.1);
    $redis->kill_it;
    pause(0.2);
    $redis->run;
    $hosts->until_progress;
});

storm('redis is stopped', sub {
    my ($hosts, $redis, $number) = @_;
    $redis->stop;
    select undef, undef, undef, $number % 2 ? 1.3 : rand 0.5;    # longer than the bridges wait for an answer, or not
    $redis->cont;
    $hosts->until_progress;
}, hosts => { options => ['--timeout', 1], variant => 'Str', up => ['--pack', 20] });

# Another client makes it full, or short of replicas, for an instant: some batches of a pipeline are refused, the next ones not.
storm('redis refuses for an instant', sub {
    my ($hosts, $redis, $number) = @_;
    my $connection = $redis->connection;
    my $setting = $number % 2 ? 'maxmemory' : 'min-replicas-to-write';
    $connection->config_set($setting, 1);
    pause(0.003);
    $connection->config_set($setting, 0);
    pause(0.05);
    $hosts->until_progress if !random(4);
}, hosts => { up => ['--batch', 3] });

storm('connections are cut', sub {
    my ($hosts, $redis) = @_;
    pause(0.1);
    $redis->cut_clients;
    $hosts->until_progress if !random(4);
}, hosts => { up => ['--batch', 3] });

storm('a ring is overrun while redis is stopped', sub {
    my ($hosts, $redis) = @_;
    $redis->stop;
    my @at = map { $_->write_pos } @{ $hosts->{out_ring} }{qw(a b c)};
    until_true(sub { !grep { $hosts->{out_ring}{ (qw(a b c))[$_] }->write_pos < $at[$_] + 300 } 0 .. 2 });
    $redis->cont;
    $hosts->until_progress;
}, hosts => { out => 128, up => ['--batch', 10] }, allowed => ['overrun']);

storm('the stream is trimmed while a reader is away', sub {
    my ($hosts, $redis) = @_;
    my $away = (qw(a b c))[random(3)];
    my $down = "$away down";
    my $kill = random(2);
    $kill ? $hosts->{process}{$down}->murder : $hosts->{process}{$down}->signal('STOP');
    my $others = (grep { $_ ne $away } qw(a b c))[0];
    my $at = $hosts->{in_ring}{$others}->write_pos;
    until_true(sub { $hosts->{in_ring}{$others}->write_pos > $at + 400 });
    $kill ? $hosts->start($down) : $hosts->{process}{$down}->signal('CONT');
    $hosts->until_progress;
}, hosts => { apart => 1, up => ['--maxlen', 100] }, allowed => ['trimmed'], trims => 1);

storm('bridges are killed', sub {
    my ($hosts) = @_;
    my ($victim) = shuffle($hosts->names);
    pause(0.02);
    $hosts->again($victim, 'KILL');
}, hosts => { apart => 1 }, times => $QUICK ? 100 : 100 + 20 * seconds());

my %ended;
storm('bridges are asked to end, redis comes and goes', sub {
    my ($hosts, $redis) = @_;
    my ($victim) = shuffle($hosts->names);
    my $what = random(4);
    pause(0.05);
    if    ($what == 0) { $redis->cut_clients }
    elsif ($what == 1) { $redis->stop }
    elsif ($what == 2) { $redis->kill_it }
    pause(0.02);
    $ended{ $hosts->again($victim, 'TERM') }++;
    if    ($what == 1) { $redis->cont }
    elsif ($what == 2) { $redis->run }
}, hosts => { apart => 1, options => ['--timeout', 1] });
# One that has only just been started ends by the signal itself.
is_deeply([grep { !/\A(?:0|-15)\z/ } keys %ended], [], 'they did what they were asked');

storm('bridges are killed, their rings overrun', sub {
    my ($hosts) = @_;
    my ($victim) = shuffle($hosts->names);
    pause(0.2);
    $hosts->again($victim, 'KILL');
}, hosts => { apart => 1, out => 64, variant => 'Str', up => ['--pack', 5] }, allowed => [qw(overrun restart)], share => 1.5);

storm('everything at once', sub {
    my ($hosts, $redis) = @_;
    my $what = random(10);
    pause(0.1);
    if    ($what < 2) { $redis->kill_it; pause(0.3); $redis->run }
    elsif ($what < 4) { $redis->stop; pause(0.6); $redis->cont }
    elsif ($what < 7) { $redis->cut_clients }
    else              { $hosts->again((qw(a b c))[random(3)], 'KILL') }
    $hosts->until_progress if !random(3);
}, hosts => { out => 512, options => ['--timeout', 1], up => ['--maxlen', 500] }, share => 2, trims => 1,
    allowed => [qw(overrun restart trimmed)]);

diag(sprintf '%-46s %6s %6s %8s %9s %7s %s', qw(storm faults time/s sent received worst/s lost));
for my $row (@table) {
    my ($name, $faults, $time, $result) = @$row;
    my $lost = join ', ', map {"$result->{$_} $_"} grep { exists $result->{$_} } qw(overrun restart trimmed backend indeterminate);
    diag(sprintf '%-46s %6d %6.1f %8d %9d %7.2f %s', $name, $faults, $time, @$result{qw(sent messages worst)}, $lost || 'none');
}
done_testing;

# All messages in the order of the stream.
sub in_stream {
    my ($hosts, $redis) = @_;
    my ($from, @messages) = ('-');
    while (1) {
        my $entries = $redis->call(xrange => 'storm', $from, '+', COUNT => 5000);
        last if !@$entries;
        $from = '(' . $entries->[-1][0];
        for my $entry (@$entries) {
            my ($kind, $payload) = @{ $entry->[1] }[4, 5];
            push @messages, $kind eq 'g' ? () : Data::PubSub::Shared::Bridge::Entry::messages_of($kind, $payload);
        }
    }
    return \@messages;
}
