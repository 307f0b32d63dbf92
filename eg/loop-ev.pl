#!/usr/bin/env perl
#
# An EV loop that follows a ring, beside a timer and a signal. The publishers are programs of their own: they know the
# ring's path, use plain publish, and need not know who listens how.
#
#   perl -Mblib eg/loop-ev.pl
#   perl -Mblib eg/loop-ev.pl --ring /dev/shm/lines.ring &            # follows until Ctrl-C
#   ls | perl -Mblib eg/loop-ev.pl --ring /dev/shm/lines.ring --publish
#
# What to look at:
#   $sub->fh      readable while there are messages; nothing else to arrange
#   drain(100)    some at a time, so that other watchers have their turn; the loop calls again for the rest
#
# loop-anyevent.pl and loop-ioasync.pl do the same in AnyEvent and IO::Async, loop-select.pl without any such module.

use 5.022;
use strict;
use warnings;

use EV;
use File::Temp qw(tempdir);
use Getopt::Long;
use Pod::Usage;

use Data::PubSub::Shared;

my %opt = (messages => 5000);
GetOptions(\%opt, 'messages=i', 'ring=s', 'publish', 'help') or pod2usage(2);
pod2usage(-exitval => 0, -verbose => 1) if $opt{help};
pod2usage('--publish wants a --ring') if $opt{publish} && !$opt{ring};
# Where the caller has closed it, perl has opened this very program in its place.
pod2usage('standard input is closed') if $opt{publish} && fileno DATA == fileno STDIN;

my $path = $opt{ring} // tempdir(CLEANUP => 1) . '/lines.ring';
my $ring = Data::PubSub::Shared::Str->new($path, 16_384, 256);

if ($opt{publish}) {
    while (my $line = <STDIN>) {
        chomp $line;
        $ring->publish(substr $line, 0, 256);
    }
    exit;
}

my $sub = $ring->subscribe;
my ($got, $ticks) = (0, 0);

my $messages = EV::io $sub->fh, EV::READ, sub {
    for my $line ($sub->drain(100)) {
        $got++;
        say $line if $opt{ring};
    }
    EV::break if !$opt{ring} && $got + $sub->overflow_count >= 2 * $opt{messages};
};
my $timer  = EV::timer 0.01, 0.01, sub { $ticks++ };
my $ctrl_c = EV::signal 'INT', sub { EV::break };

my @publishers = $opt{ring} ? () : map { start_publisher() } 1 .. 2;
EV::run;
undef $messages;    # out of the loop before its subscriber goes

waitpid $_, 0 for @publishers;
printf "%d messages of %d publishers, %d lost, %d ticks\n", $got, scalar @publishers, $sub->overflow_count, $ticks;

# Another perl that is fed by a third one: no relative of ours but by birth.
sub start_publisher {
    my $pid = fork // die "fork: $!\n";
    return $pid if $pid;
    open STDIN, '-|', $^X, '-e', 'print "line $_\n" for 1 .. shift', $opt{messages} or die "$^X: $!\n";
    exec $^X, (map {"-I$_"} @INC), $0, '--ring', $path, '--publish' or die "$^X: $!\n";
}

__END__

=head1 NAME

loop-ev.pl - follow a ring in an EV loop

=head1 SYNOPSIS

    loop-ev.pl [--messages N]
    loop-ev.pl --ring PATH [--publish]

=head1 OPTIONS

=over 4

=item B<--messages> N

Lines that each of the two publishers sends. Default 5000.

=item B<--ring> PATH

Follow the ring at PATH, and print what comes, until Ctrl-C.

=item B<--publish>

Publish the lines of standard input instead.

=back

=cut
