#!/usr/bin/env perl
#
# A loop of one's own that follows a ring, beside a timer and a signal: what loop-ev.pl does in EV.
# Nothing is needed but select, here by way of IO::Select; IO::Poll takes the handle as well.
#
#   perl -Mblib eg/loop-select.pl
#   perl -Mblib eg/loop-select.pl --ring /dev/shm/lines.ring &      # follows until Ctrl-C
#   ls | perl -Mblib eg/loop-select.pl --ring /dev/shm/lines.ring --publish

use 5.022;
use strict;
use warnings;

use File::Temp qw(tempdir);
use Getopt::Long;
use IO::Select;
use Pod::Usage;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

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

my $next_tick = clock_gettime(CLOCK_MONOTONIC) + 0.01;
my $stop      = 0;
local $SIG{INT} = sub { $stop = 1 };

my @publishers = $opt{ring} ? () : map { start_publisher() } 1 .. 2;
my $select     = IO::Select->new($sub->fh);
until ($stop) {
    for my $fh ($select->can_read(0.01)) {
        # Here, with several handles: which one is it? $fh == $sub->fh tells.
        for my $line ($sub->drain(100)) {
            $got++;
            say $line if $opt{ring};
        }
        $stop = 1 if !$opt{ring} && $got + $sub->overflow_count >= 2 * $opt{messages};
    }
    next if clock_gettime(CLOCK_MONOTONIC) < $next_tick;
    $next_tick += 0.01;
    $ticks++;
}

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

loop-select.pl - follow a ring with select

=head1 SYNOPSIS

    loop-select.pl [--messages N]
    loop-select.pl --ring PATH [--publish]

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
