#!/usr/bin/env perl
# Measures messages from a ring over Redis Streams to another ring: the rate, the CPU time of each process, the delay, and the cost
# of many idle rings. The server and the program pubsub-bridge run on this host, as do the publisher
# and the receiver, which checks every message. Run in the built distribution:
#
#     ./run bridge; perl -Mblib bench/bridge.pl

use 5.022;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use BenchKit qw(alternate now now_ns percentile scratch with_commas);
use BenchKit::Bridge;
use BenchKit::Crew;
use BenchKit::RedisServer;
use Data::PubSub::Shared;
use Time::HiRes qw(clock_nanosleep sleep CLOCK_MONOTONIC TIMER_ABSTIME);

my $bench = BenchKit->start(
    title => 'From ring to ring over Redis Streams', rounds => 5,
    options => {
        'messages=i' => 500_000, 'paced=i' => 5_000, 'rate=i' => 1_000, 'pack=i' => 50, 'size=i' => 30,
        'capacity=i' => 131_072, 'rest=i' => 5, 'match=s' => '.',
    },
    quick => { messages => 100_000, paced => 1_000, rest => 1 },
);
my ($messages, $paced, $rate, $pack, $size, $capacity, $rest)
    = map { $bench->opt($_) } qw(messages paced rate pack size capacity rest);

my $PATIENCE = 60;     # seconds in poll_wait before giving up
my $BATCH    = 500;    # messages for one publish_multi, and in one pipeline of the plain appends
my $WARM_UP  = 100;    # first messages of the paced ones that do not count
my $DIGITS   = 10;

my $missing = BenchKit::Bridge->missing;
if (defined $missing) {
    print "Nothing to measure here: $missing.\n";
    exit 0;
}
my $dir = scratch();

# What is published, the same for every round.
my %values = (
    Int => sub { [1 .. $messages] },
    Str => sub {
        my $rest = substr 'abcdefghijklmnopqrstuvwxyz' x (1 + $size / 26), 0, $size - $DIGITS;
        return [map { sprintf "%0${DIGITS}d%s", $_, $rest } 1 .. $messages];
    },
);

# --- Throughput

# Compares each message with the expected one, and tells the publisher its progress.
sub receive_all {
    my ($sub, $values, $progress) = @_;
    my $next = 0;
    while ($next < @$values) {
        my @messages = $sub->poll_wait_multi(1000, $PATIENCE) or die "after message $next nothing came any more\n";
        for my $message (@messages) {
            $message eq $values->[$next] or die "message $next is '$message'\n";
            $next++;
        }
        $progress->publish($next);
    }
    die 'the ring was overrun, ', $sub->overflow_count, " are lost\n" if $sub->overflow_count;
    return;
}

# Publishes all messages, with at most as many unreceived ones as the rings hold.
sub publish_all {
    my ($ring, $values, $progress) = @_;
    my ($next, $received) = (0, 0);
    my $sub = $progress->subscribe_all;
    while ($next < @$values) {
        while ($next + $BATCH - $received > $capacity) {
            my @seen = $sub->poll_wait_multi($progress->capacity, $PATIENCE) or die "the receiver is stuck\n";
            $received = $seen[-1];
        }
        my $last = $next + $BATCH > @$values ? $#$values : $next + $BATCH - 1;
        $ring->publish_multi(@$values[$next .. $last]);
        $next = $last + 1;
    }
    return;
}

# Thousands of messages a second, and microseconds of each process for a message, while $code runs.
sub figures {
    my ($code, $cpu) = @_;
    my %before = $cpu->();
    my $begin  = now();
    my $end    = $code->();
    my %after  = $cpu->();
    my %each = map { $_ => 1e6 * ($after{$_} - $before{$_}) / $messages } keys %after;
    return { rate => $messages / ($end - $begin) / 1e3, %each };
}

