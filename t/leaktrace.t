# No method leaks a scalar, whether it succeeds or fails.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

BEGIN {
    eval { require Test::LeakTrace; Test::LeakTrace->import; 1 }
        or plan skip_all => 'Test::LeakTrace is not installed';
}

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;
    my $path  = fresh_path();
    my $ring  = $class->new($path, 16);
    my $sub   = $ring->subscribe;
    my $memfd = $class->new_memfd('t', 16);
    my $fd    = $memfd->memfd;
    my $value = $v->value(1);
    $ring->eventfd;

    my %calls = (
        'new'         => sub { my $r = $class->new($path, 16) },
        'new, undef'  => sub { my $r = $class->new(undef, 16) },
        'new_memfd'   => sub { my $r = $class->new_memfd('t', 16) },
        'new_from_fd' => sub { my $r = $class->new_from_fd($fd) },
        'unlink'      => sub { $class->unlink("$path-none") },
    );
    my %ring_methods = $v->ring_methods;
    my %sub_methods  = $v->sub_methods;
    for my $method (keys %ring_methods) {
        my @a = @{ $ring_methods{$method} };
        $calls{$method}          = sub { $ring->publish($value); my $x = $ring->$method(@a) };
        $calls{"$method, list"}  = sub { $ring->publish($value); my @x = $ring->$method(@a) };
        $calls{"$method, croak"} = sub { eval { $class->can($method)->(bless([], 'Other'), @a) } };
        $calls{"$method, usage"} = sub { eval { $ring->$method(@a, 1, 2, 3) } };
    }
    for my $method (keys %sub_methods) {
        my @a = @{ $sub_methods{$method} };
        $calls{"sub $method"}        = sub { $ring->publish_multi($value, $value); my $x = $sub->$method(@a) };
        $calls{"sub $method, list"}  = sub { $ring->publish_multi($value, $value); my @x = $sub->$method(@a) };
        $calls{"sub $method, empty"} = sub { $sub->reset; my @x = $sub->$method(@a) };
        $calls{"sub $method, croak"} = sub { eval { $v->sub_class->can($method)->(undef, @a) } };
        $calls{"sub $method, usage"} = sub { eval { $sub->$method(@a, 1, 2, 3) } };
    }
    $calls{'bad arguments'} = sub {
        eval { $class->new($path, 'abc') };
        eval { $class->new("$path/x", 4) };
        eval { $class->new_from_fd(-1) };
        eval { $sub->poll_cb('no code') };
        eval { $sub->drain(-1) };
        eval { $sub->cursor(-1) };
        no warnings 'numeric';
        eval { $ring->publish_multi(('x' x 300) x 3) };
    };
    $calls{'dying handler'} = sub { $ring->publish($value); eval { $sub->poll_cb(sub { die "x\n" }) } };
    my @kept;
    $calls{'keeping handler'} = sub {
        $ring->publish($value);
        $sub->poll_cb(sub { push @kept, \$_[0] });
        @kept = ();
    };
    $calls{'destroying handler'} = sub {
        my $s = $ring->subscribe;
        $ring->publish($value);
        eval { $s->poll_cb(sub { undef $s }) };
    };
    package Throw { sub TIESCALAR { bless [] } sub FETCH { die "fetched\n" } }
    package main;
    tie my $throw, 'Throw';
    $calls{'dying argument'} = sub {
        eval { $ring->publish($throw) };
        eval { $ring->publish_multi($value, $throw, $value) };
        eval { $sub->drain($throw) };
        eval { $class->new($path, $throw) };
    };
    for my $call (sort keys %calls) {
        $calls{$call}->() for 1 .. 2;
        no_leaks_ok(sub { $calls{$call}->() }, "no leak: $call");
    }
});

subtest 'sets and buses' => sub {
    require Data::PubSub::Shared::Bus;
    my $bus_class = 'Data::PubSub::Shared::Bus';
    my $set_class = 'Data::PubSub::Shared::Set';
    my $of  = variant('Str');
    my $bus = sub { return $bus_class->new(undef, loop => 'none', capacity => 16, msg_size => 100) };
    local $SIG{__WARN__} = sub { };
    my %calls = (
        'a set' => sub {
            my @subs = map { $of->ring(8)->subscribe } 1 .. 12;
            my $set  = $set_class->new(@subs);
            eval { $set->add(1) };
            $set->fh;
            $subs[0]->DESTROY;
            my @ready = $set->wait(0);
            $set->remove($subs[1]);
        },
        'listeners that die' => sub {
            my $it = $bus->();
            $it->on(error => sub { });
            my $code = $it->listen(x => sub { die "x\n" });
            $it->listen('y*' => sub { no warnings 'exiting'; last });
            $it->notify(x => 1)->notify(y => 1);
            $it->pump;
            $it->unlisten(x => $code);
        },
        'JSON' => sub {
            my $it = $bus->()->json('j');
            $it->listen(j => sub { });
            eval { $it->notify(j => sub { }) };
            $it->notify(j => [1]);
            $it->ring->publish('j bad');
            $it->pump;
        },
        'wrong calls' => sub { eval { $bus_class->new(undef, @$_) } for ['x'], [loop => 'x'], [capacity => 'x'] },
    );
    $calls{'promises'} = sub {
        my $it = $bus->();
        my ($kept, $cancelled, $never) = map { $it->next($_) } qw(x x y);
        $cancelled->cancel;
        $it->notify(x => 1);
        $it->pump;
    } if eval { require Future; 1 };
    for my $name (sort keys %calls) {
        $calls{$name}->();
        &no_leaks_ok($calls{$name}, "no leak: $name");
    }
};

done_testing;
