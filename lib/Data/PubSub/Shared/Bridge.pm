package Data::PubSub::Shared::Bridge;

use 5.022;
use strict;
use warnings;

use Data::PubSub::Shared::Bridge::Down;
use Data::PubSub::Shared::Bridge::Up;

sub up   { my ($class, %option) = @_; return Data::PubSub::Shared::Bridge::Up->new(%option) }
sub down { my ($class, %option) = @_; return Data::PubSub::Shared::Bridge::Down->new(%option) }

1;

__END__

=head1 NAME

Data::PubSub::Shared::Bridge - one ring on many hosts, over Redis Streams

=cut
