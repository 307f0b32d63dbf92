package Data::PubSub::Shared::Int;

use strict;
use warnings;

use Data::PubSub::Shared ();

our $VERSION = $Data::PubSub::Shared::VERSION;
our @ISA     = 'Data::PubSub::Shared';

@Data::PubSub::Shared::Int::Sub::ISA = 'Data::PubSub::Shared';

1;