sub all_of {
    my ($variant, $packed, $values) = @_;
    my $bridge = BenchKit::Bridge->start("$dir/bridge", variant => $variant, capacity => $capacity, size => $size, pack => $packed);
    my $progress = Data::PubSub::Shared::Int->new("$dir/progress", 1024);
    my @body = (
        sub { receive_all($bridge->ring('in')->subscribe_all, $values, $progress) },
        sub { publish_all($bridge->ring('out'), $values, $progress) },
    );
    my $crew = BenchKit::Crew->start(2, sub {
        my ($member, $index) = @_;
        $member->arrive;
        $member->await;
        $body[$index]->();
        return now();
    });
    $crew->gather;
    my $figures = figures(sub { $crew->release; return ($crew->results)[0] }, sub { $bridge->cpu_seconds });
    $bridge->stop;
    $progress->unlink;
    return $figures;
}

# The limit of the server itself: the same entries, appended by one pipelining client.
sub plain {
    my ($variant) = @_;
    my $redis = BenchKit::RedisServer->start($dir, 'port');
    my ($port) = $redis->address =~ /(\d+)$/;
    my @entry = (o => 'host/out1-01234567#1', s => 123_456, $variant eq 'Str' ? (m => 'x' x $size) : (i => 123_456));
    my @command = (qw(redis-benchmark -q -c 1 -p), $port, -P => $BATCH, -n => $messages, qw(XADD plain *), @entry);
    my $append = sub {
        open my $says, '-|', @command or die "redis-benchmark: $!\n";
        () = readline $says;
        close $says or die "redis-benchmark ended with status $?\n";
        return now();
    };
    my $figures = figures($append, sub { return (redis => BenchKit::Bridge::cpu_of($redis->pid)) });
    $redis->stop;
    return $figures;
}

# --- One at a time

# The message is the time of its own publish. Messages are published at fixed times.
sub delay {
    my ($packed) = @_;
    my $bridge = BenchKit::Bridge->start("$dir/bridge", variant => 'Int', capacity => $capacity, pack => $packed);
    my $crew = BenchKit::Crew->start(1, sub {
        my ($member) = @_;
        my $sub = $bridge->ring('in')->subscribe_all;
        $member->arrive;
        my @took;
        for (1 .. $paced + $WARM_UP) {
            my $sent = $sub->poll_wait($PATIENCE) // die "nothing came\n";
            push @took, now_ns() - $sent;
        }
        my @sorted = sort { $a <=> $b } splice @took, $WARM_UP;
        return { map { ("p$_" => percentile(\@sorted, $_) / 1e6) } 50, 99 };
    });
    my $ring = $bridge->ring('out');
    $crew->gather;
    my $begin = now_ns();
    for my $turn (1 .. $paced + $WARM_UP) {
        clock_nanosleep(CLOCK_MONOTONIC, $begin + $turn * 1e9 / $rate, TIMER_ABSTIME);
        $ring->publish(now_ns());
    }
    my ($figures) = $crew->results;
    $bridge->stop;
    return $figures;
}

# --- Idle

sub at_rest {
    my ($rings) = @_;
    my $bridge = BenchKit::Bridge->start("$dir/bridge", variant => 'Int', capacity => 1024, pack => $pack, rings => $rings);
    my %before = $bridge->cpu_seconds;
    my $begin  = now();
    sleep $rest;
    my %after = $bridge->cpu_seconds;
    my $load = 100 * ($after{program} - $before{program}) / (now() - $begin);
    my %costs = $bridge->costs;
    $bridge->stop;
    return { load => $load, %costs };
}

# --- Main program

