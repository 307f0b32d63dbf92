package BenchKit::Messenger::PipeBatch;

# A pipe to each subscriber, 100 messages a write.

use 5.022;
use strict;
use warnings;

use parent 'BenchKit::Messenger::Pipe';

sub title { return 'pipes, batches of 100' }

sub publish_all {
    my ($self, $messages) = @_;
    my @out = @{ $self->{out} };
    for (my $at = 0; $at < @$messages; $at += 100) {
        my $end = $at + 99;
        $end = $#$messages if $end > $#$messages;
        my $batch = join '', @$messages[$at .. $end];
        for my $out (@out) {
            my $done = 0;
            $done += syswrite($out, $batch, length($batch) - $done, $done) // die "write: $!\n"
                while $done < length $batch;
        }
    }
    return;
}

1;
