#!/usr/bin/env perl
# Several processes that publish into one ring at the same time: messages a second of all of them
# together, and whether every message is there. Run in the built distribution:
#
#     perl -Mblib bench/contention.pl

use 5.022;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use BenchKit qw(alternate now ring_class scratch with_commas);
use BenchKit::Crew;
use Data::PubSub::Shared;
use List::Util qw(max);

my $bench = BenchKit->start(
    title => 'Contention: P publishers, one ring', rounds => 5,
    options => { 'messages=i' => 2_000_000, 'capacity=i' => 65_536, 'publishers=s' => '1,2,4,8' },
    quick => { messages => 200_000 },
);
my $messages   = $bench->opt('messages');
my $capacity   = $bench->opt('capacity');
my @publishers = split /,/, $bench->opt('publishers');

my $TEXT = 'hello world 1234567890 abcdefg';    # 30 bytes

my $dir = scratch();

# All publish their share of the same number of messages; the clock stops when the last one is through.
sub contend {
    my ($variant, $count) = @_;
    my $class = ring_class($variant);
    my $path  = "$dir/ring";
    my $share = int($messages / $count);
    my $ring  = $class->new($path, $capacity, $variant eq 'Str' ? 64 : ());
    my $crew  = BenchKit::Crew->start($count, sub {
        my ($member, $index) = @_;
        my $own   = $class->new($path, $capacity);
        my $value = $variant eq 'Str' ? $TEXT : $index;
        $member->arrive;
        $member->await;
        $own->publish($value) for 1 .. $share;
        return { end => now() };
    });
    $crew->gather;
    my $begin = now();
    $crew->release;
    my $seconds = max(map { $_->{end} } $crew->results) - $begin;

    # No message may be missing, and all messages in the ring must be complete. A publisher that lost its CPU
    # between claiming a position and writing to it, for so long that it was lapped,
    # claims another position: then there are more positions than messages.
    my $total = $share * $count;
    my $again = $ring->write_pos - $total;
    my $held  = $total < $ring->capacity ? $total : $ring->capacity;
    my @kept  = $ring->subscribe_all->drain;
    my $good  = $variant eq 'Str' ? grep { $_ eq $TEXT } @kept : grep { $_ >= 0 && $_ < $count } @kept;
    die "write_pos is ", $ring->write_pos, " after $total messages\n" if $again < 0;
    die "$good of $held messages are in the ring\n" if $good != $held;
    $class->unlink($path);
    return { rate => $total / $seconds / 1e6, again => $again };
}

my @rows;
for my $variant (qw(Int Str)) {
    push @rows, map { [$variant, $_] } @publishers;
}
my $figures = alternate($bench->opt('rounds'), map {
    my ($variant, $count) = @$_;
    ["$variant, $count publishers" => sub { contend($variant, $count) }];
} @rows);

for (@rows) {
    my ($variant, $count) = @$_;
    $bench->row(
        section => $variant, name => $count, variant => $variant, publishers => $count,
        %{ $figures->{"$variant, $count publishers"} },
    );
}
my ($total, $slots) = map { with_commas($_) } $messages, $capacity;
$bench->note(<<"NOTES");
$total messages in total, divided among the publishers; Str: 30 bytes; ring of $slots slots; no
subscribers.

The clock runs from the moment when all publishers, ready and waiting, are let go until the last one
is through. claimed again: publishers that were lapped by the others while they did not run, and took
another position. Afterwards the write position and the content of the ring are checked.

More publishers than CPUs share the CPUs: their total cannot increase, but should not decrease.
NOTES
$bench->finish(
    [name => 'publishers'], [rate => 'M/s in all', '%.2f'], [spread => 'spread', BenchKit::spread('rate')],
    [again => 'claimed again', '%d'],
);

__END__

=head1 NAME

contention.pl - several publishers on one ring

=head1 SYNOPSIS

    perl -Mblib bench/contention.pl [--quick] [--rounds N] [--publishers 1,2,4,8] [--messages N]
        [--capacity N] [--json[=FILE] [--force]]

=head1 OPTIONS

=over 4

=item --publishers LIST

How many publishers, one row each. Default: 1,2,4,8.

=item --messages N

Messages of a run, of all publishers together. Default: 2,000,000; with C<--quick> 200,000.

=item --capacity N

Slots of the ring. Default: 65,536.

=item --rounds N

How often each row is measured; the median is printed. Default: 5; with C<--quick> 1.

=back

=cut
