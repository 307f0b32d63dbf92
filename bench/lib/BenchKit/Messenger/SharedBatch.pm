package BenchKit::Messenger::SharedBatch;

# A Str ring with publish_multi of 100 messages.

use 5.022;
use strict;
use warnings;

use parent 'BenchKit::Messenger::Shared';

sub title { return 'Data::PubSub::Shared::Str, batches of 100' }

sub publish_all {
    my ($self, $messages) = @_;
    my $ring = $self->{ring};
    for (my $at = 0; $at < @$messages; $at += 100) {
        my $end = $at + 99;
        $end = $#$messages if $end > $#$messages;
        $ring->publish_multi(@$messages[$at .. $end]);
    }
    return;
}

1;
