#!/usr/bin/env perl
# An AnyEvent program that follows a ring, with a timer and a signal, like loop-ev.pl in EV.
#
#   perl -Mblib eg/loop-anyevent.pl
#   perl -Mblib eg/loop-anyevent.pl --ring /dev/shm/lines.ring &      # follows until Ctrl-C
#   ls | perl -Mblib eg/loop-anyevent.pl --ring /dev/shm/lines.ring --publish

use 5.022;
use strict;
use warnings;

use AnyEvent;
use FindBin;
use lib "$FindBin::Bin/lib";
use Lines;    # the command line, and publishers

my $lines = Lines->new;
my $sub   = $lines->subscriber;
my $ticks = 0;

my $end      = AnyEvent->condvar;
my $messages = AnyEvent->io(
    fh   => $sub->fh,
    poll => 'r',
    cb   => sub {
        for my $line ($sub->drain(100)) {
            $end->send if $lines->take($line);
        }
    },
);
my $timer  = AnyEvent->timer(after => 0.01, interval => 0.01, cb => sub { $ticks++ });
my $ctrl_c = AnyEvent->signal(signal => 'INT', cb => sub { $end->send });

$lines->start_publishers;
$end->recv;
undef $messages;    # remove it from the loop before its subscriber is destroyed
$lines->finish($ticks);
