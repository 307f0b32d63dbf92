package PubSubTest::Watchers;

# The threads that watch rings: their expected number, and kernels with fewer system calls: one thread for each 127 rings
# without io_uring, and one for each ring without futex_waitv, as before Linux 5.16.

use strict;
use warnings;

use Config;
use Errno    qw(EINVAL ENOSYS);
use Exporter 'import';
use POSIX    ();

use PubSubTest qw(sysnum);

our @EXPORT = qw(has_queue has_waitv watchers without_entering without_queue without_waitv);

use constant {
    IO_URING_SETUP  => 425,    # the same on all architectures
    IO_URING_ENTER  => 426,
    FUTEX_WAITV     => 449,
    FEATURES_AT     => 20,     # in struct io_uring_params
    FEATURE_NO_IOWAIT => 1 << 17,
    RINGS_PER_WATCHER => 127,
    PR_SET_SECCOMP  => 22,
    PR_SET_NO_NEW_PRIVS => 38,
    SECCOMP_MODE_FILTER => 2,
    SECCOMP_RET_ERRNO   => 0x00050000,
    SECCOMP_RET_ALLOW   => 0x7fff0000,
};

sub has_queue {
    my $params = pack 'x120';
    my $fd     = syscall(IO_URING_SETUP, 1, $params);
    return 0 if $fd < 0;
    POSIX::close($fd);
    return unpack("x@{[FEATURES_AT]} L", $params) & FEATURE_NO_IOWAIT ? 1 : 0;
}

sub has_waitv {
    return syscall(FUTEX_WAITV, 0, 0, 0, 0, 0) < 0 && $! == EINVAL;
}

# The number of threads of a process that watches this number of rings.
sub watchers {
    my ($rings) = @_;
    return $rings && 1 if has_queue();
    return has_waitv() ? int(($rings + RINGS_PER_WATCHER - 1) / RINGS_PER_WATCHER) : $rings;
}

# Forbids this system call to this process and its children. Returns the reason if that fails, otherwise nothing.
sub without {
    my ($number) = @_;
    my $prctl = sysnum('prctl') or return 'the number of the system call is unknown for this architecture';
    # (code, jump if true, jump if false, constant): load the number of the call; for this one, return an error; allow others.
    my $filter = pack('(SCCL)*',
        0x20, 0, 0, 0,
        0x15, 0, 1, $number,
        0x06, 0, 0, SECCOMP_RET_ERRNO | ENOSYS,
        0x06, 0, 0, SECCOMP_RET_ALLOW,
    );
    my $program = pack('S x![P] P', length($filter) / 8, $filter);
    return "prctl(PR_SET_NO_NEW_PRIVS): $!" if syscall($prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0;
    return "prctl(PR_SET_SECCOMP): $!"      if syscall($prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, $program, 0, 0) < 0;
    return;
}

# To be called before the module checks the kernel. Returns the reason if that fails, otherwise nothing.
sub without_queue {
    return if !has_queue();
    return without(IO_URING_SETUP) // (has_queue() ? 'the filter has no effect' : undef);
}

# Forbids io_uring_enter: queues can be created, but not used.
sub without_entering { return without(IO_URING_ENTER) }

# Forbids futex_waitv and io_uring.
sub without_waitv {
    my $why = without_queue() // (has_waitv() ? without(FUTEX_WAITV) : undef);
    return $why // (has_waitv() ? 'the filter has no effect' : undef);
}

1;
