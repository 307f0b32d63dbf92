# Handles and sets as on kernels before Linux 5.16: one thread for each ring.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

# Two tests in one, with hundreds of threads, take minutes on a busy host.
BEGIN { $ENV{PUBSUB_TEST_WATCHDOG} ||= 600 }
use PubSubTest::Watchers;

my $why = without_waitv();
plan skip_all => $why if $why;
cmp_ok(watchers(500), '==', 500, '500 rings need 500 threads');
subtest $_ => sub { do "$FindBin::Bin/$_.t" or die $@ || $! } for qw(fh set);

done_testing;
