# Very many messages through a small ring with four subscribers: the equation is exact.
#
#   XT_MESSAGES   how many, for each variant; a run of 1_000_000_000 takes some minutes for integers

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
BEGIN { $ENV{PUBSUB_TEST_WATCHDOG} //= 86_400 if $ENV{XT_MESSAGES} }
use XT;
use PubSubTest;
use Test::More;

use constant { CAPACITY => 1024, BATCH => 250 };

# One publisher alone, so no position is ever given up and the equation has no slack... unless it is
# held up by the machine in mid-batch, for which `abandoned` accounts.
sub publisher {
    my ($v, $ring, $messages) = @_;
    return spawn(sub {
        my ($peer) = @_;
        XT::dies_with_parent();
        alarm 0;
        my @batches = map { my $from = $_ * BATCH; [$v->values($from, $from + BATCH - 1)] } 0 .. 3;
        my $end = $messages ? 0 : now() + 0.25 * seconds();
        my $n   = 0;
        while ($messages ? $n < $messages : now() < $end) {
            $ring->publish_multi(@{ $batches[$_] }) for 0 .. 3;
            $n += 4 * BATCH;
            # For a while at the pace of the readers, so that not everything is lost.
            select undef, undef, undef, 0.0002 if $n / (4 * BATCH) % 64 < 16;
        }
        $ring->publish($v->value(9999));
        $peer->tell($n + 1);
    });
}

# What comes counts up from 0 to 999, over and over, with gaps only where something was lost.
sub subscriber {
    my ($v, $sub) = @_;
    return spawn(sub {
        my ($peer) = @_;
        XT::dies_with_parent();
        alarm 0;
        my $str = $v->is_str;
        my ($delivered, $wrong, $next, $end) = (0, 0, 0, 0);
        # What was lost until this list, and until the one before.
        my ($lost, $lost_before) = (0, 0);
        until ($end) {
            my @got = $sub->poll_wait_multi(CAPACITY);
            $delivered += @got;
            # A loss that was found behind the last message of a list is the next list's gap.
            my $now_lost = $sub->overflow_count;
            for my $message (@got) {
                my $number = $str ? substr $message, 8 : $message;
                if ($number == 9999) { $end = 1; last }
                $wrong++ if $number != $next && ($now_lost == $lost_before || $number > 999);
                $next = $number == 999 ? 0 : $number + 1;
            }
            ($lost_before, $lost) = ($lost, $now_lost);
        }
        $peer->tell(join ' ', $delivered, $sub->overflow_count, $sub->cursor, $wrong);
    });
}

each_variant(sub {
    my ($v) = @_;
    my $ring = $v->class->new(undef, CAPACITY, $v->is_str ? 16 : ());
    my @subs = map { subscriber($v, $ring->subscribe) } 1 .. 4;
    my $publisher = publisher($v, $ring, $ENV{XT_MESSAGES});
    my $published = $publisher->hear;
    my $stats = $ring->stats;
    is($stats->{publish_ok}, $published, "$published messages published");
    for my $who (0 .. 3) {
        my ($delivered, $lost, $passed, $wrong) = split ' ', $subs[$who]->hear // '';
        is($passed, $stats->{write_pos}, "subscriber $who passed everything");
        my $void = $passed - $delivered - $lost;
        cmp_ok($void, '>=', 0, "$delivered delivered + $lost lost are not more");
        cmp_ok($void, '<=', $stats->{abandoned}, "nor less, but for $stats->{abandoned} abandoned");
        is($wrong, 0, 'no gap without a loss, nothing twice');
    }
    is_deeply([map { $_->end } $publisher, @subs], [(0) x 5], 'all end');
});

done_testing;
