# Objects after a fork: the child uses the inherited objects independently of its parent.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

each_variant(sub {
    my ($v)   = @_;
    my $path  = fresh_path();
    my %rings = (
        anonymous => $v->ring(64),
        named     => $v->class->new($path, 64),
        memfd     => $v->class->new_memfd('t', 64),
    );
    for my $kind (sort keys %rings) {
        my $ring = $rings{$kind};
        my $sub  = $ring->subscribe;
        $ring->publish_multi($v->values(1, 4));
        $sub->poll;

        my $kid = spawn(sub {
            my ($peer) = @_;
            die 'wrong cursor' if $sub->cursor != 1;
            my @got = $sub->drain;
            die "got @got" if "@got" ne join ' ', $v->values(2, 4);
            $peer->tell('drained');
            $peer->hear;
            die 'wrong message of the parent' if $sub->poll_wait ne $v->value(5);
            $ring->publish($v->value(6));
            my $own = $ring->subscribe_all;
            die 'wrong message of an own subscriber' if $own->poll ne $v->value(1);
        });
        $kid->hear;
        is($sub->cursor, 1, "$kind: the child does not move the cursor of its parent");
        $ring->publish($v->value(5));
        $kid->tell('go');
        reap("$kind: the child reads and publishes, and exits with 0", $kid);
        is_deeply([$sub->drain], [$v->values(2, 6)], "$kind: the parent reads its messages and those of the child");

        my $dropper = spawn(sub { undef $sub; undef $ring; %rings = () });
        reap("$kind: a child that destroys its objects exits with 0", $dropper);
        $ring->publish($v->value(7));
        is($sub->poll, $v->value(7), "$kind: the objects of the parent still work");
    }
    ok(-e $path, 'the file still exists');

    # Each process publishes and gets all messages, its own included.
    my $ring = $rings{anonymous};
    my $sub  = $ring->subscribe;
    my @kids = map {
        my $id = $_;
        spawn(sub {
            my ($peer) = @_;
            $peer->hear;
            $ring->publish($v->value($id));
            my @got = map { $sub->poll_wait } 1 .. 4;
            die "got @got" if join(' ', sort @got) ne join ' ', $v->values(0, 3);
        });
    } 1 .. 3;
    $_->tell('go') for @kids;
    $ring->publish($v->value(0));
    is_deeply([sort map { $sub->poll_wait } 1 .. 4], [$v->values(0, 3)], 'the parent gets all messages');
    reap('each child gets all messages and exits with 0', @kids);

    # A grandchild after its parent has exited.
    my $last = spawn(sub {
        my $pid = fork // die "fork: $!";
        POSIX::_exit(0) if $pid;
        $ring->publish($v->value(9));
    });
    $last->end;
    is($sub->poll_wait, $v->value(9), 'the message of an orphan is delivered');
});

done_testing;
