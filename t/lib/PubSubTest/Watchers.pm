package PubSubTest::Watchers;

# The threads that watch rings: how many there are to be, and a kernel that has one for each ring, as those before Linux 5.16.

use strict;
use warnings;

use Config;
use Errno    qw(EINVAL ENOSYS);
use Exporter 'import';

use PubSubTest qw(sysnum);

our @EXPORT = qw(has_waitv watchers without_waitv);

use constant {
    FUTEX_WAITV     => 449,    # on all processors
    RINGS_PER_WATCHER => 127,
    PR_SET_SECCOMP  => 22,
    PR_SET_NO_NEW_PRIVS => 38,
    SECCOMP_MODE_FILTER => 2,
    SECCOMP_RET_ERRNO   => 0x00050000,
    SECCOMP_RET_ALLOW   => 0x7fff0000,
};

sub has_waitv {
    return syscall(FUTEX_WAITV, 0, 0, 0, 0, 0) < 0 && $! == EINVAL;
}

# Threads of a process that watches so many rings.
sub watchers {
    my ($rings) = @_;
    return has_waitv() ? int(($rings + RINGS_PER_WATCHER - 1) / RINGS_PER_WATCHER) : $rings;
}

# From now on this process and its children have no futex_waitv. To be called before the module asks whether it is there. Returns
# why that cannot be done; nothing where it is.
sub without_waitv {
    return if !has_waitv();
    my $prctl = sysnum('prctl') or return 'number of the system call unknown here';
    # (code, jump if true, jump if false, constant): load the call's number; that one: an error; any other: allowed.
    my $filter = pack('(SCCL)*',
        0x20, 0, 0, 0,
        0x15, 0, 1, FUTEX_WAITV,
        0x06, 0, 0, SECCOMP_RET_ERRNO | ENOSYS,
        0x06, 0, 0, SECCOMP_RET_ALLOW,
    );
    my $program = pack('S x![P] P', length($filter) / 8, $filter);
    return "prctl(PR_SET_NO_NEW_PRIVS): $!" if syscall($prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0;
    return "prctl(PR_SET_SECCOMP): $!"      if syscall($prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, $program, 0, 0) < 0;
    return has_waitv() ? 'the filter has no effect' : undef;
}

1;
