package Data::PubSub::Shared::Bus;

use strict;
use warnings;
no warnings 'redefine';    # a module reloader may load this again

use Carp         qw(carp croak);
use Scalar::Util qw(blessed looks_like_number weaken);
use Time::HiRes  qw(clock_gettime CLOCK_MONOTONIC);
use overload     ();

use Data::PubSub::Shared              ();
use Data::PubSub::Shared::Bus::Events ();
use Data::PubSub::Shared::Bus::Loop   ();

our $VERSION = '1.000';
our @ISA     = 'Data::PubSub::Shared::Bus::Events';

my $RING    = 'Data::PubSub::Shared::Str';
my %DEFAULT = (capacity => 1024, msg_size => 8000);
my %KNOWN   = map { $_ => 1 } qw(capacity msg_size mode publishers loop long);

# The number of messages delivered before the loop serves other watchers, and the seconds between checks for a replaced ring.
my $AT_ONCE = 100;
my $LOOK    = 1;

sub new {
    my ($class, $path, @options) = @_;
    croak "$class->new: options must be pairs of a name and a value" if @options % 2;
    my %options = @options;
    my @unknown = grep { !$KNOWN{$_} } sort keys %options;
    croak "$class->new: unknown option '$unknown[0]' (known: " . join(', ', sort keys %KNOWN) . ')' if @unknown;
    my $long = $options{long} // 'croak';
    croak "$class->new: long must be 'croak' or 'drop', not '$long'" if $long !~ /\A(?:croak|drop)\z/;
    my $self = bless {
        path => $path, options => \%options, long => $long, dropped => 0,
        listeners => {}, prefixes => {}, json => {}, events => {},
    }, $class;
    $self->{ring} = $self->_as(new => sub { $self->_open });
    $self->_loop if defined $options{loop};    # croaks now
    return $self;
}

