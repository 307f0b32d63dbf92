# Subscribers' each, and poll_cb with a maximum.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

our @named;
sub by_name { push @named, $_[0]; return 1 }
package Callable { use overload '&{}' => sub { my $self = shift; sub { push @{ $self->{got} }, $_[0]; 1 } }, fallback => 1 }
package main;

each_variant(sub {
    my ($v)  = @_;
    my $ring = $v->ring(16);
    my $sub  = $ring->subscribe;
    my $send = sub { $ring->publish_multi($v->values(1, 5)) };
    my @got;

    $send->();
    is($sub->each(sub { push @got, $_[0] }, 0), 5, 'returns how many');
    is_deeply(\@got, [$v->values(1, 5)], 'in order');
    is($sub->each(sub { fail('called') }, 0), 0, 'nothing: none');

    $send->();
    @got = ();
    is($sub->each(sub { push @got, $_[0]; @got < 3 }, 0), 3, 'a false return ends it');
    is_deeply(\@got, [$v->values(1, 3)], 'with that message');
    is($sub->lag, 2, 'the others stay');
    {
        no warnings 'exiting';
        $sub->each(sub { push @got, $_[0]; last }, 0);
    }
    is_deeply(\@got, [$v->values(1, 4)], '`last` ends it, too');
    is(eval { $sub->each(sub { die "no\n" }, 0); 1 }, undef, 'so does an exception');
    is($@, "no\n", 'which goes to the caller');
    is($sub->lag, 0, 'the message counts as delivered');

    $send->();
    is($sub->each('by_name', 0), 5, 'the name of a subroutine of the caller');
    is($sub->each('main::by_name', 0), 0, 'one with its package');
    my $object = bless {}, 'Callable';
    $send->();
    is($sub->each($object, 0), 5, 'an object that overloads &{}');
    is_deeply($object->{got}, \@named, 'both get them all');
    @named = ();
    for my $bad (undef, '', 'nothing_here', [], 7) {
        croaks_like(sub { $sub->each($bad, 0) }, '->each: handler must be a code reference or the name of a subroutine, not ',
            'handler: ' . ($bad // 'undef'));
    }
    croaks_like(sub { $sub->each }, "Usage: .*(?= at \Q$0\E line)", 'no handler');
    croaks_like(sub { $sub->each(sub { }, 'soon') }, "timeout must be a number.*(?= at \Q$0\E line)", 'no timeout');

    # It waits, and goes on with what comes while it handles.
    my $left = 3;
    $ring->publish($v->value(1));
    is($sub->each(sub { $ring->publish($v->value(2)) if --$left > 0; 1 }, 0), 3, 'what a handler publishes comes, too');
    my $kid = spawn(sub {
        my ($peer) = @_;
        my $own = $ring->subscribe;
        $peer->tell('ready');
        $peer->tell($own->each(sub { $_[0] ne $v->value(9) }));
    });
    $kid->hear;
    until_asleep($kid->pid);
    $ring->publish($v->value($_)) for 7 .. 9;
    is($kid->hear, 3, 'without a timeout it waits for the next');
    is($kid->end, 0, 'and ends');

    $sub->drain;
    $send->();
    @got = ();
    my $take = sub { push @got, $_[0] };
    is($sub->poll_cb($take, 2), 2, 'poll_cb: two at most');
    is($sub->poll_cb($take, 0), 0, 'none');
    is($sub->poll_cb($take, 1.9), 1, 'a fraction is dropped');
    is($sub->poll_cb($take, undef), 2, 'undef: all');
    is_deeply(\@got, [$v->values(1, 5)], 'each once');
    $send->();
    is($sub->poll_cb($take, -1), 5, 'a negative count: all');
    croaks_like(sub { $sub->poll_cb($take, 'x') }, 'poll_cb: count must be a number, not "x"', 'no number');
    croaks_like(sub { $sub->poll_cb($take, 1, 2) }, 'Usage: ', 'too many arguments');
    $send->();
    my $bad = Killer->new($sub);
    croaks_like(sub { $sub->poll_cb(sub { }, $bad) }, 'destroyed during the call', 'a count that destroys the subscriber');
});

package Killer { use overload '0+' => sub { $_[0][0]->DESTROY; 1 }, fallback => 1; sub new { bless [$_[1]], $_[0] } }

done_testing;
