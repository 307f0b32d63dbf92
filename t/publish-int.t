# Integers: converted as Perl converts integers, truncated to the width as in C.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

my $MIN64 = -9223372036854775807 - 1;

my %cut = (
    64 => [
        [9223372036854775807 => 9223372036854775807], [$MIN64 => $MIN64],
        [9223372036854775808 => $MIN64], [18446744073709551615 => -1],
    ],
    32 => [
        [2147483647  => 2147483647],  [2147483648 => -2147483648], [4294967295 => -1], [4294967296 => 0],
        [-2147483649 => 2147483647],  [4294967338 => 42], [18446744073709551615 => -1], [$MIN64 => 0],
    ],
    16 => [
        [32767  => 32767], [32768 => -32768], [65535 => -1], [65536 => 0], [65578 => 42], [-65536 => 0],
        [-32769 => 32767], [18446744073709551615 => -1], [$MIN64 => 0], [98304 => -32768],
    ],
);
my @everywhere = (
    [3.7 => 3], [-3.7 => -3], [0.999 => 0], ['42' => 42], ['-17' => -17], [' 7' => 7], ['1e3' => 1000],
    ['3.9' => 3], ['' . -0.0 => 0], [!!1 => 1], ["\x{37}" => 7],
);
my @doubtful   = ('12abc', 'abc', '', '0x10', undef, "5\0", !!0);
my @far        = (1e18, 1e19, -1e19, 2**63, -(2**63), '9223372036854775808', '18446744073709551616', 4294967296.5);

each_variant(sub {
    my ($v) = @_;
    plan skip_all => 'not an integer' if !$v->is_int;
    my $ring = $v->ring;
    my $sub  = $ring->subscribe;

    for my $case (@{ $cut{ $v->bits } }, @everywhere) {
        my ($in, $out) = @$case;
        ok($ring->publish($in), "publish($in) is true");
        is($sub->poll, $out, "publish($in) returns true");
        is($ring->publish_multi($in, $in), 2, "publish_multi($in, $in) returns 2");
        is_deeply([$sub->drain], [$out, $out], "publish_multi($in) arrives as $out");
    }
    {
        no warnings;
        for my $in (@doubtful, @far) {
            my $name     = $in // 'undef';
            my $expected = unpack $v->template, pack $v->template, $in;
            $ring->publish($in);
            is($sub->poll, $expected, "'$name' arrives as pack converts it");
        }
    }
    for my $odd (9**9**9, -9**9**9, 9**9**9 / 9**9**9) {
        my $published = eval { $ring->publish($odd) };
        is(scalar(my @got = $sub->drain), $published ? 1 : 0, "$odd is delivered only if publish returned true");
    }

    my @samples = $v->samples;
    is($ring->publish_multi(@samples), @samples, 'publish_multi returns the number of values');
    is_deeply([$sub->drain], \@samples, 'the smallest and largest values are delivered unchanged');

    croaks_like(sub { $ring->publish }, 'Usage: .*::publish\(', 'publish croaks without an argument');
    croaks_like(sub { $ring->publish(1, 2) }, 'Usage: .*::publish\(', 'publish croaks on two arguments');
    is($sub->lag, 0, 'the calls that croak publish nothing');
});

done_testing;
