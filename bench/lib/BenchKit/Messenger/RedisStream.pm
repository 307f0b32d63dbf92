package BenchKit::Messenger::RedisStream;

# A stream of a Redis server of our own, with a consumer group for each subscriber, which acknowledges what it has
# got: as a lossless ring, the server knows how far each is. The publisher sends 1,000 commands before it asks for
# the answers; a subscriber takes 100 messages at a time.

use 5.022;
use strict;
use warnings;

use parent 'BenchKit::Messenger::Redis';

my $STREAM = 'bench';

sub title { return 'Redis Streams, consumer groups' }

sub open_subscriber {
    my ($self, $index) = @_;
    $self->{sub}   = $self->client;
    $self->{group} = "group$index";
    $self->{sub}->xgroup('CREATE', $STREAM, $self->{group}, '$', 'MKSTREAM');
    return;
}

sub publish_all {
    my ($self, $messages) = @_;
    my $redis = $self->{publisher};
    my ($failure, $sent);
    my $answered = sub { $failure //= $_[1] };
    for my $message (@$messages) {
        $redis->xadd($STREAM, '*', 'm', $message, $answered);
        $redis->wait_all_responses unless ++$sent % 1000;
    }
    $redis->wait_all_responses;
    die "xadd: $failure\n" if defined $failure;
    return;
}

sub receive {
    my ($self, $take) = @_;
    my ($redis, $group) = @$self{qw(sub group)};
    my $failure;
    my $acknowledged = sub { $failure //= $_[1] };
    my @read = ('GROUP', $group, 'one', 'COUNT', 100, 'BLOCK', 1000 * $BenchKit::Messenger::PATIENCE, 'STREAMS', $STREAM, '>');
    my $done;
    until ($done) {
        my $streams = $redis->xreadgroup(@read) or die "nothing came any more\n";
        my $entries = $streams->[0][1];
        $done = $take->(map { $_->[1][1] } @$entries);
        $redis->xack($STREAM, $group, (map { $_->[0] } @$entries), $acknowledged);
    }
    $redis->wait_all_responses;
    die "xack: $failure\n" if defined $failure;
    return;
}

1;
