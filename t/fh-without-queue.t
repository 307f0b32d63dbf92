# Handles and sets as on kernels before Linux 6.15 or with io_uring forbidden: one thread for each 127 rings.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

# Two tests in one, with hundreds of threads, take minutes on a busy host.
BEGIN { $ENV{PUBSUB_TEST_WATCHDOG} ||= 600 }
use PubSubTest::Watchers;

my $why = without_queue();
plan skip_all => $why if $why;
plan skip_all => 'this kernel has no futex_waitv either; see fh-without-waitv.t' if !has_waitv();
cmp_ok(watchers(500), '==', 4, '500 rings need four threads');
subtest $_ => sub { do "$FindBin::Bin/$_.t" or die $@ || $! } for qw(fh set);

done_testing;
