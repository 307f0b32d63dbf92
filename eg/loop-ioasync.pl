#!/usr/bin/env perl
# An IO::Async loop that follows a ring, with a timer and a signal, like loop-ev.pl in EV.
#
#   perl -Mblib eg/loop-ioasync.pl
#   perl -Mblib eg/loop-ioasync.pl --ring /dev/shm/lines.ring &      # follows until Ctrl-C
#   ls | perl -Mblib eg/loop-ioasync.pl --ring /dev/shm/lines.ring --publish

use 5.022;
use strict;
use warnings;

use FindBin;
use IO::Async::Loop;
use IO::Async::Timer::Periodic;
use lib "$FindBin::Bin/lib";
use Lines;    # the command line, and publishers

my $lines = Lines->new;
my $sub   = $lines->subscriber;
my $ticks = 0;

my $loop = IO::Async::Loop->new;
$loop->watch_io(
    handle        => $sub->fh,
    on_read_ready => sub {
        for my $line ($sub->drain(100)) {
            $loop->stop if $lines->take($line);
        }
    },
);
$loop->add(IO::Async::Timer::Periodic->new(interval => 0.01, on_tick => sub { $ticks++ })->start);
$loop->watch_signal(INT => sub { $loop->stop });

$lines->start_publishers;
$loop->run;
$loop->unwatch_io(handle => $sub->fh, on_read_ready => 1);    # before its subscriber is destroyed
$lines->finish($ticks);
