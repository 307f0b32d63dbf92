package XT;

# What all long and hostile tests share: their duration, random numbers, children that end with their
# parent, and a clock.
#
#   XT_SECONDS   the duration of each storm, in seconds (fractions allowed)
#   XT_SEED      repeats the random numbers of an earlier run, which printed it

use strict;
use warnings;

use Config;
use Exporter 'import';
use POSIX ();
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

our @EXPORT = qw(seconds random random_bytes now for_seconds dies_with_parent in_storm state_of until_state $QUICK);

# Storms are short by default.
our $QUICK = !defined $ENV{XT_SECONDS};
my $SECONDS = $ENV{XT_SECONDS} // 2;
my $SEED    = $ENV{XT_SEED}    // int(time ^ $$ << 8) & 0x7fffffff;

# Before PubSubTest is loaded: its watchdog has to wait for the storms.
$ENV{PUBSUB_TEST_WATCHDOG} //= 240 + int(40 * $SECONDS);

srand $SEED;
print "# XT_SEED=$SEED XT_SECONDS=$SECONDS\n" if $0 =~ /\.t\z/;
POSIX::nice(5);

sub seconds { return $SECONDS }

# An integer from 0 to $below - 1.
sub random { return int rand $_[0] }

sub random_bytes { return pack 'C*', map { random(256) } 1 .. $_[0] }

sub now { return clock_gettime(CLOCK_MONOTONIC) }

# Calls the code repeatedly until that share of the duration of a storm is over. Returns the number of calls.
sub for_seconds {
    my ($share, $code) = @_;
    my $end   = now() + $share * $SECONDS;
    my $count = 0;
    do { $code->($count++) } while now() < $end;
    return $count;
}

# The kernel kills this process when its parent ends.
sub dies_with_parent {
    my %prctl = (x86_64 => 157, aarch64 => 167, s390x => 172, powerpc64le => 171);
    my ($architecture) = grep { $Config{archname} =~ /\A$_/ } sort keys %prctl;
    syscall $prctl{$architecture}, 1, 9, 0, 0, 0 if $architecture;
    return;
}

# To be called first in a child that runs until its parent ends it; the child gets random numbers of its own.
sub in_storm {
    dies_with_parent();
    alarm 0;
    srand;
    return;
}

# The state of the process as one letter (R, S, T, Z ...); empty if there is no such process.
sub state_of {
    my ($pid) = @_;
    open my $stat, '<', "/proc/$pid/stat" or return '';
    return (readline($stat) // '') =~ /\) (\w)/ ? $1 : '';
}

sub until_state {
    my ($pid, $states) = @_;
    select undef, undef, undef, 0.001 until state_of($pid) =~ /[$states]/;
    return;
}

1;
