# Where subscribers start, and that each has its own place.

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
    is($early->cursor, 0, 'subscribe on an empty ring starts at 0');
    is($ring->subscribe_all->cursor, 0, 'subscribe_all too');
    is($early->poll, undef, 'and finds nothing');

    $ring->publish_multi($v->values(1, 5));
    my $now = $ring->subscribe;
    my $all = $ring->subscribe_all;
    is($now->cursor, 5, 'subscribe starts at the write position');
    is($now->lag, 0, 'with nothing to read');
    is($all->cursor, 0, 'subscribe_all at the oldest message');
    is($all->lag, 5, 'with all of it to read');
    is_deeply([$all->drain], [$v->values(1, 5)], 'which it gets');
    is_deeply([$early->drain], [$v->values(1, 5)], 'and so does who was there before');
    is_deeply([$now->drain], [], 'but not who came later');

    $ring->publish_multi($v->values(6, 20));
    my $oldest = $ring->subscribe_all;
    is($oldest->cursor, 12, 'subscribe_all on a ring that has wrapped');
    is($oldest->overflow_count, 0, 'has lost nothing: it was not there');
    is_deeply([$oldest->drain], [$v->values(13, 20)], 'gets what is held');
    is_deeply([$now->drain], [$v->values(13, 20)], 'and so does the one that fell behind');
    is($now->overflow_count, 7, 'who counts the rest');

    my @subs = map { $ring->subscribe } 1 .. 100;
    $ring->publish_multi($v->values(1, 3));
    $subs[0]->poll for 1 .. 3;
    is(scalar(grep { $_->lag == 3 } @subs[1 .. 99]), 99, 'cursors are independent');
    is(scalar(grep { join(' ', $_->drain) eq join(' ', $v->values(1, 3)) } @subs[1 .. 99]), 99, 'everyone gets all');

    croaks_like(sub { $ring->subscribe(1) }, 'Usage: .*::subscribe\(', 'no arguments are taken');
    croaks_like(sub { $ring->subscribe_all(1) }, 'Usage: .*::subscribe_all\(', 'by neither');
    is($v->sub_class->can('new'), undef, 'there is no other way to a subscriber');
});

done_testing;
