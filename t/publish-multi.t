# Batches: how many, how large, in order and next to each other.

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

    is($ring->publish_multi, 0, 'none');
    is($ring->write_pos, 0, 'moves nothing');
    is($ring->publish_multi($v->value(1)), 1, 'one');
    is_deeply([$sub->drain], [$v->value(1)], 'arrives');

    my @most = $v->values(1, 8192);
    is($ring->publish_multi(@most), 8192, 'the most, 8192');
    is_deeply([$sub->drain], \@most, 'arrive in order');
    is($ring->write_pos, 8193, 'write_pos');
    croaks_like(
        sub { $ring->publish_multi(@most, $v->value(0)) },
        quotemeta($v->class) . '->publish_multi: .*8192', 'one more'
    );
    croaks_like(
        sub { $ring->publish_multi((@most) x 12) },
        quotemeta($v->class) . '->publish_multi: .*98304.*8192', 'many more'
    );
    is($ring->write_pos, 8193, 'nothing of it was published');
    is($sub->poll, undef, 'nothing of it arrives');
    is($ring->stats->{publish_ok}, 8193, 'nothing of it is counted');

    for my $capacity (2, 8) {
        my $small = $v->ring($capacity);
        my $late  = $small->subscribe;
        is($small->publish_multi(@most), 8192, "8192 into a ring of $capacity");
        is($small->write_pos, 8192, 'move it by as many');
        is_deeply([$late->drain], [@most[-$capacity .. -1]], 'the last are held');
        is($late->overflow_count, 8192 - $capacity, 'the rest is counted as lost');
        is_deeply([$small->subscribe_all->drain], [@most[-$capacity .. -1]], 'for everybody');
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
    is_deeply(\@got, \@sent, 'batches that start and end anywhere in the ring');

    my @array = $v->values(1, 3);
    my %hash  = (key => $v->value(4));
    $odd->publish_multi(@array, $hash{key}, (map { $v->value($_) } 5, 6));
    is_deeply([$all->drain], [$v->values(1, 6)], 'arguments of all kinds');
    is_deeply(\@array, [$v->values(1, 3)], 'are left as they were');
    my @holes;
    $holes[1] = $v->value(2);
    {
        no warnings 'uninitialized';
        is($odd->publish_multi(@holes), 2, 'an array with a hole');
    }
    is_deeply([$all->drain], [$v->is_str ? '' : 0, $v->value(2)], 'which counts as undef');
    is(scalar @holes, 2, 'and the array keeps its length');
    ok(!exists $holes[0], 'and its hole');
});

subtest 'publishers between each other' => sub {
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
        reap('publishers', @kids);
        my @got = $sub->drain;
        is(scalar @got, 6000, 'all of it arrives');
        my $torn = 0;
        while (my @batch = splice @got, 0, 20) {
            my ($first) = $batch[0] =~ /(\d+)/;
            $torn++ if $first % 1000 || "@batch" ne join ' ', $v->values($first, $first + 19);
        }
        is($torn, 0, 'each batch in one piece');
    });
};

done_testing;
