#!/usr/bin/env perl
# How many messages one process moves: publish and poll in turn, batches, drains, callbacks and keywords,
# for every variant. Run in the built distribution:
#
#     perl -Mblib bench/throughput.pl

use 5.022;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use BenchKit qw(alternate elapsed warm_ring with_commas);
use Data::PubSub::Shared;
use Data::PubSub::Shared::Int;
use Data::PubSub::Shared::Int32;
use Data::PubSub::Shared::Int16;
use Data::PubSub::Shared::Num;
use Data::PubSub::Shared::Str;

my $bench = BenchKit->start(
    title => 'Throughput of one process', rounds => 5,
    options => { 'items=i' => 1_000_000 }, quick => { items => 100_000 },
);
my $items = $bench->opt('items');

my @VARIANTS = qw(Int Int32 Int16 Num Str);
my $CAPACITY = 65_536;
my $TEXT     = 'hello world 1234567890 abcdefgh';

# What one message of a variant is; a batch of them.
my %value  = (map({ $_ => 42 } qw(Int Int32 Int16)), Num => 4.2, Str => $TEXT);
my %values = (
    map({ $_ => [1 .. 100] } qw(Int Int32 Int16)),
    Num => [map { $_ + 0.5 } 1 .. 100],
    Str => [map {"$TEXT, no $_"} 1 .. 100],
);

my @jobs;

# A row: $make gets a ring and a subscriber of the variant and returns the code of one pass and the number
# of messages that it moves.
sub rows_of {
    my ($section, $make, @variants) = @_;
    for my $variant (@variants ? @variants : @VARIANTS) {
        my $ring = warm_ring($variant, $CAPACITY);
        my ($pass, $count) = $make->($ring, $ring->subscribe, $variant);
        my $stats = $ring->stats;
        push @jobs, {
            section => $section, variant => $variant, pass => $pass, count => $count,
            slot => $stats->{mmap_size} / $stats->{capacity},
        };
    }
    return;
}

rows_of('PUBLISH + POLL (interleaved)', sub {
    my ($ring, $sub, $variant) = @_;
    my $value = $value{$variant};
    my $text  = sub { for (1 .. $items) { $ring->publish($value); my $got = $sub->poll } };
    my $int   = sub { for my $i (1 .. $items) { $ring->publish($i); my $got = $sub->poll } };
    return ($variant eq 'Str' ? $text : $int, $items);
});

# Keywords are fixed when the code is compiled, so each variant has its own line.
my %keywords = (
    Int => sub { my ($ring, $sub) = @_;
        sub { for my $i (1 .. $items) { ps_int_publish $ring, $i; my $got = ps_int_poll $sub } } },
    Int32 => sub { my ($ring, $sub) = @_;
        sub { for my $i (1 .. $items) { ps_int32_publish $ring, $i; my $got = ps_int32_poll $sub } } },
    Int16 => sub { my ($ring, $sub) = @_;
        sub { for my $i (1 .. $items) { ps_int16_publish $ring, $i; my $got = ps_int16_poll $sub } } },
    Num => sub { my ($ring, $sub) = @_;
        sub { for my $i (1 .. $items) { ps_num_publish $ring, $i; my $got = ps_num_poll $sub } } },
    Str => sub { my ($ring, $sub) = @_;
        sub { for (1 .. $items) { ps_str_publish $ring, $TEXT; my $got = ps_str_poll $sub } } },
);
rows_of('KEYWORDS: publish + poll (interleaved)', sub {
    my ($ring, $sub, $variant) = @_;
    return ($keywords{$variant}->($ring, $sub), $items);
});

rows_of('PUBLISH alone', sub {
    my ($ring, undef, $variant) = @_;
    my $value = $value{$variant};
    return (sub { $ring->publish($value) for 1 .. $items }, $items);
});

rows_of('POLL of an empty ring', sub {
    my (undef, $sub) = @_;
    return (sub { for (1 .. $items) { my $got = $sub->poll } }, $items);
}, qw(Int Str));

rows_of('BATCH (100/batch): publish_multi', sub {
    my ($ring, undef, $variant) = @_;
    my @batch   = @{ $values{$variant} };
    my $batches = int($items * 5 / @batch);
    return (sub { $ring->publish_multi(@batch) for 1 .. $batches }, $batches * @batch);
});

# The rest reads a full ring again and again.
my $laps = int($items / $CAPACITY) || 1;

sub fill {
    my ($ring, $variant) = @_;
    $ring->publish_multi(@{ $values{$variant} }) for 0 .. $CAPACITY / 100;
    return;
}

rows_of('DRAIN of everything', sub {
    my ($ring, $sub, $variant) = @_;
    fill($ring, $variant);
    my $pass = sub { for (1 .. $laps) { $sub->reset_oldest; my @got = $sub->drain } };
    return ($pass, $laps * $CAPACITY);
});

rows_of('DRAIN by 100', sub {
    my ($ring, $sub, $variant) = @_;
    fill($ring, $variant);
    my $drains = int($CAPACITY / 100);
    my $pass   = sub {
        for (1 .. $laps) { $sub->reset_oldest; for (1 .. $drains) { my @got = $sub->drain(100) } }
    };
    return ($pass, $laps * $drains * 100);
});

rows_of('POLL_CB with an empty handler', sub {
    my ($ring, $sub, $variant) = @_;
    fill($ring, $variant);
    my $handler = sub { };
    return (sub { for (1 .. $laps) { $sub->reset_oldest; $sub->poll_cb($handler) } }, $laps * $CAPACITY);
});

$_->{pass}->() for @jobs;    # once to warm up

my $figures = alternate($bench->opt('rounds'), map {
    my $job = $_;
    ["$job->{section}, $job->{variant}" => sub {
        my $seconds = elapsed($job->{pass});
        return { rate => $job->{count} / $seconds / 1e6, ns => $seconds / $job->{count} * 1e9 };
    }];
} @jobs);

for my $job (@jobs) {
    my $remark = $job->{variant} eq 'Str' ? '~30 byte messages' : sprintf '%.0f bytes/slot', $job->{slot};
    $bench->row(
        section => $job->{section}, name => $job->{variant}, items => $job->{count}, remark => $remark,
        %{ $figures->{"$job->{section}, $job->{variant}"} },
    );
}
my $each = with_commas($items);
$bench->note(<<"NOTES");
$each messages a row, five times as many in batches; rings of 65,536 slots, used once before; one
process, anonymous memory. A pair of publish and poll counts as one message.

The figures include the loop around the call and the assignment of what it returns. Rows take turns
within a round. "spread" is the distance of the fastest from the slowest round in percent of the
median.
NOTES
$bench->finish(
    [name => 'variant'], [rate => 'M/s', '%.1f'], [ns => 'ns each', '%.1f'],
    [spread => 'spread', BenchKit::spread('rate')], [remark => ''],
);

__END__

=head1 NAME

throughput.pl - messages a second within one process

=head1 SYNOPSIS

    perl -Mblib bench/throughput.pl [--quick] [--rounds N] [--items N] [--json[=FILE] [--force]]

=head1 OPTIONS

=over 4

=item --items N

Messages of each row. Default: 1,000,000; with C<--quick> 100,000.

=item --rounds N

How often each row is measured; the median is printed. Default: 5; with C<--quick> 1.

=back

=cut
