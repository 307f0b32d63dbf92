# A thousand subscribers are killed while they sleep: all later publishes together make at most two futex calls,
# and subscribers that sleep afterwards are woken.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Remote;
use PubSubTest;
use Test::More;

use constant SLEEPERS => 1000;

plan skip_all => 'strace is not installed, or may not trace here'
    if system('strace -o /dev/null -e trace=none true >/dev/null 2>&1') != 0;

# The logged system calls on shared futexes.
sub shared_futex_calls {
    my ($log) = @_;
    return grep {/futex\(.*FUTEX_(?:WAIT|WAKE),/} split /\n/, slurp($log);
}

for my $v (grep { $_->name eq 'Int' || $_->is_str } variants()) {
    subtest $v->name => sub {
        my $path = fresh_path();
        my $log  = fresh_path();
        my $ring = $v->class->new($path, 256);
        my $sub  = $ring->subscribe;
        my $publisher = XT::Remote->start(prefix => [qw(strace -f -qq -e trace=futex -o), $log]);
        is($publisher->ask("our \$r = @{[$v->class]}->new('$path'); 1"), 1, 'a publisher starts under strace');
        is($publisher->ask("\$r->publish('" . $v->value(1) . "')"), 1, 'the publisher publishes');
        is_deeply([shared_futex_calls($log)], [], 'without sleepers, a publish makes no futex call');

        pipe my $read, my $write or die "pipe: $!";
        my @kids;
        for (1 .. SLEEPERS) {
            my $pid = fork // die "fork: $!";
            if (!$pid) {
                XT::dies_with_parent();
                my $mine = $ring->subscribe;
                $mine->poll_wait;
                POSIX::_exit(0);
            }
            push @kids, $pid;
        }
        until_state($_, 'S') for @kids;
        select undef, undef, undef, 0.01 until $ring->stats->{sub_waiters} == SLEEPERS;
        kill KILL => @kids;
        waitpid $_, 0 for @kids;
        cmp_ok($ring->stats->{sub_waiters}, '>', 0, SLEEPERS . ' subscribers were killed while they slept');

        for my $n (1 .. 200) {
            $publisher->ask("\$r->publish('" . $v->value($n) . "')") eq '1' or die "publish $n";
        }
        my @calls = shared_futex_calls($log);
        cmp_ok(scalar @calls, '<=', 2, '200 publishes make at most two futex calls: ' . @calls);
        is($ring->stats->{sub_waiters}, 0, 'killed sleepers are no longer counted');
        my @got = $sub->drain;
        is_deeply(\@got, [$v->value(1), $v->values(1, 200)], 'all messages are delivered');

        my $kid = spawn(sub { my $mine = $ring->subscribe; $_[0]->tell('ready'); $mine->poll_wait });
        $kid->hear;
        until_state($kid->pid, 'S');
        $publisher->ask("\$r->publish('" . $v->value(5) . "')");
        reap('the next sleeping subscriber is woken and exits with 0', $kid);
        $publisher->finish;
    };
}

done_testing;
