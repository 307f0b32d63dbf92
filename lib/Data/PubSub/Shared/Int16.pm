package Data::PubSub::Shared::Int16;

use strict;
use warnings;

use Data::PubSub::Shared ();

our $VERSION = $Data::PubSub::Shared::VERSION;
our @ISA     = 'Data::PubSub::Shared';

@Data::PubSub::Shared::Int16::Sub::ISA = 'Data::PubSub::Shared';

1;
