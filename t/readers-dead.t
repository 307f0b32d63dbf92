# Publishers, also those that use try_publish, do not wait for readers that were killed or were refused.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

# A reader in another process that has read nothing.
sub killed_reader {
    my ($ring, @options) = @_;
    my $kid = spawn(sub {
        my ($peer) = @_;
        my $sub = $ring->subscribe(@options);
        $peer->tell('ready');
        sleep 1000;
    });
    $kid->hear eq 'ready' or die;
    return $kid;
}

each_variant(sub {
    my ($v) = @_;
    my $new = sub { $v->class->new(@_, 16, $v->is_str ? 64 : (), lossless => 1) };

    subtest 'try_publish passes a killed reader' => sub {
        my $ring = $new->(fresh_path());
        my $kid  = killed_reader($ring);
        is(scalar(grep { $ring->try_publish($v->value($_)) } 1 .. 20), 16,
            'try_publish fails if the ring is full and the reader is alive');
        is_deeply([map { $_->{pid} } $ring->waiting_for], [$kid->pid], 'waiting_for returns the reader');
        $kid->kill('KILL');
        $kid->end;
        # A try that finds no room checks for killed readers once every 20 ms.
        select undef, undef, undef, 0.001 until $ring->try_publish($v->value(21));
        is(scalar(grep { $ring->try_publish($v->value($_)) } 1 .. 40), 40, 'try_publish succeeds after the reader was killed');
        is_deeply([$ring->readers], [], 'the killed reader is no longer listed');
    };

    subtest 'a reader that is refused leaves no entry' => sub {
        my $path = fresh_path();
        my $ring = $new->($path);
        $ring->unlink;
        croaks_like(sub { $ring->subscribe }, qr/could not tell whether this reader lives/, 'subscribe to a removed ring croaks');
        croaks_like(sub { $ring->subscribe(name => 'audit') }, qr/could not tell whether this reader lives/,
            'subscribe by name to a removed ring croaks');
        is(scalar(grep { $ring->try_publish($v->value($_)) } 1 .. 40), 40, 'publishers do not wait for these readers');
    };

    subtest 'subscribe_all after an overflow' => sub {
        my $ring = $new->(undef);
        $ring->publish($v->value($_)) for 1 .. 17;
        is_deeply([$ring->subscribe_all->drain], [$v->values(3, 17)],
            'subscribe_all gets the messages of the ring but for an eighth');
    };

    subtest 'a forked child is listed when it waits' => sub {
        my $ring = $new->(undef);
        my $sub  = $ring->subscribe;
        my $kid  = spawn(sub { $sub->poll_wait });
        select undef, undef, undef, 0.001 until 2 == grep { $_->{alive} } $ring->readers;
        my @pids = sort { $a <=> $b } map { $_->{pid} } $ring->readers;
        is_deeply(\@pids, [sort { $a <=> $b } $$, $kid->pid], 'parent and child are listed');
        $ring->publish($v->value(1));
        reap('the child gets the message and exits with 0', $kid);
        is($sub->poll, $v->value(1), 'the parent gets the message');
    };
});

done_testing;
