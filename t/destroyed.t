# After an explicit DESTROY, all methods croak, and nothing else happens.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

my @warnings;
local $SIG{__WARN__} = sub { push @warnings, @_ };

each_variant(sub {
    my ($v) = @_;
    my %ring_methods = $v->ring_methods;
    my %sub_methods  = $v->sub_methods;

    my $ring = $v->class->new(fresh_path(), 8);
    my $sub  = $ring->subscribe;
    my $fd   = $ring->eventfd;
    $ring->DESTROY;
    is(fd_target($fd), undef, 'DESTROY closes the eventfd');
    my %extra = (unlink => []);
    for my $method (sort keys %ring_methods, keys %extra) {
        my @arguments = @{ $ring_methods{$method} || $extra{$method} };
        my $class = $v->class;
        croaks_like(
            sub { $ring->$method(@arguments) },
            "\Q$class\E->$method: Attempted to use a destroyed \Q$class\E object", "$method croaks on a destroyed ring"
        );
    }
    eval { $ring->DESTROY };
    pass('a second DESTROY has no effect');

    my $live = $v->ring(8);
    my $destroyed = $live->subscribe;
    $live->publish($v->value(1));
    $destroyed->DESTROY;
    for my $method (sort keys %sub_methods) {
        my @arguments = @{ $sub_methods{$method} };
        my $class = $v->sub_class;
        croaks_like(
            sub { $destroyed->$method(@arguments) },
            "\Q$class\E->$method: Attempted to use a destroyed \Q$class\E object", "$method croaks on a destroyed subscriber"
        );
    }
    eval { $destroyed->DESTROY };
    $live->publish($v->value(2));
    is_deeply([$live->subscribe_all->drain], [$v->values(1, 2)], 'the ring of a destroyed subscriber still works');

    is($sub->poll, undef, 'a subscriber outlives its destroyed ring');
    $sub->DESTROY;

    my $other = $v->ring(8);
    my $copy  = $other;
    $copy->DESTROY;
    croaks_like(sub { $other->capacity }, 'destroyed', 'other references to a destroyed ring are destroyed, too');
});

is_deeply(\@warnings, [], 'there are no warnings when destroyed objects go out of scope');

done_testing;
