# Subclasses of rings and subscribers.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

each_variant(sub {
    my ($v)   = @_;
    my $base  = $v->class;
    my $name  = $v->name;
    my $class = "My::$name";
    my $gone  = 0;
    my $calls = 0;
    {
        no strict 'refs';
        @{"${class}::ISA"} = ($base);
        *{"${class}::publish"} = sub { my $self = shift; $calls++; return $base->can('publish')->($self, @_) };
        *{"${class}::DESTROY"} = sub { my $self = shift; $gone++; return $base->can('DESTROY')->($self, @_) };
        *{"${class}::twice"}   = sub { my ($self, $value) = @_; $self->publish($value) for 1 .. 2; return };
    }

    my $path = fresh_path();
    for my $ring ($class->new($path, 8), $class->new(undef, 8), $class->new_memfd('t', 8)) {
        isa_ok($ring, $class);
        isa_ok($ring, $base);
    }
    is($gone, 3, 'DESTROY of the subclass is called once for each object');
    $gone = 0;

    my $ring = $class->new($path, 8);
    my $sub  = $ring->subscribe;
    isa_ok($sub, $v->sub_class);
    $ring->twice($v->value(1));
    is($calls, 2, 'the overridden publish is called');
    is_deeply([$sub->drain], [($v->value(1)) x 2], 'the overridden publish publishes');
    is($ring->capacity, 8, 'an inherited method works');
    my $memfd = $class->new_memfd('t', 8);
    isa_ok($class->new_from_fd($memfd->memfd), $class);
    ok($class->unlink($path), 'unlink is a class method of the subclass');
    ok(!-e $path, 'unlink removes the file');

    undef $ring;
    is($gone, 2, 'DESTROY is called for the ring and the object of new_from_fd');
    $sub->DESTROY;
    croaks_like(sub { $sub->poll }, 'destroyed', "a destroyed subscriber of a subclass's ring croaks");

    $memfd->DESTROY;
    croaks_like(sub { $memfd->capacity }, "Attempted to use a destroyed", 'a destroyed object of the subclass croaks');
    my $fake = bless [], $class;
    croaks_like(sub { $fake->capacity }, "Expected a \Q$base\E object", 'an object that the module did not make croaks');
    bless $fake, 'Nothing';

    my $reader = bless $v->ring(8)->subscribe, "My::${name}::Reader";
    {
        no strict 'refs';
        @{"My::${name}::Reader::ISA"} = ($v->sub_class);
    }
    is($reader->poll, undef, 'a subscriber that was reblessed into a subclass works');

    my $keyword = $v->keyword('publish');
    my $publish = eval "use $base; sub { $keyword \$_[0], \$_[1] }" or die $@;
    my $object  = $class->new(undef, 8);
    ok($publish->($object, $v->value(3)), 'the keyword accepts an object of the subclass');
    is($object->subscribe_all->poll, $v->value(3), 'the keyword publishes');
});

done_testing;
