#!/usr/bin/env perl
# The pages quote only results of the benchmarks.
use strict;
use warnings;

use Test::More;

is(qx{$^X bench/tables.pl --check 2>&1}, '', 'bench/README.md and README.md have the figures of bench/results');
is($?, 0, 'the check exits with 0');

done_testing;
