package Data::PubSub::Shared::Bus::Loop;

# The interface of a bus to event loops. Each loop has a class with these methods; pass the result of `watch` and `every` to
# `stop`, or drop it, to end the watching.
#
#     watch($fh, $code)    every($seconds, $code)    soon($code)    stop($fh, @what)    future

use strict;
use warnings;

use Scalar::Util qw(blessed);

my %CLASS = map { $_ => __PACKAGE__ . "::$_" } qw(Mojo IOAsync AnyEvent EV None);

use constant EXPECTED => "loop must be an IO::Async::Loop, a Mojo::IOLoop, or 'Mojo', 'AnyEvent', 'EV' or 'none'";

# Returns the wanted loop, given as an object or a name, or undef if it is neither; without one, the loop that the program has
# loaded.
sub find {
    my ($wanted) = @_;
    if (blessed $wanted) {
        return $CLASS{IOAsync}->new($wanted) if $wanted->isa('IO::Async::Loop');
        return $CLASS{Mojo}->new($wanted)    if $wanted->isa('Mojo::IOLoop');
    }
    elsif (defined $wanted) {
        my ($name) = grep { lc $wanted eq lc } qw(Mojo AnyEvent EV None);
        return $CLASS{$name}->new if defined $name && $CLASS{$name}->load;
    }
    else {
        for my $name (qw(Mojo AnyEvent EV)) { return $CLASS{$name}->new if $INC{ $CLASS{$name}->file } }
        return $CLASS{None}->new;
    }
    return;
}

sub new    { my ($class, $loop) = @_; return bless { loop => $loop }, $class }
sub file   { return }
sub load   { my ($class) = @_; my $file = $class->file; return !$file || eval { require $file; 1 } }
sub stop   { return }
sub future { require Future; return Future->new }

package Data::PubSub::Shared::Bus::Loop::Mojo;

our @ISA = 'Data::PubSub::Shared::Bus::Loop';

sub file  { return 'Mojo/IOLoop.pm' }
sub loop  { my ($self) = @_; return $self->{loop} || Mojo::IOLoop->singleton }
sub watch { my ($self, $fh, $code) = @_; $self->loop->reactor->io($fh => $code)->watch($fh, 1, 0); return }
sub every { my ($self, $seconds, $code) = @_; return $self->loop->recurring($seconds => $code) }
sub soon  { my ($self, $code) = @_; $self->loop->next_tick($code); return }

sub stop {
    my ($self, $fh, @timers) = @_;
    $self->loop->reactor->remove($fh) if $fh;
    $self->loop->remove($_) for grep {defined} @timers;
    return;
}

sub future { require Mojo::Promise; return Mojo::Promise->new->ioloop($_[0]->loop) }

package Data::PubSub::Shared::Bus::Loop::IOAsync;

our @ISA = 'Data::PubSub::Shared::Bus::Loop';

sub watch  { my ($self, $fh, $code) = @_; $self->{loop}->watch_io(handle => $fh, on_read_ready => $code); return }
sub soon   { my ($self, $code) = @_; $self->{loop}->later($code); return }
sub future { return $_[0]{loop}->new_future }

# Its timers fire once.
sub every {
    my ($self, $seconds, $code) = @_;
    my ($loop, $timer) = ($self->{loop}, {});
    Scalar::Util::weaken(my $weak = $timer);
    $timer->{start} = sub {
        $weak->{id} = $loop->watch_time(after => $seconds, code => sub { $weak && ($weak->{start}->(), $code->()) });
    };
    $timer->{start}->();
    return $timer;
}

sub stop {
    my ($self, $fh, @timers) = @_;
    $self->{loop}->unwatch_io(handle => $fh, on_read_ready => 1) if $fh;
    $self->{loop}->unwatch_time($_->{id}) for grep {defined} @timers;
    return;
}

package Data::PubSub::Shared::Bus::Loop::AnyEvent;

our @ISA = 'Data::PubSub::Shared::Bus::Loop';

sub file  { return 'AnyEvent.pm' }
sub watch { my ($self, $fh, $code) = @_; return AnyEvent->io(fh => $fh, poll => 'r', cb => $code) }
sub every { my ($self, $seconds, $code) = @_; return AnyEvent->timer(after => $seconds, interval => $seconds, cb => $code) }
sub soon  { my ($self, $code) = @_; return AnyEvent->timer(after => 0, cb => $code) }

package Data::PubSub::Shared::Bus::Loop::EV;

our @ISA = 'Data::PubSub::Shared::Bus::Loop';

sub file  { return 'EV.pm' }
sub watch { my ($self, $fh, $code) = @_; return EV::io($fh, EV::READ(), $code) }
sub every { my ($self, $seconds, $code) = @_; return EV::timer($seconds, $seconds, $code) }
sub soon  { my ($self, $code) = @_; return EV::timer(0, 0, $code) }

# No event loop: the program calls `pump`.
package Data::PubSub::Shared::Bus::Loop::None;

our @ISA = 'Data::PubSub::Shared::Bus::Loop';

sub watch { return }
sub every { return }
sub soon  { return }

1;
