package Lines;

# Common parts of the examples of event loops: the command line, the ring, and two programs that publish lines to it.
# These open the ring by its path, use plain publish, and do not depend on how it is read.

use 5.022;
use strict;
use warnings;

use File::Basename qw(basename);
use File::Temp qw(tempdir);
use Getopt::Long;

use Data::PubSub::Shared;

my $NAME  = basename($0);
my $USAGE = <<"END";
Usage:
    $NAME [--messages N]
    $NAME --ring PATH [--publish]

Options:
    --messages N   lines that each of the two publishers sends; default 5000
    --ring PATH    follow the ring at PATH, and print its lines, until Ctrl-C
    --publish      publish the lines of standard input instead
END

# Reads the command line. As --publish says, publishes standard input and ends; otherwise there is a ring to follow.
sub new {
    my ($class) = @_;
    my $self = bless { messages => 5000, got => 0, publishers => [] }, $class;
    GetOptions($self, 'messages=i', 'ring=s', 'publish', 'help') or refuse();
    print($USAGE), exit if $self->{help};
    refuse("--publish wants a --ring\n") if $self->{publish} && !$self->{ring};
    # If the caller has closed it, perl has opened the program itself with its number.
    refuse("standard input is closed\n") if $self->{publish} && grep { $_ eq file_of(*STDIN) } '', file_of($0);

    $self->{path} = $self->{ring} // tempdir(CLEANUP => 1) . '/lines.ring';
    my $ring = Data::PubSub::Shared::Str->new($self->{path}, 16_384, 256);
    publish($ring), exit if $self->{publish};
    $self->{sub} = $ring->subscribe;
    return $self;
}

sub file_of { return join ' ', (stat $_[0])[0, 1] }
sub refuse { print STDERR @_, $USAGE; exit 2 }

sub publish {
    my ($ring) = @_;
    while (my $line = <STDIN>) {
        chomp $line;
        $ring->publish(substr $line, 0, 256);
    }
    return;
}

sub subscriber { return $_[0]{sub} }

# Takes a line. Returns true if it was the last one.
sub take {
    my ($self, $line) = @_;
    $self->{got}++;
    say $line if $self->{ring};
    return !$self->{ring} && $self->{got} + $self->{sub}->overflow_count >= 2 * $self->{messages};
}

# Starts other perl processes, each with a pipe from a third one, that publish. None if --ring gave an existing ring.
sub start_publishers {
    my ($self) = @_;
    return if $self->{ring};
    for (1 .. 2) {
        my $pid = fork // die "fork: $!\n";
        push @{ $self->{publishers} }, $pid;
        next if $pid;
        open STDIN, '-|', $^X, '-e', 'print "line $_\n" for 1 .. shift', $self->{messages} or die "$^X: $!\n";
        exec $^X, (map {"-I$_"} @INC), $0, '--ring', $self->{path}, '--publish' or die "$^X: $!\n";
    }
    return;
}

# Waits for the publishers, and prints the totals.
sub finish {
    my ($self, $ticks) = @_;
    my @publishers = @{ $self->{publishers} };
    waitpid $_, 0 for @publishers;
    printf "%d messages of %d publishers, %d lost, %d ticks\n",
        $self->{got}, scalar @publishers, $self->{sub}->overflow_count, $ticks;
    return;
}

1;
