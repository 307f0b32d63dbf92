package BenchKit::Messenger::SysVQueue;

# A System V message queue to each subscriber, by perl's own msgsnd and msgrcv. A queue holds as many
# bytes as the system allows (kernel.msgmnb, 16384 unless changed).

use 5.022;
use strict;
use warnings;

use parent 'BenchKit::Messenger';
use IPC::SysV qw(IPC_CREAT IPC_PRIVATE IPC_RMID);

sub title { return 'System V message queues' }

sub prepare {
    my ($self) = @_;
    for (1 .. $self->{subscribers}) {
        push @{ $self->{queues} }, msgget(IPC_PRIVATE, IPC_CREAT | 0600) // die "msgget: $!\n";
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
    my @queues = @{ $self->{queues} };
    my $type   = pack 'l!', 1;
    for my $message (@$messages) {
        my $typed = $type . $message;
        msgsnd($_, $typed, 0) or die "msgsnd: $!\n" for @queues;
    }
    return;
}

sub receive {
    my ($self, $take) = @_;
    my ($queue, $size) = @$self{qw(sub size)};
    my $type = length pack 'l!', 1;
    while (1) {
        msgrcv($queue, my $typed, $size, 0, 0) or die "msgrcv: $!\n";
        return if $take->(substr $typed, $type);
    }
}

sub close {
    my ($self) = @_;
    msgctl($_, IPC_RMID, 0) for @{ delete $self->{queues} // [] };
    return;
}

1;
