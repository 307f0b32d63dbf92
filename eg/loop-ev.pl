#!/usr/bin/env perl
# An EV loop that follows a ring, with a timer and a signal.
#
#   perl -Mblib eg/loop-ev.pl
#   perl -Mblib eg/loop-ev.pl --ring /dev/shm/lines.ring &            # follows until Ctrl-C
#   ls | perl -Mblib eg/loop-ev.pl --ring /dev/shm/lines.ring --publish
# Points of interest:
#   $sub->fh      is readable while there are messages; nothing else is needed
#   drain(100)    takes some at a time, so that other watchers are served; the loop calls again for the rest
#
# loop-anyevent.pl and loop-ioasync.pl do the same in AnyEvent and IO::Async, loop-select.pl without any such module.

use 5.022;
use strict;
use warnings;

use EV;
use FindBin;
use lib "$FindBin::Bin/lib";
use Lines;    # the command line, and publishers

my $lines = Lines->new;
my $sub   = $lines->subscriber;
my $ticks = 0;

my $messages = EV::io $sub->fh, EV::READ, sub {
    for my $line ($sub->drain(100)) {
        EV::break if $lines->take($line);
    }
};
my $timer  = EV::timer 0.01, 0.01, sub { $ticks++ };
my $ctrl_c = EV::signal 'INT', sub { EV::break };

$lines->start_publishers;
EV::run;
undef $messages;    # remove it from the loop before its subscriber is destroyed
$lines->finish($ticks);
