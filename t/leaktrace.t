# No method leaks a scalar, in success or in failure.

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
        no_leaks_ok(sub { $calls{$call}->() }, $call);
    }
});

done_testing;
