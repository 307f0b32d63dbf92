# Numbers as they lie in memory: publish_packed and drain_packed, for all variants but strings.

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

# The values as one string, and back.
sub packed   { my ($v, @values) = @_; return pack $v->template . '*', @values }
sub unpacked { my ($v, $bytes) = @_; return unpack $v->template . '*', $bytes }

for my $v (@numbers) {
    subtest $v->name => sub {
        my $ring  = $v->ring(16);
        my $sub   = $ring->subscribe;
        my $width = length packed($v, 0);
        my @samples = $v->samples;

        is($ring->publish_packed(packed($v, @samples)), @samples, 'returns how many');
        is_deeply([$sub->drain], \@samples, 'drain gives them');
        $ring->publish_multi(@samples);
        is_deeply([unpacked($v, $sub->drain_packed)], \@samples, 'drain_packed gives those of publish_multi');
        is($sub->drain_packed, '', 'nothing: the empty string');
        is($ring->publish_packed(''), 0, 'none are none');
        is($sub->lag, 0, 'indeed');

        $ring->publish_multi($v->values(1, 10));
        is_deeply([unpacked($v, $sub->drain_packed(3))],    [$v->values(1, 3)],  'at most 3');
        is_deeply([unpacked($v, $sub->drain_packed(0))],    [],                  'at most none');
        is_deeply([unpacked($v, $sub->drain_packed('2.9'))], [$v->values(4, 5)], 'a fraction is dropped');
        is_deeply([unpacked($v, $sub->drain_packed(undef))], [$v->values(6, 10)], 'undef: all');
        $ring->publish_multi($v->values(1, 4));
        is_deeply([unpacked($v, $sub->drain_packed(-1))], [$v->values(1, 4)], 'a negative count: all');
        croaks_like(sub { $sub->drain_packed('x') }, 'drain_packed: count must be a number, not "x"', 'no number');

        for my $length (grep { $_ % $width } 1 .. 17) {
            croaks_like(sub { $ring->publish_packed('x' x $length) },
                "publish_packed: $length bytes are not a whole number of values of $width bytes", "$length bytes");
        }
        croaks_like(sub { $ring->publish_packed([1]) }, 'a string of bytes, not a reference', 'an array');
        croaks_like(sub { $ring->publish_packed("\x{100}" x 8) }, 'wide characters', 'characters');
        croaks_like(sub { $ring->publish_packed }, 'Usage: .*::publish_packed\\(', 'nothing');
        is($sub->lag, 0, 'of all that nothing is published');

        my $upgraded = packed($v, -1, 1);
        utf8::upgrade($upgraded);
        $ring->publish_packed($upgraded);
        is_deeply([$sub->drain], [-1, 1], 'bytes that perl has as characters');
        tie my $tied, 'Counted', packed($v, 5);
        $ring->publish_packed($tied);
        is((tied $tied)->[1], 1, 'a tied string is fetched once');
        $ring->publish_packed(Bytes->new(packed($v, 6)));
        is_deeply([$sub->drain], [5, 6], 'and objects that overload strings');

        # Beyond the ring, and beyond one claim.
        for my $count (17, 8191, 8192, 8193, 20_000) {
            is($ring->publish_packed(packed($v, $v->values(1, $count))), $count, "$count at once");
            is_deeply([unpacked($v, $sub->drain_packed)], [$v->values($count - 15, $count)], 'the last are held');
        }
        is($sub->overflow_count, 17 + 8191 + 8192 + 8193 + 20_000 - 5 * 16, 'the others are counted as lost');
        is($ring->stats->{publish_ok}, $ring->write_pos, 'none is abandoned');

        # Not aligned to anything.
        my $bytes = 'x' . packed($v, $v->values(1, 5));
        $ring->publish_packed(substr $bytes, 1);
        is_deeply([$sub->drain], [$v->values(1, 5)], 'from anywhere in memory');

        $ring->publish_multi($v->values(1, 3));
        my $got = $sub->drain_packed;
        $got .= 'tail';
        $ring->publish(7);
        is_deeply([unpacked($v, $sub->drain_packed)], [7], 'the string is the caller\'s own');
    };
}

subtest 'a sleeper wakes' => sub {
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
    like($kid->hear, qr/\A1(?: 2 3)?\z/, 'with a message');
    is($kid->end, 0, 'and ends');
};

subtest 'for reading only' => sub {
    my $v    = variant('Num');
    my $ring = $v->class->new(my $path = fresh_path(), 16);
    my $only = $v->class->new_readonly($path);
    my $sub  = $only->subscribe;
    croaks_like(sub { $only->publish_packed(packed($v, 1)) }, 'this ring is read-only', 'publish_packed');
    $ring->publish_packed(packed($v, 1.5, 2.5));
    is_deeply([unpacked($v, $sub->drain_packed)], [1.5, 2.5], 'drain_packed');
};

ok(!variant('Str')->class->can('publish_packed'),    'strings are not packed');
ok(!variant('Str')->sub_class->can('drain_packed'), 'nor unpacked');

done_testing;
