#!/usr/bin/env perl
# The memory cost of a ring and a subscriber, and whether a process grows while messages go through it. Run in
# the built distribution:
#
#     perl -Mblib bench/memory.pl

use 5.022;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use BenchKit qw(alternate ring_class warm_ring with_commas);
use BenchKit::Crew;
use Data::PubSub::Shared;

my $bench = BenchKit->start(
    title => 'Memory', rounds => 1,
    options => { 'messages=i' => 10_000_000, full => 0 }, quick => { messages => 1_000_000 },
);
my $messages = $bench->opt('full') ? 100_000_000 : $bench->opt('messages');

my @VARIANTS    = qw(Int Int32 Int16 Str Num);
my $CAPACITY    = 65_536;
my $SUBSCRIBERS = 50_000;
my $TEXT        = 'hello world 1234567890 abcdefgh';

# Resident KiB of this process: all, and its own (anonymous) memory. The numbers in /proc/self/status are
# quicker to get, but inexact.
sub resident {
    my $file = '/proc/self/smaps_rollup';
    open my $in, '<', $file or die "$file: $!\n";
    my %kib = map { /^(Rss|Anonymous):\s*(\d+)/ ? ($1 => $2) : () } <$in>;
    return { all => $kib{Rss}, own => $kib{Anonymous} };
}

# Runs $code in a fresh process and gives back what it returns.
sub apart {
    my ($code) = @_;
    my ($result) = BenchKit::Crew->start(1, sub { $code->() })->results;
    return $result;
}

# The mapping's size at two capacities gives the bytes of a slot and what there is besides.
sub ring_size {
    my ($variant) = @_;
    my $class = ring_class($variant);
    my ($small, $large) = map { $class->new(undef, $_)->stats->{mmap_size} } $CAPACITY, 2 * $CAPACITY;
    my $slot = ($large - $small) / $CAPACITY;
    return { slot => $slot, fixed => $small - $slot * $CAPACITY };
}

# Resident memory of many subscribers of one ring, over their number.
sub subscriber_size {
    my ($variant) = @_;
    my $ring = ring_class($variant)->new(undef, $CAPACITY);
    my @subs = map { $ring->subscribe } 1 .. 100;
    $#subs = 99 + $SUBSCRIBERS;
    $#subs = 99;
    my $before = resident()->{own};
    push @subs, $ring->subscribe for 1 .. $SUBSCRIBERS;
    return { subscriber => (resident()->{own} - $before) * 1024 / $SUBSCRIBERS };
}

# Sends $count messages through a ring with all methods.
sub work {
    my ($ring, $sub, $variant, $count) = @_;
    my $value   = $variant eq 'Str' ? $TEXT : 42;
    my @batch   = ($value) x 100;
    my $seen    = 0;
    my $handler = sub { $seen++ };
    my $quarter = int($count / 400);
    for (1 .. $quarter) {
        for (1 .. 100) {
            $ring->publish($value);
            $seen++ if defined $sub->poll;
        }
        $ring->publish_multi(@batch);
        $seen += my @drained = $sub->drain;
        $ring->publish_multi(@batch);
        $sub->poll_cb($handler);
        $ring->publish_multi(@batch);
        $seen += my @polled = $sub->poll_multi(100);
    }
    die "$seen of ", $quarter * 400, " messages arrived\n" if $seen != $quarter * 400;
    return;
}

# Resident memory once every page of the ring has been used, and after many messages more.
sub growth {
    my ($variant) = @_;
    my $ring = warm_ring($variant, $CAPACITY);
    my $sub  = $ring->subscribe;
    work($ring, $sub, $variant, 40_000);
    resident();    # the first call allocates memory
    my $before = resident()->{all};
    work($ring, $sub, $variant, $messages);
    my $after = resident()->{all};
    return { before => $before, after => $after, growth => $after - $before };
}

my $figures = alternate($bench->opt('rounds'), map {
    my $variant = $_;
    [$variant => sub {
        return { map { my $code = $_; %{ apart(sub { $code->($variant) }) } }
            \&ring_size, \&subscriber_size, \&growth };
    }];
} @VARIANTS);

$bench->row(name => $_, messages => $messages, %{ $figures->{$_} }) for @VARIANTS;
my ($ringful, $crowd, $many) = map { with_commas($_) } $CAPACITY, $SUBSCRIBERS, $messages;
$bench->note(<<"NOTES");
slot: bytes a slot, from the mapping at $ringful and twice as many slots; for Str this is 16 bytes and
the default message size of 256. fixed: what the mapping has besides.

subscriber: growth of anonymous resident memory over $crowd subscribers of one ring, perl's own part
of an object included.

resident: the whole process when every page of the ring has been used, and after $many more through
publish, publish_multi, poll, poll_multi, drain and poll_cb.
NOTES
$bench->finish(
    [name => 'variant'], [slot => 'slot, B', '%.0f'], [fixed => 'fixed, B', '%.0f'],
    [subscriber => 'subscriber, B', '%.0f'], [before => 'resident before, KiB', '%.0f'],
    [after => 'after, KiB', '%.0f'], [growth => 'growth, KiB', '%.0f'],
);

__END__

=head1 NAME

memory.pl - bytes of a slot and of a subscriber, and growth over many messages

=head1 SYNOPSIS

    perl -Mblib bench/memory.pl [--quick | --full] [--messages N] [--rounds N] [--json[=FILE] [--force]]

=head1 OPTIONS

=over 4

=item --messages N

Messages that go through each ring between the two looks at resident memory. Default: 10,000,000; with
C<--quick> 1,000,000.

=item --full

100,000,000 messages.

=item --rounds N

How often everything is measured. Default: 1: these figures hardly vary.

=back

=cut
