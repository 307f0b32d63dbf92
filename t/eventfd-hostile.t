# Descriptors that are full, closed, blocking or not an eventfd: publish_notify never blocks on
# them and never fails because of them.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Handle;
use POSIX ();
use Test::More;
use PubSubTest;

my $FULL = pack 'Q', 18446744073709551614;

sub write_fd { return POSIX::write($_[0], $_[1], length $_[1]) }

# Checks that publish_notify returns true and publishes.
sub publishes {
    my ($ring, $v, $name) = @_;
    my $sub = $ring->subscribe;
    ok($ring->publish_notify($v->value(7)), "$name: publish_notify returns true");
    is($sub->poll, $v->value(7), "$name: publish_notify has published");
    return;
}

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;

    subtest 'a full eventfd' => sub {
        my $ring = $v->ring(8);
        my $fd   = $ring->eventfd;
        is(write_fd($fd, $FULL), 8, 'the eventfd is filled');
        publishes($ring, $v, 'full');
        eval { $ring->notify };
        is($ring->eventfd_consume, 18446744073709551614, 'eventfd_consume returns the full count');
        publishes($ring, $v, 'emptied');
        is($ring->eventfd_consume, 1, 'the eventfd counts again');
    };

    subtest 'an eventfd that the program has closed' => sub {
        my $ring = $v->ring(8);
        my $fd   = $ring->eventfd;
        my $sub  = $ring->subscribe;
        POSIX::close($fd);
        publishes($ring, $v, 'closed');
        croaks_like(sub { $ring->notify }, quotemeta($class) . '->notify: .*Bad file descriptor', 'notify of the ring croaks');
        croaks_like(sub { $ring->eventfd_consume }, 'eventfd_consume: .*Bad file descriptor', 'eventfd_consume of the ring croaks');
        croaks_like(sub { $sub->notify }, 'notify: .*Bad file descriptor', 'notify of the subscriber croaks');
        croaks_like(sub { $sub->eventfd_consume }, 'eventfd_consume: .*Bad file descriptor',
            'eventfd_consume of the subscriber croaks');
        $ring->eventfd_set(-1);
        cmp_ok($ring->eventfd, '>', 2, 'eventfd creates another eventfd');
        ok($ring->notify, 'notify writes to the new eventfd');
    };

    subtest 'a blocking eventfd' => sub {
        my $number = sysnum('eventfd2') or plan skip_all => 'the number of the system call is unknown for this architecture';
        my $fd = syscall $number, 0, 0;
        cmp_ok($fd, '>', 2, 'a blocking eventfd is created');
        my $ring = $v->ring(8);
        $ring->eventfd_set($fd);
        my $sub = $ring->subscribe;
        is($ring->eventfd_consume, undef, 'eventfd_consume of the ring does not block');
        is($sub->eventfd_consume, undef, 'eventfd_consume of the subscriber does not block');
        is_deeply([$sub->drain_notify], [], 'drain_notify does not block');
        ok($ring->notify, 'notify returns true');
        is($ring->eventfd_consume, 1, 'eventfd_consume returns the count');
        is(write_fd($fd, $FULL), 8, 'the eventfd is filled');
        publishes($ring, $v, 'full and blocking');
        eval { $ring->notify };
        pass('notify does not block');
        is((oct((slurp("/proc/self/fdinfo/$fd") =~ /^flags:\s*(\d+)/m)[0]) & 04000), 0, 'the flags of the eventfd are not changed');
        POSIX::close($fd);
    };

    subtest 'a pipe' => sub {
        pipe my $read, my $write or die $!;
        my $ring = $v->ring(8);
        $ring->eventfd_set(fileno $write);
        publishes($ring, $v, 'empty pipe');
        is(sysread($read, my $got, 100), 8, 'eight bytes are written to the pipe');

        $write->blocking(0);
        1 while defined syswrite $write, 'x' x 4096;
        1 while defined syswrite $write, 'x';
        $write->blocking(1);
        publishes($ring, $v, 'full pipe');
        my $sub = $ring->subscribe;
        eval { $sub->eventfd_consume };
        pass('eventfd_consume does not block');

        close $read;
        my $signals = 0;
        local $SIG{PIPE} = sub { $signals++ };
        publishes($ring, $v, 'pipe without a reader');
        is($signals, 0, 'no SIGPIPE is sent');
    };

    subtest 'descriptors that cannot be written to' => sub {
        open my $null,   '<', '/dev/null' or die $!;
        open my $root,   '<', '/'         or die $!;
        for my $handle ($null, $root) {
            my $ring = $v->ring(8);
            $ring->eventfd_set(fileno $handle);
            publishes($ring, $v, 'not writable');
            eval { $ring->notify };
            eval { $ring->eventfd_consume };
            publishes($ring, $v, 'not writable, again');
        }
        my $ring = $v->ring(8);
        if (eval { $ring->eventfd_set(987_654); 1 }) {
            publishes($ring, $v, 'a number that is not open');
            croaks_like(sub { $ring->notify }, 'Bad file descriptor', 'notify to a closed descriptor croaks');
        }
        else {
            like($@, qr/Bad file descriptor/, 'eventfd_set refuses a closed descriptor');
        }
    };

    subtest 'an eventfd in a forked child' => sub {
        my $ring = $v->ring(8);
        my $fd   = $ring->eventfd;
        my $sub  = $ring->subscribe;
        my $kid  = spawn(sub {
            $ring->publish_notify($v->value(3));
            undef $ring;
            undef $sub;
        });
        reap('a child that notifies and destroys its objects exits with 0', $kid);
        is($ring->eventfd_consume, 1, 'the parent is notified');
        is_deeply([$sub->drain_notify], [$v->value(3)], 'the parent gets the message of the child');
        vec(my $bits = '', $fd, 1) = 1;
        $kid = spawn(sub { $_[0]->hear; $ring->publish_notify($v->value(4)) });
        $kid->tell('go');
        is(select($bits, undef, undef, undef), 1, 'select in the parent wakes for a child');
        is_deeply([$sub->drain_notify], [$v->value(4)], 'the parent gets the second message');
        reap('the second child exits with 0', $kid);
    };
});

done_testing;
