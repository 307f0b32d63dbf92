# What handles and subscribers say of themselves and of each other: readonly, ring, generation, sub_class.

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
    ok(!$ring->readonly, 'a ring that can be written to');
    ok($only->readonly,  'one for reading only');
    ok(!$class->new(undef, 8)->readonly, 'one without a name');

    my $maps = shared_maps();
    my $sub  = $ring->subscribe;
    my $same = $sub->ring;
    isa_ok($same, $class);
    is($same->path, $path, 'the ring of a subscriber');
    is(shared_maps(), $maps, 'is mapped once');
    $same->publish($v->value(1));
    is($sub->poll, $v->value(1), 'and can be published to');
    undef $ring;
    undef $same;
    $sub->ring->publish($v->value(2));
    is($sub->poll, $v->value(2), 'also when all other handles are gone');
    ok($only->subscribe->ring->readonly, 'that of a ring for reading only is such a one');
    $ring = $class->new($path);
    my $fd = $ring->eventfd;
    is($ring->subscribe->ring->fileno, $fd, 'it has the eventfd of the subscriber');
    $ring->unlink;
    my $next = $class->new($path, 8);
    ok($sub->reopen, 'reopen');
    is($sub->ring->capacity, 8, 'leads to the next one');

    subtest 'generation' => sub {
        my $where = fresh_path();
        my $one   = $class->new($where, 8);
        my $first = $one->generation;
        like($first, qr{\A\S+/0\z}, 'a text');
        $one->publish_multi($v->values(1, 3));
        is($one->generation, $first, 'messages do not change it');
        is($class->new($where)->generation,          $first, 'it is the same for every process');
        is($class->new_readonly($where)->generation, $first, 'and for reading only');
        $one->clear;
        isnt($one->generation, $first, 'a clear changes it');
        my $second = $one->generation;
        $one->clear;
        is($one->generation, $second, 'one that discards nothing does not: positions are what they were');
        $one->unlink;
        my $two = $class->new($where, 8);
        isnt($two->generation, $_, 'another ring has another one') for $first, $second;
        isnt($class->new(undef, 8)->generation, $class->new(undef, 8)->generation, 'rings without a name, too');
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
            is(ref $sub, "${mine}::Sub", $v->name . ': the hook names the class of subscribers');
            is(ref $sub->ring, $mine, 'and theirs that of rings');
        }
        is($base->sub_class, $v->sub_class, 'what is said otherwise');
        is($v->sub_class->ring_class, $base, 'and by subscribers');
        is(ref $base->new(undef, 8)->subscribe, $v->sub_class, 'rings of the module');

        for my $bad ('Nothing', 'Mine', undef, [], '', $base) {
            no warnings 'redefine';
            local *{"${mine}::sub_class"} = sub { return $bad };
            my $shown = ref $bad ? 'ARRAY' : $bad // 'undef';
            croaks_like(sub { $ring->subscribe }, "subscribe: sub_class of $mine must name a class derived from " . $v->sub_class . ", not $shown",
                "a hook that says $shown");
        }
        no warnings 'redefine';
        local *{"${mine}::sub_class"} = sub { $_[0]->DESTROY; return "${mine}::Sub" };
        croaks_like(sub { $ring->subscribe }, 'destroyed during the call', 'a hook that destroys the ring');
    }
    is($calls, 2 * variants(), 'asked once for each');
};

done_testing;
