#!/usr/bin/env perl
# A hand-written loop that follows a ring, with a timer and a signal, like loop-ev.pl in EV.
# It only needs select, here through IO::Select; IO::Poll takes the handle as well.
#
#   perl -Mblib eg/loop-select.pl
#   perl -Mblib eg/loop-select.pl --ring /dev/shm/lines.ring &      # follows until Ctrl-C
#   ls | perl -Mblib eg/loop-select.pl --ring /dev/shm/lines.ring --publish

use 5.022;
use strict;
use warnings;

use FindBin;
use IO::Select;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);
use lib "$FindBin::Bin/lib";
use Lines;    # the command line, and publishers

my $lines = Lines->new;
my $sub   = $lines->subscriber;
my $ticks = 0;

my $next_tick = clock_gettime(CLOCK_MONOTONIC) + 0.01;
my $stop      = 0;
local $SIG{INT} = sub { $stop = 1 };

$lines->start_publishers;
my $select = IO::Select->new($sub->fh);
until ($stop) {
    for my $fh ($select->can_read(0.01)) {
        # With several handles, compare: $fh == $sub->fh.
        for my $line ($sub->drain(100)) {
            $stop = 1 if $lines->take($line);
        }
    }
    next if clock_gettime(CLOCK_MONOTONIC) < $next_tick;
    $next_tick += 0.01;
    $ticks++;
}
$lines->finish($ticks);
