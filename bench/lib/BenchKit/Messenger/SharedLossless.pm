package BenchKit::Messenger::SharedLossless;

# A lossless Str ring, much smaller than all messages together: the publisher waits for the slowest subscriber.

use 5.022;
use strict;
use warnings;

use parent 'BenchKit::Messenger::Shared';
use Data::PubSub::Shared::Str;

sub title { return 'Data::PubSub::Shared::Str, lossless' }

sub prepare {
    my ($self) = @_;
    $self->{path} = "$self->{dir}/ring";
    $self->{ring} = Data::PubSub::Shared::Str->new($self->{path}, 4096, $self->{size}, lossless => 1);
    return;
}

sub open_subscriber {
    my ($self) = @_;
    $self->{sub} = Data::PubSub::Shared::Str->new($self->{path})->subscribe;
    return;
}

1;
