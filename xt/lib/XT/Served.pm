package XT::Served;

# What a worker of xt/servers.t does with rings that its server opened before the workers were forked: it publishes what
# a client says, and gives account of all that it has received.

use strict;
use warnings;

use Digest::MD5 ();

use Data::PubSub::Shared;

# In the server, before its workers.
sub new {
    my ($class, $dir) = @_;
    my %ring = rings($dir);
    return bless { ring => \%ring, early => { map { $_ => follow($ring{$_}) } keys %ring } }, $class;
}

# So large that nobody is lapped who reads at all.
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

# This worker's own subscribers, and its copies of those that the server made before the fork.
sub followers {
    my ($self) = @_;
    if (($self->{pid} // 0) != $$) {
        $self->{pid} = $$;
        $self->{late} = { map { $_ => follow($self->{ring}{$_}) } keys %{ $self->{ring} } };
    }
    return map { [int => $self->{$_}{int}], [str => $self->{$_}{str}] } qw(early late);
}

# The handles of all of them, for an event loop, each with what to do when it is readable.
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

# The answer to a client that says a number, or nothing: the worker's pid; for each follower its ring, where it began, how
# many messages it has, their digest, how many it lost; and where the rings stood when the number was published.
sub answer {
    my ($self, $number) = @_;
    my @followers = $self->followers;
    if (defined $number) {
        $self->{ring}{int}->publish($number);
        $self->{ring}{str}->publish("number $number");
    }
    my %end = map { $_ => $self->{ring}{$_}->write_pos } qw(int str);
    my @account = map {
        my ($name, $f) = @$_;
        take($f);
        join ':', $name, $f->{start}, $f->{count}, $f->{digest}->clone->hexdigest, $f->{sub}->overflow_count;
    } @followers;
    return join(' ', $$, "$end{int}:$end{str}", @account) . "\n";
}

1;
