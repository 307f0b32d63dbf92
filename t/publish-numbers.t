# Conversion to numbers: warnings, references, tied variables, objects, strings; in all variants of numbers.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

package Counted { sub TIESCALAR { bless [$_[1], 0] } sub FETCH { $_[0][1]++; $_[0][0] } }
package Number {
    use overload '0+' => sub { $_[0][1]++; $_[0][0] }, fallback => 1;
    sub new { bless [$_[1], 0], $_[0] }
}

package main;

each_variant(sub {
    my ($v) = @_;
    plan skip_all => 'not a variant of numbers' if $v->is_str;
    my $ring = $v->ring;
    my $sub  = $ring->subscribe;

    my @warned;
    {
        local $SIG{__WARN__} = sub { push @warned, @_ };
        my $text = '12abc';    # a constant would cause a warning only once
        $ring->publish($text);
        $ring->publish(undef);
    }
    is(scalar @warned, 2, 'values that are not numbers cause a warning each');
    like($warned[0], qr/isn't numeric/, 'a text causes the usual warning');
    like($warned[1] // '', qr/uninitialized/, 'undef causes the usual warning');
    is_deeply([$sub->drain], [12, 0], 'both are converted as Perl converts them');

    my $reference = [];
    $ring->publish($reference);
    is($sub->poll, unpack($v->template, pack $v->template, 0 + $reference), 'a reference is published as its address');

    my ($tied_value, $object_value, $string, $next) = $v->is_int ? (11, 12, '13', 14) : (11.5, 12.5, '13.5', 14.5);
    tie my $tied, 'Counted', $tied_value;
    $ring->publish($tied);
    is($sub->poll, $tied_value, 'a tied scalar is published');
    is((tied $tied)->[1], 1, 'a tied scalar is fetched once');
    $ring->publish_multi($tied, $tied);
    is_deeply([$sub->drain], [$tied_value, $tied_value], 'publish_multi accepts tied scalars');
    is((tied $tied)->[1], 3, 'publish_multi fetches a tied scalar once for each argument');

    my $number = Number->new($object_value);
    $ring->publish($number);
    is($sub->poll, $object_value, 'an overloaded object is published');
    is($number->[1], 1, 'an overloaded object is converted once');

    my $before = $string;
    $ring->publish($string);
    is($string, $before, 'the argument keeps its value');
    my $got = $sub->poll;
    $got .= 'x';
    $ring->publish($next);
    is($sub->poll, $next, 'changing a message does not affect the next');
    is($got, $before . 'x', 'a message does not change with the next publish');
});

done_testing;
