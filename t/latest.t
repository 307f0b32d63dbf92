# latest: the newest message alone, and the count of skipped messages; position of the last delivered message.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

each_variant(sub {
    my ($v)  = @_;
    my $ring = $v->ring(16);
    my $sub  = $ring->subscribe;
    is($sub->latest,   undef, 'latest of an empty ring returns undef');
    is($sub->position, undef, 'position is undef before the first message');
    $ring->publish($v->value(1));
    is($sub->latest,  $v->value(1), 'latest returns the only message');
    is($sub->skipped, 0,            'skipped is 0 after the only message');
    is($sub->latest,  undef,        'latest returns undef if there is no newer message');
    $ring->publish_multi($v->values(2, 6));
    is($sub->latest,   $v->value(6), 'latest returns the newest of five messages');
    is($sub->skipped,  4,            'skipped counts the other four');
    is($sub->position, 5,            'position is that of the newest message');
    is($sub->lag,      0,            'lag is 0 after latest');

    # More messages than the ring holds.
    $ring->publish_multi($v->values(7, 106));
    is($sub->latest,         $v->value(106), 'latest returns the newest of a hundred messages in a ring of 16');
    is($sub->skipped,        4 + 99,         'skipped counts all others');
    is($sub->overflow_count, 0,              'no message counts as lost');
    is($sub->cursor, 2 + 1 * 1 + $sub->skipped, 'delivered, lost and skipped messages add up');

    $ring->publish_multi($v->values(1, 3));
    is($sub->poll,   $v->value(1), 'poll returns the next message in order');
    is($sub->latest, $v->value(3), 'latest skips to the newest message');
    is_deeply([$sub->latest(0), $sub->latest(0.001), $sub->latest('')], [undef, undef, undef],
        'latest with a timeout returns undef if there is no message');
    croaks_like(sub { $sub->latest('soon') }, 'latest: timeout must be a number of seconds, not "soon"',
        'latest croaks on a timeout that is not a number');

    $ring->publish($v->value(4));
    $sub->cursor($ring->write_pos + 2);
    is($sub->latest, undef, 'with the cursor ahead, latest returns undef');
    $ring->publish_multi($v->values(5, 6));
    is($sub->latest, undef, 'with the cursor ahead, messages before the cursor are not returned');
    $ring->publish_multi($v->values(7, 8));
    is($sub->latest, $v->value(8), 'with the cursor ahead, latest returns the newest message after it');
    $sub->reset_oldest;
    is($sub->latest, $v->value(8), 'after reset_oldest, latest returns the newest message again');
    $ring->publish_multi($v->values(1, 5));
    $ring->clear;
    is($sub->latest,   undef, 'latest returns undef after clear');
    is($sub->position, undef, 'position is undef after clear');
    $ring->publish($v->value(9));
    is($sub->latest,   $v->value(9), 'latest returns the first message after clear');
    is($sub->position, 0,            'position of the first message after clear is 0');

    # latest waits.
    my $kid = spawn(sub {
        my ($peer) = @_;
        my $own = $ring->subscribe;
        $peer->tell('ready');
        my $got = $own->latest(60);
        $peer->tell($got);
        while ($got ne $v->value(300)) { $got = $own->latest(60) }
        $peer->tell($own->position);
        $peer->tell($own->skipped + $own->overflow_count <= 299 ? 'fine' : 'too many');
    });
    $kid->hear;
    until_asleep($kid->pid);
    $ring->publish($v->value(200));
    is($kid->hear, $v->value(200), 'latest waits for a message');
    $ring->publish($v->value($_)) for 1 .. 300;
    is($kid->hear, 301, 'latest in a loop reaches the last message');
    is($kid->hear, 'fine', 'skipped and lost messages are not more than published');
    is($kid->end, 0, 'the waiting process exits with 0');

    # A read-only handle.
    my $file = $v->class->new(my $path = fresh_path(), 16);
    my $only = $v->class->new_readonly($path)->subscribe;
    $file->publish_multi($v->values(1, 5));
    is_deeply([$only->latest, $only->skipped, $only->position], [$v->value(5), 4, 4], 'latest works for a read-only handle');

    # The handle of the subscriber.
    my $fh = $sub->fh;
    $ring->publish_multi($v->values(1, 3));
    until_readable($fh);
    $sub->latest;
    ok(!readable($fh), 'the handle is not readable after latest');
});

subtest 'position' => sub {
    for my $v (variants()) {
        my $ring = $v->ring(16);
        my $sub  = $ring->subscribe;
        $ring->publish_multi($v->values(1, 10));
        my @seen;
        $sub->poll_cb(sub { push @seen, $sub->position }, 4);
        is_deeply(\@seen, [0 .. 3], $v->name . ': position in a callback is that of its message');
        $sub->poll;
        is($sub->position, 4, 'position after poll');
        $sub->drain(2);
        is($sub->position, 6, 'position after drain is that of the last message');
        $sub->drain(0);
        is($sub->position, 6, 'drain(0) does not change the position');
        $sub->cursor(1);
        is($sub->position, 6, 'cursor does not change the position');
        $sub->poll_wait;
        is($sub->position, 1, 'position after poll_wait');
        if (!$v->is_str) {
            $sub->drain_packed;
            is($sub->position, 9, 'position after drain_packed');
        }
        $ring->publish_multi($v->values(1, 100));
        $sub->poll;
        is($sub->position, 110 - 16, 'position after an overflow is that of the delivered message');
    }
};

subtest 'claims of a killed publisher' => sub {
    my $v    = variant('Int');
    my $ring = $v->class->new(my $path = fresh_path(), 16);
    my $sub  = $ring->subscribe;
    $ring->publish_multi(1, 2);
    poke($path, 128, pack 'Q', 4);    # positions 2 and 3 are claimed and never filled
    is($sub->latest, 2, 'latest returns the newest message before the claims');
    my $got;
    until (defined($got = $sub->latest(0.001))) { $ring->publish(3) if $sub->lag == 0 }
    is($got, 3, 'latest returns the next message after the claims');
    is($ring->stats->{abandoned}, 2, 'the claims are abandoned');
    is($sub->cursor, 2 + $sub->skipped + 2, 'the cursor accounts for the claims');
};

done_testing;
