# A signal that comes after a wait has begun and before it sleeps: its handler runs in the wait, not when the sleep is over.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Time::HiRes qw(setitimer ITIMER_REAL);
use PubSubTest;

watchdog_process();

# What the handler publishes is what the wait returns if the handler ran in time. The timeout is shorter than the longest sleep,
# so nothing else ends a wait that slept too early; a machine that is slow to run us finds the signal pending at the deadline.
each_variant(sub {
    my ($v)  = @_;
    my $ring = $v->ring(16);
    my $sub  = $ring->subscribe;
    my @rings = map { $v->ring(16) } 1 .. 20;
    my @subs  = map { $_->subscribe } @rings;
    my @sets  = map { Data::PubSub::Shared::Set->new(@$_) } [@subs[0, 1]], \@subs;
    my @wait  = (sub { $sub->poll_wait(0.9) }, sub { $sub->poll_wait_multi(2, 0.9) }, map { my $set = $_; sub { $set->wait(0.9) } } @sets);

    # Between the last look at signals and the sleep there are some nanoseconds left, so one of these may be late, once in a long
    # while; without that look one of some ten is.
    my ($tries, $late) = (400, 0);
    local $SIG{ALRM} = sub { $_->publish($v->value(6)) for $ring, $rings[1] };
    for my $try (1 .. $tries) {
        setitimer(ITIMER_REAL, (1 + $try * 7 % 100) / 1_000_000);
        my ($message) = $wait[$try % @wait]->();
        $late++ if !defined $message;
        $_->reset for $sub, $subs[1];
    }
    cmp_ok($late, '<=', 1, "$tries signals at $tries instants");
});

done_testing;
