package BenchKit::Messenger::Shared;

# A Str ring: publish, and poll_wait_multi for whatever is there.

use 5.022;
use strict;
use warnings;

use parent 'BenchKit::Messenger';
use Data::PubSub::Shared::Str;

sub title { return 'Data::PubSub::Shared::Str' }

sub prepare {
    my ($self) = @_;
    $self->{path} = "$self->{dir}/ring";
    $self->{ring} = Data::PubSub::Shared::Str->new($self->{path}, @$self{qw(capacity size)});
    return;
}

sub open_subscriber {
    my ($self) = @_;
    $self->{sub} = Data::PubSub::Shared::Str->new($self->{path}, @$self{qw(capacity size)})->subscribe;
    return;
}

sub publish_all {
    my ($self, $messages) = @_;
    my $ring = $self->{ring};
    $ring->publish($_) for @$messages;
    return;
}

sub receive {
    my ($self, $take) = @_;
    my $sub = $self->{sub};
    1 until $take->($sub->poll_wait_multi(100, $BenchKit::Messenger::PATIENCE));
    return;
}

sub close {
    my ($self) = @_;
    my $ring = delete $self->{ring} or return;
    $ring->unlink;
    return;
}

1;
