#!/usr/bin/env perl
# Messages from a ring over Redis Streams into another ring: how many a second, what each process spends on one, and
# how long it is on its way. The server and both halves of the bridge are processes of this machine, as are the
# publisher and the receiver, which checks every message. Run in the built distribution:
#
#     perl -Mblib bench/bridge.pl

use 5.022;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use BenchKit qw(alternate now now_ns percentile scratch with_commas);
use BenchKit::Bridge;
use BenchKit::Crew;
use Data::PubSub::Shared;
use Time::HiRes qw(clock_nanosleep CLOCK_MONOTONIC TIMER_ABSTIME);

my $bench = BenchKit->start(
    title => 'From ring to ring over Redis Streams', rounds => 5,
    options => {
        'messages=i' => 400_000, 'paced=i' => 5_000, 'rate=i' => 1_000, 'pack=i' => 50, 'size=i' => 30,
        'capacity=i' => 131_072, 'match=s' => '.',
    },
    quick => { messages => 100_000, paced => 1_000 },
);
my ($messages, $paced, $rate, $pack, $size, $capacity)
    = map { $bench->opt($_) } qw(messages paced rate pack size capacity);

my $PATIENCE = 60;     # seconds in poll_wait before giving up
my $BATCH    = 500;    # messages for one publish_multi
my $WARM_UP  = 100;    # first messages of the paced ones that do not count
my $DIGITS   = 10;

my $missing = BenchKit::Bridge->missing;
if (defined $missing) {
    print "Nothing to measure here: $missing.\n";
    exit 0;
}
my $dir = scratch();

# The bridge at work; whatever way this ends, it is stopped before its directory goes away.
my $at_work;
END { $at_work->stop if $at_work }

# What is published, the same for every round.
my %values = (
    Int => sub { [1 .. $messages] },
    Str => sub {
        my $rest = substr 'abcdefghijklmnopqrstuvwxyz' x (1 + $size / 26), 0, $size - $DIGITS;
        return [map { sprintf "%0${DIGITS}d%s", $_, $rest } 1 .. $messages];
    },
);

sub bridge {
    my ($variant, $packed) = @_;
    return $at_work = BenchKit::Bridge->start("$dir/bridge", $variant, $capacity, $size, '--pack' => $packed);
}

sub close_bridge {
    my $bridge = $at_work;
    undef $at_work;
    $bridge->stop;
    return;
}

# --- As many as go

# Compares each message with the one that has to come next, and tells the publisher how far it is.
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

# Publishes all, and never more than the rings hold of what has not been received.
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

# Figures: thousands a second, and microseconds of each process for a message.
sub all_of {
    my ($variant, $packed, $values) = @_;
    my $bridge = bridge($variant, $packed);
    my $progress = Data::PubSub::Shared::Int->new("$dir/progress", 1024);
    my @body = (
        sub { receive_all($bridge->ring('in')->subscribe_all, $values, $progress) },
        sub { publish_all($bridge->ring('out'), $values, $progress) },
    );
    my $crew = BenchKit::Crew->start(2, sub {
        my ($member, $index) = @_;
        $member->arrive;
        $member->await;
        my $before = BenchKit::Bridge::cpu_of($$);
        $body[$index]->();
        return { end => now(), cpu => BenchKit::Bridge::cpu_of($$) - $before };
    });
    $crew->gather;
    my %before = $bridge->cpu_seconds;
    my $begin  = now();
    $crew->release;
    my ($receiver, $publisher) = $crew->results;
    my %after = $bridge->cpu_seconds;
    close_bridge();
    $progress->unlink;

    my %spent = map { $_ => $after{$_} - $before{$_} } keys %after;
    $spent{bridge} = $spent{redis} + $spent{up} + $spent{down};
    @spent{qw(publisher receiver)} = ($publisher->{cpu}, $receiver->{cpu});
    my %each = map { $_ => 1e6 * $spent{$_} / @$values } keys %spent;
    return { rate => @$values / ($receiver->{end} - $begin) / 1e3, %each };
}

# --- One at a time

# The message is the time of its own publish. When one is due depends on no other one.
sub delay {
    my ($packed) = @_;
    my $bridge = bridge('Int', $packed);
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
    close_bridge();
    return $figures;
}

# --- All of it

my ($each, $some, $a_second) = map { with_commas($_) } $messages, $paced, $rate;
my @sections = (
    ['one message in an entry', 'unpacked', 1],
    ["--pack $pack", 'packed', $pack],
);
my @rows;
for my $section (@sections) {
    my ($title, $kind, $packed) = @$section;
    for my $variant (qw(Str Int)) {
        my $values;
        my $name = $variant eq 'Str' ? "Str, $size bytes" : $variant;
        push @rows, [$title, $name, $kind, sub { all_of($variant, $packed, $values //= $values{$variant}->()) }];
    }
    push @rows, [$title, "Int, $a_second/s", $kind, sub { delay($packed) }];
}
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
or out of order ends the benchmark. Microseconds of processor time for a message in each process, from /proc; bridge
is redis, up and down together. All of them share this machine's processors.

The publisher gives $BATCH messages to one publish_multi and waits when the rings, of $slots slots each, hold all that
they can of what was not received; how far the receiver is it hears by a ring of integers.

delay: from before publish to after poll_wait returned in the receiver, median and 99th percentile in milliseconds;
$a_second messages a second by a clock that waits for nobody, $some in a round. Each percentile is taken within a
round; the median of the rounds is printed.

Redis: a server of its own on a port of the loopback interface, nothing saved. State files in a directory in memory,
where the machine has one.
NOTES
$bench->note('Versions: ' . BenchKit::Bridge->version . '.');
$bench->finish(
    [name => 'messages'], [rate => 'k/s', '%.0f'], [spread => 'spread', BenchKit::spread('rate')],
    (map { [$_ => "$_ us", '%.2f'] } qw(bridge redis up down publisher receiver)),
    [p50 => 'delay ms', '%.2f'], [p99 => '99 %', '%.2f'],
);

__END__

=head1 NAME

bridge.pl - messages a second and delay of a bridge over Redis Streams

=head1 SYNOPSIS

    perl -Mblib bench/bridge.pl [--quick] [--rounds N] [--messages N] [--size BYTES] [--pack N]
        [--paced N] [--rate N] [--capacity N] [--match REGEX] [--json[=FILE] [--force]]

=head1 DESCRIPTION

Needed: redis-server and the Perl module Redis::Fast (Debian packages F<redis-server> and F<libredis-fast-perl>).
Nothing but a port of the loopback interface is opened, and the server is stopped at the end.

=head1 OPTIONS

=over 4

=item --messages N, --size BYTES

Messages of a run, and the size of those in Str. Default: 400,000 (100,000 with C<--quick>) and 30.

=item --pack N

Messages in an entry of the stream in the second half of the table. Default: 50.

=item --paced N, --rate N

How many messages the delay is taken from, and how many of them are published a second. Default: 5,000 (1,000
with C<--quick>) and 1,000.

=item --capacity N

Slots of each ring. Default: 131,072.

=item --match REGEX

Only the rows whose name, behind C<packed> or C<unpacked>, matches.

=item --rounds N

How often each row is measured; the median is printed. Default: 5; with C<--quick> 1.

=item --quick

Rough figures in a few seconds.

=item --json, --json=FILE

Print JSON instead of the table, or write it to a file beside the table.

=item --force

Write the file even where the machine is busy: with a load average above half a process a processor. Otherwise
that is refused.

=back

=cut
