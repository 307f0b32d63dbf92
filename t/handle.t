# Methods that describe handles and subscribers: readonly, ring, generation, sub_class.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;
    my $path  = fresh_path();
    my $ring  = $class->new($path, 16);
    my $only  = $class->new_readonly($path);
    ok(!$ring->readonly, 'readonly of a writable handle is false');
    ok($only->readonly,  'readonly of a read-only handle is true');
    ok(!$class->new(undef, 8)->readonly, 'readonly of an anonymous ring is false');

    my $maps = shared_maps();
    my $sub  = $ring->subscribe;
    my $same = $sub->ring;
    isa_ok($same, $class);
    is($same->path, $path, 'ring of a subscriber has the path of its ring');
    is(shared_maps(), $maps, 'ring of a subscriber shares the mapping');
    $same->publish($v->value(1));
    is($sub->poll, $v->value(1), 'ring of a subscriber can publish');
    undef $ring;
    undef $same;
    $sub->ring->publish($v->value(2));
    is($sub->poll, $v->value(2), 'ring works after all other handles are destroyed');
    ok($only->subscribe->ring->readonly, 'ring of a read-only subscriber is read-only');
    $ring = $class->new($path);
    my $fd = $ring->eventfd;
    is($ring->subscribe->ring->fileno, $fd, 'ring has the eventfd of the subscriber');
    $ring->unlink;
    my $next = $class->new($path, 8);
    ok($sub->reopen, 'reopen returns true');
    is($sub->ring->capacity, 8, 'after reopen, ring is the new ring');

    subtest 'generation' => sub {
        my $where = fresh_path();
        my $one   = $class->new($where, 8);
        my $first = $one->generation;
        like($first, qr{\A\S+/0\z}, 'generation is a text');
        $one->publish_multi($v->values(1, 3));
        is($one->generation, $first, 'messages do not change generation');
        is($class->new($where)->generation,          $first, 'another handle returns the same generation');
        is($class->new_readonly($where)->generation, $first, 'a read-only handle returns the same generation');
        $one->clear;
        isnt($one->generation, $first, 'clear changes generation');
        my $second = $one->generation;
        $one->clear;
        is($one->generation, $second, 'clear of an empty ring does not change generation');
        $one->unlink;
        my $two = $class->new($where, 8);
        isnt($two->generation, $_, 'a new ring has another generation') for $first, $second;
        isnt($class->new(undef, 8)->generation, $class->new(undef, 8)->generation,
            'two anonymous rings have different generations');
    };
});

subtest 'subclasses' => sub {
    my $calls = 0;
    for my $v (variants()) {
        my ($base, $mine) = ($v->class, 'Mine::' . $v->name);
        no strict 'refs';
        @{"${mine}::ISA"}            = $base;
        @{"${mine}::Sub::ISA"}       = $v->sub_class;
        *{"${mine}::sub_class"}      = sub { $calls++; return "${mine}::Sub" };
        *{"${mine}::Sub::ring_class"} = sub { return $mine };
        my $ring = $mine->new(undef, 8);
        for my $sub ($ring->subscribe, $ring->subscribe_all) {
            is(ref $sub, "${mine}::Sub", $v->name . ': sub_class sets the class of subscribers');
            is(ref $sub->ring, $mine, $v->name . ': ring_class sets the class of rings');
        }
        is($base->sub_class, $v->sub_class, 'the default of sub_class');
        is($v->sub_class->ring_class, $base, 'the default of ring_class');
        is(ref $base->new(undef, 8)->subscribe, $v->sub_class, 'without a subclass, subscribers have the class of the module');

        for my $bad ('Nothing', 'Mine', undef, [], '', $base) {
            no warnings 'redefine';
            local *{"${mine}::sub_class"} = sub { return $bad };
            my $shown = ref $bad ? 'ARRAY' : $bad // 'undef';
            croaks_like(sub { $ring->subscribe }, "subscribe: sub_class of $mine must name a class derived from " . $v->sub_class . ", not $shown",
                "subscribe croaks if sub_class returns $shown");
        }
        no warnings 'redefine';
        local *{"${mine}::sub_class"} = sub { $_[0]->DESTROY; return "${mine}::Sub" };
        croaks_like(sub { $ring->subscribe }, 'destroyed during the call', 'subscribe croaks if sub_class destroys the ring');
    }
    is($calls, 2 * variants(), 'sub_class is called once for each subscriber');
};

done_testing;
