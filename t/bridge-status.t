# The status says the truth soon, whatever became of the server, the ring, the process or the wall clock.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;
use PubSubTest::Redis;
BEGIN { PubSubTest::Redis::needed() }
use PubSubTest::Bridge;

my $redis  = PubSubTest::Redis->start;
my $folder = fresh_dir();

sub ring { return variant('Int')->class->new("$folder/$_[0]", 64) }

sub half {
    my ($half, $ring, @more) = @_;
    return ($half, '--server', $redis->where, '--stream', $ring, '--ring', "$folder/$ring", '--state', "$folder/$ring.$half.state",
        '--status', "$folder/$ring.$half.status", @more);
}

# As soon as the status file says so.
sub says {
    my ($name, $key, $value) = @_;
    return until_true(sub {
        my $status = read_status("$folder/$name.status") // return 0;
        my $found = $status->{$key} // '';
        return ref $value eq 'Regexp' ? $found =~ $value : !!$found eq !!$value;
    });
}

subtest 'an idle half whose server is killed, or stopped' => sub {
    ring($_) for qw(idle.o idle.i);
    my @halves = map { bridge(half(@$_, '--timeout', 600))->connected } ['up', 'idle.o'], ['down', 'idle.i'];
    my @names  = qw(idle.o.up idle.i.down);
    ok(says($_, connected => 1), "$_: connected") for @names;
    $redis->kill_it;
    for my $name (@names) {
        ok(says($name, connected => 0), "$name: killed: not connected");
        ok(says($name, error => qr/\S/), "$name: killed: an error");
    }
    $redis->run;
    for my $name (@names) {
        ok(says($name, connected => 1), "$name: it is back");
        says($name, failures => 0);
    }
    # Long before the timeout; all the while the file stays young.
    $redis->stop;
    for my $name (@names) {
        ok(says($name, connected => 0), "$name: stopped: not connected");
        ok(says($name, error => qr/\Ano answer from the server for \d+ s\z/), "$name: stopped: why");
        my $first = read_status("$folder/$name.status");
        ok(until_true(sub { read_status("$folder/$name.status")->{time} > $first->{time} }), "$name: stopped: is still written");
        is(read_status("$folder/$name.status")->{failures}, 0, "$name: stopped: before it gives up") or diag explain $first;
    }
    $redis->cont;
    ok(says($_, connected => 1), "$_: it goes on") for @names;
    is_deeply([map { $_->term } @halves], [0, 0], 'the end');
};

subtest 'a ring that is removed' => sub {
    my ($out, $in) = map { ring($_) } qw(gone.o gone.i);
    my $up   = bridge(half('up', 'gone.o'))->connected;
    my $down = bridge(half('down', 'gone.i'))->connected;
    $redis->stop;
    $out->publish_multi(1 .. 10);
    $_->unlink for $out, $in;
    $redis->cont;
    is_deeply([$up->end, $down->end], [1, 1], 'both end');
    like($up->said, qr{^pubsub-bridge: \Q$folder\E/gone\.o: was removed$}m, 'up says so');
    like($down->said, qr{^pubsub-bridge: \Q$folder\E/gone\.i: was removed$}m, 'down says so');
    is($redis->call(xlen => 'gone.o'), 10, 'what the ring held was sent');
    for my $name (qw(gone.o.up gone.i.down)) {
        my $status = read_status("$folder/$name.status");
        is($status->{error}, "$folder/" . $name =~ s/\.\w+\z//r . ': was removed', "$name: the status says so");
        ok(!$status->{connected}, "$name: and is not connected");
    }
    my ($status, $said) = bridge_ends(half('up', 'gone.o'));
    is($status, 1, 'the next one');
    like($said, qr/gone\.o: no such ring; to create it, give --variant and --capacity$/m, 'refuses');

    my $both = bridge('both', '--server', $redis->where, '--stream', 'gone', '--out', "$folder/gone.o", '--in', "$folder/gone.i",
        '--state', "$folder/gone", '--variant', 'Int', '--capacity', 64, '--from', 'start');
    $both->until_said(qr/^pubsub-bridge $_ gone: connected$/m) for qw(up down);
    unlink "$folder/gone.$_" or die "unlink: $!" for qw(o i);
    until_true(sub { -e "$folder/gone.o" && -e "$folder/gone.i" });
    my $sub = ring('gone.i')->subscribe_all;
    ring('gone.o')->publish(5);
    is_deeply([messages_in($sub, 1)], [5], 'under a supervisor it is made anew, where the options say how');
    is($both->term, 0, 'the end');
};

subtest 'a half that ends again and again' => sub {
    ring('loop.i');
    $redis->call(set => 'loop', 'a string');
    my $both = bridge('both', '--server', $redis->where, '--stream', 'loop', '--out', "$folder/loop.o", '--in', "$folder/loop.i",
        '--state', "$folder/loop", '--variant', 'Int', '--capacity', 64, '--status', "$folder/loop.status");
    my $down = sub { return ((read_status("$folder/loop.status") // {})->{bridges}{loop} // {})->{down} // {} };
    until_true(sub { ($down->()->{restarts} // 0) >= 1 });
    until_true(sub { my $found = $down->(); !$found->{running} && !$found->{connected} && defined $found->{error} });
    is($down->()->{error}, "key 'loop' exists but is not a stream", 'the status says why');
    $both->term;
};

subtest 'the wall clock is set back' => sub {
    # The wall clock as all parts see it that ask for it.
    my $back = 0;
    my $wall = sub () { return Time::HiRes::time() - $back };
    no strict 'refs';
    no warnings qw(redefine once);
    *{"Data::PubSub::Shared::Bridge::${_}::time"} = $wall for qw(Half Up Down State Supervisor);
    my @attempts;
    require Data::PubSub::Shared::Bridge::Backend::Redis;
    *PubSubTest::Refuses::connect = sub { push @attempts, 1; $back += 1e6; die "refused\n" };
    @PubSubTest::Refuses::ISA = 'Data::PubSub::Shared::Bridge::Backend::Redis';
    my $ticks = 0;
    my $half = Data::PubSub::Shared::Bridge->up(
        ring => "$folder/clock", variant => 'Int', capacity => 16, stream => 'clock', backend => 'PubSubTest::Refuses',
        state => "$folder/clock.state", quiet => 1,
        on_status => sub { my ($status, $half) = @_; $half->stop if @attempts >= 3 && ++$ticks >= 2 },
    );
    open my $saved, '>&', \*STDERR or die "dup: $!";
    open STDERR, '>', "$folder/clock.err" or die "err: $!";
    $half->run;
    open STDERR, '>&', $saved or die "dup: $!";
    cmp_ok(scalar @attempts, '>=', 3, 'pauses end');
    cmp_ok($ticks, '>=', 2, 'and the status is written');
    is(scalar(() = slurp("$folder/clock.err") =~ /refused/g), 1, '--quiet says it once');
};

done_testing;
