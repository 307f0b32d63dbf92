# publish_multi: number and size of batches, their order, and that they stay together.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

each_variant(sub {
    my ($v)  = @_;
    my $ring = $v->ring(16384);
    my $sub  = $ring->subscribe;

    is($ring->publish_multi, 0, 'publish_multi without values returns 0');
    is($ring->write_pos, 0, 'publish_multi without values does not move the write position');
    is($ring->publish_multi($v->value(1)), 1, 'publish_multi of one value returns 1');
    is_deeply([$sub->drain], [$v->value(1)], 'the value is delivered');

    my @most = $v->values(1, 8192);
    is($ring->publish_multi(@most), 8192, 'publish_multi of 8192 values, the maximum, returns 8192');
    is_deeply([$sub->drain], \@most, 'the values are delivered in order');
    is($ring->write_pos, 8193, 'write_pos counts all values');
    croaks_like(
        sub { $ring->publish_multi(@most, $v->value(0)) },
        quotemeta($v->class) . '->publish_multi: .*8192', 'publish_multi of 8193 values croaks'
    );
    croaks_like(
        sub { $ring->publish_multi((@most) x 12) },
        quotemeta($v->class) . '->publish_multi: .*98304.*8192', 'publish_multi of 98304 values croaks'
    );
    is($ring->write_pos, 8193, 'calls that croak do not move the write position');
    is($sub->poll, undef, 'calls that croak deliver nothing');
    is($ring->stats->{publish_ok}, 8193, 'calls that croak are not counted');

    for my $capacity (2, 8) {
        my $small = $v->ring($capacity);
        my $late  = $small->subscribe;
        is($small->publish_multi(@most), 8192, "8192 values into a ring of $capacity");
        is($small->write_pos, 8192, 'the write position moves by 8192');
        is_deeply([$late->drain], [@most[-$capacity .. -1]], "drain returns the last $capacity values");
        is($late->overflow_count, 8192 - $capacity, 'overflow_count counts the others');
        is_deeply([$small->subscribe_all->drain], [@most[-$capacity .. -1]], "subscribe_all gets the last $capacity values");
    }

    my $odd = $v->ring(8);
    my $all = $odd->subscribe;
    my (@sent, @got);
    for my $n (1, 2, 3, 5, 7, 8, 6, 4, 1, 8, 3, 3, 8) {
        my @batch = $v->values(scalar(@sent), @sent + $n - 1);
        $odd->publish_multi(@batch);
        push @sent, @batch;
        push @got,  $all->drain;
    }
    is_deeply(\@got, \@sent, 'batches that start and end at any slot are delivered');

    my @array = $v->values(1, 3);
    my %hash  = (key => $v->value(4));
    $odd->publish_multi(@array, $hash{key}, (map { $v->value($_) } 5, 6));
    is_deeply([$all->drain], [$v->values(1, 6)], 'values of arrays, hashes and lists are delivered');
    is_deeply(\@array, [$v->values(1, 3)], 'the arguments are not changed');
    my @holes;
    $holes[1] = $v->value(2);
    {
        no warnings 'uninitialized';
        is($odd->publish_multi(@holes), 2, 'publish_multi accepts an array with a hole');
    }
    is_deeply([$all->drain], [$v->is_str ? '' : 0, $v->value(2)], 'the hole is published as undef');
    is(scalar @holes, 2, 'the array keeps its length');
    ok(!exists $holes[0], 'the array keeps its hole');
});

subtest 'several publishers of batches' => sub {
    each_variant(sub {
        my ($v)  = @_;
        my $ring = $v->ring(16384);
        my $sub  = $ring->subscribe;
        my @kids = map {
            my $id = $_;
            spawn(sub {
                my ($peer) = @_;
                $peer->hear;
                $ring->publish_multi(map { $v->value($id * 1000 + $_) } 0 .. 19) for 1 .. 100;
            });
        } 1 .. 3;
        $_->tell('go') for @kids;
        reap('the publishers exit with 0', @kids);
        my @got = $sub->drain;
        is(scalar @got, 6000, 'all values arrive');
        my $torn = 0;
        while (my @batch = splice @got, 0, 20) {
            my ($first) = $batch[0] =~ /(\d+)/;
            $torn++ if $first % 1000 || "@batch" ne join ' ', $v->values($first, $first + 19);
        }
        is($torn, 0, 'each batch stays together');
    });
};

done_testing;
