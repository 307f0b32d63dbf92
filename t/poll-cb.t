# poll_cb: each message arrives in $_[0], whatever the callback does.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

each_variant(sub {
    my ($v)  = @_;
    my $ring = $v->ring(16);
    my $sub  = $ring->subscribe;
    my $fill = sub { $sub->reset; $ring->publish_multi($v->values(1, $_[0])) };

    subtest 'messages' => sub {
        my @got;
        is($sub->poll_cb(sub { push @got, @_ }), 0, 'poll_cb of an empty ring returns 0');
        $fill->(5);
        is($sub->poll_cb(sub { push @got, @_ }), 5, 'poll_cb returns the number of messages');
        is_deeply(\@got, [$v->values(1, 5)], 'the callback gets one message per call, in order');
        is($sub->lag, 0, 'poll_cb takes all messages');
        @got = ();
        $ring->publish_multi($v->samples);
        $sub->poll_cb(sub { push @got, $_[0] });
        is_deeply(\@got, [$v->samples], 'the callback gets each sample value unchanged');
        $fill->(2);
        my @list = $sub->poll_cb(sub { return (1, 2, 3) });
        is_deeply(\@list, [2], 'results of the callback are ignored');
        my @contexts;
        $fill->(1);
        $sub->poll_cb(sub { push @contexts, wantarray });
        is_deeply(\@contexts, [undef], 'the callback is called in void context');
        $fill->(1);
        my $named = 0;
        no strict 'refs';
        no warnings qw(once redefine);
        *{"main::handler"} = sub { $named++ };
        is($sub->poll_cb(\&main::handler), 1, 'poll_cb accepts a reference to a named function');
        is($named, 1, 'the named function is called');
        is($fill->(1) && $sub->poll_cb('main::handler'), 1, 'poll_cb accepts a full name');
        is($fill->(1) && $sub->poll_cb('handler'), 1, 'poll_cb accepts a name in the package of the caller');
        is($fill->(1) && $sub->poll_cb(*handler), 1, 'poll_cb accepts a glob');
        is($named, 4, 'the named function is called each time');
        croaks_like(sub { $sub->poll_cb('main::no_such_handler') },
            'poll_cb: handler must be a code reference or the name of a subroutine, not "main::no_such_handler"',
            'poll_cb croaks on the name of an undefined function');
        croaks_like(sub { $sub->poll_cb($_) }, 'poll_cb: ', 'poll_cb croaks on a handler that is not code') for undef,
            'text without meaning', 42, {}, \1;
        croaks_like(sub { $sub->poll_cb }, 'Usage: .*poll_cb\(', 'poll_cb croaks without a handler');
    };

    subtest 'the callback keeps its arguments' => sub {
        my (@refs, @arrays, @copies, @subs);
        $fill->(5);
        $sub->poll_cb(sub {
            push @refs, \$_[0];
            push @arrays, \@_;
            push @copies, @_;
            push @subs, do { my $alias = \$_[0]; sub {$$alias} };
        });
        my @expected = $v->values(1, 5);
        $ring->publish_multi($v->values(11, 26));
        is_deeply([map {$$_} @refs], \@expected, 'references to the argument keep their message');
        is_deeply([map {@$_} @arrays], \@expected, 'references to the argument list keep their message');
        is_deeply(\@copies, \@expected, 'copies keep their message');
        is_deeply([map { $_->() } @subs], \@expected, 'closures keep their message');
    };

    subtest 'values that the callback leaves' => sub {
        my ($live, $most) = (0, 0);
        no warnings qw(redefine once);
        local *Left::new     = sub { $live++; return bless [], 'Left' };
        local *Left::DESTROY = sub { $live-- };
        my %leave = (
            'returns an object' => sub { Left->new },
            'returns a list'    => sub { map { Left->new } 1 .. 3 },
            'its last statement makes one' => sub { my @l = map { Left->new } 1 .. 3 },
            'its last statement calls' => sub { ref Left->new },
        );
        for my $name (sort keys %leave) {
            my $code = $leave{$name};
            ($live, $most) = (0, 0);
            $fill->(16);
            $sub->poll_cb(sub { $most = $live if $live > $most; goto &$code });
            cmp_ok($most, '<=', 3, "$name: the value is freed before the next message");
            is($live, 0, "$name: the value is freed at the end");
        }
    };

    subtest 'objects and tied scalars as callbacks' => sub {
        package Callable { use overload '&{}' => sub { my $log = $_[0]{log}; sub { push @$log, $_[0] } }, fallback => 1 }
        package Fetching { sub TIESCALAR { bless [$_[1], 0] } sub FETCH { $_[0][1]++; $_[0][0] } }
        package main;
        my @warnings;
        local $SIG{__WARN__} = sub { push @warnings, @_ };
        my $object = bless { log => [] }, 'Callable';
        for my $round (1 .. 3) {
            $fill->(3);
            is($sub->poll_cb($object), 3, 'poll_cb accepts an object that returns its code at each call');
            is_deeply([splice @{ $object->{log} }], [$v->values(1, 3)], 'the code of the object gets the messages');
        }
        my @got;
        tie my $tied, 'Fetching', sub { push @got, $_[0] };
        $fill->(3);
        is($sub->poll_cb($tied), 3, 'poll_cb accepts a tied scalar that holds code');
        is_deeply(\@got, [$v->values(1, 3)], 'the code of the tied scalar gets the messages');
        is((tied $tied)->[1], 1, 'the tied scalar is fetched once');
        is_deeply(\@warnings, [], 'there are no warnings');
    };

    subtest 'the callback changes its argument' => sub {
        my %changes = (
            assign  => sub { $_[0] = 'other' x 100 },
            undef   => sub { undef $_[0] },
            ref     => sub { $_[0] = [1] },
            magic   => sub { my $p = pos($_[0]) = 0; $_[0] },
            upgrade => sub { utf8::upgrade($_[0]); $_[0] .= 'x' },
            shift   => sub { shift; push @_, 1 .. 100 },
            empty   => sub { @_ = () },
            splice  => sub { undef @_ },
            local   => sub { local $_[0] = 'here' },
            glob    => sub { $_[0] = *STDOUT },
            bless   => sub { bless \$_[0], 'Somewhere' },
            code    => sub { $_[0] = sub { } },
        );
        for my $name (sort keys %changes) {
            my @got;
            $fill->(4);
            no warnings;
            $sub->poll_cb(sub { push @got, $_[0]; $changes{$name}->(@_); &{ $changes{$name} } });
            is_deeply(\@got, [$v->values(1, 4)], "$name: the next message arrives unchanged");
        }
        my @got;
        $fill->(3);
        $sub->poll_cb(sub { push @got, $_[0]; Internals::SvREADONLY($_[0], 1) });
        is_deeply(\@got, [$v->values(1, 3)], 'read-only: the next message arrives unchanged');
    };

    subtest 'the callback dies' => sub {
        $fill->(5);
        my @got;
        eval { $sub->poll_cb(sub { push @got, $_[0]; die { at => scalar @got } if @got == 2 }) };
        is_deeply($@, { at => 2 }, 'the exception is passed to the caller unchanged');
        is_deeply(\@got, [$v->values(1, 2)], 'the callback was called twice');
        is($sub->lag, 3, 'the message of the call that died counts as delivered');
        is_deeply([$sub->drain], [$v->values(3, 5)], 'the other messages are left');
        $fill->(3);
        my $handled = $sub->poll_cb(sub { eval { die "inner\n" } });
        is($handled, 3, 'an eval inside the callback does not end poll_cb');
    };

    subtest 'the callback publishes' => sub {
        $fill->(3);
        my @got;
        my $handled = $sub->poll_cb(sub { push @got, $_[0]; $ring->publish($v->value(100 + @got)) });
        is($handled, 3, 'poll_cb handles only messages that were there at its start');
        is_deeply(\@got, [$v->values(1, 3)], 'the callback gets these messages');
        is_deeply([$sub->drain], [$v->values(101, 103)], 'the new messages are left');

        my $start  = $sub->cursor;
        my $before = $sub->overflow_count;
        $fill->(10);
        $handled = $sub->poll_cb(sub { $ring->publish_multi($v->values(1, 20)) });
        my $rest = () = $sub->drain;
        is($handled + $rest + $sub->overflow_count - $before, $sub->cursor - $start,
            'if the callback overruns the ring, delivered and lost messages add up');
        is($sub->lag, 0, 'no message is left after the overrun');
    };

    subtest 'the callback uses the subscriber' => sub {
        $fill->(6);
        my @got;
        $sub->poll_cb(sub { push @got, $_[0], $sub->poll // () });
        is_deeply(\@got, [$v->values(1, 6)], 'poll inside: each message is delivered once');
        $fill->(6);
        @got = ();
        my $depth = 0;
        my $handler;
        $handler = sub {
            push @got, $_[0];
            my $mine = $_[0];
            $depth++;
            $sub->poll_cb($handler);
            die "changed underneath" if $_[0] ne $mine;
        };
        $sub->poll_cb($handler);
        undef $handler;
        is_deeply(\@got, [$v->values(1, 6)], 'recursion: each message is delivered once, in order');
        is($depth, 6, 'recursion is six calls deep');
        $fill->(6);
        is($sub->poll_cb(sub { $sub->reset }), 1, 'reset inside ends poll_cb');
        $fill->(6);
        is($sub->poll_cb(sub { $ring->clear }), 1, 'clear inside ends poll_cb');
        $ring->publish($v->value(1));
        my $new;
        $sub->poll_cb(sub { $new = $ring->subscribe_all });
        is($new->poll, $v->value(1), 'subscribe_all inside returns a subscriber that works');
    };

    subtest 'the callback destroys the subscriber' => sub {
        my %destroy = (
            'DESTROY' => [sub { $_[0]->DESTROY },  'destroyed during the call'],
            'undef'   => [sub { undef $_[0] },     '(?:destroyed|replaced) during the call'],
            'replace' => [sub { $_[0] = 'other' }, '(?:destroyed|replaced) during the call'],
        );
        for my $name (sort keys %destroy) {
            my ($how, $why) = @{ $destroy{$name} };
            my $victim = $ring->subscribe;
            $ring->publish_multi($v->values(1, 3));
            my @got;
            croaks_like(
                sub { $victim->poll_cb(sub { push @got, $_[0]; $how->($victim) }) },
                quotemeta($v->sub_class) . "->poll_cb: .*$why", "$name: poll_cb croaks"
            );
            is_deeply(\@got, [$v->value(1)], "$name: the callback is not called again");
        }
        my $handle = $v->ring(8);
        my $reader = $handle->subscribe;
        $handle->publish_multi($v->values(1, 3));
        my @got;
        is($reader->poll_cb(sub { push @got, $_[0]; undef $handle }), 3, 'the callback may destroy the ring');
        is_deeply(\@got, [$v->values(1, 3)], 'the subscriber outlives the ring');
        my $once = sub { push @got, $_[0]; undef $_[0] };
        my $code = sub { push @got, 'x' };
        my $last = $ring->subscribe;
        $ring->publish_multi($v->values(1, 3));
        @got = ();
        my $self; $self = sub { push @got, $_[0]; undef $self };
        is($last->poll_cb($self), 3, 'the callback may destroy itself');
        is(scalar @got, 3, 'the destroyed callback is called for all messages');
    };
});

done_testing;
