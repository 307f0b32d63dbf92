# Floating-point numbers: converted as Perl converts numbers, and stored with all bits.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Config;
use Test::More;
use PubSubTest;

my $v    = variant('Num');
my $ring = $v->ring(64);
my $sub  = $ring->subscribe;

sub bits { return map { unpack 'H16', pack 'd>', $_ } @_ }
sub from_bits { return map { unpack 'd>', pack 'H16', $_ } @_ }

subtest 'bits' => sub {
    plan skip_all => 'numbers of this perl have more than 64 bits' if $Config{nvsize} != 8;
    # Zeros, subnormal and largest numbers, infinities; quiet and signalling NaNs with payloads and signs.
    my @bits = qw(0000000000000000 8000000000000000 0000000000000001 800fffffffffffff 7fefffffffffffff
        7ff0000000000000 fff0000000000000 7ff8000000000000 fff8000000000001 7ff800deadbeef01 7ff0000000000001 fff4123456789abc);
    my @numbers = from_bits(@bits);
    $ring->publish($_) for @numbers;
    is_deeply([map { bits($sub->poll) } @bits], \@bits, 'publish and poll keep all bits');
    is($ring->publish_multi(@numbers), scalar @numbers, 'publish_multi returns the number of values');
    is_deeply([bits($sub->drain)], \@bits, 'publish_multi and drain keep all bits');
    $ring->publish_multi(@numbers);
    my @got;
    $sub->poll_cb(sub { push @got, bits($_[0]) });
    is_deeply(\@got, \@bits, 'poll_cb keeps all bits');
    use Data::PubSub::Shared::Num;
    ps_num_publish $ring, $_ for @numbers;
    @got = ();
    while (ps_num_lag $sub) { my $number = ps_num_poll $sub; push @got, bits($number) }
    is_deeply(\@got, \@bits, 'keywords keep all bits');
    $ring->publish_packed(join '', map { pack 'd', $_ } @numbers);
    is_deeply([bits(unpack 'd*', $sub->drain_packed)], \@bits, 'publish_packed and drain_packed keep all bits');
};

subtest 'other arguments' => sub {
    no warnings;
    for my $case ([7 => 7], ['3.9' => 3.9], [' -1e3' => -1000], ['12abc' => 12], ['abc' => 0], ['' => 0], [undef, 0], [!!1 => 1],
        ['Inf' => 9**9**9], [18446744073709551615 => 2**64], [9007199254740993 => 2**53]) {
        my ($in, $out) = @$case;
        my $name = $in // 'undef';
        ok($ring->publish($in), "publish($name) returns true");
        ($out) = PubSubTest::Variant::in_64_bits($out);
        is_deeply([$ring->publish_multi($in, 0.5, $in), $sub->drain], [3, $out, $out, 0.5, $out], "'$name' arrives as $out");
    }
};

subtest 'a callback that keeps or changes its message' => sub {
    my @kept;
    $ring->publish_multi(1.5, 2.5, 3.5);
    $sub->poll_cb(sub { push @kept, \$_[0] });
    is_deeply([map {$$_} @kept], [1.5, 2.5, 3.5], 'the callback may keep its messages');
    $ring->publish_multi(1.5, 2.5);
    my @seen;
    $sub->poll_cb(sub { push @seen, "$_[0]"; $_[0] = 'text' });
    is_deeply(\@seen, ['1.5', '2.5'], 'the callback may change its message without affecting the next');
};

done_testing;
