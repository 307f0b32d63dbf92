# Arguments that are numbers: strings of digits, numbers that were printed, objects that overload numbers.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Math::BigFloat;
use Math::BigInt;
use Scalar::Util ();
use Test::More;
use PubSubTest;

package Counting {
    use overload '0+' => sub { $_[0][1]++; $_[0][0] }, fallback => 1;
    sub new { return bless [$_[1], 0] }
}

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;
    my $ring  = $v->ring(16);
    my $sub   = $ring->subscribe;

    for my $digits (qw(4611686018427387905 9007199254740993 9223372036854775807 0)) {
        is($sub->cursor(Math::BigInt->new($digits)), $digits, "cursor accepts a Math::BigInt of $digits");
        is($sub->cursor($digits), $digits, "cursor accepts a string of $digits");
    }
    croaks_like(sub { $sub->cursor(Math::BigInt->new($_)) }, "position must be a non-negative integer, not \Q$_\E(?= at)",
        "cursor croaks on a Math::BigInt of $_")
        for qw(-3 9223372036854775808);
    croaks_like(sub { $sub->cursor(Math::BigFloat->new('1.5')) }, 'not 1\.5(?= at)',
        'cursor croaks on a Math::BigFloat with a fraction');

    $ring->publish_multi($v->values(1, 5));
    $sub->reset_oldest;
    is_deeply([$sub->drain(Math::BigInt->new(2))],     [$v->values(1, 2)], 'drain accepts a Math::BigInt');
    is_deeply([$sub->drain(Math::BigFloat->new(1.5))], [$v->value(3)],     'drain accepts a Math::BigFloat with a fraction');
    is_deeply([$sub->drain(Math::BigInt->new(-1))],    [$v->values(4, 5)], 'drain accepts a negative Math::BigInt');
    is($class->new(undef, Math::BigInt->new(100))->capacity, 128, 'new accepts a Math::BigInt as capacity');
    is($sub->poll_wait(Math::BigFloat->new(0)), undef, 'poll_wait accepts a Math::BigFloat as timeout');
    for my $case ([drain => 1], [poll_wait => 0], [cursor => 0], [eventfd_set => -1]) {
        my ($method, $value) = @$case;
        my $object = Counting->new($value);
        $sub->$method($object);
        is($object->[1], 1, "$method converts its object once");
    }

    # Before perl 5.36, printing a number stores a string in it.
    my ($negative, $half) = (-1, 0.5);
    my $printed = "$negative $half";
    croaks_like(sub { $sub->cursor($negative) }, 'not -1(?= at)', 'an error shows a number that was printed as a number');
    croaks_like(sub { $sub->cursor($half) }, 'not 0\.5(?= at)', 'an error shows a fraction that was printed as a number');
    croaks_like(sub { $sub->cursor($negative) }, 'not -1(?= at)',
        'an error shows a number that an error has shown before as a number');
    { no warnings 'numeric'; my $text = 'many'; my $zero = $text + 0; $negative = $text }
    croaks_like(sub { $sub->cursor($negative) }, 'not "many"', 'an error shows a text that was used as a number as a text');
    my $both = Scalar::Util::dualvar(-1, '-1');
    croaks_like(sub { $sub->cursor($both) }, 'not -1(?= at)',
        'an error shows a number with a string, as these perls store it, as a number');
    croaks_like(sub { $sub->cursor(Scalar::Util::dualvar(-5, "text")) }, 'not "text"', "an error shows a dualvar as its text");

    for my $none (-1, '-1', '-1.0', -1.0, ' -1', Math::BigInt->new(-1)) {
        $sub->eventfd_set($ring->eventfd);
        cmp_ok($sub->fileno, '>=', 0, 'the subscriber has an eventfd');
        $sub->eventfd_set($none);
        is($sub->fileno, -1, "eventfd_set('$none') removes the eventfd");
    }
    croaks_like(sub { $sub->eventfd_set($_) }, "not \"?\Q$_\E", "eventfd_set($_) croaks") for -2, '-2', -1.5, 'none';
});

done_testing;
