package Data::PubSub::Shared::Str;

use strict;
use warnings;

use Data::PubSub::Shared ();

our $VERSION = $Data::PubSub::Shared::VERSION;
our @ISA     = 'Data::PubSub::Shared';

@Data::PubSub::Shared::Str::Sub::ISA = 'Data::PubSub::Shared';

1;
