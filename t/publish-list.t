# publish_multi with a reference to an array of any length; and refs => 'croak' for strings.

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
    is($ring->publish_multi(\@samples), @samples, 'publish_multi returns the number of values');
    is_deeply([$sub->drain], \@samples, 'the values of the array are delivered');
    is($ring->publish_multi([]), 0, 'publish_multi of an empty array returns 0');
    for my $count (1, 8191, 8192, 8193, 20_000) {
        my @values = $v->values(1, $count);
        is($ring->publish_multi(\@values), $count, "publish_multi of an array of $count returns $count");
        is_deeply([$sub->drain], \@values, "an array of $count is delivered in order");
    }
    is($ring->stats->{publish_ok}, $ring->write_pos, 'no position is abandoned');
    croaks_like(sub { $ring->publish_multi($v->values(1, 8193)) }, 'too many values \(8193 > 8192\)',
        'a list of more than 8192 values croaks');

    {
        no warnings 'uninitialized';
        my @holes;
        @holes[1, 3] = $v->values(1, 2);
        my $nothing = $v->is_str ? '' : 0;
        is($ring->publish_multi(\@holes), 4, 'publish_multi accepts an array with holes');
        is_deeply([$sub->drain], [$nothing, $v->value(1), $nothing, $v->value(2)], 'holes are published as undef');
    }
    tie my @tied, 'Counted';
    @tied = $v->values(1, 300);
    $Counted::fetched = 0;
    is($ring->publish_multi(\@tied), 300, 'publish_multi accepts a tied array');
    is_deeply([$sub->drain], [$v->values(1, 300)], 'the values of a tied array are delivered');
    is($Counted::fetched, 300, 'each value of a tied array is fetched once');
    is($ring->publish_multi(\@samples, $v->value(1)), 2, 'an array reference beside another argument is a value') if $v->is_str;
    $sub->drain;
    my $object = Text->new('text');
    is($ring->publish_multi($object), 1, 'publish_multi of one object publishes one value');
    is($sub->poll, $v->is_str ? 'text' : 7, 'the object is converted');

    # Arguments that run Perl code during the call.
    my @values;
    @values = ($v->values(1, 3), Killer->new(sub { @values = (); 5 }), $v->values(4, 6));
    is($ring->publish_multi(\@values), 7, 'publish_multi of an array that is emptied during the call returns the original number');
    is_deeply([$sub->drain], [$v->values(1, 3), 5, $v->values(4, 6)], 'the values from before the call are delivered');
    @values = ($v->value(1), Killer->new(sub { $ring->DESTROY; 5 }));
    croaks_like(sub { $ring->publish_multi(\@values) }, 'destroyed during the call',
        'publish_multi croaks if the ring is destroyed during the call');
    is($sub->lag, 0, 'the call that croaks publishes nothing');
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
        is($ring->publish_multi([$v->values(1, 1000)]), 1000,
            $v->name . ': publish_multi of more values than the ring holds returns their number');
        is($kid->hear, 'all', 'the reader gets all values');
        is($kid->end, 0, 'the reader exits with 0');
    }
};

my $v = variant('Str');

subtest 'publish_multi checks all lengths first' => sub {
    my $ring = $v->class->new(undef, 16, 8);
    my @many = (('x') x 20_000, 'x' x 9);
    croaks_like(sub { $ring->publish_multi(\@many) }, 'publish_multi: message too long \(9 > 8\)',
        'publish_multi croaks if the last of 20001 messages is too long');
    is($ring->write_pos, 0, 'the call that croaks publishes nothing');
};

subtest "refs => 'croak'" => sub {
    my $path = fresh_path();
    for my $ring ($v->class->new($path, 16, refs => 'croak'), $v->class->new(undef, 16, 64, refs => 'croak'),
        $v->class->new_memfd('t', 16, refs => 'croak')) {
        my $sub = $ring->subscribe;
        for my $bad ([], {}, sub { }, \1, bless({}, 'Other'), qr/x/) {
            my $type = ref $bad;
            # A regular expression is an object that perl itself converts to a string.
            croaks_like(sub { $ring->publish($bad) }, "publish: a message must be a string, not a reference \\($type\\)",
                "publish croaks on a reference of type $type");
        }
        croaks_like(sub { $ring->publish_multi('a', {}) }, 'publish_multi: a message must be a string, not a reference \(HASH\)',
            'publish_multi croaks on a reference in its list');
        croaks_like(sub { $ring->publish_multi(['a', {}]) }, 'not a reference \(HASH\)',
            'publish_multi croaks on a reference in its array');
        croaks_like(sub { $ring->publish_notify([]) }, 'publish_notify: a message', 'publish_notify croaks on a reference');
        croaks_like(sub { use Data::PubSub::Shared::Str; ps_str_publish $ring, [] }, 'ps_str_publish: a message',
            'the keyword croaks on a reference');
        is($sub->lag, 0, 'the calls that croak publish nothing');
        $ring->publish(Text->new('text'));
        $ring->publish_multi(1.5, 'b', Text->new('c'));
        is_deeply([$sub->drain], [qw(text 1.5 b c)], 'overloaded objects and numbers are published');
        croaks_like(sub { $ring->publish(Text->new([])) }, 'not a reference', 'an object that converts to a reference is refused');
    }
    my $other = $v->class->new($path, 0, refs => 'stringify');
    my $sub   = $other->subscribe;
    $other->publish([]);
    like($sub->poll, qr/\AARRAY\(/, 'refs is a property of the handle, not of the ring');
    croaks_like(sub { $v->class->new(undef, 8, refs => 'no') }, 'refs must be "croak" or "stringify", not "no"',
        'an unknown value of refs croaks');
    croaks_like(sub { variant('Int')->class->new(undef, 8, refs => 'croak') }, 'unknown option "refs"',
        'rings of integers have no option refs');
};

done_testing;
