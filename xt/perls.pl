#!/usr/bin/env perl
# Builds and tests on other releases of Debian and other architectures: perl xt/perls.pl [ROW ...]
#
# A ROW is a release (bullseye, trixie, sid) or a release, an architecture, and an emulated CPU, a perl that is
# built from source, or `bare` (trixie-arm64-cortex-a72, bookworm-amd64-unthreaded, sid-amd64-bare: ./run test without any
# package installed); the default is all rows. Prints the result of each row, and the first error of each failure.
# Needs root; the variables are described in xt/lib/XT/Roots.pm.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use XT::Roots;

$| = 1;
if (my $why = why_no_roots()) { die "perls.pl: $why\n" }

my $failed = 0;
my @rows = rows(@ARGV);
while (my $row = shift @rows) {
    printf '%-37s', $row->name;
    my $why = $row->why_not;
    if (!defined $why && !eval { $row->prepare; 1 }) {
        chomp($why = $@);
        $failed++;
    }
    print "- $why\n" and next if defined $why;
    my @errors;
    for my $step ($row->steps) {
        my ($ok, $error, $log) = $row->step($step);
        printf '%-15s', "$step " . ($ok ? 'ok' : 'FAILED');
        push @errors, "    $step: $error\n    $log\n" if !$ok;
        last if !$ok && $step eq 'build';
    }
    print "\n", @errors;
    $failed += @errors;
}
exit !!$failed;
