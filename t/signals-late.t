# A signal arrives after a wait has begun and before it sleeps: the handler runs during the wait, not after its timeout.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Time::HiRes qw(setitimer ITIMER_REAL);
use PubSubTest;

watchdog_process();

# If the handler runs in time, the wait returns the message that it publishes. The timeout is shorter than the longest sleep,
# so nothing else ends a wait that slept too early; a slow host finds the signal pending at the deadline.
each_variant(sub {
    my ($v)  = @_;
    my $ring = $v->ring(16);
    my $sub  = $ring->subscribe;
    my @rings = map { $v->ring(16) } 1 .. 20;
    my @subs  = map { $_->subscribe } @rings;
    my @sets  = map { Data::PubSub::Shared::Set->new(@$_) } [@subs[0, 1]], \@subs;
    my @wait  = (sub { $sub->poll_wait(0.9) }, sub { $sub->poll_wait_multi(2, 0.9) }, map { my $set = $_; sub { $set->wait(0.9) } } @sets);

    # Some nanoseconds are left between the last check for signals and the sleep, so one of these may be late, very rarely;
    # without that check, about one in ten is.
    my ($tries, $late) = (400, 0);
    local $SIG{ALRM} = sub { $_->publish($v->value(6)) for $ring, $rings[1] };
    for my $try (1 .. $tries) {
        setitimer(ITIMER_REAL, (1 + $try * 7 % 100) / 1_000_000);
        my ($message) = $wait[$try % @wait]->();
        $late++ if !defined $message;
        $_->reset for $sub, $subs[1];
    }
    cmp_ok($late, '<=', 1, "of $tries signals at $tries instants, at most one handler runs late");
});

done_testing;
