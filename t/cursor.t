# lag, cursor, seeking, reset and reset_oldest.

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

    is($sub->cursor, 0, 'cursor starts at 0');
    is($sub->write_pos, 0, 'as does write_pos');
    $ring->publish_multi($v->values(0, 5));
    is($sub->write_pos, 6, 'write_pos of the subscriber');
    is($ring->write_pos, 6, 'and of the ring');
    is($sub->lag, 6, 'lag');
    $sub->poll for 1 .. 4;
    is($sub->cursor, 4, 'cursor after four');
    is($sub->lag, 2, 'lag after four');

    is($sub->cursor(1), 1, 'seeking back returns where it is now');
    is($sub->lag, 5, 'with more to read');
    is_deeply([$sub->drain], [$v->values(1, 5)], 'which comes again');
    is($sub->cursor(5), 5, 'seeking once more');
    is($sub->poll, $v->value(5), 'message 5');
    is($sub->overflow_count, 0, 'seeking loses nothing');

    is($sub->cursor(9), 9, 'seeking ahead');
    is($sub->lag, 0, 'nothing to read there');
    ok(!$sub->has_overflow, 'no overflow');
    is($sub->poll, undef, 'nothing to poll');
    $ring->publish_multi($v->values(6, 8));
    is($sub->poll, undef, 'messages before that position are none of its');
    is_deeply([$sub->drain], [], 'nor are they drained');
    is($sub->poll_wait(0), undef, 'nor waited for');
    is($sub->cursor, 9, 'it waits');
    $ring->publish_multi($v->values(9, 10));
    is_deeply([$sub->drain], [$v->values(9, 10)], 'for that message');
    is($sub->overflow_count, 0, 'having lost none');

    $sub->cursor(20);
    $ring->publish_multi($v->values(11, 39));
    is($sub->lag, 20, 'overtaken while ahead');
    is_deeply([$sub->drain], [$v->values(32, 39)], 'goes on at the oldest');
    is($sub->overflow_count, 12, 'having lost what came after its place');

    $sub->cursor(0);
    is($sub->lag, 40, 'seeking back to what is gone');
    ok($sub->has_overflow, 'is an overflow');
    is_deeply([$sub->drain], [$v->values(32, 39)], 'the oldest held');
    is($sub->overflow_count, 12 + 32, 'the rest is counted');

    $ring->publish_multi($v->values(40, 44));
    is_deeply([$sub->reset], [], 'reset returns nothing');
    is($sub->cursor, 45, 'reset: latest');
    is($sub->poll, undef, 'only what comes');
    $ring->publish($v->value(45));
    is($sub->poll, $v->value(45), 'comes');
    is_deeply([$sub->reset_oldest], [], 'reset_oldest returns nothing');
    is($sub->cursor, 38, 'reset_oldest: oldest');
    is_deeply([$sub->drain], [$v->values(38, 45)], 'all that is held');
    is($sub->overflow_count, 44, 'neither counts as overflow, nor forgets it');

    my $most = 9223372036854775807;
    is($sub->cursor($most), $most, 'the last position there is');
    is($sub->lag, 0, 'far ahead');
    is($sub->poll, undef, 'is waited for');
    is_deeply([$sub->poll_wait_multi(3, 0)], [], 'and waited for');
    $ring->publish($v->value(46));
    is($sub->poll, undef, 'with patience');
    $sub->reset;
    is($sub->cursor, 47, 'reset comes back from there');
    $sub->cursor($most);
    $sub->reset_oldest;
    is($sub->cursor, 39, 'and so does reset_oldest');

    my @bad = (
        [-1, '-1'], ['abc', '"abc"'], [1.5, '1\.5'], ['', '""'], [9**9**9, '(?i:inf)'],
        [9**9**9 / 9**9**9, '(?i:nan)'], [9223372036854775808, '9223372036854775808'], [1e30, '1e\+?30'],
    );
    for my $case (@bad) {
        my ($position, $shown) = @$case;
        croaks_like(
            sub { $sub->cursor($position) },
            quotemeta($v->sub_class) . "->cursor: position must be a non-negative integer, not $shown",
            "cursor($shown)"
        );
    }
    is($sub->cursor, 39, 'and it stays where it was');
    is($sub->cursor('40'), 40, 'a numeric string will do');
    is($sub->cursor(undef), 40, 'undef: no move');
    croaks_like(sub { $sub->cursor(1, 2) }, 'Usage: .*cursor\(', 'too many arguments');
    croaks_like(sub { $sub->lag(1) }, 'Usage: .*lag\(', 'lag takes none');

    my $first  = $ring->subscribe_all;
    my $second = $ring->subscribe_all;
    $first->cursor(45);
    is($second->cursor, 39, 'seeking moves nobody else');
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
        is($sub->poll_wait, $v->value(5), 'ends with that message');
        reap('publisher', $kid);
    });
};

done_testing;
