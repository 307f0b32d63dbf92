# The base class of all variants does not create rings; its constructors croak and name the classes that do.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

my $packages = join ', ', map { $_->class } grep { !$_->is_str } variants();
$packages .= ' and ' . variant('Str')->class;

my $path = fresh_path();
my %call = (
    new          => [$path, 8],
    new_readonly => [$path],
    new_memfd    => ['t', 8],
    new_from_fd  => [0],
    unlink       => [spew(fresh_path(), 'text')],
);
for my $method (sort keys %call) {
    eval { Data::PubSub::Shared->$method(@{ $call{$method} }) };
    my $expected = "Data::PubSub::Shared->$method: this is a method of $packages at " . __FILE__;
    is(substr($@, 0, length $expected), $expected, "Data::PubSub::Shared->$method croaks");
    is($_->sub_class->can($method), undef, 'a ' . $_->name . " subscriber has no method $method") for variants();
}
ok(!-e $path, 'no file is created');
ok(-e $call{unlink}[0], 'no file is removed');

@Something::ISA = 'Data::PubSub::Shared';
croaks_like(sub { Something->new }, 'Something->new: this is a method of',
    'the constructor of a subclass of the base class croaks');
isa_ok(variant('Int')->ring(8), 'Data::PubSub::Shared');

done_testing;
