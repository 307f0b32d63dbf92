package XT::Remote;

# A new perl that evaluates the lines that it is sent, and answers with their results. Unlike a
# forked child it reads its environment again (so PUBSUB_FAULT works), and can run anywhere: under
# strace, in another pid namespace.

use strict;
use warnings;

use Fcntl qw(F_SETFD);
use POSIX qw(WUNTRACED WIFSTOPPED);
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC);

use XT;
use PubSubTest::Peer;
use parent -norequire => 'PubSubTest::Peer';

# env: additional environment; prefix: a command to run it under; perl: another perl.
sub start {
    my ($class, %how) = @_;
    socketpair my $mine, my $its, AF_UNIX, SOCK_STREAM, PF_UNSPEC or die "socketpair: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        XT::dies_with_parent();
        fcntl $its, F_SETFD, 0 or die "fcntl: $!";
        local @ENV{ keys %{ $how{env} } } = values %{ $how{env} || {} };
        delete $ENV{PERL5OPT};
        my @perl = ($how{perl} // $^X, map {"-I$_"} grep { !ref } @INC);
        { no warnings 'exec'; exec @{ $how{prefix} || [] }, @perl, '-MXT::Remote', '-e', 'XT::Remote::serve(shift)', fileno $its }
        POSIX::_exit(127);
    }
    close $its;
    my $self = $class->SUPER::new($mine, $pid);
    $self->hear // die 'the process did not start';
    return $self;
}

# Evaluates lines until the other end is closed. They can keep values in package variables.
sub serve {
    my ($fd) = @_;
    open my $socket, '+<&=', $fd or die "fd $fd: $!";
    fcntl $socket, F_SETFD, 1;
    require PubSubTest::Variant;
    require Data::PubSub::Shared;
    our $peer = PubSubTest::Peer->new($socket);
    alarm $ENV{PUBSUB_TEST_WATCHDOG};
    $peer->tell("ready $$");
    while (defined(my $line = $peer->hear)) {
        my @result = eval "package Remote; no strict; $line";
        $peer->tell($@ ? "died: $@" : join ' ', map { $_ // 'undef' } @result);
    }
    POSIX::_exit(0);
}

# The answer to a line; undef if the process was killed first.
sub ask {
    my ($self, $line) = @_;
    $self->tell($line);
    return $self->hear;
}

# Whether the process answers within that many seconds.
sub speaks_within {
    my ($self, $seconds) = @_;
    vec(my $bits = '', fileno $self->{socket}, 1) = 1;
    return select($bits, undef, undef, $seconds) > 0;
}

# The pid of the perl process: that of the last descendant if it runs under another command.
sub leaf {
    my ($self) = @_;
    my $pid = $self->pid;
    while (open my $children, '<', "/proc/$pid/task/$pid/children") {
        my ($child) = split ' ', readline($children) // '';
        last if !$child;
        $pid = $child;
    }
    return $pid;
}

# Waits until the process stops or ends; true if it stopped.
sub stopped {
    my ($self) = @_;
    waitpid($self->pid, WUNTRACED) == $self->pid or die "waitpid: $!";
    return WIFSTOPPED(${^CHILD_ERROR_NATIVE});
}

sub finish {
    my ($self) = @_;
    CORE::kill(KILL => $self->leaf, $self->pid);
    return $self->end;
}

1;
