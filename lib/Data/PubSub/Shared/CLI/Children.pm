package Data::PubSub::Shared::CLI::Children;

# Private to the command pubsub-shared: the child processes of `bench`. None outlives it.

use 5.022;
use strict;
use warnings;

use POSIX ();

my $parent = $$;
my %running;

# Runs code in a child; `result` is what it returned, a line.
sub start {
    my ($class, $code) = @_;
    pipe my $read, my $write or die "pipe: $!\n";
    # The parent's signal handlers are nothing for the child, not even for a moment.
    my $signals = POSIX::SigSet->new(POSIX::SIGINT, POSIX::SIGTERM, POSIX::SIGHUP);
    POSIX::sigprocmask(POSIX::SIG_BLOCK, $signals);
    my $pid = fork;
    $SIG{$_} = 'DEFAULT' for defined $pid && !$pid ? qw(INT TERM HUP) : ();
    POSIX::sigprocmask(POSIX::SIG_UNBLOCK, $signals);
    defined $pid or die "fork: $!\n";
    if (!$pid) {
        close $read;
        my $result = eval { $code->() } // '';
        syswrite $write, $result;
        POSIX::_exit(0);
    }
    my $self = bless { pid => $pid, read => $read }, $class;
    return $running{$pid} = $self;
}

# Waits for the child. Undef where it failed.
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

# For children, where they would wait for ever.
sub leave_if_orphaned {
    POSIX::_exit(1) if getppid != $parent;
    return;
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::Children - private to the command pubsub-shared

=cut