# Opens the ring, or makes it. Sizes that were not given are those of an existing ring.
sub _open {
    my ($self) = @_;
    my ($path, $options) = @$self{qw(path options)};
    my %given = map { defined $options->{$_} ? ($_ => $options->{$_}) : () } qw(mode publishers);
    delete $given{mode} if !defined $path;
    my @sizes = map { $options->{$_} // $DEFAULT{$_} } qw(capacity msg_size);
    return $RING->new($path, @sizes, %given) if defined $options->{capacity} || defined $options->{msg_size};
    no warnings 'Data::PubSub::Shared';
    return $RING->new($path, @sizes, %given);
}

# Returns the result of the code. If a ring's method fails in it, croaks as the bus's method with the same cause.
sub _as {
    my ($self, $method, $code) = @_;
    my $result;
    return $result if eval { $result = $code->(); 1 };
    return $self->_croak_as($method);
}

sub _croak_as {
    my ($self, $method) = @_;
    my $cause = Data::PubSub::Shared::_cause($@, __FILE__);
    croak ref($self), "->$method: $cause";
}

sub ring    { my ($self) = @_; $self->_here; return $self->{ring} }
sub dropped { return $_[0]{dropped} }
sub lag     { my ($self) = @_; $self->_here; return $self->{sub} ? $self->{sub}->lag : 0 }

#--- Channels

sub listen {    ## no critic (ProhibitBuiltinHomonyms) - as Mojo::Pg::PubSub and others call it
    my ($self, $channel, $code) = @_;
    $self->_check_code(listen => $code);
    my ($kind, $name) = _pattern($self, listen => $channel);
    $self->_here;
    push @{ $self->{$kind}{$name} }, $code;
    $self->_wish;
    $self->_start;
    return $code;
}

sub unlisten {
    my ($self, $channel, $code) = @_;
    my ($kind, $name) = _pattern($self, unlisten => $channel);
    my $all = $self->{$kind}{$name} || [];
    $self->_check_code(unlisten => $code) if defined $code;
    my @kept = defined $code ? grep { $_ != $code } @$all : ();
    if   (@kept) { $self->{$kind}{$name} = \@kept }
    else         { delete $self->{$kind}{$name} }
    if   ($self->_listens) { $self->_wish }
    else                   { $self->_stop }
    return $self;
}

# Has the subscriber skip messages of other channels. The prefixes do not include the space after the name, because other programs
# may publish messages without a payload.
sub _wish {
    my ($self) = @_;
    $self->{sub}->prefix([keys %{ $self->{listeners} }, keys %{ $self->{prefixes} }]) if $self->{sub};
    return;
}

sub notify {
    my ($self, $channel, $payload) = @_;
    croak ref($self), "->notify: channel must be a name without white space and '*', not ", $self->_shown($channel)
        if !defined $channel || $channel !~ /\A[^\s*]+\z/;
    $self->_here;
    # Processes that open the path from now on do not get the messages of a ring that is gone.
    $self->_as(notify => sub { $self->_renew }) if $self->{ring}->is_gone;
    my $message = $channel . ' ' . $self->_text($channel, $payload);
    return $self if eval { $self->{ring}->publish($message); 1 };
    $self->_croak_as('notify') if $@ !~ /message too long \((\d+) > (\d+)\)/;
    my $text = ref($self) . "->notify: message for channel '$channel' too long ($1 > $2 bytes, with the channel's name)";
    croak $text if $self->{long} eq 'croak';
    $self->{dropped}++;
    carp "$text: dropped";
    return $self;
}

sub _text {
    my ($self, $channel, $payload) = @_;
    if ($self->_is_json($channel)) {
        my $json = _json();
        my $text = eval { $json->encode($payload) };
        return $text if defined $text;
        croak ref($self), "->notify: payload for channel '$channel': ", Data::PubSub::Shared::_without_place($@, __FILE__);
    }
    croak ref($self), "->notify: payload must be a string, not a reference ($1); data are for channels of json"
        if ref $payload && !overload::Overloaded($payload) && overload::StrVal($payload) =~ /(\w+)\(/;
    return $payload // '';
}

sub json {
    my ($self, $channel) = @_;
    my ($kind, $name) = _pattern($self, json => $channel);
    $self->{json}{$kind}{$name} = 1;
    return $self;
}

sub _is_json {
    my ($self, $channel) = @_;
    my $json = $self->{json};
    return $json->{listeners}{$channel} || grep { index($channel, $_) == 0 } keys %{ $json->{prefixes} };
}

# The channel's messages in the ring before the one that the listeners of this process get next.
sub past {
    my ($self, $channel, $most) = @_;
    my ($kind, $name) = _pattern($self, past => $channel);
    croak ref($self), '->past: count must be a number, not ', $self->_shown($most) if defined $most && !looks_like_number($most);
    $self->_here;
    my ($ring, $sub) = @$self{qw(ring sub)};
    my $end   = $sub ? $sub->cursor : $self->{from} ? $self->{from}[1] : $ring->write_pos;
    my $all   = $ring->subscribe_all;
    my @found;
    while ($all->cursor < $end && defined(my $message = $all->poll)) {
        my ($of, $payload) = _parts($message);
        next if $kind eq 'listeners' ? $of ne $name : index($of, $name) != 0;
        push @found, $payload;
        shift @found if defined $most && @found > $most;
    }
    return $self->_is_json($channel) ? map { my $data = $_; eval { $data = _decoded($data); 1 } ? $data : () } @found : @found;
}

# Returns ('listeners', exact name) or ('prefixes', beginning of names).
sub _pattern {
    my ($self, $method, $channel) = @_;
    croak ref($self), "->$method: channel must be a name without white space, or end in '*', not ", $self->_shown($channel)
        if !defined $channel || $channel !~ /\A[^\s*]+\*?\z|\A\*\z/;
    return $channel =~ /\*\z/ ? (prefixes => substr $channel, 0, -1) : (listeners => $channel);
}

# The fastest installed JSON module; it encodes to bytes and decodes bytes.
sub _json {
    our $json;
    return $json if $json;
    for my $class (qw(Cpanel::JSON::XS JSON::XS JSON::PP)) {
        my $file = $class =~ s{::}{/}gr . '.pm';
        next if !eval { require $file; 1 };
        return $json = $class->new->utf8->allow_nonref->canonical;
    }
    croak 'no JSON module is installed';
}

#--- Which process and thread this is

# In a forked child, and in a new perl thread, the objects of the loop and the ring of the parent cannot be used.
sub _here {
    my ($self) = @_;
    my $thread = $INC{'threads.pm'} ? threads->tid : 0;
    my $here   = "$thread/$$";
    my $is_new = ($self->{here} //= $here) ne $here;
    if ($is_new) {
        # A child's loop still watches its parent's handles; a thread has only an unusable copy.
        $self->_unwatch if $self->{here} =~ m{\A$thread/};
        $self->{here} = $here;
        delete @$self{qw(sub fh watch timer loop soon from trouble)};
    }
    # Rings are not copied into a new thread; open it by its path.
    $self->{ring} = $self->_open if !blessed $self->{ring};
    $self->_start                if $is_new && $self->_listens;
    return;
}

sub _listens { my ($self) = @_; return %{ $self->{listeners} } || %{ $self->{prefixes} } }

sub _loop {
    my ($self) = @_;
    return $self->{loop} //= Data::PubSub::Shared::Bus::Loop::find($self->{options}{loop})
        // croak ref($self), '->new: ', Data::PubSub::Shared::Bus::Loop::EXPECTED, ', not ', $self->_shown($self->{options}{loop});
}

# This process listens from now on. The subscription is left to the first iteration of the loop, in this process or in a child that
# is forked before: the manager of a server listens only for its workers.
sub _start {
    my ($self) = @_;
    return if $self->{sub} || $self->{from};
    $self->{from} = [$$, $self->{ring}->write_pos];
    weaken(my $weak = $self);
    my $loop = $self->_loop;
    $self->{soon} = $loop->soon(sub { $weak && $weak->_attach });
    return;
}

# Subscribes, and has the loop watch the subscriber.
sub _attach {
    my ($self) = @_;
    $self->_here;
    delete $self->{soon};
    return if $self->{sub} || !$self->_listens;
    # A lossless ring would have `notify` wait for the listeners of its own process.
    my $sub  = $self->{sub} = $self->{ring}->subscribe(lossy => 1);
    my $from = delete $self->{from};
    $sub->cursor($from->[1]) if $from && $from->[0] == $$ && $from->[1] < $sub->cursor;
    $self->{lost} = 0;
    $self->_wish;
    my $loop = $self->_loop;
    return if $loop->isa('Data::PubSub::Shared::Bus::Loop::None');
    weaken(my $weak = $self);
    $self->{timer} = $loop->every($LOOK, sub { $weak && $weak->_look });
    $self->_try(sub { $self->_watch });
    return;
}

# If no descriptor is left, `_look` tries again later.
sub _watch {
    my ($self) = @_;
    return if $self->{fh} || !$self->{timer};
    weaken(my $weak = $self);
    $self->{watch} = $self->{loop}->watch($self->{fh} = $self->{sub}->fh, sub { $weak && $weak->_ready });
    return;
}

sub _error {
    my ($self, $error, $channel) = @_;
    $self->_emit(error => $error, $channel)
        or warn ref($self), ': ', (defined $channel ? "channel '$channel': " : ''), $error, $error =~ /\n\z/ ? '' : "\n";
    return;
}

# For code that the loop calls: a failure of the ring is reported as an event, once for each cause, and does not end the loop.
sub _try {
    my ($self, $code) = @_;
    if (eval { $code->(); 1 }) {
        delete $self->{trouble};
        return;
    }
    my $cause = Data::PubSub::Shared::_cause($@, __FILE__);
    return if $cause eq ($self->{trouble} // '');
    $self->{trouble} = $cause;
    return $self->_error($cause);
}

# The loop calls this when there are messages, perhaps in a forked child that still has its parent's handle.
sub _ready {
    my ($self) = @_;
    $self->_here;
    return $self->{sub} ? $self->_deliver($AT_ONCE) : $self->_attach;
}

sub _stop {
    my ($self) = @_;
    $self->_unwatch;
    delete @$self{qw(sub fh watch timer soon from)};
    return;
}

sub _unwatch {
    my ($self) = @_;
    $self->{loop}->stop(@$self{qw(fh timer)}) if $self->{loop} && ($self->{fh} || $self->{timer});
    return;
}

# A bus is copied into a new thread, and opens the ring there again. Only the thread that watches stops watching.
sub DESTROY {
    my ($self) = @_;
    return if ${^GLOBAL_PHASE} eq 'DESTRUCT' || $INC{'threads.pm'} && ($self->{here} // '') !~ m{\A@{[ threads->tid ]}/};
    local $@;
    $self->_stop;
    return;
}

#--- Messages

sub pump {
    my ($self, $timeout) = @_;
    $self->_here;
    $self->_look;
    $self->_start  if $self->_listens && !$self->{sub};
    $self->_attach if !$self->{sub};
    my $sub   = $self->{sub} or return 0;
    $self->_as(pump => sub { $sub->poll_wait_multi(0, $timeout) }) if @_ > 1;    # croaks now
    my $count = $self->_deliver($sub->lag);
    return $count if $count || @_ < 2;
    my $message = $sub->poll_wait($timeout);
    $self->_account;
    return 0 if !defined $message;
    $self->_dispatch($message);
    return 1 + ($self->{sub} ? $self->_deliver($self->{sub}->lag) : 0);
}

# Delivers up to $most messages, one by one: a listener may die, stop listening, or read by `pump`.
sub _deliver {
    my ($self, $most) = @_;
    my $count = 0;
    while ($count < $most && $self->{sub}) {
        my $message = $self->{sub}->poll;
        $self->_account;
        last if !defined $message;
        $count++;
        $self->_dispatch($message);
    }
    return $count;
}

sub _account {
    my ($self) = @_;
    my $sub  = $self->{sub} or return;    # a signal handler has called unlisten
    my $lost = $sub->overflow_count - $self->{lost} or return;
    $self->{lost} += $lost;
    $self->_emit(lost => $lost);
    return;
}

sub _dispatch {
    my ($self, $message) = @_;
    my ($channel, $payload) = _parts($message);
    # Only listeners of patterns get the channel's name: a sub with a signature takes no more arguments than it names.
    my @to = (
        (map { [$_] } @{ $self->{listeners}{$channel} || [] }),
        (map { [$_, $channel] } map { @{ $self->{prefixes}{$_} } } grep { index($channel, $_) == 0 } sort keys %{ $self->{prefixes} }),
    );
    return if !@to;
    if ($self->_is_json($channel)) {
        eval { $payload = _decoded($payload); 1 }
            or return $self->_error(Data::PubSub::Shared::_without_place($@, __FILE__), $channel);
    }
    for (@to) {
        my ($code, @name) = @$_;
        $self->_call($code, $payload, @name) or $self->_error($@, $channel);
    }
    return;
}

sub _parts {
    my ($channel, $payload) = split / /, $_[0], 2;
    return ($channel // '', $payload // '');
}

sub _decoded {
    my ($json) = @_;
    # It may have been published as characters.
    utf8::encode($json) if !utf8::downgrade($json, 1);
    return _json()->decode($json);
}

#--- Rings that were replaced

# Checks, at intervals, whether the ring was replaced, and watches again if that failed before.
sub _look {
    my ($self) = @_;
    my $now = clock_gettime(CLOCK_MONOTONIC);
    return if $now < ($self->{look_at} // 0);
    $self->{look_at} = $now + $LOOK / 2;
    return $self->_try(sub {
        $self->_renew if $self->{ring}->is_gone && -e $self->{path};
        $self->_watch;
    });
}

# Switches to the ring at the path, which is made if there is none.
sub _renew {
    my ($self) = @_;
    my $new = $self->_open;
    $self->_stop;
    $self->{ring} = $new;
    if ($self->_listens) {
        $self->{from} = [$$, 0];
        $self->_attach;
    }
    $self->_emit('reconnect');
    return;
}

#--- Promises

sub next {    ## no critic (ProhibitBuiltinHomonyms) - reads well behind `await`
    my ($self, $channel) = @_;
    _pattern($self, next => $channel);
    my $future = $self->_loop->future;
    weaken(my $weak = $self);
    my $listener;
    my $done = sub { $weak->unlisten($channel, $listener) if $weak && $listener };
    my $code = $listener = sub {
        my (undef, $payload) = @_;
        $done->();
        $future->can('resolve') ? $future->resolve($payload) : $future->is_ready || $future->done($payload);
    };
    # The bus has the listener, which has the future; the future must not keep them alive.
    weaken($listener);
    $self->listen($channel, $code);
    $future->on_cancel($done) if $future->can('on_cancel');
    return $future;
}
*next_message = \&next;

1;

__END__

=head1 NAME

Data::PubSub::Shared::Bus - channels between the processes of one host, with event loops

=head1 SYNOPSIS

    use Data::PubSub::Shared::Bus;

    my $bus = Data::PubSub::Shared::Bus->new('/dev/shm/app.bus');

    $bus->listen(news => sub { my ($bus, $payload) = @_; print "$payload\n" });
    $bus->listen('prices.*' => sub { my ($bus, $payload, $channel) = @_; ... });

    $bus->json('orders');
    $bus->listen(orders => sub { my ($bus, $order) = @_; print $order->{id}, "\n" });

    $bus->notify(news => 'The lift works again');       # to listeners in all processes
    $bus->notify(orders => { id => 17, items => ['tea'] });

    my $payload = await $bus->next('news');             # Future::AsyncAwait, or a promise of Mojolicious

    $bus->pump;                                         # without an event loop: calls the listeners

=head1 DESCRIPTION

A bus carries messages of many named channels on one ring of strings. Every process that has opened it may notify, and each
process gets the messages of the channels that it listens to. The methods have the names of those of Mojo::Pg::PubSub and
Mojo::Redis::PubSub, but there is no server: the ring is a file, and everything that L<Data::PubSub::Shared> says about rings
applies here. Fire-and-forget: a process gets the messages that are sent while it listens. A process that is busy for so long that
it is lapped loses the oldest messages, and the event L</lost> says how many.

A process that notifies a channel to which it listens gets the message, too. All processes get the messages in the same order.

On a L<lossless|Data::PubSub::Shared/new> ring, publishers do not wait for the listeners of a bus, because the waiting loop
would itself have to call them. L</notify> does wait for the ring's other subscribers, and blocks its loop meanwhile.

=head2 Event loops

Listeners are called by the program's event loop: Mojo::IOLoop, AnyEvent or EV, the first of these that the program has
loaded when it first listens, or the loop given in the option C<loop>. IO::Async must be given: C<< loop => $loop >>. A bus
costs two descriptors in each process that listens, and a thread that all watched rings share: see
L<Data::PubSub::Shared/fh>.

If there is no loop, or it does not run, as in most PSGI servers, call L</pump>: before each request, for example.

=head2 Forks and threads

Open the bus and listen before a server forks its workers. Each worker subscribes automatically, at its first use of the bus or when
its event loop starts, and gets the messages that are sent from then on. The same holds for perl threads, if the bus has a path.

=head1 CONSTRUCTOR

=head2 new

    my $bus = Data::PubSub::Shared::Bus->new($path, %options);

Opens the bus, a ring of strings at this path, or makes it. With a path of undef it is shared only with children that are forked
later. Croaks as C<new> of L<Data::PubSub::Shared> does, on an unknown option, and on an invalid value of an option.

=over 4

=item capacity, msg_size, mode, publishers

For a new ring: the number of messages that it holds (default: 1024); the maximum length of a message together with its channel's
name, in bytes (default: 8000); C<mode> and C<publishers> as for L<Data::PubSub::Shared/new>. An existing ring keeps its own.

=item loop

An object of IO::Async::Loop or Mojo::IOLoop; or C<'Mojo'>, C<'AnyEvent'>, C<'EV'>, or C<'none'> to use only L</pump>.
Default: the first of Mojo::IOLoop, AnyEvent and EV that is loaded.

=item long

How L</notify> handles a payload that is too long: C<'croak'>, the default, or C<'drop'>, which warns and counts it in
L</dropped>.

=back

=head1 METHODS

=head2 listen

    my $cb = $bus->listen($channel => sub { my ($bus, $payload) = @_; ... });
    my $cb = $bus->listen('begins.with.*' => sub { my ($bus, $payload, $channel) = @_; ... });

Calls the code for each message of the channel from now on. Returns the code. A channel is a name without white space and C<*>. A
name that ends in C<*> stands for all channels with that prefix, and C<*> alone for all channels; only these listeners get the
channel's name as the third argument. A channel may have several listeners; those of the exact name are called first. The payload is
the string that was sent, bytes or characters; for a channel of L</json>, the decoded data.

If the code dies, the exception is reported as an L</error> event, and the other listeners are still called. The message
counts as delivered.

=head2 unlisten

    $bus->unlisten($channel);
    $bus->unlisten($channel => $cb);

Removes all listeners of the channel, or only the given one. The name must be the one that was passed to C<listen>. Returns the bus.
A bus without listeners has no subscriber and watches nothing.

=head2 notify

    $bus->notify($channel => $payload);

Sends a string to the listeners of the channel in all processes, and returns the bus. C<undef> is sent as an empty string. For a
channel of L</json> the payload is data; for other channels a reference croaks. If the payload with the channel's name is longer
than C<msg_size>, croaks, or drops the message (see C<long>); a message is never truncated.

=head2 past

    my @payloads = $bus->past($channel);
    my @payloads = $bus->past($channel, $most);

Returns the payloads of the channel that the ring still holds, oldest first, at most the last C<$most> of them. It returns those
before the message that this process's listeners get next. So a new client that gets these payloads, and is then served by a
listener, gets each message once. The call reads the whole ring.

=head2 json

    $bus->json($channel);

From now on, payloads of this channel, or of all channels with the prefix before C<*>, are data in this process: C<notify> encodes
them as JSON, and listeners get them decoded. The fastest installed module of Cpanel::JSON::XS, JSON::XS and JSON::PP is used. A
payload that is not valid JSON causes an L</error> event. Returns the bus.

=head2 next

    my $payload = await $bus->next($channel);
    $bus->next('news')->then(sub { my ($payload) = @_; ... });

Returns a promise for the payload of the next message of the channel: a L<Mojo::Promise> if the loop is Mojo::IOLoop, otherwise a
L<Future> (made by the loop if that is IO::Async). A cancelled future stops listening.

=head2 next_message

The same as L</next>.

=head2 pump

    my $count = $bus->pump;
    my $count = $bus->pump($timeout);

Calls the listeners for all messages in the ring, and returns the number of messages, of any channel. If there are none, waits
up to C<$timeout> seconds for one, or forever with undef; without an argument, and with 0, it does not wait. Signal handlers
run during the wait, and may die. Use it if no event loop runs; it may also be called in a program with a loop.

=head2 on

    my $cb = $bus->on(lost => sub { my ($bus, $count) = @_; ... });

Calls the code when the event happens. Returns the code. The events:

=over 4

=item lost

This process was too slow and lost C<$count> messages, which may have been of any channel. Discard cached state that they may have
changed.

=item reconnect

The ring's file was removed or replaced, and the bus has switched to the new ring, from its oldest message on. It checks once a
second, and at each C<notify>, which makes a new ring if there is none. Messages may have been missed.

=item error

A listener died, or a payload was not valid JSON: C<< sub { my ($bus, $error, $channel) = @_; ... } >>. C<$channel> is undef if the
ring was replaced by another file, or if no descriptor is left for the event loop. The bus then tries again every second, and
reports the same error once. If the event has no handler, it is a warning.

=back

=head2 unsubscribe

    $bus->unsubscribe($event);
    $bus->unsubscribe($event => $cb);

Removes all handlers of the event, or only the given one. Returns the bus.

=head2 dropped

    my $n = $bus->dropped;

How many messages of this process were dropped because they were too long, with C<< long => 'drop' >>.

=head2 lag

    my $n = $bus->lag;

How many messages in the ring this process has not read yet.

=head2 ring

    my $ring = $bus->ring;

The ring of strings. A message is the channel's name, a space, and the payload, so programs without a bus can also send
messages:

    pubsub-shared pub /dev/shm/app.bus 'news The lift works again'

=head1 SEE ALSO

L<Mojolicious::Plugin::SharedBus>, L<Data::PubSub::Shared>, L<Data::PubSub::Shared::Cookbook>

=cut
