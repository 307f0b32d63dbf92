# Handles for event loops as on kernels before Linux 5.16, where each watched ring has a thread of its own.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest::Watchers;

my $why = without_waitv();
plan skip_all => $why if $why;
cmp_ok(watchers(500), '==', 500, 'a thread a ring');
subtest $_ => sub { do "$FindBin::Bin/$_.t" or die $@ || $! } for qw(fh set);

done_testing;
