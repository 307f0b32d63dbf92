# Readers that die, or cannot be known, hold nobody up: nor a publisher that only tries.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

# A reader in another process, killed with nothing read.
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

    subtest 'who only tries passes a dead reader' => sub {
        my $ring = $new->(fresh_path());
        my $kid  = killed_reader($ring);
        is(scalar(grep { $ring->try_publish($v->value($_)) } 1 .. 20), 16, 'it is waited for while it lives');
        is_deeply([map { $_->{pid} } $ring->waiting_for], [$kid->pid], 'and named');
        $kid->kill('KILL');
        $kid->end;
        # Each try that finds no room may look, once every 20 ms.
        select undef, undef, undef, 0.001 until $ring->try_publish($v->value(21));
        is(scalar(grep { $ring->try_publish($v->value($_)) } 1 .. 40), 40, 'dead, it is not');
        is_deeply([$ring->readers], [], 'nor listed');
    };

    subtest 'who is refused leaves nothing behind' => sub {
        my $path = fresh_path();
        my $ring = $new->($path);
        $ring->unlink;
        croaks_like(sub { $ring->subscribe }, qr/could not tell whether this reader lives/, 'no reader of a ring that is gone');
        croaks_like(sub { $ring->subscribe(name => 'audit') }, qr/could not tell whether this reader lives/, 'nor by name');
        is(scalar(grep { $ring->try_publish($v->value($_)) } 1 .. 40), 40, 'publishers go on');
    };

    subtest 'who comes late finds most of what is held' => sub {
        my $ring = $new->(undef);
        $ring->publish($v->value($_)) for 1 .. 17;
        is_deeply([$ring->subscribe_all->drain], [$v->values(3, 17)], 'but for an eighth');
    };

    subtest 'a forked child is there as soon as it waits' => sub {
        my $ring = $new->(undef);
        my $sub  = $ring->subscribe;
        my $kid  = spawn(sub { $sub->poll_wait });
        select undef, undef, undef, 0.001 until 2 == grep { $_->{alive} } $ring->readers;
        my @pids = sort { $a <=> $b } map { $_->{pid} } $ring->readers;
        is_deeply(\@pids, [sort { $a <=> $b } $$, $kid->pid], 'beside its parent');
        $ring->publish($v->value(1));
        reap('it reads', $kid);
        is($sub->poll, $v->value(1), 'and so does its parent');
    };
});

done_testing;
