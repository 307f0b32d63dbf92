#!/usr/bin/env perl
# One publisher, many subscribers that sleep in poll_wait, each in a process of its own: how fast the
# publisher goes, how many deliveries a second there are, and how many messages were lost. Run in the
# built distribution:
#
#     perl -Mblib bench/fanout.pl

use 5.022;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use BenchKit qw(alternate now ring_class scratch with_commas);
use BenchKit::Crew;
use Data::PubSub::Shared;
use List::Util qw(max sum);

my $bench = BenchKit->start(
    title => 'Fan-out: one publisher, K subscribers blocked in poll_wait', rounds => 5,
    options => {
        'int-messages=i' => 500_000, 'str-messages=i' => 300_000, 'capacity=i' => 1 << 20,
        'subscribers=s' => '1,2,4,16',
    },
    quick => { 'int-messages' => 100_000, 'str-messages' => 50_000 },
);
my %messages    = (Int => $bench->opt('int-messages'), Str => $bench->opt('str-messages'));
my $capacity    = $bench->opt('capacity');
my @subscribers = split /,/, $bench->opt('subscribers');

my $TEXT    = 'hello world 1234567890 ';    # and seven digits: 30 bytes
my $PATIENCE = 60;                          # seconds without a message before a subscriber gives up

my $dir = scratch();

# Runs a subscriber: it counts its messages up to the last one, and messages out of order.
sub subscriber {
    my ($member, $variant, $path) = @_;
    my $sub  = ring_class($variant)->new($path, $capacity)->subscribe;
    my $last = $messages{$variant};
    my $from = length $TEXT;
    my ($got, $disorder, $previous) = (0, 0, 0);
    $member->arrive;
    if ($variant eq 'Str') {
        while ($previous < $last) {
            my $message = $sub->poll_wait($PATIENCE) // die "nothing came after message $previous\n";
            my $number  = substr $message, $from;
            $disorder++ if $number <= $previous;
            $previous = $number;
            $got++;
        }
    }
    else {
        while ($previous < $last) {
            my $number = $sub->poll_wait($PATIENCE) // die "nothing came after message $previous\n";
            $disorder++ if $number <= $previous;
            $previous = $number;
            $got++;
        }
    }
    return { end => now(), got => $got, lost => $sub->overflow_count, disorder => $disorder };
}

sub fan_out {
    my ($variant, $count) = @_;
    my $class = ring_class($variant);
    my $path  = "$dir/ring";
    my $last  = $messages{$variant};
    my $ring  = $class->new($path, $capacity, $variant eq 'Str' ? 64 : ());
    my $crew  = BenchKit::Crew->start($count, sub { subscriber($_[0], $variant, $path) });
    $crew->gather;

    # Wait, for at most a second, until the ring shows that all of them sleep.
    my $limit = now() + 1;
    1 while $ring->stats->{sub_waiters} < $count and now() < $limit;

    my $begin = now();
    if ($variant eq 'Str') {
        $ring->publish(sprintf '%s%07d', $TEXT, $_) for 1 .. $last;
    }
    else {
        $ring->publish($_) for 1 .. $last;
    }
    my $published = now() - $begin;
    my @results   = $crew->results;
    my $delivered = max(map { $_->{end} } @results) - $begin;
    my $positions = $ring->write_pos;
    $class->unlink($path);

    my ($got, $lost) = map { my $key = $_; sum(map { $_->{$key} } @results) } qw(got lost);
    die "messages came out of order\n" if grep { $_->{disorder} } @results;

    # Positions that the publisher had to claim again, because it was stopped in the midst of publishing,
    # hold no message, but a subscriber that is overrun cannot tell and counts them as lost.
    my ($total, $again) = ($last * $count, ($positions - $last) * $count);
    my $over = $got + $lost - $total;
    die "$got delivered and $lost lost do not make up $total\n" if $over < 0 or $over > ($lost ? $again : 0);
    return { publish => $last / $published / 1e6, deliver => $got / $delivered / 1e6, lost => $lost };
}

my @rows;
for my $variant (qw(Int Str)) {
    push @rows, map { [$variant, $_] } @subscribers;
}
my $figures = alternate($bench->opt('rounds'), map {
    my ($variant, $count) = @$_;
    ["$variant, $count subscribers" => sub { fan_out($variant, $count) }];
} @rows);

for (@rows) {
    my ($variant, $count) = @$_;
    $bench->row(
        section => $variant, name => $count, variant => $variant, subscribers => $count,
        messages => $messages{$variant}, %{ $figures->{"$variant, $count subscribers"} },
    );
}
my ($ints, $strings, $slots) = map { with_commas($_) } @messages{qw(Int Str)}, $capacity;
$bench->note(<<"NOTES");
Int: $ints messages; Str: $strings messages of 30 bytes, made by sprintf in the publishing loop, which
is part of its time; ring of $slots slots. A ring smaller than the run (--capacity) shows losses.

published: messages over the time of the publishing loop. delivered: all deliveries together over the
time from the first publish to the moment when the last subscriber had the last message.

Every subscriber checks the order of what it gets; delivered + lost must equal what was published, or
the benchmark dies. Subscribers take one message a call.

With more processes than CPUs the publisher competes for a CPU with the subscribers that it wakes.
NOTES
$bench->finish(
    [name => 'subscribers'], [publish => 'published M/s', '%.2f'],
    [spread => 'spread', BenchKit::spread('publish')], [deliver => 'delivered M/s', '%.2f'],
    [spread => 'spread', BenchKit::spread('deliver')], [lost => 'lost', '%d'],
);

__END__

=head1 NAME

fanout.pl - one publisher and 1 to 16 sleeping subscribers

=head1 SYNOPSIS

    perl -Mblib bench/fanout.pl [--quick] [--rounds N] [--subscribers 1,2,4,16] [--capacity N]
        [--int-messages N] [--str-messages N] [--json[=FILE] [--force]]

=head1 OPTIONS

=over 4

=item --subscribers LIST

How many subscribers, one row each. Default: 1,2,4,16.

=item --capacity N

Slots of the ring. Default: 1,048,576, more than are published, so that nothing can be lost. A smaller ring
shows how much is lost by subscribers that get too little time.

=item --int-messages N, --str-messages N

Messages of a run. Default: 500,000 and 300,000; with C<--quick> 100,000 and 50,000.

=item --rounds N

How often each row is measured; the median is printed. Default: 5; with C<--quick> 1.

=back

=cut
