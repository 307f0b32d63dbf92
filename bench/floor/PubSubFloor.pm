package PubSubFloor;

# The calls of Data::PubSub::Shared with nothing behind them; see PubSubFloor.xs.

use 5.022;
use strict;
use warnings;

our $VERSION = '0.01';

require XSLoader;
XSLoader::load(__PACKAGE__, $VERSION);

sub import   { $^H{'PubSubFloor/keywords'} = 1;     return }
sub unimport { delete $^H{'PubSubFloor/keywords'};  return }

sub new { my ($class) = @_; return bless \(my $self = 0), $class }

1;
