# each, and poll_cb with a maximum.

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
    is($sub->each(sub { push @got, $_[0] }, 0), 5, 'each returns the number of messages');
    is_deeply(\@got, [$v->values(1, 5)], 'the callback gets the messages in order');
    is($sub->each(sub { fail('called') }, 0), 0, 'each of an empty ring returns 0');

    $send->();
    @got = ();
    is($sub->each(sub { push @got, $_[0]; @got < 3 }, 0), 3, 'a false result of the callback ends each');
    is_deeply(\@got, [$v->values(1, 3)], 'the message of that call counts as handled');
    is($sub->lag, 2, 'the other messages are left');
    {
        no warnings 'exiting';
        $sub->each(sub { push @got, $_[0]; last }, 0);
    }
    is_deeply(\@got, [$v->values(1, 4)], '`last` in the callback ends each');
    is(eval { $sub->each(sub { die "no\n" }, 0); 1 }, undef, 'an exception of the callback ends each');
    is($@, "no\n", 'the exception is passed to the caller unchanged');
    is($sub->lag, 0, 'the message of the call that died counts as delivered');

    $send->();
    is($sub->each('by_name', 0), 5, 'each accepts the name of a subroutine of the caller');
    is($sub->each('main::by_name', 0), 0, 'each accepts a name with a package');
    my $object = bless {}, 'Callable';
    $send->();
    is($sub->each($object, 0), 5, 'each accepts an object that overloads &{}');
    is_deeply($object->{got}, \@named, 'the object and the named subroutine got all messages');
    @named = ();
    for my $bad (undef, '', 'nothing_here', [], 7) {
        croaks_like(sub { $sub->each($bad, 0) }, '->each: handler must be a code reference or the name of a subroutine, not ',
            'each croaks on the handler ' . ($bad // 'undef'));
    }
    croaks_like(sub { $sub->each }, "Usage: .*(?= at \Q$0\E line)", 'each croaks without a handler');
    croaks_like(sub { $sub->each(sub { }, 'soon') }, "timeout must be a number.*(?= at \Q$0\E line)",
        'each croaks on a timeout that is not a number');

    # each waits, and continues with messages that are published during a call of the callback.
    my $left = 3;
    $ring->publish($v->value(1));
    is($sub->each(sub { $ring->publish($v->value(2)) if --$left > 0; 1 }, 0), 3,
        'messages that the callback publishes are delivered');
    my $kid = spawn(sub {
        my ($peer) = @_;
        my $own = $ring->subscribe;
        $peer->tell('ready');
        $peer->tell($own->each(sub { $_[0] ne $v->value(9) }));
    });
    $kid->hear;
    until_asleep($kid->pid);
    $ring->publish($v->value($_)) for 7 .. 9;
    is($kid->hear, 3, 'without a timeout, each waits for the next message');
    is($kid->end, 0, 'the waiting process exits with 0');

    $sub->drain;
    $send->();
    @got = ();
    my $take = sub { push @got, $_[0] };
    is($sub->poll_cb($take, 2), 2, 'poll_cb with a maximum of 2 takes two messages');
    is($sub->poll_cb($take, 0), 0, 'poll_cb with a maximum of 0 takes nothing');
    is($sub->poll_cb($take, 1.9), 1, 'poll_cb with a maximum of 1.9 takes one message');
    is($sub->poll_cb($take, undef), 2, 'poll_cb with a maximum of undef takes all messages');
    is_deeply(\@got, [$v->values(1, 5)], 'each message was delivered once');
    $send->();
    is($sub->poll_cb($take, -1), 5, 'poll_cb with a maximum of -1 takes all messages');
    croaks_like(sub { $sub->poll_cb($take, 'x') }, 'poll_cb: count must be a number, not "x"',
        'poll_cb croaks on a maximum that is not a number');
    croaks_like(sub { $sub->poll_cb($take, 1, 2) }, 'Usage: ', 'poll_cb croaks on too many arguments');
    $send->();
    my $bad = Killer->new($sub);
    croaks_like(sub { $sub->poll_cb(sub { }, $bad) }, 'destroyed during the call',
        'poll_cb croaks if its maximum destroys the subscriber');
});

package Killer { use overload '0+' => sub { $_[0][0]->DESTROY; 1 }, fallback => 1; sub new { bless [$_[1]], $_[0] } }

done_testing;
