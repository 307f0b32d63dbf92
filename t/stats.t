# stats and the other ways of looking in.

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

    is(ref $stats, 'HASH', 'stats is a hash reference');
    my @keys = qw(capacity mmap_size write_pos publish_ok recoveries abandoned sub_waiters);
    push @keys, qw(msg_size arena_cap) if $v->is_str;
    ok(exists $stats->{$_}, "has $_") for @keys;
    is_deeply([grep { $stats->{$_} !~ /\A\d+\z/ } sort keys %$stats], [], 'all are counts');
    is($stats->{capacity}, 64, 'capacity');
    is($stats->{mmap_size}, -s $path, 'mmap_size is the size of the file');
    is($stats->{$_}, 0, "$_ is 0 at first") for qw(write_pos publish_ok recoveries abandoned sub_waiters);
    if ($v->is_str) {
        is($stats->{msg_size}, 256, 'msg_size');
        cmp_ok($stats->{arena_cap}, '>=', 64 * 256, 'the arena holds capacity messages of full size');
    }

    my $sub = $ring->subscribe;
    $ring->publish($v->value(1));
    $ring->publish_multi($v->values(2, 100));
    $ring->publish_notify($v->value(101));
    is($ring->stats->{write_pos}, 101, 'write_pos counts all');
    is($ring->stats->{publish_ok}, 101, 'and so does publish_ok');
    is($stats->{write_pos}, 0, 'an earlier answer stays as it was');
    $sub->drain;
    is($ring->stats->{publish_ok}, 101, 'reading changes nothing');
    $stats->{capacity} = 1;
    is($ring->stats->{capacity}, 64, 'and neither does writing into the answer');
    is($v->class->new($path)->stats->{publish_ok}, 101, 'another handle counts the same');

    is_deeply([$ring->sync], [], 'sync');
    is_deeply([$_->sync], [], 'sync without a file') for $v->ring(8), $v->class->new_memfd('t', 8);
    is($ring->capacity, 64, 'capacity');

    my $kid = spawn(sub {
        my ($peer) = @_;
        my $reader = $ring->subscribe;
        $peer->tell('ready');
        $reader->poll_wait;
    });
    $kid->hear;
    select undef, undef, undef, 0.001 until $ring->stats->{sub_waiters};
    is($ring->stats->{sub_waiters}, 1, 'sub_waiters: one sleeps');
    $ring->publish($v->value(1));
    reap('and wakes', $kid);
    is($ring->stats->{sub_waiters}, 0, 'sub_waiters: none any more');
});

done_testing;
