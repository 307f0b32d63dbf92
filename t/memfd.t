# memfd rings: sealed, close-on-exec, duplicated by new_from_fd, passed to other processes.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC SOL_SOCKET);
use Test::More;
use PubSubTest;

use constant { F_GET_SEALS => 1034, F_SEAL_SHRINK => 2, F_SEAL_GROW => 4, SCM_RIGHTS => 1 };

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;
    my $open  = open_fds();
    my $ring  = $class->new_memfd('pubsub-test', 16);
    my $fd    = $ring->memfd;

    cmp_ok($fd, '>', 2, 'memfd returns a descriptor number');
    like(fd_target($fd), qr{memfd:pubsub-test}, 'the memfd has the given name');
    ok(fd_is_cloexec($fd), 'the memfd is close-on-exec');
    is($ring->path, undef, 'path returns undef');

    my $long = 'n' x 249;
    like(fd_target($class->new_memfd($long, 16)->memfd), qr{memfd:$long\b}, 'a name of 249 bytes is accepted');
    for my $name ("${long}n", "\xe9" x 300) {
        my $bytes = length $name;
        croaks_like(
            sub { $class->new_memfd($name, 16) },
            qr/^\Q$class\E->new_memfd: name must be at most 249 bytes, not $bytes/, "a name of $bytes bytes is refused"
        );
    }

    open my $dup, '+<&', $fd or die "dup: $!";
    my $seals = fcntl $dup, F_GET_SEALS, 0;
    is($seals & (F_SEAL_SHRINK | F_SEAL_GROW), F_SEAL_SHRINK | F_SEAL_GROW, 'the memfd is sealed against shrinking and growing');
    my $size = -s $dup;
    is($size, $ring->stats->{mmap_size}, 'the memfd is as long as its mapping');
    ok(!truncate($dup, $size - 1), 'the memfd cannot be truncated');
    ok(!truncate($dup, $size + 1), 'the memfd cannot be extended');

    my $sub   = $ring->subscribe;
    my $other = $class->new_from_fd($fd);
    isnt($other->memfd, $fd, 'new_from_fd duplicates the descriptor');
    ok(fd_is_cloexec($other->memfd), 'the duplicate is close-on-exec');
    is($other->capacity, 16, 'new_from_fd takes the capacity from the ring');
    $other->publish($v->value(3));
    is($sub->poll, $v->value(3), 'both handles use one ring');

    my $from_file = fileno $dup;
    my $third     = $class->new_from_fd($from_file);
    undef $third;
    ok(defined fd_target($from_file), 'new_from_fd does not close the given descriptor');
    close $dup;
    my $its = $other->memfd;
    undef $other;
    is(fd_target($its), undef, 'the duplicate is closed with its handle');

    for my $wrong (grep { $_->name ne $v->name } variants()) {
        croaks_like(sub { $wrong->class->new_from_fd($fd) }, 'new_from_fd: .*invalid or incompatible',
            $wrong->name . ': new_from_fd of another variant croaks');
    }

    undef $ring;
    $sub->drain;
    undef $sub;
    is(fd_target($fd), undef, 'the memfd is closed with its last user');
    is(open_fds(), $open, 'no descriptor is left');

    my $path = fresh_path();
    my $file = $class->new($path, 16);
    $file->publish($v->value(4));
    open my $handle, '+<', $path or die $!;
    my $via_fd = eval { $class->new_from_fd(fileno $handle) };
    is($via_fd->subscribe_all->poll, $v->value(4), 'new_from_fd accepts a descriptor of a ring file') if $via_fd;
});

subtest 'bad descriptors' => sub {
    my $open = open_fds();
    each_variant(sub {
        my ($v) = @_;
        my $class = $v->class;
        croaks_like(sub { $class->new_from_fd(1_000_000) }, 'new_from_fd: .*Bad file descriptor',
            'new_from_fd of a closed descriptor croaks');
        croaks_like(sub { $class->new_from_fd($_) }, 'new_from_fd: ', 'new_from_fd croaks on ' . ($_ // 'undef'))
            for -1, 'abc', 1.5, 2**40, undef;
        pipe my $read, my $write or die $!;
        croaks_like(sub { $class->new_from_fd(fileno $_) }, 'new_from_fd: ', 'new_from_fd of a pipe croaks') for $read, $write;
        open my $dir, '<', '/' or die $!;
        croaks_like(sub { $class->new_from_fd(fileno $dir) }, 'new_from_fd: ', 'new_from_fd of a directory croaks');
        my $short = spew(fresh_path(), 'x' x 100);
        open my $file, '+<', $short or die $!;
        croaks_like(sub { $class->new_from_fd(fileno $file) }, 'too small', 'new_from_fd of a short file croaks');
        open my $empty, '+>', fresh_path() or die $!;
        croaks_like(sub { $class->new_from_fd(fileno $empty) }, 'too small', 'new_from_fd of an empty file croaks');
    });
    is(open_fds(), $open, 'failed calls leave no descriptor');
};

subtest 'SCM_RIGHTS' => sub {
    my ($sendmsg, $recvmsg) = map { sysnum($_) } qw(sendmsg recvmsg);
    plan skip_all => 'the numbers of the system calls are unknown for this architecture' unless $sendmsg && $recvmsg;
    each_variant(sub {
        my ($v) = @_;
        socketpair my $here, my $there, AF_UNIX, SOCK_STREAM, PF_UNSPEC or die $!;
        my $kid = spawn(sub {
            my ($peer) = @_;
            my $ring = $v->class->new_from_fd(receive_fd($recvmsg, $there));
            $peer->tell('joined');
            my $sub = $ring->subscribe_all;
            $sub->poll_wait for 1 .. 3;
            $ring->publish($v->value(99));
        });
        my $ring = $v->class->new_memfd('sent', 16);    # created after the fork: only the socket leads to it
        my $sub  = $ring->subscribe;
        $ring->publish_multi($v->values(1, 2));
        send_fd($sendmsg, $here, $ring->memfd);
        is($kid->hear, 'joined', 'the receiver opens the ring');
        $ring->publish($v->value(3));
        is_deeply([map { $sub->poll_wait } 1 .. 4], [$v->values(1, 3), $v->value(99)], 'both processes publish to the ring');
        reap('the receiver exits with 0', $kid);
    });
};

done_testing;

# struct msghdr with one byte of data and the given control buffer.
sub msghdr {
    my $data  = 'x';
    my $iovec = pack 'P Q', $data, 1;
    return [pack('Q L x4 P Q P Q l x4', 0, 0, $iovec, 1, $_[0], length $_[0], 0), \$data, \$iovec];
}

sub send_fd {
    my ($number, $socket, $fd) = @_;
    my $control = pack 'Q l l l x4', 20, SOL_SOCKET, SCM_RIGHTS, $fd;
    my $message = msghdr($control);
    syscall($number, fileno $socket, $message->[0], 0) == 1 or die "sendmsg: $!";
    return;
}

sub receive_fd {
    my ($number, $socket) = @_;
    my $control = pack 'x24';
    my $message = msghdr($control);
    syscall($number, fileno $socket, $message->[0], 0) == 1 or die "recvmsg: $!";
    return (unpack 'Q l l l', $control)[3];
}
