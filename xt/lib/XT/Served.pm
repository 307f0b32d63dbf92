package XT::Served;

# The worker of xt/servers.t, with rings that its server opened before it forked the workers: publishes the numbers of
# clients, and reports all messages that it has received.

use strict;
use warnings;

use Digest::MD5 ();

use Data::PubSub::Shared;

# To be called in the server before it forks workers.
sub new {
    my ($class, $dir) = @_;
    my %ring = rings($dir);
    return bless { ring => \%ring, early => { map { $_ => follow($ring{$_}) } keys %ring } }, $class;
}

# So large that no subscriber is lapped.
sub rings {
    my ($dir) = @_;
    return (
        int => Data::PubSub::Shared::Int->new("$dir/int", 1 << 17),
        str => Data::PubSub::Shared::Str->new("$dir/str", 1 << 17, 32),
    );
}

sub follow {
    my ($ring) = @_;
    my $sub = $ring->subscribe;
    return { sub => $sub, start => $sub->cursor, count => 0, digest => Digest::MD5->new };
}

# Subscribers that this worker created, and its copies of those that the server created before the fork.
sub followers {
    my ($self) = @_;
    if (($self->{pid} // 0) != $$) {
        $self->{pid} = $$;
        $self->{late} = { map { $_ => follow($self->{ring}{$_}) } keys %{ $self->{ring} } };
    }
    return map { [int => $self->{$_}{int}], [str => $self->{$_}{str}] } qw(early late);
}

# The handles of all followers for an event loop, each with the code to call when it is readable.
sub handles {
    my ($self) = @_;
    return map { my $follower = $_->[1]; [$follower->{sub}->fh, sub { take($follower) }] } $self->followers;
}

sub take {
    my ($follower) = @_;
    for my $message ($follower->{sub}->drain) {
        $follower->{count}++;
        $follower->{digest}->add("$message,");
    }
    return;
}

# The answer to a request with a number or without: the pid of the worker; the ring of each follower, where it started, how
# many messages it has, their digest, how many it lost, and its cursor; and the write positions after the number was published.
sub answer {
    my ($self, $number) = @_;
    my @followers = $self->followers;
    if (defined $number) {
        $self->{ring}{int}->publish($number);
        $self->{ring}{str}->publish("number $number");
    }
    my %end = map { $_ => $self->{ring}{$_}->write_pos } qw(int str);
    my @report = map {
        my ($name, $f) = @$_;
        # A worker that was killed may have claimed a position, which is abandoned after the claim timeout.
        do { take($f) } while $f->{sub}->cursor < $end{$name};
        join ':', $name, $f->{start}, $f->{count}, $f->{digest}->clone->hexdigest, $f->{sub}->overflow_count, $f->{sub}->cursor;
    } @followers;
    return join(' ', $$, "$end{int}:$end{str}", @report) . "\n";
}

1;
