package BenchKit::Messenger;

# A way to carry messages from one process to several others; the base class of the messengers that compare.pl
# compares. The life of a messenger, for one run:
#
#     $class->title              its name in tables
#     $class->missing            why it cannot run here, or undef
#     $class->version the version of the other software, or undef
#     $class->new(size, count, subscribers, dir, capacity)
#     $m->prepare                in the publisher, before the subscribers are forked
#     $m->open_publisher         in the publisher, after the fork
#     $m->open_subscriber($i)    in subscriber $i, counted from 0, after that
#     $m->await_subscribers      in the publisher, when all of them have opened
#     $m->publish_all($messages) publishes all messages of an array, and flushes buffers
#     $m->receive($take)         calls $take with one or more messages until it returns true
#     $m->close                  in the publisher, at the end; also run when the object goes away

use 5.022;
use strict;
use warnings;

# How long, in seconds, a subscriber waits for any message.
our $PATIENCE = 60;

our @ALL = qw(Shared SharedBatch SharedLossless Pipe PipeBatch UnixDatagram PosixQueue SysVQueue Redis RedisStream ZeroMQ);

# The classes of all messengers, loaded.
sub all {
    my ($class) = @_;
    return map {
        my $messenger = "${class}::$_";
        eval "require $messenger; 1" or die $@;
        $messenger;
    } @ALL;
}

sub new {
    my ($class, %arg) = @_;
    return bless { %arg, owner => $$ }, $class;
}

sub missing           { return undef }
sub version           { return undef }
sub prepare           { return }
sub open_publisher    { return }
sub open_subscriber   { return }
sub await_subscribers { return }
sub close             { return }

# Reasons for missing: a perl module that does not load, with the Debian package that holds it.
sub need_module {
    my (undef, $module, $package) = @_;
    return undef if eval "require $module; 1";
    return "the perl module $module is missing (Debian package $package)";
}

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$;
    local ($@, $?, $!);
    eval { $self->close };
    return;
}

1;
