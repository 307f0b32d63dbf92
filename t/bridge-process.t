# A bridge as a process: what it says, how it ends, and what becomes of it when its server or its rings do strange things.

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
my $serial = 0;

sub half {
    my ($half, $stream, $ring, @more) = @_;
    my $server = ref $more[0] ? (shift @more)->where : $redis->where;
    return ($half, '--server', $server, '--stream', $stream, '--host', 'h', '--ring', "$folder/$ring",
        '--state', "$folder/$ring.$half.state", '--status', "$folder/$ring.status", @more);
}

sub ring { my ($name, $variant) = @_; return variant($variant // 'Int')->class->new("$folder/$name", 256) }

sub status { return read_status("$folder/$_[0].status") }

subtest 'what it says' => sub {
    my $out  = ring('out');
    my $sub  = ring('in')->subscribe;
    my $up   = bridge(half('up', 'says', 'out'))->connected;
    my $down = bridge(half('down', 'says', 'in', '--from', 'start'))->connected;
    $out->publish_multi(1 .. 5);
    messages_in($sub, 5);
    until_true(sub { (status('out') // {})->{forwarded} && (status('in') // {})->{forwarded} });
    my %up = %{ status('out') };
    like(delete $up{$_}, qr/\A\d+(?:\.\d+)?\z/, "status: $_") for qw(time started_at rate);
    like(delete $up{origin}, qr{\Ah/out-[0-9a-f]{8}\z}, 'status: origin');
    is_deeply(\%up, {
        direction => 'up', ring => "$folder/out", stream => 'says', server => $redis->where, pid => $up->pid, connected => JSON::PP::true(),
        failures => 0, error => undef, forwarded => 5, lost => {}, epoch => 1, sequence => 5, in_flight => 0, lag => 0,
    }, 'status of up');
    my %down = %{ status('in') };
    is_deeply([@down{qw(direction forwarded origins duplicates malformed)}], ['down', 5, 1, 0, 0], 'status of down');
    is($down{id}, (stream_of($redis, 'says'))[-1][0], 'where it is');
    is_deeply([grep {/new/} entries($folder)], [], 'no half-written status');

    $_->signal('USR1') for $up, $down;
    $up->until_said(qr{^pubsub-bridge up says: connected, 5 messages, \d+/s$}m);
    $down->until_said(qr{^pubsub-bridge down says: connected, 5 messages, \d+/s$}m);
    # Signals, again and again, in whatever it does.
    for my $number (6 .. 205) {
        $_->signal('USR1') for $up, $down;
        $out->publish($number);
    }
    is_deeply([messages_in($sub, 200)], [6 .. 205], 'signals disturb nothing');
    is_deeply([$up->term, $down->term], [0, 0], 'they end');
    unlike($_->said, qr/next attempt|lost/, 'and were not disturbed') for $up, $down;
    my @lines = split /\n/, $up->said;
    is($lines[0], "pubsub-bridge up says: starting: ring $folder/out, stream says at " . $redis->where, 'the first line');
    is($lines[1], 'pubsub-bridge up says: connected', 'the second');
    like($lines[-1], qr{\Apubsub-bridge up says: stopped: connected, 205 messages, \d+/s\z}, 'the last');

    $up = bridge(half('up', 'says', 'out', '--quiet'));
    $out->publish(206);
    until_true(sub { status('out')->{forwarded} == 1 });
    is($up->said, '', '--quiet');
    $up->signal('USR1')->until_said(qr/^pubsub-bridge up says: connected, 1 messages/);
    is($up->term, 0, 'ends');
    is(scalar(() = $up->said =~ /\n/g), 1, 'only what it was asked');

    $up = bridge(half('up', 'says', 'out', '--status', "$folder/no/such/folder"))->connected;
    $out->publish(207);
    $up->until_said(qr{^pubsub-bridge: status \Q$folder\E/no/such/folder: No such file}m);
    until_true(sub { $redis->call(xlen => 'says') == 207 });
    is($up->term, 0, 'a status that cannot be written is no reason to stop');
};

subtest 'TERM' => sub {
    my $out = variant('Int')->class->new("$folder/term", 1 << 16);
    my $up  = do {
        local $Data::PubSub::Shared::Bridge::Up::FAREWELL = 1e9;
        bridge(half('up', 'term', 'term', '--batch', 10))->connected;
    };
    $out->publish_multi($_ * 5000 + 1 .. $_ * 5000 + 5000) for 0 .. 9;
    is($up->term, 0, 'up ends');
    is($redis->call(xlen => 'term'), 50_000, 'what the ring held is in the stream, where it has the time');
    $out->publish_multi(1 .. 100);
    $redis->stop;
    $up = bridge(half('up', 'term', 'term', '--timeout', 1))->until_said(qr/next attempt/);
    is($up->term, 0, 'without a server it ends, too');
    like($up->said, qr/^pubsub-bridge up term: could not finish: the backend was never reached; unsent messages stay in the ring$/m, 'and says so');
    $redis->cont;
    $up = bridge(half('up', 'term', 'term', '--timeout', 1))->connected;
    until_true(sub { $redis->call(xlen => 'term') == 50_100 });
    is($up->signal('INT')->end, 0, 'INT does the same');
    $up = bridge(half('up', 'term', 'term', '--timeout', 1))->connected;
    $redis->stop;
    $out->publish_multi(1 .. 100);
    $up->until_said(qr/next attempt/);
    is($up->term, 0, 'a server that goes');
    like($up->said, qr/^pubsub-bridge up term: could not finish: 100 messages stay in the ring$/m, 'it says what stays');
    $redis->cont;
    $up = bridge(half('up', 'term', 'term'))->connected;
    until_true(sub { $redis->call(xlen => 'term') == 50_200 });
    $up->term;
    # Down, in the middle of much.
    my $in = variant('Int')->class->new("$folder/term.in", 1 << 16);
    my @ends;
    while ((my $before = $in->write_pos) < 50_200) {
        my $down = bridge(half('down', 'term', 'term.in', '--from', 'start', '--batch', 100));
        my $goal = $before + 1 + int rand 9000;
        until_true(sub { my $now = $in->write_pos; $now >= $goal || $now == 50_200 });
        push @ends, $down->term;
    }
    is_deeply([$in->subscribe_all->drain], [1 .. 50_000, 1 .. 100, 1 .. 100], 'down: each once, in order, whenever it ends');
    is_deeply(\@ends, [map {0} @ends], 'each time well');
};

subtest 'both, and files' => sub {
    my ($a, $sub) = (ring('both.out'), ring('both.in')->subscribe);
    my @arguments = ('both', '--server', $redis->where, '--stream', 'both', '--host', 'h', '--out', "$folder/both.out",
        '--in', "$folder/both.in", '--from', 'start', '--state', "$folder/both.state", '--status', "$folder/both.status");
    my $both = bridge(@arguments);
    $a->publish(1);
    is_deeply([messages_in($sub, 1)], [1], 'it works');
    until_true(sub { my $found = status('both') // {}; $found->{bridges}{both}{up}{forwarded} && $found->{bridges}{both}{down}{forwarded} });
    my $status = status('both');
    is($status->{pid}, $both->pid, 'status: its process');
    my %halves = %{ $status->{bridges}{both} };
    is_deeply([map { @{ $halves{$_} }{qw(direction running restarts)} } qw(up down)],
        ['up', JSON::PP::true(), 0, 'down', JSON::PP::true(), 0], 'the halves');
    $both->signal('USR1')->until_said(qr/up both: connected, 1 messages/)->until_said(qr/down both: connected, 1 messages/);

    kill KILL => $halves{$_}{pid} for qw(up down);
    $both->until_said(qr/^pubsub-bridge $_ both: was killed by signal 9; restarting in 0\.2 s$/m) for qw(up down);
    $a->publish(2);
    is_deeply([messages_in($sub, 1)], [2], 'a half that was killed comes again');
    until_true(sub { my $half = status('both')->{bridges}{both}; $half->{up}{restarts} == 1 && $half->{up}{pid} != $halves{up}{pid} });

    # Its children do not outlive it for long, and the next one takes over.
    $both->murder;
    $both = bridge(@arguments);
    $a->publish(3);
    is_deeply([messages_in($sub, 1)], [3], 'another takes over');
    $both->until_said(qr/^pubsub-bridge $_ both: connected$/m) for qw(up down);
    is($both->term, 0, 'the end');
    is($sub->lag, 0, 'nothing more');

    eval { require Config::Tiny; 1 } or return;
    my %ring = map { $_ => ring("file.$_") } qw(o1 i1 o2 i2);
    my $file = spew("$folder/file", "server = @{[ $redis->where ]}\nfrom = start\nhost = f\nstatus = $folder/file.status\nquiet = no\n\n"
            . join '', map {"[file$_]\nout = $folder/file.o$_\nin = $folder/file.i$_\nstate = $folder/file$_\npack = 5\n"} 1, 2);
    my $run = bridge('run', $file);
    $ring{"o$_"}->publish_multi($_ * 10 + 1 .. $_ * 10 + 9) for 1, 2;
    is_deeply([messages_in($ring{"i$_"}->subscribe_all, 9)], [$_ * 10 + 1 .. $_ * 10 + 9], "bridge $_ of a file") for 1, 2;
    $run->until_said(qr/up file1: connected$/m);
    is($run->term, 0, 'the end');
    is_deeply([sort keys %{ status('file')->{bridges} }], [qw(file1 file2)], 'one status for both');
};

subtest 'no server yet' => sub {
    my $late = PubSubTest::Redis->start;
    $late->kill_it;
    my ($out, $sub) = (ring('late'), ring('late.in')->subscribe);
    $out->publish_multi(1 .. 3);
    my $up   = bridge(half('up', 'late', 'late', $late));
    my $down = bridge(half('down', 'late', 'late.in', $late, '--from', 'start'));
    $_->until_said(qr/; next attempt in \d+\.\d s$/m) for $up, $down;
    $up->until_said(qr/(?:.*next attempt.*\n){4}/);
    my @pauses = $up->said =~ /next attempt in (\d+\.\d) s/g;
    cmp_ok($pauses[3], '>=', 0.2, 'pauses grow');
    until_true(sub { defined status('late')->{error} });
    is(status('late')->{connected}, JSON::PP::false(), 'status: not connected, and why');
    $late->run;
    is_deeply([messages_in($sub, 3)], [1 .. 3], 'all is there when the server comes');
    is_deeply([$up->term, $down->term], [0, 0], 'the end');
};

subtest 'memory does not grow while the server is away' => sub {
    my $out = variant('Str')->class->new("$folder/memory", 1 << 14, 1000);
    my $up  = bridge(half('up', 'memory', 'memory', '--timeout', 60))->connected;
    my $rss = sub { slurp('/proc/' . $up->pid . '/status') =~ /^VmRSS:\s*(\d+)/m ? $1 : die };
    # Once without, to have the whole ring mapped.
    for my $round (1 .. 18) { $out->publish_multi(map { 'x' x 900 } 1 .. 1000) }
    until_true(sub { status('memory')->{lag} == 0 });
    $redis->stop;
    $out->publish_multi(map { 'x' x 900 } 1 .. 8000);
    my $before;
    until_true(sub { my $status = status('memory'); $status->{in_flight} == 8 || $up->signal('USR1') && 0; $before = $rss->() });
    for my $round (1 .. 60) { $out->publish_multi(map { 'x' x 900 } 1 .. 1000) }    # 54 MB
    cmp_ok($rss->() - $before, '<', 25_000, 'the ring is the buffer');
    $redis->cont;
    until_true(sub { status('memory')->{lag} == 0 });
    cmp_ok($rss->() - $before, '<', 25_000, 'also afterwards');
    is($up->term, 0, 'the end');
    my $status = status('memory');
    my $sum = $status->{forwarded} + ($status->{lost}{overrun} // 0);
    is($sum, 86_000, 'and all accounted for');
    $redis->call(del => 'memory');
};

subtest 'errors that do not go away' => sub {
    ring('wrong');
    ring('wrong.in');
    $redis->call(set => 'wrong', 'a string');
    my $down = bridge(half('down', 'wrong', 'wrong.in'));
    is($down->end, 1, 'down ends');
    like($down->said, qr/^pubsub-bridge: key 'wrong' exists but is not a stream$/m, 'where the key is no stream');
    my $up = bridge(half('up', 'wrong', 'wrong'));
    ring('wrong')->publish(1);
    is($up->end, 1, 'and up');
    like($up->said, qr/^pubsub-bridge: key 'wrong' exists but is not a stream$/m, 'says the same');

    # Two with one state: the later one has the name.
    my $out   = ring('fence');
    my $first = bridge(half('up', 'fence', 'fence'))->connected;
    $out->publish(1);
    until_true(sub { stream_of($redis, 'fence') == 1 });
    spew("$folder/copy.state", slurp("$folder/fence.up.state"));
    # By another name of the server: two that send one ring into one stream are refused otherwise.
    my $second = bridge('up', '--server', '/.' . $redis->where, '--stream', 'fence', '--ring', "$folder/fence",
        '--state', "$folder/copy.state")->connected;
    $out->publish(2);
    is($first->end, 1, 'the first of two in one name ends');
    like($first->said, qr/^pubsub-bridge: fenced: a newer instance of this bridge has taken over stream 'fence'$/m, 'and says why');
    until_true(sub { stream_of($redis, 'fence') == 2 });
    is_deeply([map { $_->[1]{i} } stream_of($redis, 'fence')], [1, 2], 'each message once');
    is($second->term, 0, 'the second goes on');
};

subtest 'rings that are cleared or replaced' => sub {
    my ($out, $in) = (ring('clear'), ring('clear.in'));
    my $sub  = $in->subscribe;
    my $up   = bridge(half('up', 'clear', 'clear'));
    my $down = bridge(half('down', 'clear', 'clear.in', '--from', 'start'));
    $out->publish_multi(1 .. 20);
    is_deeply([messages_in($sub, 20)], [1 .. 20], 'before');
    $_->clear for $out, $in;
    $out->publish_multi(21 .. 23);
    is_deeply([messages_in($sub, 3)], [21 .. 23], 'after both were cleared');
    is_deeply([$up->term, $down->term], [0, 0], 'the end');
    $out->publish(24);
    $_->clear for $out, $in;
    $out->publish(25);
    ($up, $down) = (bridge(half('up', 'clear', 'clear')), bridge(half('down', 'clear', 'clear.in')));
    is_deeply([messages_in($sub, 1)], [25], 'after a clear between two processes');
    is_deeply([map { $_->murder } $up, $down], [-9, -9], 'killed');
    $_->clear for $out, $in;
    ($up, $down) = (bridge(half('up', 'clear', 'clear')), bridge(half('down', 'clear', 'clear.in')));
    $out->publish(26);
    is_deeply([messages_in($sub, 1)], [26], 'after a clear and a kill');
    unlike(join('', map { $_->said } $up, $down), qr/lost/, 'a clear is no loss');

    # Another ring in the same place: the process ends, so that somebody starts the next.
    $out->unlink;
    $out = ring('clear');
    is($up->end, 1, 'up ends when its ring is replaced');
    like($up->said, qr/^pubsub-bridge: \Q$folder\E\/clear: was replaced by another ring$/m, 'and says so');
    $out->publish_multi(31 .. 33);
    $up = bridge(half('up', 'clear', 'clear'));
    is_deeply([messages_in($sub, 3)], [31 .. 33], 'all of the new one is sent');
    $up->until_said(qr/lost 0 messages: their ring was replaced; how many it still held is not known/);
    $in->unlink;
    $in = ring('clear.in');
    is($down->end, 1, 'so does down');
    $out->publish(34);
    $down = bridge(half('down', 'clear', 'clear.in'));
    is_deeply([messages_in($in->subscribe_all, 1)], [34], 'and goes on in the new one');
    is_deeply([$up->term, $down->term], [0, 0], 'the end');
    is_deeply(status('clear.in')->{lost}, { replaced => 0 }, 'what is known of it');

    # Under a supervisor somebody does.
    my ($both_out, $both_in) = map { ring($_) } qw(place.out place.in);
    my $both = bridge('both', '--server', $redis->where, '--stream', 'place', '--host', 'h', '--out', "$folder/place.out",
        '--in', "$folder/place.in", '--state', "$folder/place", '--from', 'start');
    $both_out->publish(1);
    messages_in($both_in->subscribe_all, 1);
    $_->unlink for $both_out, $both_in;
    ($both_out, $both_in) = map { ring($_) } qw(place.out place.in);
    $both->until_said(qr/^pubsub-bridge $_ place: ended with status 1; restarting/m) for qw(up down);
    $both_out->publish(2);
    is_deeply([messages_in($both_in->subscribe_all, 1)], [2], 'both');
    $both->until_said(qr/(?:up place: connected\n(?s:.*)){2}/)->until_said(qr/(?:down place: connected\n(?s:.*)){2}/);
    is($both->term, 0, 'the end');
};

done_testing;
