# The package that all variants inherit from makes no rings, and says which do.

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
    for my $class ('Data::PubSub::Shared', variant('Int')->sub_class) {
        eval { $class->$method(@{ $call{$method} }) };
        my $expected = "$class->$method: this is a method of $packages at " . __FILE__;
        is(substr($@, 0, length $expected), $expected, "$class->$method");
    }
}
ok(!-e $path, 'no file was made');
ok(-e $call{unlink}[0], 'and none removed');

my $sub = variant('Int')->ring(8)->subscribe;
croaks_like(sub { $sub->unlink }, 'Int::Sub->unlink: this is a method of', 'on an object, too');
isa_ok(variant('Int')->ring(8), 'Data::PubSub::Shared');

done_testing;
