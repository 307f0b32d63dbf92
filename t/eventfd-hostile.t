# Descriptors that are full, closed, blocking or no eventfd at all: publish_notify never blocks on
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

# publish_notify through both a ring and what it left in the ring.
sub publishes {
    my ($ring, $v, $name) = @_;
    my $sub = $ring->subscribe;
    ok($ring->publish_notify($v->value(7)), "$name: publish_notify returns true");
    is($sub->poll, $v->value(7), "$name: and has published");
    return;
}

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;

    subtest 'full' => sub {
        my $ring = $v->ring(8);
        my $fd   = $ring->eventfd;
        is(write_fd($fd, $FULL), 8, 'filled');
        publishes($ring, $v, 'full');
        eval { $ring->notify };
        is($ring->eventfd_consume, 18446744073709551614, 'the count taken is what was in it');
        publishes($ring, $v, 'emptied');
        is($ring->eventfd_consume, 1, 'and it counts again');
    };

    subtest 'closed by somebody' => sub {
        my $ring = $v->ring(8);
        my $fd   = $ring->eventfd;
        my $sub  = $ring->subscribe;
        POSIX::close($fd);
        publishes($ring, $v, 'closed');
        croaks_like(sub { $ring->notify }, quotemeta($class) . '->notify: .*Bad file descriptor', 'notify');
        croaks_like(sub { $ring->eventfd_consume }, 'eventfd_consume: .*Bad file descriptor', 'eventfd_consume');
        croaks_like(sub { $sub->notify }, 'notify: .*Bad file descriptor', 'notify of the subscriber');
        croaks_like(sub { $sub->eventfd_consume }, 'eventfd_consume: .*Bad file descriptor', 'its eventfd_consume');
        $ring->eventfd_set(-1);
        cmp_ok($ring->eventfd, '>', 2, 'another one can be made');
        ok($ring->notify, 'which works');
    };

    subtest 'a blocking eventfd' => sub {
        my $number = sysnum('eventfd2') or plan skip_all => 'number of the system call unknown here';
        my $fd = syscall $number, 0, 0;
        cmp_ok($fd, '>', 2, 'made');
        my $ring = $v->ring(8);
        $ring->eventfd_set($fd);
        my $sub = $ring->subscribe;
        is($ring->eventfd_consume, undef, 'empty: eventfd_consume does not block');
        is($sub->eventfd_consume, undef, 'nor does that of the subscriber');
        is_deeply([$sub->drain_notify], [], 'nor does drain_notify');
        ok($ring->notify, 'notify');
        is($ring->eventfd_consume, 1, 'counts');
        is(write_fd($fd, $FULL), 8, 'filled');
        publishes($ring, $v, 'full and blocking');
        eval { $ring->notify };
        pass('nor does notify block');
        is((oct((slurp("/proc/self/fdinfo/$fd") =~ /^flags:\s*(\d+)/m)[0]) & 04000), 0, 'its flags are left alone');
        POSIX::close($fd);
    };

    subtest 'a pipe' => sub {
        pipe my $read, my $write or die $!;
        my $ring = $v->ring(8);
        $ring->eventfd_set(fileno $write);
        publishes($ring, $v, 'empty pipe');
        is(sysread($read, my $got, 100), 8, 'eight bytes go into it');

        $write->blocking(0);
        1 while defined syswrite $write, 'x' x 4096;
        1 while defined syswrite $write, 'x';
        $write->blocking(1);
        publishes($ring, $v, 'full pipe');
        my $sub = $ring->subscribe;
        eval { $sub->eventfd_consume };
        pass('eventfd_consume returns');

        close $read;
        my $signals = 0;
        local $SIG{PIPE} = sub { $signals++ };
        publishes($ring, $v, 'pipe without a reader');
        is($signals, 0, 'and sends no SIGPIPE');
    };

    subtest 'what is neither' => sub {
        open my $null,   '<', '/dev/null' or die $!;
        open my $folder, '<', '/'         or die $!;
        for my $handle ($null, $folder) {
            my $ring = $v->ring(8);
            $ring->eventfd_set(fileno $handle);
            publishes($ring, $v, 'cannot be written to');
            eval { $ring->notify };
            eval { $ring->eventfd_consume };
            publishes($ring, $v, 'still');
        }
        my $ring = $v->ring(8);
        if (eval { $ring->eventfd_set(987_654); 1 }) {
            publishes($ring, $v, 'a number that is not open');
            croaks_like(sub { $ring->notify }, 'Bad file descriptor', 'notify tells');
        }
        else {
            like($@, qr/Bad file descriptor/, 'a number that is not open is refused');
        }
    };

    subtest 'inherited' => sub {
        my $ring = $v->ring(8);
        my $fd   = $ring->eventfd;
        my $sub  = $ring->subscribe;
        my $kid  = spawn(sub {
            $ring->publish_notify($v->value(3));
            undef $ring;
            undef $sub;
        });
        reap('a child notifies, then drops its objects', $kid);
        is($ring->eventfd_consume, 1, 'the parent is notified');
        is_deeply([$sub->drain_notify], [$v->value(3)], 'and has the message');
        vec(my $bits = '', $fd, 1) = 1;
        $kid = spawn(sub { $_[0]->hear; $ring->publish_notify($v->value(4)) });
        $kid->tell('go');
        is(select($bits, undef, undef, undef), 1, 'select wakes');
        is_deeply([$sub->drain_notify], [$v->value(4)], 'and the message is there');
        reap('child', $kid);
    };
});

done_testing;
