# The newest message alone: latest, and the account of what it skips; positions of what was delivered.

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
    is($sub->latest,   undef, 'nothing: undef');
    is($sub->position, undef, 'which has no position');
    $ring->publish($v->value(1));
    is($sub->latest,  $v->value(1), 'the only one');
    is($sub->skipped, 0,            'nothing skipped');
    is($sub->latest,  undef,        'nothing new');
    $ring->publish_multi($v->values(2, 6));
    is($sub->latest,   $v->value(6), 'the newest of five');
    is($sub->skipped,  4,            'four skipped');
    is($sub->position, 5,            'where it stood');
    is($sub->lag,      0,            'nothing is left');

    # Lapped.
    $ring->publish_multi($v->values(7, 106));
    is($sub->latest,         $v->value(106), 'the newest of a hundred, in a ring of 16');
    is($sub->skipped,        4 + 99,         'all others skipped');
    is($sub->overflow_count, 0,              'and none lost');
    is($sub->cursor, 2 + 1 * 1 + $sub->skipped, 'delivered + lost + skipped = passed');

    $ring->publish_multi($v->values(1, 3));
    is($sub->poll,   $v->value(1), 'poll goes on in order');
    is($sub->latest, $v->value(3), 'and latest skips');
    is_deeply([$sub->latest(0), $sub->latest(0.001), $sub->latest('')], [undef, undef, undef], 'timeouts');
    croaks_like(sub { $sub->latest('soon') }, 'latest: timeout must be a number of seconds, not "soon"', 'no timeout');

    $ring->publish($v->value(4));
    $sub->cursor($ring->write_pos + 2);
    is($sub->latest, undef, 'ahead: waits for that message');
    $ring->publish_multi($v->values(5, 6));
    is($sub->latest, undef, 'and not for those before');
    $ring->publish_multi($v->values(7, 8));
    is($sub->latest, $v->value(8), 'then the newest');
    $sub->reset_oldest;
    is($sub->latest, $v->value(8), 'after a seek back it is new again');
    $ring->publish_multi($v->values(1, 5));
    $ring->clear;
    is($sub->latest,   undef, 'what was cleared is gone');
    is($sub->position, undef, 'and so is the position');
    $ring->publish($v->value(9));
    is($sub->latest,   $v->value(9), 'the first after it');
    is($sub->position, 0,            'has position 0');

    # A wait.
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
    is($kid->hear, $v->value(200), 'latest waits');
    $ring->publish($v->value($_)) for 1 .. 300;
    is($kid->hear, 301, 'up to the last one');
    is($kid->hear, 'fine', 'with its account');
    is($kid->end, 0, 'and ends');

    # For reading only.
    my $file = $v->class->new(my $path = fresh_path(), 16);
    my $only = $v->class->new_readonly($path)->subscribe;
    $file->publish_multi($v->values(1, 5));
    is_deeply([$only->latest, $only->skipped, $only->position], [$v->value(5), 4, 4], 'for reading only');

    # The handle.
    my $fh = $sub->fh;
    $ring->publish_multi($v->values(1, 3));
    until_readable($fh);
    $sub->latest;
    ok(!readable($fh), 'a handle is not readable after the newest');
});

subtest 'position' => sub {
    for my $v (variants()) {
        my $ring = $v->ring(16);
        my $sub  = $ring->subscribe;
        $ring->publish_multi($v->values(1, 10));
        my @seen;
        $sub->poll_cb(sub { push @seen, $sub->position }, 4);
        is_deeply(\@seen, [0 .. 3], $v->name . ': in poll_cb');
        $sub->poll;
        is($sub->position, 4, 'poll');
        $sub->drain(2);
        is($sub->position, 6, 'drain: of the last');
        $sub->drain(0);
        is($sub->position, 6, 'of nothing: as before');
        $sub->cursor(1);
        is($sub->position, 6, 'a seek delivers nothing');
        $sub->poll_wait;
        is($sub->position, 1, 'poll_wait');
        if (!$v->is_str) {
            $sub->drain_packed;
            is($sub->position, 9, 'drain_packed');
        }
        $ring->publish_multi($v->values(1, 100));
        $sub->poll;
        is($sub->position, 110 - 16, 'lapped: of what it got');
    }
};

subtest 'a publisher that dies' => sub {
    my $v    = variant('Int');
    my $ring = $v->class->new(my $path = fresh_path(), 16);
    my $sub  = $ring->subscribe;
    $ring->publish_multi(1, 2);
    poke($path, 128, pack 'Q', 4);    # positions 2 and 3 are claimed, and never filled
    is($sub->latest, 2, 'the newest that is there');
    my $got;
    until (defined($got = $sub->latest(0.001))) { $ring->publish(3) if $sub->lag == 0 }
    is($got, 3, 'then the next');
    is($ring->stats->{abandoned}, 2, 'those in between are abandoned');
    is($sub->cursor, 2 + $sub->skipped + 2, 'and accounted for');
};

done_testing;
