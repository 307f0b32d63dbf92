package BenchKit::Messenger::Redis;

# PUBLISH and SUBSCRIBE of a Redis server of our own: no TCP, a Unix socket; nothing is saved; no limit to
# what it keeps for a slow subscriber, since it would disconnect it otherwise. The publisher sends 1,000
# commands before it asks for the answers.

use 5.022;
use strict;
use warnings;

use parent 'BenchKit::Messenger';

use BenchKit::RedisServer;

my $CHANNEL = 'bench';

sub title { return 'Redis' }

sub missing {
    my ($class) = @_;
    return BenchKit::RedisServer->missing // $class->need_module('Redis::Fast', 'libredis-fast-perl');
}

sub version { return BenchKit::RedisServer->version . ", Redis::Fast $Redis::Fast::VERSION" }

sub prepare {
    my ($self) = @_;
    $self->{server} = BenchKit::RedisServer->start(
        $self->{dir}, 'socket', '--client-output-buffer-limit' => 'pubsub 0 0 0');
    return;
}

sub client {
    my ($self) = @_;
    return Redis::Fast->new(sock => $self->{server}->address, reconnect => 0);
}

sub open_publisher {
    my ($self) = @_;
    $self->{publisher} = $self->client;
    return;
}

# The callback has to be given when subscribing; what it does is set by receive.
sub open_subscriber {
    my ($self) = @_;
    $self->{sub} = $self->client;
    $self->{sub}->subscribe($CHANNEL, sub { $self->{done} ||= $self->{take}->($_[0]) });
    return;
}

sub publish_all {
    my ($self, $messages) = @_;
    my $redis = $self->{publisher};
    my ($failure, $sent);
    my $answered = sub { $failure //= $_[1] };
    for my $message (@$messages) {
        $redis->publish($CHANNEL, $message, $answered);
        $redis->wait_all_responses unless ++$sent % 1000;
    }
    $redis->wait_all_responses;
    die "publish: $failure\n" if defined $failure;
    return;
}

# wait_for_messages comes back only after a time of silence, so the callback notes when the last one came.
sub receive {
    my ($self, $take) = @_;
    $self->{take} = $take;
    my $silence = 0;
    until ($self->{done}) {
        $silence = $self->{sub}->wait_for_messages(0.1) ? 0 : $silence + 0.1;
        die "nothing came any more\n" if $silence > $BenchKit::Messenger::PATIENCE;
    }
    return;
}

# The server goes first: a client that was interrupted would wait for its answers forever.
sub close {
    my ($self) = @_;
    my $server = delete $self->{server} or return;
    $server->stop;
    delete $self->{publisher};
    return;
}

1;
