package BenchKit::Messenger::ZeroMQ;

# XPUB and SUB sockets over ipc. XPUB is PUB that tells of subscriptions, so that the publisher can wait
# for all of them, and that waits for slow subscribers instead of dropping messages (ZMQ_XPUB_NODROP).

use 5.022;
use strict;
use warnings;

use parent 'BenchKit::Messenger';

my $ZMQ_XPUB_VERBOSE = 40;
my $ZMQ_XPUB_NODROP  = 69;

sub title { return 'ZeroMQ' }

sub missing {
    my ($class) = @_;
    return $class->need_module('ZMQ::FFI', 'libzmq-ffi-perl')
        // $class->need_module('ZMQ::FFI::Constants', 'libzmq-ffi-perl');
}

sub version {
    require ZMQ::FFI::Util;
    return 'libzmq ' . join('.', ZMQ::FFI::Util::zmq_version()) . ", ZMQ::FFI $ZMQ::FFI::VERSION";
}

sub prepare {
    my ($self) = @_;
    $self->{address} = "ipc://$self->{dir}/zeromq";
    return;
}

# A context has threads: it must not be there when the subscribers are forked.
sub open_publisher {
    my ($self) = @_;
    $self->{context} = ZMQ::FFI->new;
    my $socket = $self->{socket} = $self->{context}->socket(ZMQ::FFI::Constants::ZMQ_XPUB());
    $socket->set($_, 'int', 1) for $ZMQ_XPUB_VERBOSE, $ZMQ_XPUB_NODROP;
    $socket->bind($self->{address});
    return;
}

sub open_subscriber {
    my ($self) = @_;
    $self->{context} = ZMQ::FFI->new;
    $self->{sub}     = $self->{context}->socket(ZMQ::FFI::Constants::ZMQ_SUB());
    $self->{sub}->subscribe('');
    $self->{sub}->connect($self->{address});
    return;
}

sub await_subscribers {
    my ($self) = @_;
    $self->{socket}->recv for 1 .. $self->{subscribers};
    return;
}

sub publish_all {
    my ($self, $messages) = @_;
    my $socket = $self->{socket};
    $socket->send($_) for @$messages;
    return;
}

sub receive {
    my ($self, $take) = @_;
    my $socket = $self->{sub};
    1 until $take->($socket->recv);
    return;
}

sub close {
    my ($self) = @_;
    my $socket = delete $self->{socket} or return;
    $socket->close;
    (delete $self->{context})->destroy;
    return;
}

1;