my ($each, $some, $a_second) = map { with_commas($_) } $messages, $paced, $rate;
my %name = (Str => "Str, $size bytes", Int => 'Int');
my %made;
my $values = sub { $made{ $_[0] } //= $values{ $_[0] }->() };
my @rows = (
    (map { my $of = $_; ['plain appends', $name{$of}, 'plain', sub { plain($of) }] } qw(Str Int)),
    (map { my $of = $_; ['one message in an entry', $name{$of}, 'unpacked', sub { all_of($of, 1, $values->($of)) }] } qw(Str Int)),
    (map { my $of = $_; ["pack = $pack", $name{$of}, 'packed', sub { all_of($of, $pack, $values->($of)) }] } qw(Str Int)),
    ["pack = $pack", "Int, $a_second/s", 'packed', sub { delay($pack) }],
    (map { my $rings = $_; ['at rest', "rings: $rings", 'rest', sub { at_rest($rings) }] } 1, 20, 200),
);
my $match   = $bench->opt('match');
my @chosen  = grep {"$_->[2] $_->[1]" =~ /$match/i} @rows;
my $figures = alternate($bench->opt('rounds'), map { ["$_->[2] $_->[1]" => $_->[3]] } @chosen);
for my $row (@chosen) {
    my ($title, $name, $kind) = @$row;
    $bench->row(section => $title, name => $name, kind => $kind, %{ $figures->{"$kind $name"} });
}
my ($slots) = map { with_commas($_) } $capacity;
$bench->note(<<"NOTES");
k/s: thousands of messages a second, $each in a round, from the first publish to the moment when the receiver has
checked the last: it compares every message, whole, with the one that has to come next, and one that is lost, doubled
or out of order ends the benchmark. Microseconds of CPU time for a message in redis-server and in pubsub-bridge, all of whose
threads count, both ways together. All of them share this host's CPUs. The publisher gives $BATCH messages to one
publish_multi and waits when the rings, of $slots slots each, hold all that they can of what was not received.

plain appends: redis-benchmark, with one connection and $BATCH commands in a pipeline, appends entries like those of the bridge
with one message each: what the server itself bears.

delay: from before publish to after poll_wait returned in the receiver, median and 99th percentile in milliseconds;
$a_second messages a second at fixed times, $some in a round. Each percentile is taken within a
round; the median of the rounds is printed.

at rest: one pubsub-bridge with so many bridges, both directions each, and nothing to do. MB: its share of the memory (Pss). Processor: during $rest
seconds, in percent of one.

Redis: a server of its own on a port of the loopback interface, nothing saved. State files in a directory in memory,
if the host has one.
NOTES
$bench->note('Versions: ' . BenchKit::RedisServer->version . '.');
$bench->finish(
    [name => 'messages'], [rate => 'k/s', '%.0f'], [spread => 'spread', BenchKit::spread('rate')],
    [redis => 'redis us', '%.2f'], [program => 'bridge us', '%.2f'], [p50 => 'delay ms', '%.2f'], [p99 => '99 %', '%.2f'],
    [memory => 'MB', '%.1f'], [connections => 'connections', '%.0f'], [load => 'CPU %', '%.2f'],
);

__END__

=head1 NAME

bridge.pl - messages a second, delay and costs of a bridge over Redis Streams

=head1 SYNOPSIS

    perl -Mblib bench/bridge.pl [--quick] [--rounds N] [--messages N] [--size BYTES] [--pack N]
        [--paced N] [--rate N] [--capacity N] [--rest SECONDS] [--match REGEX] [--json[=FILE] [--force]]

=head1 DESCRIPTION

Needs the program pubsub-bridge, as built by C<./run bridge>, and redis-server with its tools (Debian packages F<redis-server> and
F<redis-tools>). Only a port of the loopback interface is opened, and the server is stopped at the end.

=head1 OPTIONS

=over 4

=item --messages N, --size BYTES

Messages of a run, and the size of those in Str. Default: 500,000 (100,000 with C<--quick>) and 30.

=item --pack N

Messages in an entry of the stream in the rows that pack. Default: 50.

=item --paced N, --rate N

How many messages the delay is taken from, and how many of them are published a second. Default: 5,000 (1,000
with C<--quick>) and 1,000.

=item --capacity N

Slots of each ring. Default: 131,072.

=item --rest SECONDS

For how many seconds the CPU load of idle bridges is measured. Default: 5 (1 with C<--quick>).

=item --match REGEX

Only the rows whose name, behind C<plain>, C<unpacked>, C<packed> or C<rest>, matches.

=item --rounds N

How often each row is measured; the median is printed. Default: 5; with C<--quick> 1.

=back

=cut
