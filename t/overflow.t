# A subscriber that falls behind: where it continues, and what it counts.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

each_variant(sub {
    my ($v)  = @_;
    my $ring = $v->ring(8);
    my $sub  = $ring->subscribe;

    $ring->publish_multi($v->values(1, 8));
    is($sub->lag, 8, 'lag is the capacity when the ring is full');
    ok(!$sub->has_overflow, 'has_overflow is false when the ring is full');
    $ring->publish($v->value(9));
    is($sub->lag, 9, 'lag is one more after the next message');
    ok($sub->has_overflow, 'has_overflow is true after the next message');
    is($sub->overflow_count, 0, 'overflow_count is 0 before the next read');
    is($sub->poll, $v->value(2), 'poll returns the oldest message that is left');
    is($sub->overflow_count, 1, 'overflow_count counts the lost message');
    ok(!$sub->has_overflow, 'has_overflow is false after the read');
    is($sub->cursor, 2, 'cursor is after the message that was read');
    is_deeply([$sub->drain], [$v->values(3, 9)], 'drain returns the other messages');

    my %ways = (
        poll       => sub { my @all; while (defined(my $x = $_[0]->poll)) { push @all, $x } @all },
        poll_multi => sub { ($_[0]->poll_multi(3), $_[0]->poll_multi(100)) },
        drain      => sub { $_[0]->drain },
        'drain(n)' => sub { ($_[0]->drain(2), $_[0]->drain(1000)) },
        poll_cb    => sub { my @all; $_[0]->poll_cb(sub { push @all, @_ }); @all },
        poll_wait  => sub { my @all; while (defined(my $x = $_[0]->poll_wait(0))) { push @all, $x } @all },
        poll_wait_multi => sub { ($_[0]->poll_wait_multi(5, 0), $_[0]->poll_wait_multi(50, 0)) },
        drain_notify    => sub { $_[0]->drain_notify },
    );
    for my $way (sort keys %ways) {
        my $late = $ring->subscribe;
        $ring->publish_multi($v->values(1, 8 + 27));
        is_deeply([$ways{$way}->($late)], [$v->values(28, 35)], "$way returns the last eight messages");
        is($late->overflow_count, 27, "$way: overflow_count counts the others");
        is($late->lag, 0, "$way: lag is 0");
    }

    # Publishes and reads in steps of different sizes; the counts add up after each step.
    my $reader = $ring->subscribe;
    my $start  = $reader->cursor;
    my ($delivered, $expected, $wrong, $order) = (0, 0, 0, 0);
    my ($next, $seen) = (0, -1);
    for my $step (0 .. 499) {
        my $publish = ($step * 7919) % 23;
        $ring->publish_multi(map { $v->value($next++) } 1 .. $publish);
        for my $message ($reader->poll_multi(($step * 104729) % 11)) {
            my ($number) = $message =~ /(\d+)/;
            $order++ if $number <= $seen;
            $seen = $number;
            $delivered++;
            $wrong++ if $number != $reader->overflow_count + $delivered - 1;
        }
        $wrong++ if $delivered + $reader->overflow_count != $reader->cursor - $start;
        $wrong++ if $reader->lag != $ring->write_pos - $reader->cursor;
    }
    cmp_ok($reader->overflow_count, '>', 100, 'some messages were lost');
    cmp_ok($delivered, '>', 500, 'some messages were delivered');
    is($wrong, 0, 'delivered and lost messages add up to the passed positions at each step');
    is($order, 0, 'messages are delivered in order');
});

subtest 'while another process publishes' => sub {
    each_variant(sub {
        my ($v)  = @_;
        my $ring = $v->ring(8);
        my $sub  = $ring->subscribe;
        my $kid  = spawn(sub {
            for my $n (0 .. 2499) {
                my @batch = $v->values($n * 10, $n * 10 + 9);
                if   ($n % 3) { $ring->publish_multi(@batch) }
                else          { $ring->publish($_) for @batch }
            }
            $ring->publish($v->value(32767));
        });
        my ($delivered, $seen, $order) = (0, -1, 0);
        while ($seen != 32767) {
            for my $message ($delivered % 2 ? $sub->drain : $sub->poll_wait_multi(3)) {
                my ($number) = $message =~ /(\d+)/;
                $order++ if $number <= $seen;
                $seen = $number;
                $delivered++;
            }
        }
        reap('the publisher exits with 0', $kid);
        is($order, 0, 'messages are delivered in order, none twice');
        is($sub->cursor, $ring->write_pos, 'all positions were passed');
        my $abandoned = $ring->stats->{abandoned};
        my $sum  = $delivered + $sub->overflow_count;
        cmp_ok($sum, '<=', $sub->cursor, 'no position is counted twice');
        cmp_ok($sum, '>=', 25001, 'all messages are accounted for');
        is($sum, $sub->cursor, 'without abandoned positions, the counts add up exactly') if !$abandoned;
    });
};

done_testing;
