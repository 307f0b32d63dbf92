# poll, poll_multi and drain: what they return, in which context, and what stays for the next.

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
        is_deeply([$sub->poll], [undef], 'empty: undef in a list too');
        is(scalar $sub->poll, undef, 'and as a scalar');
        $fill->(3);
        is($sub->poll, $v->value($_), "message $_") for 1 .. 3;
        is($sub->poll, undef, 'and no more');
        $fill->(3);
        is_deeply([map { $sub->poll } 1 .. 4], [$v->values(1, 3), undef], 'from one place in the program');
        $fill->(4);
        my @refs = map { \$sub->poll } 1 .. 2;
        push @refs, map { alias($sub->poll) } 1 .. 2;
        is_deeply([map {$$_} @refs], [$v->values(1, 4)], 'each result stands alone');
        $fill->(2);
        $sub->poll;
        is($sub->poll, $v->value(2), 'void context takes one as well');
        for my $sample ($v->samples) {
            $ring->publish($sample);
            is($sub->poll, $sample, 'a sample');
        }
        $fill->(1);
        $_ = 'changed' for $sub->poll;
        $sub->reset_oldest;
        is_deeply([($sub->drain)[-1]], [$v->value(1)], 'changing what came changes nothing in the ring');
    };

    subtest 'poll_multi' => sub {
        $fill->(5);
        is_deeply([$sub->poll_multi(2)], [$v->values(1, 2)], 'two of five');
        is_deeply([$sub->poll_multi(0)], [], 'none');
        is_deeply([$sub->poll_multi(10)], [$v->values(3, 5)], 'what is left');
        is_deeply([$sub->poll_multi(10)], [], 'nothing is left');
        $fill->(5);
        is(scalar $sub->poll_multi(3), $v->value(3), 'a scalar: the last delivered');
        is($sub->lag, 2, 'of three');
        is(scalar $sub->poll_multi(0), undef, 'none: undef');
        $sub->reset;
        is(scalar $sub->poll_multi(3), undef, 'empty: undef');
        $fill->(16);
        is_deeply([$sub->poll_multi(9_000_000_000)], [$v->values(1, 16)], 'a count beyond everything');
        croaks_like(sub { $sub->poll_multi }, 'Usage: .*poll_multi\(', 'the count is required');
    };

    subtest 'drain' => sub {
        $fill->(5);
        is_deeply([$sub->drain], [$v->values(1, 5)], 'all');
        is_deeply([$sub->drain], [], 'nothing');
        $fill->(5);
        is_deeply([$sub->drain(2)], [$v->values(1, 2)], 'at most two');
        is_deeply([$sub->drain(0)], [], 'none');
        is_deeply([$sub->drain(undef)], [$v->values(3, 5)], 'undef: all');
        $fill->(5);
        is(scalar $sub->drain, $v->value(5), 'a scalar: the last');
        is($sub->lag, 0, 'of all');
        is(scalar $sub->drain, undef, 'empty: undef');
        $fill->(16);
        $sub->drain;
        is($sub->lag, 0, 'void context drains too');
        my @big = $v->values(0, 9999);
        my $far = $v->ring(16384);
        my $all = $far->subscribe;
        $far->publish_multi(@big[0 .. 8191]);
        $far->publish_multi(@big[8192 .. 9999]);
        is_deeply([$all->drain], \@big, 'ten thousand at once');
    };

    subtest 'counts' => sub {
        for my $method (qw(poll_multi drain poll_wait_multi drain_notify)) {
            for my $case (['abc', '"abc"'], ['', '""'], [9**9**9 / 9**9**9, '(?i:nan)'], [{}, 'a reference']) {
                my ($count, $shown) = @$case;
                $fill->(3);
                croaks_like(
                    sub { $sub->$method($count) },
                    quotemeta($v->sub_class) . "->$method: count must be a number, not $shown",
                    "$method($shown)"
                );
                is($sub->lag, 3, 'takes nothing');
            }
            croaks_like(sub { $sub->$method(1, 2, 3) }, 'Usage: ', "$method with too many arguments");
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
            is_deeply([$sub->$method(undef)], [$v->values(1, 3)], "$method: all");
        }
        for my $method (qw(poll_multi poll_wait_multi)) {
            $fill->(3);
            croaks_like(sub { $sub->$method(undef) }, "$method: count must be a number, not undef", "$method wants one");
            is($sub->lag, 3, 'and takes nothing');
        }
    };

    subtest 'tied counts' => sub {
        package Fetching { sub TIESCALAR { bless [$_[1], 0] } sub FETCH { $_[0][1]++; $_[0][0] } }
        package main;
        for my $method (qw(poll_multi drain poll_wait_multi drain_notify)) {
            $fill->(3);
            tie my $two, 'Fetching', 2;
            is_deeply([$sub->$method($two)], [$v->values(1, 2)], "$method: two");
            is((tied $two)->[1], 1, 'fetched once');
        }
        tie my $nothing, 'Fetching', 0;
        is($sub->poll, $v->value(3), 'the third stays');
        is_deeply([$sub->poll_wait($nothing)], [undef], 'poll_wait: a timeout of 0');
        is_deeply([$sub->poll_wait_multi(2, $nothing)], [], 'poll_wait_multi: the same');
        is((tied $nothing)->[1], 2, 'fetched once each');
        tie my $position, 'Fetching', 1;
        is($sub->cursor($position), 1, 'cursor');
        is((tied $position)->[1], 1, 'fetched once');
    };

    subtest 'poll_wait_multi without waiting' => sub {
        $fill->(5);
        is_deeply([$sub->poll_wait_multi(2, 0)], [$v->values(1, 2)], 'two of five');
        is_deeply([$sub->poll_wait_multi(0)], [], 'none never blocks');
        is_deeply([$sub->poll_wait_multi(9)], [$v->values(3, 5)], 'what there is');
        is_deeply([$sub->poll_wait_multi(9, 0)], [], 'nothing');
        is_deeply([$sub->poll_wait_multi(0)], [], 'none never blocks, on an empty ring neither');
        is(scalar $sub->poll_wait_multi(9, 0), undef, 'a scalar: undef');
        $fill->(2);
        is(scalar $sub->poll_wait_multi(9, 0), $v->value(2), 'or the last');
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
        cmp_ok($most, '<=', 1024, 'no drain returns more than what stood in the ring');
        $kid->kill('KILL');
        is($kid->end & 127, 9, 'the publisher had no end of its own');
    });
};

done_testing;
