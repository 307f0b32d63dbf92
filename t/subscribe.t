# Where subscribers start, and that each has its own cursor.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

each_variant(sub {
    my ($v)  = @_;
    my $ring = $v->ring(8);

    my $early = $ring->subscribe;
    isa_ok($early, $v->sub_class);
    is($early->cursor, 0, 'subscribe to an empty ring starts at 0');
    is($ring->subscribe_all->cursor, 0, 'subscribe_all to an empty ring starts at 0');
    is($early->poll, undef, 'poll of an empty ring returns undef');

    $ring->publish_multi($v->values(1, 5));
    my $now = $ring->subscribe;
    my $all = $ring->subscribe_all;
    is($now->cursor, 5, 'subscribe starts at the write position');
    is($now->lag, 0, 'lag after subscribe is 0');
    is($all->cursor, 0, 'subscribe_all starts at the oldest message');
    is($all->lag, 5, 'lag after subscribe_all is the number of messages');
    is_deeply([$all->drain], [$v->values(1, 5)], 'subscribe_all gets all messages');
    is_deeply([$early->drain], [$v->values(1, 5)], 'an earlier subscriber gets all messages');
    is_deeply([$now->drain], [], 'a later subscriber gets no earlier message');

    $ring->publish_multi($v->values(6, 20));
    my $oldest = $ring->subscribe_all;
    is($oldest->cursor, 12, 'subscribe_all to a ring that has wrapped starts at the oldest message');
    is($oldest->overflow_count, 0, 'messages from before do not count as lost');
    is_deeply([$oldest->drain], [$v->values(13, 20)], 'subscribe_all gets all messages that the ring holds');
    is_deeply([$now->drain], [$v->values(13, 20)], 'a subscriber that fell behind gets the messages that the ring holds');
    is($now->overflow_count, 7, 'a subscriber that fell behind counts the others as lost');

    my @subs = map { $ring->subscribe } 1 .. 100;
    $ring->publish_multi($v->values(1, 3));
    $subs[0]->poll for 1 .. 3;
    is(scalar(grep { $_->lag == 3 } @subs[1 .. 99]), 99, 'cursors are independent');
    is(scalar(grep { join(' ', $_->drain) eq join(' ', $v->values(1, 3)) } @subs[1 .. 99]), 99,
        'each of a hundred subscribers gets all messages');

    croaks_like(sub { $ring->subscribe(1) }, 'Usage: .*::subscribe\(', 'subscribe croaks on an argument');
    croaks_like(sub { $ring->subscribe_all(1) }, 'Usage: .*::subscribe_all\(', 'subscribe_all croaks on an argument');
    is($v->sub_class->can('new'), undef, 'the class of subscribers has no constructor');
});

done_testing;
