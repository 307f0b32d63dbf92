# Eventfds in a storm: two processes publish and notify through one eventfd, which is filled, consumed,
# closed, inherited and created again all the time. Publishing never blocks and never fails; a process that
# waits in select misses no message.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use PubSubTest;
use POSIX ();
use Test::More;

use constant LAST => 32_767;

my $FULL = pack 'Q', 18446744073709551614;

# Waits only in select: if a notification were lost, it would wait forever.
sub listener {
    my ($v, $ring) = @_;
    my $sub = $ring->subscribe;
    return spawn(sub {
        my ($peer) = @_;
        XT::dies_with_parent();
        my ($count, $last) = (0, '');
        until ($last eq $v->value(LAST)) {
            vec(my $bits = '', $sub->fileno, 1) = 1;
            select $bits, undef, undef, undef;
            my @got = $sub->drain_notify;
            $count += @got;
            $last = $got[-1] // $last;
        }
        my $missing = $sub->cursor - $count - $sub->overflow_count;
        $peer->tell($missing >= 0 && $missing <= $ring->stats->{abandoned} ? 'all' : "$missing too few");
    });
}

each_variant(sub {
    my ($v) = @_;

    subtest 'an inherited eventfd that two processes write to and fill' => sub {
        my $ring     = $v->ring(256);
        my $fd       = $ring->eventfd;
        my $listener = listener($v, $ring);
        my @kids     = map {
            spawn(sub {
                my ($peer) = @_;
                XT::dies_with_parent();
                my $own = $ring->subscribe;
                for_seconds(0.1, sub {
                    $ring->publish_notify($v->value($_[0] % 30_000));
                    POSIX::write($fd, $FULL, 8) if !random(20);
                    undef $own if !random(30);
                    $own //= $ring->subscribe;
                });
                $peer->tell('done');
                $peer->hear;
                $ring->publish_notify($v->value(LAST));
            });
        } 1, 2;
        $_->hear for @kids;
        $kids[0]->tell('go');
        reap('the first publisher exits with 0', shift @kids);
        is($listener->hear, 'all', 'the listener gets the last message, and its counts add up');
        reap('the listener exits with 0', $listener);
        $kids[0]->tell('go');
        reap('the second publisher exits with 0', @kids);
    };

    subtest 'an eventfd is closed, set, removed and created again while others publish' => sub {
        my $ring = $v->ring(256);
        my $kid  = spawn(sub {
            XT::dies_with_parent();
            alarm 0;
            my $mine = $ring->subscribe;
            $ring->publish_notify($v->value(1)), $mine->drain while 1;
        });
        my %croaks;
        my $count = for_seconds(0.1, sub {
            my $before = open_fds();
            my $fd     = $ring->eventfd;
            my $sub    = $ring->subscribe;
            pipe my $read, my $write or die "pipe: $!";
            my @actions = (
                sub { POSIX::close($fd) },
                sub { $sub->eventfd_set(fileno $write) },
                sub { $ring->eventfd_set(fileno $write); close $read },
                sub { POSIX::write($fd, $FULL, 8) },
                sub { $sub->eventfd_set(-1) },
                sub { $ring->eventfd_set(-1) },
                sub { $ring->eventfd_set(fileno STDERR); $ring->eventfd_set(-1) },
            );
            local $SIG{PIPE} = sub { die 'SIGPIPE' };
            my $action = random(scalar @actions);
            $actions[$action]->();
            $ring->publish_notify($v->value(2)) for 1 .. 3;
            for my $call (sub { $ring->notify }, sub { $sub->notify }, sub { $sub->eventfd_consume }, sub { $sub->drain_notify }) {
                eval { $call->(); 1 } or $croaks{ $@ =~ /: ([^:]+) at / ? $1 : $@ }++;
            }
            undef $sub;
            $ring->eventfd_set(-1);
            close $_ for $read, $write;
            open_fds() == $before or die "action $action left " . (open_fds() - $before) . ' descriptors';
        });
        delete @croaks{ 'Bad file descriptor', 'Broken pipe' };
        is_deeply([keys %croaks], [], "publish_notify does not fail in $count rounds");
        kill KILL => $kid->pid;
        $kid->end;
    };
});

done_testing;
