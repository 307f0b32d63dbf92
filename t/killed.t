# Publishers and subscribers are killed or stopped at any moment: the others continue, and all
# delivered messages are whole.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use POSIX qw(WUNTRACED);
use Test::More;
use PubSubTest;

# Messages that show whether they are whole: for Str, one repeated letter with a length that depends on it.
sub message {
    my ($v, $number) = @_;
    return $number % 30000 if !$v->is_str;
    return chr(97 + $number % 26) x (1 + $number % 26 * 9);
}

sub whole {
    my ($v, $message) = @_;
    return $message =~ /\A\d+\z/ if !$v->is_str;
    return $message =~ /\A([a-z])\1*\z/ && length $message == 1 + 9 * (ord($1) - 97);
}

# All messages of the ring; positions that a killed publisher had claimed take a moment.
sub everything {
    my ($sub) = @_;
    my @all;
    push @all, $sub->poll_wait_multi(1000, 0.003) while $sub->lag;
    return @all;
}

sub endless {
    my ($v, $ring) = @_;
    return spawn(sub {
        my ($peer) = @_;
        my $number = 0;
        $peer->tell('ready');
        while (1) {
            $ring->publish(message($v, $number++));
            $ring->publish_multi(map { message($v, $number + $_) } 0 .. 15);
        }
    });
}

each_variant(sub {
    my ($v) = @_;

    subtest 'SIGKILL' => sub {
        my $ring = $v->ring(64);
        my $sub  = $ring->subscribe;
        my $torn = 0;
        my $read = sub { whole($v, $_) || $torn++ for @_ };
        my $steady = endless($v, $ring);
        for my $round (1 .. 60) {
            my $victim = endless($v, $ring);
            $victim->hear;
            $read->($sub->poll_wait_multi(1 + $_ * $round % 17)) for 1 .. $round % 7;
            $victim->kill('KILL');
            $victim->end;
            $ring->publish(message($v, $round));
            $read->($sub->poll_wait_multi(100));
        }
        $steady->kill('KILL');
        $steady->end;
        is($torn, 0, 'no message is torn');
        $read->(everything($sub));
        $ring->publish_multi(map { message($v, $_) } 1 .. 5);
        is_deeply([everything($sub)], [map { message($v, $_) } 1 .. 5], 'the ring works after sixty publishers were killed');
        cmp_ok($sub->overflow_count, '<=', $sub->cursor, 'not more messages count as lost than were published');
    };

    subtest 'SIGKILL of sleeping subscribers' => sub {
        my $ring = $v->ring(16);
        my @kids = map {
            spawn(sub { my $sub = $ring->subscribe; $_[0]->tell('ready'); $sub->poll_wait; $sub->poll_wait })
        } 1 .. 20;
        $_->hear for @kids;
        until_asleep($_->pid) for @kids;
        my @victims = splice @kids, 0, 15;
        $_->kill('KILL') for @victims;
        $_->end for @victims;
        my $sub = $ring->subscribe;
        $ring->publish_multi($v->values(1, 2));
        reap('the other sleeping subscribers get their messages', @kids);
        is_deeply([$sub->drain], [$v->values(1, 2)], 'the publisher is not disturbed');
    };

    subtest 'SIGSTOP' => sub {
        my $ring = $v->ring(64);
        my $sub  = $ring->subscribe;
        for my $round (1 .. 10) {
            my $kid = endless($v, $ring);
            $kid->hear;
            $sub->poll_wait;
            $kid->kill('STOP');
            waitpid $kid->pid, WUNTRACED;
            my @got  = everything($sub);
            my $torn = grep { !whole($v, $_) } @got;
            is($torn, 0, 'a publisher is stopped: all messages are whole');
            is($sub->poll_wait(0.003), undef, 'a publisher is stopped: poll_wait times out after the last message');
            if (!$v->is_str) {
                my $other = $ring->subscribe;
                $ring->publish($v->value(31000));
                is($other->poll_wait, $v->value(31000), 'a publisher is stopped: others can publish');
            }
            $sub->reset;
            $kid->kill('CONT');
            ok(whole($v, $sub->poll_wait), 'a publisher is continued: its messages are whole');
            $kid->kill('KILL');
            $kid->end;
        }
        $ring->publish($v->value(1));
        $sub->reset_oldest;
        is((everything($sub))[-1], $v->value(1), 'the ring works after all publishers were killed');
    };
});

subtest 'a publisher is stopped while others lap the ring' => sub {
    each_variant(sub {
        my ($v) = @_;
        plan skip_all => 'a stopped publisher may hold the lock' if $v->is_str;
        my $ring = $v->ring(8);
        my $seen = $ring->subscribe;
        my $kid  = spawn(sub {
            my ($peer) = @_;
            $peer->tell('ready');
            $ring->publish_multi($v->values($_ * 4, $_ * 4 + 3)) for 0 .. 7499;
            $peer->hear;
            $ring->publish_multi($v->values(30000, 30003));
        });
        $kid->hear;
        my ($last, $wrong) = (-1, 0);
        for my $round (1 .. 20) {
            $kid->kill('STOP');
            waitpid $kid->pid, WUNTRACED;
            $ring->publish($v->value(32000)) for 1 .. 20;
            for my $number (grep { $_ < 32000 } $seen->drain) {
                $wrong++ if $number <= $last;
                $last = $number;
            }
            $kid->kill('CONT');
        }
        $kid->tell('go');
        reap('the publisher exits with 0', $kid);
        my @rest = $seen->drain;
        is_deeply([@rest[-4 .. -1]], [30000 .. 30003], 'its last messages arrive');
        is($wrong, 0, 'no message of an earlier lap is delivered');
    });
};

done_testing;
