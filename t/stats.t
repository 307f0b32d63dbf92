# stats, sync and capacity.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

each_variant(sub {
    my ($v)  = @_;
    my $path = fresh_path();
    my $ring = $v->class->new($path, 64);
    my $stats = $ring->stats;

    is(ref $stats, 'HASH', 'stats returns a hash reference');
    my @keys = qw(capacity mmap_size write_pos publish_ok recoveries abandoned sub_waiters);
    push @keys, qw(msg_size arena_cap) if $v->is_str;
    ok(exists $stats->{$_}, "stats has $_") for @keys;
    is_deeply([grep { $stats->{$_} !~ /\A\d+\z/ } sort keys %$stats], [], 'all values are counts');
    is($stats->{capacity}, 64, 'capacity in stats is the capacity');
    is($stats->{mmap_size}, -s $path, 'mmap_size is the size of the file');
    is($stats->{$_}, 0, "$_ of a new ring is 0") for qw(write_pos publish_ok recoveries abandoned sub_waiters);
    if ($v->is_str) {
        is($stats->{msg_size}, 256, 'msg_size in stats is the message size');
        cmp_ok($stats->{arena_cap}, '>=', 64 * 256, 'the arena holds as many messages of maximum size as the capacity');
    }

    my $sub = $ring->subscribe;
    $ring->publish($v->value(1));
    $ring->publish_multi($v->values(2, 100));
    $ring->publish_notify($v->value(101));
    is($ring->stats->{write_pos}, 101, 'write_pos counts all messages');
    is($ring->stats->{publish_ok}, 101, 'publish_ok counts all messages');
    is($stats->{write_pos}, 0, 'an earlier result of stats does not change');
    $sub->drain;
    is($ring->stats->{publish_ok}, 101, 'reading does not change publish_ok');
    $stats->{capacity} = 1;
    is($ring->stats->{capacity}, 64, 'changing a result does not change the ring');
    is($v->class->new($path)->stats->{publish_ok}, 101, 'another handle returns the same counts');

    is_deeply([$ring->sync], [], 'sync returns nothing');
    is_deeply([$_->sync], [], 'sync of a ring without a file returns nothing') for $v->ring(8), $v->class->new_memfd('t', 8);
    is($ring->capacity, 64, 'capacity returns the capacity');

    my $kid = spawn(sub {
        my ($peer) = @_;
        my $reader = $ring->subscribe;
        $peer->tell('ready');
        $reader->poll_wait;
    });
    $kid->hear;
    select undef, undef, undef, 0.001 until $ring->stats->{sub_waiters};
    is($ring->stats->{sub_waiters}, 1, 'sub_waiters counts a sleeping subscriber');
    $ring->publish($v->value(1));
    reap('the subscriber wakes and exits with 0', $kid);
    is($ring->stats->{sub_waiters}, 0, 'sub_waiters is 0 after the subscriber has exited');
});

done_testing;
