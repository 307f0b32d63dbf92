# Very many messages through a small ring with four subscribers: all counts add up exactly.
#
#   XT_MESSAGES   number of messages for each variant; 1_000_000_000 integers take some minutes

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
BEGIN { $ENV{PUBSUB_TEST_WATCHDOG} //= 86_400 if $ENV{XT_MESSAGES} }
use XT;
use PubSubTest;
use Test::More;

use constant { CAPACITY => 1024, BATCH => 250 };

# A single publisher, so no position is abandoned and the counts add up exactly, unless the
# host delays it in the middle of a batch, which `abandoned` counts.
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
            # For some time at the speed of the readers, so that not all messages are lost.
            select undef, undef, undef, 0.0002 if $n / (4 * BATCH) % 64 < 16;
        }
        $ring->publish($v->value(9999));
        $peer->tell($n + 1);
    });
}

# Messages count up from 0 to 999 repeatedly, with gaps only where messages were lost.
sub subscriber {
    my ($v, $sub) = @_;
    return spawn(sub {
        my ($peer) = @_;
        XT::dies_with_parent();
        alarm 0;
        my $str = $v->is_str;
        my ($delivered, $wrong, $next, $end) = (0, 0, 0, 0);
        # Messages lost up to this list, and up to the list before.
        my ($lost, $lost_before) = (0, 0);
        until ($end) {
            my @got = $sub->poll_wait_multi(CAPACITY);
            $delivered += @got;
            # A loss found after the last message of a list is a gap in the next list.
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
    is($stats->{publish_ok}, $published, "publish_ok counts all $published messages");
    for my $who (0 .. 3) {
        my ($delivered, $lost, $passed, $wrong) = split ' ', $subs[$who]->hear // '';
        is($passed, $stats->{write_pos}, "subscriber $who passed all positions");
        my $missing = $passed - $delivered - $lost;
        cmp_ok($missing, '>=', 0, "subscriber $who: $delivered delivered and $lost lost messages are not more than positions");
        cmp_ok($missing, '<=', $stats->{abandoned},
            "subscriber $who: the other positions were abandoned, $stats->{abandoned} in all");
        is($wrong, 0, "subscriber $who: no gap without a loss, no message twice");
    }
    is_deeply([map { $_->end } $publisher, @subs], [(0) x 5], 'all processes exit with 0');
});

done_testing;
