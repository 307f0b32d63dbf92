package BenchKit::Messenger::PosixQueue;

# A POSIX message queue to each subscriber, by system calls: perl has no functions for them. A queue holds as
# many messages as the system allows unprivileged users (fs.mqueue.msg_max, 10 unless changed).

use 5.022;
use strict;
use warnings;

use parent 'BenchKit::Messenger';
use Fcntl qw(O_CREAT O_EXCL O_RDWR);
use POSIX ();

# mq_open, mq_unlink, mq_timedsend, mq_timedreceive
my %NUMBERS = (x86_64 => [240 .. 243], map({ $_ => [180 .. 183] } qw(aarch64 riscv64)));
my ($OPEN, $UNLINK, $SEND, $RECEIVE) = @{ $NUMBERS{ (POSIX::uname())[4] } // [] };

sub title { return 'POSIX message queues' }

sub missing {
    return 'the system call numbers of this architecture are not known here' unless $OPEN;
    return undef if -r '/proc/sys/fs/mqueue/msg_max';
    return 'the kernel has no POSIX message queues';
}

sub depth {
    open my $in, '<', '/proc/sys/fs/mqueue/msg_max' or die "/proc/sys/fs/mqueue/msg_max: $!\n";
    return int <$in>;
}

# The name is removed at once: the subscribers inherit the descriptors.
sub prepare {
    my ($self) = @_;
    my $attributes = pack 'l!8', 0, depth(), $self->{size}, 0, 0, 0, 0, 0;
    for my $index (1 .. $self->{subscribers}) {
        my $name = "pubsub-bench-$$-$index";
        my $queue = syscall $OPEN, $name, O_RDWR | O_CREAT | O_EXCL, 0600, $attributes;
        die "mq_open: $!\n" if $queue < 0;
        push @{ $self->{queues} }, $queue;
        die "mq_unlink: $!\n" if syscall($UNLINK, $name) < 0;
    }
    return;
}

sub open_subscriber {
    my ($self, $index) = @_;
    $self->{sub} = $self->{queues}[$index];
    return;
}

sub publish_all {
    my ($self, $messages) = @_;
    my ($size, @queues) = ($self->{size}, @{ $self->{queues} });
    for my $message (@$messages) {
        syscall($SEND, $_, $message, $size, 0, 0) == 0 or die "mq_send: $!\n" for @queues;
    }
    return;
}

sub receive {
    my ($self, $take) = @_;
    my ($queue, $size) = @$self{qw(sub size)};
    my $message = "\0" x $size;
    while (1) {
        syscall($RECEIVE, $queue, $message, $size, 0, 0) == $size or die "mq_receive: $!\n";
        return if $take->($message);
    }
}

sub close {
    my ($self) = @_;
    POSIX::close($_) for @{ delete $self->{queues} // [] };
    return;
}

1;
