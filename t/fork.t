# Objects after a fork: the child uses what it inherited on its own account.

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
            die 'cursor' if $sub->cursor != 1;
            my @got = $sub->drain;
            die "got @got" if "@got" ne join ' ', $v->values(2, 4);
            $peer->tell('drained');
            $peer->hear;
            die 'parent' if $sub->poll_wait ne $v->value(5);
            $ring->publish($v->value(6));
            my $own = $ring->subscribe_all;
            die 'own' if $own->poll ne $v->value(1);
        });
        $kid->hear;
        is($sub->cursor, 1, "$kind: the child moves its own cursor only");
        $ring->publish($v->value(5));
        $kid->tell('go');
        reap("$kind: the child reads and publishes", $kid);
        is_deeply([$sub->drain], [$v->values(2, 6)], "$kind: and so does the parent");

        my $dropper = spawn(sub { undef $sub; undef $ring; %rings = () });
        reap("$kind: a child drops its objects", $dropper);
        $ring->publish($v->value(7));
        is($sub->poll, $v->value(7), "$kind: those of the parent work on");
    }
    ok(-e $path, 'and the file is still there');

    # Every process publishes; every process gets everything, its own messages too.
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
    is_deeply([sort map { $sub->poll_wait } 1 .. 4], [$v->values(0, 3)], 'the parent gets all');
    reap('and so does each child', @kids);

    # A grandchild whose parent has gone.
    my $last = spawn(sub {
        my $pid = fork // die "fork: $!";
        POSIX::_exit(0) if $pid;
        $ring->publish($v->value(9));
    });
    $last->end;
    is($sub->poll_wait, $v->value(9), 'an orphan publishes');
});

done_testing;
