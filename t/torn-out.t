# A signal handler that perl runs at once, in the middle of a call (POSIX::sigaction, unsafe signals), dies: the process has
# left its publish unfinished, but is alive. The ring still works, for this process and for others.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use POSIX ();
use Test::More;
use Time::HiRes qw(setitimer ITIMER_REAL);
use PubSubTest;

use constant SIZE => 16 << 20;

# The timer starts with a publish that takes long, so the handler ends it in the middle; five times.
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
    is(torn_out_of(sub { $ring->publish($big) }), 5, 'a handler ends publish in the middle, five times');
    $ring->publish('after');
    my $last;
    for my $message ($sub->drain) {
        $last = $message;
        ok($last eq $big || $last eq 'after', 'each delivered message is whole');
    }
    is($last, 'after', 'this process can publish after that');

    my $other = spawn(sub { $v->class->new($path)->publish('other') });
    reap('another process can publish after that', $other);
    is($sub->poll, 'other', 'the message of the other process is delivered');
    is($sub->cursor, $ring->write_pos, 'no further message is delivered');
};

# Integers are collected in memory that perl allocates. A handler that leaves malloc itself may crash; that is not tested.
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
        is($said, 'torn out 5 times',
            'a handler ends publish_multi in the middle, five times, and the process can publish after that');
        my $got;
        do { $got = $sub->poll_wait } until $sub->lag == 0;
        is($got, $v->value(9), 'the ring still works');
        $ring->publish($v->value(8));
        is($sub->poll, $v->value(8), 'another process can publish after that');
    };
}

done_testing;
