# A server that refuses one batch and takes the next one: nothing is lost, nothing comes twice, and the order is kept.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;
use PubSubTest::Redis;
BEGIN { PubSubTest::Redis::needed() }
use PubSubTest::Bridge;

use Data::PubSub::Shared::Bridge::Backend::Redis;

my $redis  = PubSubTest::Redis->start;
my $folder = fresh_dir();

sub integers { return [map { $_->[1]{i} } stream_of($redis, $_[0])] }

# Refuses the fifth batch for an instant: its script fails before it writes. The fifth goes out together with the sixth, so
# that the sixth is under way when the answer comes.
package PubSubTest::RefusesOne {
    use parent -norequire, 'Data::PubSub::Shared::Bridge::Backend::Redis';

    my ($calls, $held) = (0);

    sub append {
        my ($self, %batch) = @_;
        $calls++;
        if ($calls == 5) {
            $held = { %batch, sequence => 'refused' };
            return;
        }
        if (my $fifth = $held) {
            $held = undef;
            $self->SUPER::append(%$fifth);
        }
        return $self->SUPER::append(%batch);
    }
}

subtest 'the contract of the backend' => sub {
    my $backend = Data::PubSub::Shared::Bridge::Backend::Redis->new(server => $redis->where, stream => 'contract', timeout => 60);
    $backend->connect;
    $backend->begin('h/o-1', 0, 0, 'at 0');
    my @answers;
    my $append = sub {
        my ($sequence, $acknowledged, @numbers) = @_;
        $backend->append(
            origin => 'h/o-1', epoch => 1, sequence => $sequence, acknowledged => $acknowledged, maxlen => 1000,
            position => "at $numbers[-1]", content => [['i', 1, \@numbers]], done => sub { push @answers, $_[0] },
        );
    };
    my $position = sub { return $redis->call(hget => '{contract}:origins', 'h/o-1') };
    $append->(1, 0, 1, 2);
    $append->('no', 0, 3, 4);
    $append->(5, 0, 5, 6);
    $append->(7, 0, 7, 8);
    $backend->settle(0);
    is($answers[0], undef, 'a good one');
    like($answers[1], qr/\S/, 'one that is refused');
    like($answers[$_], qr/\AHOLE /, "number $_ behind it is refused, too") for 2, 3;
    is_deeply(integers('contract'), [1, 2], 'nothing of them is there');
    is($position->(), '1 2 at 2', 'and the position is where it was');
    @answers = ();
    $append->(3, 2, 3, 4);
    $append->(5, 2, 5, 6);
    $append->(3, 2, 3, 4);
    $append->(7, 2, 7, 8);
    $backend->settle(0);
    is_deeply(\@answers, [(undef) x 4], 'all come again');
    is_deeply(integers('contract'), [1 .. 8], 'each once, in order');

    # A server that has lost what it had acknowledged goes on behind that, whole or from an old copy.
    for my $lost ('all', 'the end') {
        my $next = $lost eq 'all' ? 9 : 20;
        if   ($lost eq 'all') { $redis->call('flushall') }
        else                  { $redis->call(hset => '{contract}:origins', 'h/o-1', '1 10 at 10') }
        @answers = ();
        $append->($next, $next - 1, $next);
        $append->($next + 1, $next - 1, $next + 1);
        $append->($next + 3, $next - 1, $next + 3);
        $backend->settle(0);
        is_deeply([@answers[0, 1]], [undef, undef], "$lost is lost: it goes on");
        like($answers[2], qr/\AHOLE /, "$lost is lost: but not beyond a hole");
        is($position->(), '1 ' . ($next + 1) . ' at ' . ($next + 1), "$lost is lost: the position");
    }
};

subtest 'one batch of a pipeline' => sub {
    my $ring = variant('Int')->class->new("$folder/one", 1024);
    $ring->publish_multi(1 .. 100);
    my $up = bridge('up', '--server', $redis->where, '--stream', 'one', '--ring', "$folder/one", '--state', "$folder/one.state",
        '--batch', 10, '--backend', 'PubSubTest::RefusesOne', '--status', "$folder/one.status");
    $up->until_said(qr/next attempt/);
    until_true(sub { (read_status("$folder/one.status") // {})->{forwarded} == 100 });
    is($up->term, 0, 'the end');
    is_deeply(integers('one'), [1 .. 100], 'each once, in order');
    is_deeply(read_status("$folder/one.status")->{lost}, {}, 'nothing is counted as lost');
};

# Another client makes the server full, or says that it lacks replicas, at whatever moment.
for my $setting (['maxmemory', 1, 0], ['min-replicas-to-write', 1, 0]) {
    my ($name, $no, $yes) = @$setting;
    subtest "refusals by $name" => sub {
        $redis->call('config_set', $name, $no);
        my $refuses = !eval { $redis->call('eval', 'return redis.call("SET", "probe", 1)', 0); 1 };
        $redis->call('config_set', $name, $yes);
        plan skip_all => 'this redis-server asks nothing of scripts here (Redis 7 does)' if !$refuses;
        my $in   = variant('Int')->class->new("$folder/$name.in", 1 << 16);
        my $out  = variant('Int')->class->new("$folder/$name.out", 1 << 16);
        my @half = map {
            bridge($_->[0], '--server', $redis->where, '--stream', $name, '--ring', "$folder/$name.$_->[1]",
                '--state', "$folder/$name.$_->[0]", '--status', "$folder/$name.$_->[0].status", @$_[2 .. $#$_])
        } ['up', 'out', '--batch', 5], ['down', 'in', '--from', 'start'];
        my $sub = $in->subscribe_all;
        my $toggler = spawn(sub {
            my ($peer) = @_;
            my $connection = $redis->connection;
            $peer->tell('ready');
            while (1) {
                $connection->config_set($name, $no);
                select undef, undef, undef, rand 0.003;
                $connection->config_set($name, $yes);
                select undef, undef, undef, rand 0.01;
            }
        });
        $toggler->hear;
        my ($sent, $refusals) = (0, 0);
        while ($refusals < 15) {
            $out->publish_multi($sent + 1 .. $sent + 400);
            $sent += 400;
            messages_in($sub, 400);
            $refusals = () = $half[0]->said =~ /next attempt/g;
            last if $sent == 60_000;
        }
        $toggler->kill('KILL');
        $toggler->end;
        $redis->call('config_set', $name, $yes);
        cmp_ok($refusals, '>=', 1, "it has refused ($refusals times for $sent messages)");
        is_deeply([map { $_->term } @half], [0, 0], 'the end');
        is_deeply([$in->subscribe_all->drain], [1 .. $sent], 'each once, in order');
        is_deeply(integers($name), [1 .. $sent], 'in the stream, too');
        is_deeply([map { read_status("$folder/$name.$_.status")->{lost} } qw(up down)], [{}, {}], 'nothing is counted as lost');
    };
}

done_testing;
