package PubSubTest::Peer;

# One end of a connection between parent and child, in lines. `hear` is the barrier of these tests.

use strict;
use warnings;

sub new {
    my ($class, $socket, $pid) = @_;
    return bless { socket => $socket, pid => $pid, buffer => '' }, $class;
}

sub pid { return $_[0]{pid} }

# A line to a process that has exited is lost; `hear` and `end` show that.
sub tell {
    my ($self, $line) = @_;
    local $SIG{PIPE} = 'IGNORE';
    my $rest = $line =~ s/[^ -~]/?/gr . "\n";
    while (length $rest) {
        my $sent = syswrite $self->{socket}, $rest;
        if (defined $sent) { substr $rest, 0, $sent, '' }
        elsif ($!{EPIPE}) { return }
        elsif (!$!{EINTR}) { die "tell: $!" }
    }
    return;
}

# The next line; undef if the other end is closed.
sub hear {
    my ($self) = @_;
    my $end;
    while (($end = index $self->{buffer}, "\n") < 0) {
        my $got = sysread $self->{socket}, $self->{buffer}, 65536, length $self->{buffer};
        next if !defined $got && $!{EINTR};
        return undef unless $got;
    }
    my $line = substr $self->{buffer}, 0, $end + 1, '';
    chomp $line;
    return $line;
}

sub kill {
    my ($self, $signal) = @_;
    CORE::kill($signal, $self->{pid}) or die "kill: $!";
    return;
}

# Waits for the child and returns its wait status.
sub end {
    my ($self) = @_;
    until (waitpid($self->{pid}, 0) == $self->{pid}) {
        die "waitpid: $!" unless $!{EINTR};
    }
    return $?;
}

1;
