# lag, cursor, reset and reset_oldest.

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

    is($sub->cursor, 0, 'cursor of a new subscriber is 0');
    is($sub->write_pos, 0, 'write_pos of a new ring is 0');
    $ring->publish_multi($v->values(0, 5));
    is($sub->write_pos, 6, 'write_pos of the subscriber counts the messages');
    is($ring->write_pos, 6, 'write_pos of the ring counts the messages');
    is($sub->lag, 6, 'lag counts the unread messages');
    $sub->poll for 1 .. 4;
    is($sub->cursor, 4, 'cursor is 4 after four polls');
    is($sub->lag, 2, 'lag is 2 after four polls');

    is($sub->cursor(1), 1, 'cursor(1) returns the new position');
    is($sub->lag, 5, 'cursor(1) increases the lag');
    is_deeply([$sub->drain], [$v->values(1, 5)], 'drain returns the messages from there');
    is($sub->cursor(5), 5, 'cursor(5) returns the new position');
    is($sub->poll, $v->value(5), 'poll returns message 5');
    is($sub->overflow_count, 0, 'setting the cursor loses no message');

    is($sub->cursor(9), 9, 'the cursor can be set ahead of the write position');
    is($sub->lag, 0, 'lag is 0 with the cursor ahead');
    ok(!$sub->has_overflow, 'has_overflow is false with the cursor ahead');
    is($sub->poll, undef, 'poll returns undef with the cursor ahead');
    $ring->publish_multi($v->values(6, 8));
    is($sub->poll, undef, 'poll does not return messages before the cursor');
    is_deeply([$sub->drain], [], 'drain does not return messages before the cursor');
    is($sub->poll_wait(0), undef, 'poll_wait does not return messages before the cursor');
    is($sub->cursor, 9, 'messages before the cursor do not move it');
    $ring->publish_multi($v->values(9, 10));
    is_deeply([$sub->drain], [$v->values(9, 10)], 'drain returns messages from the cursor on');
    is($sub->overflow_count, 0, 'no message counts as lost');

    $sub->cursor(20);
    $ring->publish_multi($v->values(11, 39));
    is($sub->lag, 20, 'lag after the publishers have passed the cursor');
    is_deeply([$sub->drain], [$v->values(32, 39)], 'drain continues with the oldest message');
    is($sub->overflow_count, 12, 'overflow_count counts messages from the cursor on');

    $sub->cursor(0);
    is($sub->lag, 40, 'lag after the cursor is set to an overwritten message');
    ok($sub->has_overflow, 'has_overflow is true for an overwritten message');
    is_deeply([$sub->drain], [$v->values(32, 39)], 'drain returns the messages that the ring holds');
    is($sub->overflow_count, 12 + 32, 'overflow_count counts the overwritten messages');

    $ring->publish_multi($v->values(40, 44));
    is_deeply([$sub->reset], [], 'reset returns nothing');
    is($sub->cursor, 45, 'reset sets the cursor to the write position');
    is($sub->poll, undef, 'poll returns undef after reset');
    $ring->publish($v->value(45));
    is($sub->poll, $v->value(45), 'poll returns the next message after reset');
    is_deeply([$sub->reset_oldest], [], 'reset_oldest returns nothing');
    is($sub->cursor, 38, 'reset_oldest sets the cursor to the oldest message');
    is_deeply([$sub->drain], [$v->values(38, 45)], 'drain returns all messages that the ring holds');
    is($sub->overflow_count, 44, 'reset and reset_oldest do not change overflow_count');

    my $most = 9223372036854775807;
    is($sub->cursor($most), $most, 'the cursor can be set to the last position');
    is($sub->lag, 0, 'lag is 0 at the last position');
    is($sub->poll, undef, 'poll returns undef at the last position');
    is_deeply([$sub->poll_wait_multi(3, 0)], [], 'poll_wait_multi times out at the last position');
    $ring->publish($v->value(46));
    is($sub->poll, undef, 'a publish is not delivered at the last position');
    $sub->reset;
    is($sub->cursor, 47, 'reset moves the cursor from the last position');
    $sub->cursor($most);
    $sub->reset_oldest;
    is($sub->cursor, 39, 'reset_oldest moves the cursor from the last position');

    my @bad = (
        [-1, '-1'], ['abc', '"abc"'], [1.5, '1\.5'], ['', '""'], [9**9**9, '(?i:inf)'],
        [9**9**9 / 9**9**9, '(?i:nan)'], [9223372036854775808, '9223372036854775808'], [1e30, '1e\+?30'],
    );
    for my $case (@bad) {
        my ($position, $shown) = @$case;
        croaks_like(
            sub { $sub->cursor($position) },
            quotemeta($v->sub_class) . "->cursor: position must be a non-negative integer, not $shown",
            "cursor($shown) croaks"
        );
    }
    is($sub->cursor, 39, 'calls that croak do not move the cursor');
    is($sub->cursor('40'), 40, 'cursor accepts a numeric string');
    is($sub->cursor(undef), 40, 'cursor(undef) does not move the cursor');
    croaks_like(sub { $sub->cursor(1, 2) }, 'Usage: .*cursor\(', 'cursor croaks on two arguments');
    croaks_like(sub { $sub->lag(1) }, 'Usage: .*lag\(', 'lag croaks on an argument');

    my $first  = $ring->subscribe_all;
    my $second = $ring->subscribe_all;
    $first->cursor(45);
    is($second->cursor, 39, 'setting the cursor does not affect another subscriber');
});

subtest 'a wait for a position ahead' => sub {
    each_variant(sub {
        my ($v)  = @_;
        my $ring = $v->ring(16);
        my $sub  = $ring->subscribe;
        $sub->cursor(5);
        my $kid = spawn(sub {
            my ($peer) = @_;
            $peer->hear;
            until_asleep(getppid);
            $ring->publish($v->value($_)) for 0 .. 5;
        });
        $kid->tell('go');
        is($sub->poll_wait, $v->value(5), 'poll_wait returns the message at the cursor');
        reap('the publisher exits with 0', $kid);
    });
};

done_testing;
