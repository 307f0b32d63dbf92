package PubSubBaseline;

# Empty calls with the shapes of those of Data::PubSub::Shared; see PubSubBaseline.xs.

use 5.022;
use strict;
use warnings;

our $VERSION = '0.01';

require XSLoader;
XSLoader::load(__PACKAGE__, $VERSION);

sub import   { $^H{'PubSubBaseline/keywords'} = 1;     return }
sub unimport { delete $^H{'PubSubBaseline/keywords'};  return }

sub new { my ($class) = @_; return bless \(my $self = 0), $class }

1;
