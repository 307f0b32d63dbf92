package Data::PubSub::Shared::CLI::Children;

# Private to the command pubsub-shared: forking with signal handlers; and the child processes of `bench`,
# which never outlive it.

use 5.022;
use strict;
use warnings;

use POSIX ();

my $parent = $$;
my %running;

# Forks. The child gets these signal handlers, and never runs those of the parent.
sub fork_with {
    my (%handler) = @_;
    my $signals = POSIX::SigSet->new(map { POSIX->can("SIG$_")->() } keys %handler);
    POSIX::sigprocmask(POSIX::SIG_BLOCK, $signals);
    my $pid = fork;
    my $error = $!;
    @SIG{ keys %handler } = values %handler if defined $pid && !$pid;
    POSIX::sigprocmask(POSIX::SIG_UNBLOCK, $signals);
    return $pid // die "fork: $error\n";
}

# Runs code in a child; `result` is its return value, a line.
sub start {
    my ($class, $code) = @_;
    pipe my $read, my $write or die "pipe: $!\n";
    my $pid = fork_with(INT => 'DEFAULT', TERM => 'DEFAULT', HUP => 'DEFAULT');
    if (!$pid) {
        close $read;
        my $result = eval { $code->() } // '';
        syswrite $write, $result;
        POSIX::_exit(0);
    }
    my $self = bless { pid => $pid, read => $read }, $class;
    return $running{$pid} = $self;
}

# Waits for the child. Returns undef if it failed.
sub result {
    my ($self) = @_;
    my $line = readline $self->{read};
    $self->_reap;
    return $line;
}

sub kill {
    my ($self) = @_;
    CORE::kill KILL => $self->{pid};
    return $self->_reap;
}

sub _reap {
    my ($self) = @_;
    1 while waitpid($self->{pid}, 0) < 0 && $!{EINTR};
    delete $running{ $self->{pid} };
    return;
}

sub kill_all {
    $_->kill for values %running;
    return;
}

# Ends children that would wait forever.
sub leave_if_orphaned {
    POSIX::_exit(1) if getppid != $parent;
    return;
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::Children - private to the command pubsub-shared

=cut
