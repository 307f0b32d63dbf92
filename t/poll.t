# poll, poll_multi and drain: their results in list, scalar and void context, and which messages they leave.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

sub alias { return \$_[0] }

each_variant(sub {
    my ($v)  = @_;
    my $ring = $v->ring(16);
    my $sub  = $ring->subscribe;
    my $fill = sub { $sub->reset; $ring->publish_multi($v->values(1, $_[0])) };

    subtest 'poll' => sub {
        is_deeply([$sub->poll], [undef], 'poll of an empty ring returns undef in list context');
        is(scalar $sub->poll, undef, 'poll of an empty ring returns undef in scalar context');
        $fill->(3);
        is($sub->poll, $v->value($_), "poll returns message $_") for 1 .. 3;
        is($sub->poll, undef, 'poll returns undef after the last message');
        $fill->(3);
        is_deeply([map { $sub->poll } 1 .. 4], [$v->values(1, 3), undef],
            'poll called again at one place returns one message after the other');
        $fill->(4);
        my @refs = map { \$sub->poll } 1 .. 2;
        push @refs, map { alias($sub->poll) } 1 .. 2;
        is_deeply([map {$$_} @refs], [$v->values(1, 4)], 'each result is a value of its own');
        $fill->(2);
        $sub->poll;
        is($sub->poll, $v->value(2), 'poll in void context takes one message');
        for my $sample ($v->samples) {
            $ring->publish($sample);
            is($sub->poll, $sample, 'poll returns each sample value unchanged');
        }
        $fill->(1);
        $_ = 'changed' for $sub->poll;
        $sub->reset_oldest;
        is_deeply([($sub->drain)[-1]], [$v->value(1)], 'changing a result does not change the message in the ring');
    };

    subtest 'poll_multi' => sub {
        $fill->(5);
        is_deeply([$sub->poll_multi(2)], [$v->values(1, 2)], 'poll_multi(2) returns the first two of five');
        is_deeply([$sub->poll_multi(0)], [], 'poll_multi(0) returns nothing');
        is_deeply([$sub->poll_multi(10)], [$v->values(3, 5)], 'poll_multi(10) returns the three that are left');
        is_deeply([$sub->poll_multi(10)], [], 'poll_multi of an empty ring returns nothing');
        $fill->(5);
        is(scalar $sub->poll_multi(3), $v->value(3), 'in scalar context, poll_multi returns the last message that it took');
        is($sub->lag, 2, 'in scalar context, poll_multi takes as many as asked for');
        is(scalar $sub->poll_multi(0), undef, 'in scalar context, poll_multi(0) returns undef');
        $sub->reset;
        is(scalar $sub->poll_multi(3), undef, 'in scalar context, poll_multi of an empty ring returns undef');
        $fill->(16);
        is_deeply([$sub->poll_multi(9_000_000_000)], [$v->values(1, 16)], 'poll_multi accepts a count larger than the ring');
        croaks_like(sub { $sub->poll_multi }, 'Usage: .*poll_multi\(', 'poll_multi croaks without a count');
    };

    subtest 'drain' => sub {
        $fill->(5);
        is_deeply([$sub->drain], [$v->values(1, 5)], 'drain returns all messages');
        is_deeply([$sub->drain], [], 'drain of an empty ring returns nothing');
        $fill->(5);
        is_deeply([$sub->drain(2)], [$v->values(1, 2)], 'drain(2) returns the first two');
        is_deeply([$sub->drain(0)], [], 'drain(0) returns nothing');
        is_deeply([$sub->drain(undef)], [$v->values(3, 5)], 'drain(undef) returns all messages');
        $fill->(5);
        is(scalar $sub->drain, $v->value(5), 'in scalar context, drain returns the last message');
        is($sub->lag, 0, 'in scalar context, drain takes all messages');
        is(scalar $sub->drain, undef, 'in scalar context, drain of an empty ring returns undef');
        $fill->(16);
        $sub->drain;
        is($sub->lag, 0, 'drain in void context takes all messages');
        my @big = $v->values(0, 9999);
        my $far = $v->ring(16384);
        my $all = $far->subscribe;
        $far->publish_multi(@big[0 .. 8191]);
        $far->publish_multi(@big[8192 .. 9999]);
        is_deeply([$all->drain], \@big, 'drain returns ten thousand messages in order');
    };

    subtest 'invalid and unusual counts' => sub {
        for my $method (qw(poll_multi drain poll_wait_multi drain_notify)) {
            for my $case (['abc', '"abc"'], ['', '""'], [9**9**9 / 9**9**9, '(?i:nan)'], [{}, 'a reference']) {
                my ($count, $shown) = @$case;
                $fill->(3);
                croaks_like(
                    sub { $sub->$method($count) },
                    quotemeta($v->sub_class) . "->$method: count must be a number, not $shown",
                    "$method croaks on the count $shown"
                );
                is($sub->lag, 3, "$method takes no message if it croaks");
            }
            croaks_like(sub { $sub->$method(1, 2, 3) }, 'Usage: ', "$method croaks on too many arguments");
            for my $case ([5 / 2, 2], ['2.9', 2], [0.5, 0], [-0.5, 0], [-1, 3], [-(2**62), 3], [9**9**9, 3], [-9**9**9, 3]) {
                my ($count, $taken) = @$case;
                $fill->(3);
                is_deeply([$sub->$method($count)], [$v->values(1, $taken)], "$method($count)");
            }
        }
    };

    subtest 'undef for a count' => sub {
        for my $method (qw(drain drain_notify)) {
            $fill->(3);
            is_deeply([$sub->$method(undef)], [$v->values(1, 3)], "$method(undef) returns all messages");
        }
        for my $method (qw(poll_multi poll_wait_multi)) {
            $fill->(3);
            croaks_like(sub { $sub->$method(undef) }, "$method: count must be a number, not undef", "$method(undef) croaks");
            is($sub->lag, 3, "$method(undef) takes no message");
        }
    };

    subtest 'tied counts' => sub {
        package Fetching { sub TIESCALAR { bless [$_[1], 0] } sub FETCH { $_[0][1]++; $_[0][0] } }
        package main;
        for my $method (qw(poll_multi drain poll_wait_multi drain_notify)) {
            $fill->(3);
            tie my $two, 'Fetching', 2;
            is_deeply([$sub->$method($two)], [$v->values(1, 2)], "$method takes a tied count");
            is((tied $two)->[1], 1, "$method fetches a tied count once");
        }
        tie my $nothing, 'Fetching', 0;
        is($sub->poll, $v->value(3), 'the third message is left');
        is_deeply([$sub->poll_wait($nothing)], [undef], 'poll_wait takes a tied timeout of 0');
        is_deeply([$sub->poll_wait_multi(2, $nothing)], [], 'poll_wait_multi takes a tied timeout of 0');
        is((tied $nothing)->[1], 2, 'each of both fetches the timeout once');
        tie my $position, 'Fetching', 1;
        is($sub->cursor($position), 1, 'cursor takes a tied position');
        is((tied $position)->[1], 1, 'cursor fetches a tied position once');
    };

    subtest 'poll_wait_multi without waiting' => sub {
        $fill->(5);
        is_deeply([$sub->poll_wait_multi(2, 0)], [$v->values(1, 2)], 'poll_wait_multi(2, 0) returns the first two of five');
        is_deeply([$sub->poll_wait_multi(0)], [], 'poll_wait_multi(0) does not block');
        is_deeply([$sub->poll_wait_multi(9)], [$v->values(3, 5)], 'poll_wait_multi(9) returns the messages that are there');
        is_deeply([$sub->poll_wait_multi(9, 0)], [], 'poll_wait_multi(9, 0) of an empty ring returns nothing');
        is_deeply([$sub->poll_wait_multi(0)], [], 'poll_wait_multi(0) of an empty ring does not block');
        is(scalar $sub->poll_wait_multi(9, 0), undef, 'in scalar context, poll_wait_multi of an empty ring returns undef');
        $fill->(2);
        is(scalar $sub->poll_wait_multi(9, 0), $v->value(2), 'in scalar context, poll_wait_multi returns the last message');
    };
});

subtest 'drain ends while others keep publishing' => sub {
    each_variant(sub {
        my ($v)  = @_;
        my $ring = $v->ring(1024);
        my $sub  = $ring->subscribe;
        my $kid  = spawn(sub {
            my @batch = $v->values(1, 64);
            $ring->publish_multi(@batch) while 1;
        });
        my $most = 0;
        $sub->poll_wait;
        for (1 .. 200) {
            my $count = () = $sub->drain;
            $most = $count if $count > $most;
        }
        cmp_ok($most, '<=', 1024, 'no drain returns more messages than the ring holds');
        $kid->kill('KILL');
        is($kid->end & 127, 9, 'the publisher published until it was killed');
    });
};

done_testing;
