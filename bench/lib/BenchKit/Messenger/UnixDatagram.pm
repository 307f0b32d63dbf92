package BenchKit::Messenger::UnixDatagram;

# A pair of Unix datagram sockets to each subscriber.

use 5.022;
use strict;
use warnings;

use parent 'BenchKit::Messenger';
use Socket qw(AF_UNIX PF_UNSPEC SOCK_DGRAM);

sub title { return 'Unix datagram sockets' }

sub prepare {
    my ($self) = @_;
    for (1 .. $self->{subscribers}) {
        socketpair(my $in, my $out, AF_UNIX, SOCK_DGRAM, PF_UNSPEC) or die "socketpair: $!\n";
        push @{ $self->{in} },  $in;
        push @{ $self->{out} }, $out;
    }
    return;
}

sub open_subscriber {
    my ($self, $index) = @_;
    $self->{sub} = $self->{in}[$index];
    delete @$self{qw(in out)};
    return;
}

sub publish_all {
    my ($self, $messages) = @_;
    my @out = @{ $self->{out} };
    for my $message (@$messages) {
        send $_, $message, 0 or die "send: $!\n" for @out;
    }
    return;
}

sub receive {
    my ($self, $take) = @_;
    my $in = $self->{sub};
    while (sysread $in, my $message, 65536) {
        return if $take->($message);
    }
    die "the socket ended early\n";
}

sub close {
    my ($self) = @_;
    delete @$self{qw(in out)};
    return;
}

1;
