#!/usr/bin/env perl
#
# An IO::Async loop that follows a ring, beside a timer and a signal: what loop-ev.pl does in EV.
#
#   perl -Mblib eg/loop-ioasync.pl
#   perl -Mblib eg/loop-ioasync.pl --ring /dev/shm/lines.ring &      # follows until Ctrl-C
#   ls | perl -Mblib eg/loop-ioasync.pl --ring /dev/shm/lines.ring --publish

use 5.022;
use strict;
use warnings;

use File::Temp qw(tempdir);
use Getopt::Long;
use IO::Async::Loop;
use IO::Async::Timer::Periodic;
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

my $loop = IO::Async::Loop->new;
$loop->watch_io(
    handle        => $sub->fh,
    on_read_ready => sub {
        for my $line ($sub->drain(100)) {
            $got++;
            say $line if $opt{ring};
        }
        $loop->stop if !$opt{ring} && $got + $sub->overflow_count >= 2 * $opt{messages};
    },
);
$loop->add(IO::Async::Timer::Periodic->new(interval => 0.01, on_tick => sub { $ticks++ })->start);
$loop->watch_signal(INT => sub { $loop->stop });

my @publishers = $opt{ring} ? () : map { start_publisher() } 1 .. 2;
$loop->run;
$loop->unwatch_io(handle => $sub->fh, on_read_ready => 1);    # out of the loop before its subscriber goes

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

loop-ioasync.pl - follow a ring in an IO::Async loop

=head1 SYNOPSIS

    loop-ioasync.pl [--messages N]
    loop-ioasync.pl --ring PATH [--publish]

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
