# A signal handler that perl runs at once, in the middle of a call (POSIX::sigaction, not safe), and that dies: the process was
# torn out of its publication, but lives. The ring works on, for this process and for others.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use POSIX ();
use Test::More;
use Time::HiRes qw(setitimer ITIMER_REAL);
use PubSubTest;

use constant SIZE => 16 << 20;

# A ring, and messages that take long to publish: so the timer, which begins when the call does, ends it in the middle.
sub torn_out_of {
    my ($publish) = @_;
    my $died = 0;
    POSIX::sigaction(POSIX::SIGALRM(), POSIX::SigAction->new(sub { die "torn out\n" })) or die "sigaction: $!";
    for (1 .. 5) {
        my $ok = eval { setitimer(ITIMER_REAL, 0.001); $publish->() while 1; 1 };
        $died++ if !$ok && $@ eq "torn out\n";
    }
    return $died;
}

watchdog_process();

subtest 'strings' => sub {
    my $v    = variant('Str');
    my $path = fresh_path();
    my $ring = $v->class->new($path, 2, SIZE);
    my $sub  = $ring->subscribe;
    my $big  = 'x' x SIZE;
    is(torn_out_of(sub { $ring->publish($big) }), 5, 'torn out of publish, again and again');
    $ring->publish('after');
    my $last;
    for my $message ($sub->drain) {
        $last = $message;
        ok($last eq $big || $last eq 'after', 'a whole message');
    }
    is($last, 'after', 'then this process publishes');

    my $other = spawn(sub { $v->class->new($path)->publish('other') });
    reap('and another one', $other);
    is($sub->poll, 'other', 'whose message arrives');
    is($sub->cursor, $ring->write_pos, 'and that is all');
};

# Integers are gathered in memory that perl allocates. Who is torn out of malloc itself may crash, and is no case of ours.
sub tried_in_a_child {
    my ($code) = @_;
    for (1 .. 20) {
        my $kid  = spawn(sub { $_[0]->tell($code->()) });
        my $said = $kid->hear;
        return $said if !($kid->end & 127);
    }
    return 'crashed each time';
}

for my $v (grep { !$_->is_str } variants()) {
    subtest $v->name => sub {
        my $ring   = $v->ring(64);
        my $sub    = $ring->subscribe;
        my @values = $v->values(0, 8000);
        my $said = tried_in_a_child(sub {
            my $died = torn_out_of(sub { $ring->publish_multi(@values) });
            $ring->publish($v->value(9));
            return "torn out $died times";
        });
        is($said, 'torn out 5 times', 'of publish_multi, and publishes then');
        my $got;
        do { $got = $sub->poll_wait } until $sub->lag == 0;
        is($got, $v->value(9), 'the ring works on');
        $ring->publish($v->value(8));
        is($sub->poll, $v->value(8), 'for others, too');
    };
}

done_testing;
