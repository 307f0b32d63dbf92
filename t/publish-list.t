# publish_multi with a reference to an array: any length; and refs => 'croak', for strings.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Tie::Array;
use PubSubTest;

package Counted { our @ISA = 'Tie::StdArray'; our $fetched = 0; sub FETCH { $fetched++; $_[0][ $_[1] ] } }
package Text { use overload '""' => sub { $_[0][0] }, '0+' => sub { 7 }, fallback => 1; sub new { bless [$_[1]], $_[0] } }
package Killer { use overload '""' => sub { $_[0][0]->() }, '0+' => sub { $_[0][0]->() }, fallback => 1; sub new { bless [$_[1]], $_[0] } }
package main;

each_variant(sub {
    my ($v)  = @_;
    my $ring = $v->ring(32768);
    my $sub  = $ring->subscribe;
    my @samples = $v->samples;
    is($ring->publish_multi(\@samples), @samples, 'returns how many');
    is_deeply([$sub->drain], \@samples, 'and publishes them');
    is($ring->publish_multi([]), 0, 'none are none');
    for my $count (1, 8191, 8192, 8193, 20_000) {
        my @values = $v->values(1, $count);
        is($ring->publish_multi(\@values), $count, "$count at once");
        is_deeply([$sub->drain], \@values, 'in order');
    }
    is($ring->stats->{publish_ok}, $ring->write_pos, 'none is abandoned');
    croaks_like(sub { $ring->publish_multi($v->values(1, 8193)) }, 'too many values \(8193 > 8192\)', 'a list has its limit');

    {
        no warnings 'uninitialized';
        my @holes;
        @holes[1, 3] = $v->values(1, 2);
        my $nothing = $v->is_str ? '' : 0;
        is($ring->publish_multi(\@holes), 4, 'an array with holes');
        is_deeply([$sub->drain], [$nothing, $v->value(1), $nothing, $v->value(2)], 'which count as undef');
    }
    tie my @tied, 'Counted';
    @tied = $v->values(1, 300);
    $Counted::fetched = 0;
    is($ring->publish_multi(\@tied), 300, 'a tied array');
    is_deeply([$sub->drain], [$v->values(1, 300)], 'is read');
    is($Counted::fetched, 300, 'once');
    is($ring->publish_multi(\@samples, $v->value(1)), 2, 'two arguments are two values') if $v->is_str;
    $sub->drain;
    my $object = Text->new('text');
    is($ring->publish_multi($object), 1, 'an object is a value');
    is($sub->poll, $v->is_str ? 'text' : 7, 'which it says');

    # Perl code in the middle.
    my @values;
    @values = ($v->values(1, 3), Killer->new(sub { @values = (); 5 }), $v->values(4, 6));
    is($ring->publish_multi(\@values), 7, 'an array that is emptied meanwhile');
    is_deeply([$sub->drain], [$v->values(1, 3), 5, $v->values(4, 6)], 'was taken as it was');
    @values = ($v->value(1), Killer->new(sub { $ring->DESTROY; 5 }));
    croaks_like(sub { $ring->publish_multi(\@values) }, 'destroyed during the call', 'a ring that is destroyed meanwhile');
    is($sub->lag, 0, 'nothing was published');
});

subtest 'a lossless ring' => sub {
    for my $v (variants()) {
        my $ring = $v->class->new(undef, 16, ($v->is_str ? 64 : ()), lossless => 1);
        my $kid  = spawn(sub {
            my ($peer) = @_;
            my $sub = $ring->subscribe;
            $peer->tell('ready');
            my @got;
            push @got, $sub->poll_wait_multi(100) while @got < 1000;
            $peer->tell("@got" eq join(' ', $v->values(1, 1000)) ? 'all' : 'others');
        });
        $kid->hear;
        is($ring->publish_multi([$v->values(1, 1000)]), 1000, $v->name . ': more than it holds, in pieces');
        is($kid->hear, 'all', 'all arrive');
        is($kid->end, 0, 'and that is it');
    }
};

my $v = variant('Str');

subtest 'lengths are checked before' => sub {
    my $ring = $v->class->new(undef, 16, 8);
    my @many = (('x') x 20_000, 'x' x 9);
    croaks_like(sub { $ring->publish_multi(\@many) }, 'publish_multi: message too long \(9 > 8\)', 'one that is too long, far behind');
    is($ring->write_pos, 0, 'nothing is published');
};

subtest 'references that are no messages' => sub {
    my $path = fresh_path();
    for my $ring ($v->class->new($path, 16, refs => 'croak'), $v->class->new(undef, 16, 64, refs => 'croak'),
        $v->class->new_memfd('t', 16, refs => 'croak')) {
        my $sub = $ring->subscribe;
        for my $bad ([], {}, sub { }, \1, bless({}, 'Other'), qr/x/) {
            my $type = ref $bad;
            # A regular expression is an object that perl itself makes a string.
            croaks_like(sub { $ring->publish($bad) }, "publish: a message must be a string, not a reference \\($type\\)", $type);
        }
        croaks_like(sub { $ring->publish_multi('a', {}) }, 'publish_multi: a message must be a string, not a reference \(HASH\)', 'in a list');
        croaks_like(sub { $ring->publish_multi(['a', {}]) }, 'not a reference \(HASH\)', 'in an array');
        croaks_like(sub { $ring->publish_notify([]) }, 'publish_notify: a message', 'publish_notify');
        croaks_like(sub { use Data::PubSub::Shared::Str; ps_str_publish $ring, [] }, 'ps_str_publish: a message', 'the keyword');
        is($sub->lag, 0, 'nothing is published');
        $ring->publish(Text->new('text'));
        $ring->publish_multi(1.5, 'b', Text->new('c'));
        is_deeply([$sub->drain], [qw(text 1.5 b c)], 'objects that are strings are, and all else');
        croaks_like(sub { $ring->publish(Text->new([])) }, 'not a reference', 'one that says a reference');
    }
    my $other = $v->class->new($path, 0, refs => 'stringify');
    my $sub   = $other->subscribe;
    $other->publish([]);
    like($sub->poll, qr/\AARRAY\(/, 'it is the handle that refuses, not the ring');
    croaks_like(sub { $v->class->new(undef, 8, refs => 'no') }, 'refs must be "croak" or "stringify", not "no"', 'another word');
    croaks_like(sub { variant('Int')->class->new(undef, 8, refs => 'croak') }, 'unknown option "refs"', 'numbers have no such option');
};

done_testing;
