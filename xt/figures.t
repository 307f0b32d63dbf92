#!/usr/bin/env perl
# The pages quote the benchmarks' results, and no others.
use strict;
use warnings;

use Test::More;

is(qx{$^X bench/tables.pl --check 2>&1}, '', 'bench/README.md and README.md have the figures of bench/results');
is($?, 0, 'so says the exit code');

done_testing;
