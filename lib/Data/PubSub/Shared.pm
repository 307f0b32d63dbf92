package Data::PubSub::Shared;

use 5.022;
use strict;
use warnings;

our $VERSION = '0.01';

require XSLoader;
XSLoader::load(__PACKAGE__, $VERSION);

# Every ring class and every subscriber class inherits from here.
our @VARIANTS = map {"Data::PubSub::Shared::$_"} qw(Int Int32 Int16 Str);

# `use` of a variant switches its keywords on in the enclosing scope, `no` switches them off.
sub import   { my ($class) = @_; $^H{"$class/keywords"} = 1;     return }
sub unimport { my ($class) = @_; delete $^H{"$class/keywords"};  return }

# An object holds a mapping that belongs to one interpreter: it does not cross into a new thread.
sub CLONE_SKIP { return 1 }

for my $class (@VARIANTS) {
    require $class =~ s{::}{/}gr . '.pm';
}

1;
