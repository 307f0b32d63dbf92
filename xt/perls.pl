#!/usr/bin/env perl
# Builds and tests in other releases of Debian and on other processors: perl xt/perls.pl [ROW ...]
#
# A ROW is a release (bullseye, trixie, sid) or a release, an architecture, and an emulated processor or a perl that is
# built from source (trixie-arm64-cortex-a72, bookworm-amd64-unthreaded); all without one. Prints a table, and the first
# error of each failure.
# As root. XT_ROOTS says where the roots are kept, XT_MIRROR where Debian is.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use XT::Roots;

$| = 1;
if (my $why = why_no_roots()) { die "perls.pl: $why\n" }

my $failed = 0;
printf "%-26s%s\n", 'row', join '', map { sprintf '%-10s', $_ } STEPS;
my @rows = rows(@ARGV);
while (my $row = shift @rows) {
    printf '%-26s', $row->name;
    my $why = $row->why_not;
    if (!defined $why && !eval { $row->prepare; 1 }) {
        chomp($why = $@);
        $failed++;
    }
    print "- $why\n" and next if defined $why;
    my @errors;
    for my $step (STEPS) {
        my ($ok, $error, $log) = $row->step($step);
        printf '%-10s', $ok ? 'ok' : 'FAILED';
        push @errors, "    $step: $error\n    $log\n" if !$ok;
        last if !$ok && $step eq 'build';
    }
    print "\n", @errors;
    $failed += @errors;
}
exit !!$failed;
