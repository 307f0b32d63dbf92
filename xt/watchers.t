# The cost of watching: threads, descriptors, memory and wake-ups of a process that watches 1, 100 and 1,000 rings, with a
# handle each and with one set. Prints the figures; checks the threads and descriptors.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use PubSubTest;
use PubSubTest::Watchers;
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_PROCESS_CPUTIME_ID);

plan skip_all => 'needs 2,200 descriptors' if POSIX::sysconf(POSIX::_SC_OPEN_MAX()) < 2_200;

sub sleeps {
    my $sum = 0;
    $sum += (slurp("/proc/self/task/$_/status") =~ /^voluntary_ctxt_switches:\s*(\d+)/m)[0] for entries('/proc/self/task');
    return $sum;
}

# Of this process: threads, descriptors, KiB of memory, sleeps, milliseconds of CPU time.
sub state_now { return (thread_count(), open_fds(), rss_kb(), sleeps(), 1e3 * clock_gettime(CLOCK_PROCESS_CPUTIME_ID)) }

# In a new process, so that freed memory of an earlier measurement does not count.
sub figures {
    my ($count, $how) = @_;
    my $class = variant('Int')->class;
    my $dir   = fresh_dir();
    my @rings = map { $class->new("$dir/$_", 8) } 1 .. $count;
    my $kid   = spawn(sub {
        my ($peer) = @_;
        my @subs   = map { $_->subscribe } @rings;
        my @before = state_now();
        my $set = Data::PubSub::Shared::Set->new($how eq 'set' ? @subs : ());
        my @fh  = $how eq 'set' ? $set->fh : map { $_->fh } @subs;
        thread_count($before[0] + watchers($count));
        my @watching = state_now();
        select undef, undef, undef, 3;
        my @later = state_now();
        $peer->tell(join ' ', (map { $watching[$_] - $before[$_] } 0 .. 2), map { int $later[$_] - $watching[$_] } 3, 4);
    });
    my @is = split ' ', $kid->hear;
    reap("$count rings, $how: the process exits with 0", $kid);
    diag sprintf '%5d rings, %-13s %4d threads, %4d descriptors, %5d KiB; in 3 s at rest %4d sleeps, %d ms', $count, $how, @is;
    return @is;
}

for my $count (1, 100, 1_000) {
    for my $how ('a handle each', 'set') {
        my ($threads, $fds, undef, $sleeps) = figures($count, $how);
        is($threads, watchers($count), "$count rings, $how: number of threads");
        is($fds, 2 * ($how eq 'set' ? 1 : $count), "$count rings, $how: number of descriptors");
        # Each thread checks its rings once a second.
        cmp_ok($sleeps, '<=', 5 * $threads + 5, "$count rings, $how: the threads sleep");
    }
}

done_testing;
