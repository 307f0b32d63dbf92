# Publishers of batches of numbers are killed or stopped at any moment. The others go on, nothing arrives twice or out of order,
# and the slots that they had reserved are used again.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

use constant CAPACITY => 1024;

# Publishes batches of consecutive numbers for some milliseconds, and waits to be killed; tells that it has begun.
sub publisher {
    my ($v, $path, $size) = @_;
    return spawn(sub {
        my ($peer) = @_;
        my $ring = $v->class->new($path, CAPACITY);
        for (my $n = 1; $n < 19_000; $n += $size) {
            $ring->publish_multi($n .. $n + $size - 1);
            $peer->tell('begun') if $n == 1;
        }
        sleep;
    });
}

each_variant(sub {
    my ($v) = @_;
    plan skip_all => 'strings have no segments' if $v->is_str;
    for my $size (7, 100, 1000) {
        my $path = fresh_path();
        my $ring = $v->class->new($path, CAPACITY);
        my $sub  = $ring->subscribe;
        my (@wrong, @missing);
        for my $round (1 .. 10) {
            my $kid = publisher($v, $path, $size);
            $kid->hear;
            my @got;
            push @got, $sub->drain for 1 .. 1 + $round % 3;
            if ($round % 2) {
                $kid->kill('STOP');
                # By two laps, with a reader that keeps up.
                push @got, $sub->drain while $sub->lag;
                for my $n (1 .. 2 * CAPACITY) {
                    $! = 0;
                    $ring->publish(20_000 + $n);
                    push @missing, "round $round: \$! is $!" if $!;
                    my $next = $sub->poll_wait;
                    push @missing, "round $round: " . ($next // 'undef') . " instead of $n" if ($next // 0) != 20_000 + $n;
                }
                $kid->kill('CONT');
                # It may have published everything before it was stopped.
                push @got, $sub->poll_wait(0.02) // ();
            }
            $kid->kill('KILL');
            is($kid->end & 127, 9, "round $round: the publisher of batches of $size is killed");
            push @got, $sub->drain while $sub->lag;
            push @wrong, map {"round $round: $got[$_] after $got[$_ - 1]"} grep { $got[$_] <= $got[$_ - 1] } 1 .. $#got;
        }
        is_deeply(\@wrong,   [], "batches of $size: nothing arrives twice or out of order");
        is_deeply(\@missing, [], "batches of $size: a stopped publisher that is lapped loses no messages of others");

        # The first batch may still find void positions of this lap.
        $ring->publish_multi((1) x CAPACITY) for 1 .. 2;
        $ring->publish_multi(1 .. CAPACITY);
        is_deeply([$ring->subscribe_all->drain], [1 .. CAPACITY], "batches of $size: then, all slots are used");
        my $stats = $ring->stats;
        is($stats->{publish_ok} + $stats->{abandoned}, $ring->write_pos, "batches of $size: the counts add up");
    }
});

done_testing;
