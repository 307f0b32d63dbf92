#!/usr/bin/env perl
# Many publishers on one ring, if there is no host to measure it: an estimate from two measured costs.
#
#     perl bench/publishers-model.pl [--private NS] [--transfer NS] [--publishers LIST]

use 5.022;
use strict;
use warnings;

use Getopt::Long qw(GetOptions);

# Nanoseconds: the cost of a publish with a single publisher, and the cost of fetching a cache line that another CPU has
# written. The first is bench/baseline.pl's row; the second follows from contention.pl's row of two publishers, which mostly
# pass the write position to each other.
my ($private, $transfer, $list) = (40, 75, '1,2,4,8,32,64');
GetOptions('private=f' => \$private, 'transfer=f' => \$transfer, 'publishers=s' => \$list)
    or die "usage: $0 [--private NS] [--transfer NS] [--publishers LIST]\n";
$_ > 0 or die "$0: --private and --transfer must be positive\n" for $private, $transfer;

# Exact mean value analysis (M. Reiser and S. S. Lavenberg, 1980) of a closed network: N publishers that work on their own for
# $think nanoseconds, and then queue for one server, the line of the write position, which each occupies for $service.
# Returns thousand million claims a second.
sub claims {
    my ($publishers, $think, $service) = @_;
    my ($queue, $rate) = (0, 0);
    for my $n (1 .. $publishers) {
        my $wait = $n == 1 ? $service / 4 : $service * (1 + $queue);    # a single publisher keeps the line
        $rate  = $n / ($think + $wait);
        $queue = $rate * $wait;
    }
    return $rate;
}

printf "%10s %14s %14s %14s\n", 'publishers', 'one by one', 'batches of 100', 'a ring each';
for my $n (split /,/, $list) {
    # A slot's line was written by another publisher, too; those of a batch are mostly its own.
    my $one   = claims($n, $private + ($n > 1 ? $transfer : 0), $transfer);
    my $batch = 100 * claims($n, 100 * 7 + ($n > 1 ? 100 / 4 * $transfer / 2 : 0), $transfer);
    printf "%10d %10.1f M/s %10.1f M/s %10.1f M/s\n", $n, map { 1000 * $_ } $one, $batch, $n * claims(1, $private, $transfer);
}

__END__

=head1 NAME

publishers-model.pl - an estimate for many publishers on one ring

=head1 SYNOPSIS

    perl bench/publishers-model.pl [--private NS] [--transfer NS] [--publishers LIST]

=head1 OPTIONS

=over 4

=item --private NS

The cost of a publish with a single publisher. Default: 40.

=item --transfer NS

The cost of fetching a cache line that another CPU has written. Default: 75, as between two CPUs of one chip; between
sockets 150 to 300.

=item --publishers LIST

How many publishers, a row each. Default: 1,2,4,8,32,64.

=back

=cut
