package PubSubTest::Stranger;

# A process that is not related to the test: a new perl that opens a ring by its path and calls methods as
# commanded, with plain `publish`. It inherits only the socket for these commands.

use strict;
use warnings;

use POSIX ();
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC);

use PubSubTest::Peer;
use PubSubTest::Program;

our @ISA = 'PubSubTest::Peer';

# Each line is a method of the ring and its arguments in hex, and is answered.
my $PROGRAM = <<'END';
    use Data::PubSub::Shared;
    alarm 100;
    $| = 1;
    my ($class, $path) = @ARGV;
    my $ring = $class->new($path);
    print "ready\n";
    while (my $line = <STDIN>) {
        my ($method, @arguments) = split ' ', $line;
        $_ = pack 'H*', substr $_, 1 for @arguments;
        if ($method eq 'count') { $ring->publish($_) for $arguments[0] .. $arguments[1] }
        else                    { $ring->$method(@arguments) }
        print "done\n";
    }
END

sub start {
    my ($class, $ring_class, $path) = @_;
    socketpair my $mine, my $its, AF_UNIX, SOCK_STREAM, PF_UNSPEC or die "socketpair: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDIN,  '<&', $its or POSIX::_exit(126);
        open STDOUT, '>&', $its or POSIX::_exit(126);
        exec_perl('-e', $PROGRAM, $ring_class, $path);
    }
    close $its;
    my $self = $class->new($mine, $pid);
    $self->expect('ready');
    return $self;
}

# Has the process call a method, and returns when it has.
sub call {
    my ($self, @words) = @_;
    $self->ask(@words);
    return $self->expect('done');
}

# The same without waiting for the answer.
sub ask {
    my ($self, $method, @arguments) = @_;
    return $self->tell(join ' ', $method, map { 'x' . unpack 'H*', $_ } @arguments);
}

sub publish { my ($self, @values) = @_; return map { $self->call(publish => $_) } @values }

sub expect {
    my ($self, $line) = @_;
    my $heard = $self->hear // 'nothing';
    die "a publisher said $heard, not $line" if $heard ne $line;
    return;
}

# Ends the process; returns its wait status.
sub dismiss {
    my ($self) = @_;
    close $self->{socket};
    return $self->end;
}

1;
