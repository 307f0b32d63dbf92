package Data::PubSub::Shared::Bridge::Supervisor;

# Private to Data::PubSub::Shared::Bridge: the parent of the halves of one or several bridges. It starts each in a process of
# its own, starts those again that end, passes signals on, and collects what they say about themselves.

use 5.022;
use strict;
use warnings;

use Errno qw(EAGAIN EINTR);
use IO::Handle;
use IO::Select;
use JSON::PP ();
use POSIX ();
use Time::HiRes qw(clock_gettime time CLOCK_MONOTONIC);

use Data::PubSub::Shared::Bridge::Half;
use Data::PubSub::Shared::CLI::Children;

use constant {
    FIRST_PAUSE => 0.2,    # seconds, before a half that ended is started again
    LAST_PAUSE  => 10,
    PROVEN      => 60,     # seconds, after which a half counts as one that runs
};

# halves: [name of the bridge, class, options] for each; status: a file.
sub new {
    my ($class, %given) = @_;
    my @halves = map { { name => $_->[0], class => $_->[1], options => $_->[2], pause => FIRST_PAUSE, due => 0 } } @{ $given{halves} };
    return bless { halves => \@halves, status => $given{status}, written => clock_gettime(CLOCK_MONOTONIC) - 1 }, $class;
}

# Until TERM or INT; true if all halves ended well.
sub run {
    my ($self) = @_;
    my $stopping = 0;
    local $SIG{TERM} = local $SIG{INT} = sub { $stopping = 1 };
    local $SIG{USR1} = sub { $self->signal('USR1') };
    local $SIG{PIPE} = 'IGNORE';
    until ($stopping) {
        for my $half (grep { !$_->{pid} && $_->{due} <= clock_gettime(CLOCK_MONOTONIC) } @{ $self->{halves} }) { $self->start($half) }
        $self->listen(0.25);
        $self->write_status;
    }
    $self->signal('TERM');
    $self->listen(0.25, 'stopping') while grep { $_->{pid} } @{ $self->{halves} };
    $self->write_status('now');
    return !grep { $_->{ended} } @{ $self->{halves} };
}

sub signal {
    my ($self, $signal) = @_;
    kill $signal => $_ for grep {$_} map { $_->{pid} } @{ $self->{halves} };
    return;
}

sub start {
    my ($self, $half) = @_;
    pipe my $read, my $write or die "pipe: $!\n";
    # A USR1 that comes before the half listens is for a process that has done nothing yet.
    my $pid = Data::PubSub::Shared::CLI::Children::fork_with(INT => 'DEFAULT', TERM => 'DEFAULT', USR1 => 'IGNORE');
    if (!$pid) {
        close $read;
        close $_->{read} for grep { $_->{read} } @{ $self->{halves} };
        POSIX::_exit($self->live($half, $write));
    }
    @$half{qw(pid read text begun)} = ($pid, $read, '', clock_gettime(CLOCK_MONOTONIC));
    return;
}

# The life of the child; its exit status.
sub live {
    my ($self, $half, $write) = @_;
    my $lived = eval {
        # Without a parent there is nobody to be told to stop by. One that does not listen just now is not waited for.
        $write->blocking(0);
        my $tell = sub {
            my ($status, $object) = @_;
            defined syswrite $write, Data::PubSub::Shared::Bridge::Half::json($status) . "\n" or $! == EAGAIN or $object->stop;
        };
        $half->{class}->new(%{ $half->{options} }, on_status => $tell)->run;
        1;
    };
    return 0 if $lived;
    my $error = $@;
    print STDERR "pubsub-bridge $half->{name}: $error";
    syswrite $write, Data::PubSub::Shared::Bridge::Half::json({ error => $error =~ s/\s+\z//r }) . "\n";
    return 1;
}

# What the halves say, for so many seconds at most; and who has ended.
sub listen {
    my ($self, $seconds, $stopping) = @_;
    my $select = IO::Select->new(map { $_->{read} } grep { $_->{pid} } @{ $self->{halves} });
    if (!$select->count) {
        select undef, undef, undef, $seconds;
        return;
    }
    my %ready = map { $_ => 1 } $select->can_read($seconds);
    for my $half (grep { $_->{pid} && $ready{ $_->{read} } } @{ $self->{halves} }) {
        my $got = sysread $half->{read}, $half->{text}, 65536, length $half->{text};
        next if !defined $got && $! == EINTR;
        if ($got) {
            my @lines = split /\n/, $half->{text}, -1;
            $half->{text} = pop @lines;
            # The last one may only say why it ends.
            $half->{says} = { %{ $half->{says} // {} }, %{ JSON::PP::decode_json($_) } } for @lines;
        }
        else { $self->has_ended($half, $stopping) }
    }
    return;
}

sub has_ended {
    my ($self, $half, $stopping) = @_;
    1 while waitpid($half->{pid}, 0) < 0 && $! == EINTR;
    my $status = $?;
    close delete $half->{read};
    $half->{pid} = 0;
    $half->{ended} = $status != 0;
    $half->{says}{connected} = JSON::PP::false;
    return if $stopping;
    $half->{pause} = FIRST_PAUSE if clock_gettime(CLOCK_MONOTONIC) - $half->{begun} > PROVEN;
    $half->{due}   = clock_gettime(CLOCK_MONOTONIC) + $half->{pause};
    my $how = $status & 127 ? 'was killed by signal ' . ($status & 127) : 'ended with status ' . ($status >> 8);
    $half->{says}{error} = $how if $status & 127;
    print STDERR sprintf "pubsub-bridge %s %s: %s; restarting in %.1f s\n",
        $half->{class}->half, $half->{name}, $how, $half->{pause};
    $half->{restarts}++;
    $half->{pause} = $half->{pause} * 2 < LAST_PAUSE ? $half->{pause} * 2 : LAST_PAUSE;
    return;
}

sub write_status {
    my ($self, $now) = @_;
    return if !defined $self->{status} || !$now && clock_gettime(CLOCK_MONOTONIC) - $self->{written} < 1;
    $self->{written} = clock_gettime(CLOCK_MONOTONIC);
    my %bridges;
    for my $half (@{ $self->{halves} }) {
        $bridges{ $half->{name} }{ $half->{class}->half } = {
            %{ $half->{says} // {} },
            running  => $half->{pid} ? JSON::PP::true : JSON::PP::false,
            restarts => ($half->{restarts} // 0) + 0,
        };
    }
    Data::PubSub::Shared::Bridge::Half::write_status(
        $self->{status}, { pid => $$ + 0, time => 0 + sprintf('%.3f', time), bridges => \%bridges });
    return;
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::Bridge::Supervisor - private to Data::PubSub::Shared::Bridge

=cut
