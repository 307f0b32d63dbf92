package Data::PubSub::Shared::Bus::Events;

# Private: the handlers of a bus's events, and how a bus calls the code of its users.

use strict;
use warnings;
no warnings 'redefine';    # a module reloader may load this again

use Carp qw(croak);

sub on {
    my ($self, $event, $code) = @_;
    $self->_check_event(on => $event);
    $self->_check_code(on => $code);
    push @{ $self->{events}{$event} }, $code;
    return $code;
}

sub unsubscribe {
    my ($self, $event, $code) = @_;
    $self->_check_event(unsubscribe => $event);
    $self->_check_code(unsubscribe => $code) if defined $code;
    my $all = $self->{events}{$event} || [];
    $self->{events}{$event} = [defined $code ? grep { $_ != $code } @$all : ()];
    return $self;
}

sub _check_event {
    my ($self, $method, $event) = @_;
    croak ref($self), "->$method: event must be lost, reconnect or error, not ", $self->_shown($event)
        if !defined $event || $event !~ /\A(?:lost|reconnect|error)\z/;
    return;
}

# Calls the code; returns false if it died, with the exception in $@. Changes to @_ and leaving by `last` do not affect the caller.
sub _call {
    my ($self, $code, @arguments) = @_;
    {
        return 1 if eval { $code->($self, @arguments); 1 };
        return 0;
    }
    return 1;
}

# Returns false if the event has no handlers.
sub _emit {    ## no critic (ProhibitUnusedPrivateSubroutines) - Bus calls it
    my ($self, $event, @arguments) = @_;
    my @all = @{ $self->{events}{$event} || [] } or return 0;
    for my $code (@all) {
        $self->_call($code, @arguments) or warn ref($self), ": a handler of '$event' died: $@";
    }
    return 1;
}

sub _check_code {
    my ($self, $method, $code) = @_;
    croak ref($self), "->$method: callback must be a code reference, not ", $self->_shown($code) if ref $code ne 'CODE';
    return;
}

sub _shown { my (undef, $value) = @_; return defined $value ? "'$value'" : 'undef' }

1;
