# memfd rings: sealed, close-on-exec, duplicated by new_from_fd, handed to others.

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

    cmp_ok($fd, '>', 2, 'memfd');
    like(fd_target($fd), qr{memfd:pubsub-test}, 'has its name');
    ok(fd_is_cloexec($fd), 'close-on-exec');
    is($ring->path, undef, 'no path');

    my $long = 'n' x 249;
    like(fd_target($class->new_memfd($long, 16)->memfd), qr{memfd:$long\b}, 'a name of 249 bytes');
    for my $name ("${long}n", "\xe9" x 300) {
        my $bytes = length $name;
        croaks_like(
            sub { $class->new_memfd($name, 16) },
            qr/^\Q$class\E->new_memfd: name must be at most 249 bytes, not $bytes/, "not one of $bytes"
        );
    }

    open my $dup, '+<&', $fd or die "dup: $!";
    my $seals = fcntl $dup, F_GET_SEALS, 0;
    is($seals & (F_SEAL_SHRINK | F_SEAL_GROW), F_SEAL_SHRINK | F_SEAL_GROW, 'sealed');
    my $size = -s $dup;
    is($size, $ring->stats->{mmap_size}, 'as long as its mapping');
    ok(!truncate($dup, $size - 1), 'cannot be cut');
    ok(!truncate($dup, $size + 1), 'cannot be extended');

    my $sub   = $ring->subscribe;
    my $other = $class->new_from_fd($fd);
    isnt($other->memfd, $fd, 'new_from_fd duplicates');
    ok(fd_is_cloexec($other->memfd), 'close-on-exec again');
    is($other->capacity, 16, 'the geometry is that of the ring');
    $other->publish($v->value(3));
    is($sub->poll, $v->value(3), 'one ring');

    my $from_file = fileno $dup;
    my $third     = $class->new_from_fd($from_file);
    undef $third;
    ok(defined fd_target($from_file), 'the descriptor given stays open');
    close $dup;
    my $its = $other->memfd;
    undef $other;
    is(fd_target($its), undef, 'the duplicate is closed with its handle');

    for my $wrong (grep { $_->name ne $v->name } variants()) {
        croaks_like(sub { $wrong->class->new_from_fd($fd) }, 'new_from_fd: .*invalid or incompatible', $wrong->name);
    }

    undef $ring;
    $sub->drain;
    undef $sub;
    is(fd_target($fd), undef, 'the memfd is closed with its last user');
    is(open_fds(), $open, 'nothing is left');

    my $path = fresh_path();
    my $file = $class->new($path, 16);
    $file->publish($v->value(4));
    open my $handle, '+<', $path or die $!;
    my $via_fd = eval { $class->new_from_fd(fileno $handle) };
    is($via_fd->subscribe_all->poll, $v->value(4), 'a descriptor of a ring file works as well') if $via_fd;
});

subtest 'bad descriptors' => sub {
    my $open = open_fds();
    each_variant(sub {
        my ($v) = @_;
        my $class = $v->class;
        croaks_like(sub { $class->new_from_fd(1_000_000) }, 'new_from_fd: .*Bad file descriptor', 'not open');
        croaks_like(sub { $class->new_from_fd($_) }, 'new_from_fd: ', 'number ' . ($_ // 'undef'))
            for -1, 'abc', 1.5, 2**40, undef;
        pipe my $read, my $write or die $!;
        croaks_like(sub { $class->new_from_fd(fileno $_) }, 'new_from_fd: ', 'a pipe') for $read, $write;
        open my $dir, '<', '/' or die $!;
        croaks_like(sub { $class->new_from_fd(fileno $dir) }, 'new_from_fd: ', 'a directory');
        my $short = spew(fresh_path(), 'x' x 100);
        open my $file, '+<', $short or die $!;
        croaks_like(sub { $class->new_from_fd(fileno $file) }, 'too small', 'a short file');
        open my $empty, '+>', fresh_path() or die $!;
        croaks_like(sub { $class->new_from_fd(fileno $empty) }, 'too small', 'an empty file');
    });
    is(open_fds(), $open, 'no descriptor left');
};

subtest 'SCM_RIGHTS' => sub {
    my ($sendmsg, $recvmsg) = map { sysnum($_) } qw(sendmsg recvmsg);
    plan skip_all => 'numbers of the system calls unknown here' unless $sendmsg && $recvmsg;
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
        my $ring = $v->class->new_memfd('sent', 16);    # made after the fork: only the socket leads to it
        my $sub  = $ring->subscribe;
        $ring->publish_multi($v->values(1, 2));
        send_fd($sendmsg, $here, $ring->memfd);
        is($kid->hear, 'joined', 'received');
        $ring->publish($v->value(3));
        is_deeply([map { $sub->poll_wait } 1 .. 4], [$v->values(1, 3), $v->value(99)], 'both publish');
        reap('the receiver ended well', $kid);
    });
};

done_testing;

# struct msghdr with one byte of data, and the caller's buffer for a control message.
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
