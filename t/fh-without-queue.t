# Handles for event loops, and sets, as on kernels before Linux 6.15, and where io_uring is forbidden: a thread for each 127 rings.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest::Watchers;

my $why = without_queue();
plan skip_all => $why if $why;
plan skip_all => 'no futex_waitv either: fh-without-waitv.t' if !has_waitv();
cmp_ok(watchers(500), '==', 4, 'a thread for each 127 rings');
subtest $_ => sub { do "$FindBin::Bin/$_.t" or die $@ || $! } for qw(fh set);

done_testing;
