package PubSubTest::Bridge;

# Runs the command pubsub-bridge, in a forked child that has it loaded already. What it says goes to a file.

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use JSON::PP ();
use POSIX    ();
use Test::More;

use PubSubTest;
use PubSubTest::Redis qw(dies_with_parent until_true);
use Data::PubSub::Shared::Bridge::Command;

our @EXPORT = qw(bridge bridge_ends messages_in until_true read_status stream_of $SCRIPT);

our $SCRIPT = "$FindBin::Bin/../bin/pubsub-bridge";

# Starts one. Arguments as on the command line; a first one may be { environment }.
sub bridge {
    my ($env, @arguments) = ref $_[0] ? @_ : ({}, @_);
    my $folder = fresh_dir();
    spew("$folder/out", '');
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        dies_with_parent();
        alarm 0;
        @ENV{ keys %$env } = values %$env;
        open STDIN,  '<',  '/dev/null'   or die "in: $!";
        open STDOUT, '>>', "$folder/out" or die "out: $!";
        open STDERR, '>&', \*STDOUT      or die "err: $!";
        $| = 1;
        local $0 = $SCRIPT;
        srand;
        POSIX::_exit(Data::PubSub::Shared::Bridge::Command->run(@arguments));
    }
    return bless { pid => $pid, log => "$folder/out", owner => $$ }, __PACKAGE__;
}

# Runs one to its end: (exit status, what it said).
sub bridge_ends {
    my $self = bridge(@_);
    return ($self->end, $self->said);
}

sub pid  { return $_[0]{pid} }
sub said { return slurp($_[0]{log}) }

# Returns once it has said so; dies if it ends before.
sub until_said {
    my ($self, $pattern) = @_;
    until_true(sub {
        my $ended = waitpid $self->{pid}, POSIX::WNOHANG();
        my $said  = $self->said;
        return 1 if $said =~ $pattern;
        die "pubsub-bridge ended, and said:\n$said" if $ended;
        return 0;
    });
    return $self;
}

sub connected { my ($self) = @_; return $self->until_said(qr/: (?:re)?connected$/m) }

sub signal { my ($self, $signal) = @_; kill $signal => $self->{pid}; return $self }

# Waits for its end: the exit status, negative for a signal.
sub end {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;
    waitpid $pid, 0;
    return $? & 127 ? -($? & 127) : $? >> 8;
}

sub term   { my ($self) = @_; return $self->signal('TERM')->end }
sub murder { my ($self) = @_; return $self->signal('KILL')->end }

sub DESTROY {
    my ($self) = @_;
    local ($?, $!, $@);
    return if !$self->{pid} || $self->{owner} != $$;
    kill KILL => $self->{pid};
    waitpid $self->{pid}, 0;
    return;
}

# So many messages of a subscriber, as soon as they are there.
sub messages_in {
    my ($sub, $count) = @_;
    my @messages;
    push @messages, $sub->poll_wait_multi($count - @messages, 60) while @messages < $count;
    return @messages;
}

# What a status file says; nothing while there is none.
sub read_status {
    my ($path) = @_;
    return -e $path ? JSON::PP::decode_json(slurp($path)) : undef;
}

# The entries of a stream, [identifier, { fields }].
sub stream_of {
    my ($redis, $name) = @_;
    return map { [$_->[0], { @{ $_->[1] } }] } @{ $redis->call(xrange => $name, '-', '+') };
}

1;
