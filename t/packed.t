# publish_packed and drain_packed: numbers as bytes, for all variants but strings.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

package Counted { sub TIESCALAR { bless [$_[1], 0] } sub FETCH { $_[0][1]++; $_[0][0] } }
package Bytes {
    use overload '""' => sub { $_[0][0] }, fallback => 1;
    sub new { bless [$_[1]], $_[0] }
}

package main;

my @numbers = grep { !$_->is_str } variants();

# The values as one string of bytes, and back.
sub packed   { my ($v, @values) = @_; return pack $v->template . '*', @values }
sub unpacked { my ($v, $bytes) = @_; return unpack $v->template . '*', $bytes }

for my $v (@numbers) {
    subtest $v->name => sub {
        my $ring  = $v->ring(16);
        my $sub   = $ring->subscribe;
        my $width = length packed($v, 0);
        my @samples = $v->samples;

        is($ring->publish_packed(packed($v, @samples)), @samples, 'publish_packed returns the number of values');
        is_deeply([$sub->drain], \@samples, 'drain returns the packed values');
        $ring->publish_multi(@samples);
        is_deeply([unpacked($v, $sub->drain_packed)], \@samples, 'drain_packed returns values of publish_multi');
        is($sub->drain_packed, '', 'drain_packed of an empty ring returns the empty string');
        is($ring->publish_packed(''), 0, 'publish_packed of the empty string returns 0');
        is($sub->lag, 0, 'publish_packed of the empty string publishes nothing');

        $ring->publish_multi($v->values(1, 10));
        is_deeply([unpacked($v, $sub->drain_packed(3))],    [$v->values(1, 3)],  'drain_packed(3) returns three values');
        is_deeply([unpacked($v, $sub->drain_packed(0))],    [],                  'drain_packed(0) returns nothing');
        is_deeply([unpacked($v, $sub->drain_packed('2.9'))], [$v->values(4, 5)], 'drain_packed(2.9) returns two values');
        is_deeply([unpacked($v, $sub->drain_packed(undef))], [$v->values(6, 10)], 'drain_packed(undef) returns all values');
        $ring->publish_multi($v->values(1, 4));
        is_deeply([unpacked($v, $sub->drain_packed(-1))], [$v->values(1, 4)], 'drain_packed(-1) returns all values');
        croaks_like(sub { $sub->drain_packed('x') }, 'drain_packed: count must be a number, not "x"',
            'drain_packed croaks on a count that is not a number');

        for my $length (grep { $_ % $width } 1 .. 17) {
            croaks_like(sub { $ring->publish_packed('x' x $length) },
                "publish_packed: $length bytes are not a whole number of values of $width bytes",
                    "publish_packed of $length bytes croaks");
        }
        croaks_like(sub { $ring->publish_packed([1]) }, 'a string of bytes, not a reference',
            'publish_packed of an array reference croaks');
        croaks_like(sub { $ring->publish_packed("\x{100}" x 8) }, 'wide characters', 'publish_packed of wide characters croaks');
        croaks_like(sub { $ring->publish_packed }, 'Usage: .*::publish_packed\\(', 'publish_packed without arguments croaks');
        is($sub->lag, 0, 'the calls that croak publish nothing');

        my $upgraded = packed($v, -1, 1);
        utf8::upgrade($upgraded);
        $ring->publish_packed($upgraded);
        is_deeply([$sub->drain], [-1, 1], 'publish_packed accepts bytes that perl stores as characters');
        tie my $tied, 'Counted', packed($v, 5);
        $ring->publish_packed($tied);
        is((tied $tied)->[1], 1, 'a tied string is fetched once');
        $ring->publish_packed(Bytes->new(packed($v, 6)));
        is_deeply([$sub->drain], [5, 6], 'publish_packed accepts objects that overload strings');

        # More than the ring holds, and more than one claim.
        for my $count (17, 8191, 8192, 8193, 20_000) {
            is($ring->publish_packed(packed($v, $v->values(1, $count))), $count, "publish_packed of $count values returns $count");
            is_deeply([unpacked($v, $sub->drain_packed)], [$v->values($count - 15, $count)],
                "after $count values, drain_packed returns the last 16");
        }
        is($sub->overflow_count, 17 + 8191 + 8192 + 8193 + 20_000 - 5 * 16, 'overflow_count counts the others');
        is($ring->stats->{publish_ok}, $ring->write_pos, 'no position is abandoned');

        # Not aligned.
        my $bytes = 'x' . packed($v, $v->values(1, 5));
        $ring->publish_packed(substr $bytes, 1);
        is_deeply([$sub->drain], [$v->values(1, 5)], 'publish_packed accepts unaligned bytes');

        $ring->publish_multi($v->values(1, 3));
        my $got = $sub->drain_packed;
        $got .= 'tail';
        $ring->publish(7);
        is_deeply([unpacked($v, $sub->drain_packed)], [7], 'changing the result of drain_packed does not change the ring');
    };
}

subtest 'publish_packed wakes a sleeping subscriber' => sub {
    my $v    = variant('Int');
    my $ring = $v->ring(16);
    my $sub  = $ring->subscribe;
    my $kid  = spawn(sub {
        my ($peer) = @_;
        $peer->tell('ready');
        $peer->tell(join ' ', $sub->poll_wait_multi(10));
    });
    $kid->hear;
    until_asleep($kid->pid);
    $ring->publish_packed(packed($v, 1, 2, 3));
    like($kid->hear, qr/\A1(?: 2 3)?\z/, 'the subscriber gets the values');
    is($kid->end, 0, 'the subscriber exits with 0');
};

subtest 'a read-only handle' => sub {
    my $v    = variant('Num');
    my $ring = $v->class->new(my $path = fresh_path(), 16);
    my $only = $v->class->new_readonly($path);
    my $sub  = $only->subscribe;
    croaks_like(sub { $only->publish_packed(packed($v, 1)) }, 'this ring is read-only', 'publish_packed croaks');
    $ring->publish_packed(packed($v, 1.5, 2.5));
    is_deeply([unpacked($v, $sub->drain_packed)], [1.5, 2.5], 'drain_packed returns the values');
};

ok(!variant('Str')->class->can('publish_packed'),    'rings of strings have no publish_packed');
ok(!variant('Str')->sub_class->can('drain_packed'), 'subscribers of strings have no drain_packed');

done_testing;
