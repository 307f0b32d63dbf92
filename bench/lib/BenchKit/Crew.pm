package BenchKit::Crew;

# Child processes that meet their parent at barriers made of pipes, and hand back a result.
#
#     my $crew = BenchKit::Crew->start(4, sub {
#         my ($member, $index) = @_;    # in the child, $index from 0
#         $member->arrive;              # "I am ready"
#         $member->await;               # until the parent releases
#         return { got => 17 };
#     });
#     $crew->gather;                    # until every child has arrived
#     $crew->release;                   # lets them go on
#     my @results = $crew->results;     # in the children's order
#
# No barrier sleeps or guesses: each is a byte read from a pipe. A child that dies is an exception in the
# parent, with the child's message. Children end without running END blocks, by their watchdog at the
# latest.

use 5.022;
use strict;
use warnings;

use JSON::PP ();
use POSIX ();

my $JSON = JSON::PP->new->canonical->allow_nonref;

sub start {
    my ($class, $count, $body) = @_;
    my $self = bless { members => [], parent => $$ }, $class;
    for my $index (0 .. $count - 1) {
        pipe(my $from_child, my $to_parent) or die "pipe: $!\n";
        pipe(my $from_parent, my $to_child) or die "pipe: $!\n";
        my $pid = fork // die "fork: $!\n";
        if (!$pid) {
            close $_ for $from_child, $to_child, map { @$_{qw(in out)} } @{ $self->{members} };
            my %ends = (in => $from_parent, out => $to_parent);
            run_child($body, $index, bless \%ends, 'BenchKit::Crew::Member');
        }
        close $_ for $to_parent, $from_parent;
        push @{ $self->{members} }, { pid => $pid, in => $from_child, out => $to_child };
    }
    return $self;
}

# Never returns.
sub run_child {
    my ($body, $index, $member) = @_;
    $SIG{$_} = 'DEFAULT' for qw(INT TERM PIPE);
    alarm($BenchKit::WATCHDOG // 900);
    my $status = 0;
    my $answer = eval { 'R' . $JSON->encode($body->($member, $index)) };
    if (!defined $answer) {
        $answer = 'E' . $@;
        $status = 1;
    }
    while (length $answer) {
        my $wrote = syswrite($member->{out}, $answer) // last;
        substr $answer, 0, $wrote, '';
    }
    POSIX::_exit($status);
}

# Waits until every child has said arrive once more.
sub gather {
    my ($self) = @_;
    for my $member (@{ $self->{members} }) {
        my $read = sysread $member->{in}, my $byte, 1;
        next if $read and $byte eq 'A';
        die $self->failure($member, $read ? $byte : '');
    }
    return;
}

# Ends every child's await.
sub release {
    my ($self) = @_;
    local $SIG{PIPE} = 'IGNORE';
    for my $member (@{ $self->{members} }) {
        syswrite $member->{out}, 'G';    # a child that is gone is noticed by results
    }
    return;
}

# Waits for the children to end and gives back what their bodies returned.
sub results {
    my ($self) = @_;
    my @results;
    for my $member (@{ $self->{members} }) {
        my $answer = read_all($member->{in});
        die $self->failure($member, $answer) unless $answer =~ s/^R//;
        waitpid $member->{pid}, 0;
        delete $member->{pid};
        push @results, $JSON->decode($answer);
    }
    return @results;
}

sub read_all {
    my ($in) = @_;
    my $text = '';
    1 while sysread $in, $text, 65536, length $text;
    return $text;
}

sub failure {
    my ($self, $member, $begin) = @_;
    my $text = $begin . read_all($member->{in});
    waitpid delete $member->{pid}, 0;
    return $text =~ s/^E// ? "in a child process: $text" : "a child process ended early (wait status $?)\n";
}

sub DESTROY {
    my ($self) = @_;
    return unless $self->{parent} == $$;
    local ($?, $!);
    for my $pid (grep {defined} map { $_->{pid} } @{ $self->{members} }) {
        kill KILL => $pid;
        waitpid $pid, 0;
    }
    return;
}

package BenchKit::Crew::Member;

sub arrive {
    my ($self) = @_;
    syswrite $self->{out}, 'A' or POSIX::_exit(1);
    return;
}

sub await {
    my ($self) = @_;
    sysread $self->{in}, my $byte, 1 or POSIX::_exit(1);
    return;
}

1;
