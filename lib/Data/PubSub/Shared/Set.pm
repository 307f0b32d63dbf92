package Data::PubSub::Shared::Set;

use strict;
use warnings;
no warnings 'redefine';    # a module reloader may load this again

use Data::PubSub::Shared ();

our $VERSION = '1.000';

# Like its subscribers, a set belongs to one interpreter.
sub CLONE_SKIP { return 1 }

1;

__END__

=head1 NAME

Data::PubSub::Shared::Set - wait for the first message of several rings

=head1 SYNOPSIS

    use Data::PubSub::Shared;

    my @subs = map { Data::PubSub::Shared::Str->new("/dev/shm/$_.ring", 1024)->subscribe } qw(prices orders news);
    my $set  = Data::PubSub::Shared::Set->new(@subs);

    while (my @ready = $set->wait) {                # sleeps until one of them has a message
        for my $sub (@ready) { handle($sub, $_) for $sub->drain(100) }
    }

    $loop->watch_io(                                # in an event loop: one handle for all
        handle        => $set->fh,
        on_read_ready => sub { for my $sub ($set->wait(0)) { handle($sub, $_) for $sub->drain(100) } },
    );

=head1 DESCRIPTION

A set waits for several subscribers as if they were one. Their rings may be of any variants. A subscriber may be in
several sets and also have an L<fh|Data::PubSub::Shared/fh> of its own. A set does not read: it returns the
subscribers that have messages; read these with their own methods.

A set keeps its subscribers alive, and they keep their rings alive. It belongs to the interpreter that made it: in a new perl
thread the variable holds a reference to undef.

=head1 METHODS

=head2 new

    my $set = Data::PubSub::Shared::Set->new(@subs);

Makes a set of these subscribers; the list may be empty. Croaks with C<expected subscribers, argument 2 is not one> if an argument
is not a subscriber, and with C<argument 2 is a subscriber that was destroyed>.

=head2 add

    my $new = $set->add(@subs);

Adds subscribers. Returns how many were not in the set before. Croaks as C<new> does, and then adds none. If the set is watched by
threads (see L</fh>) and the system cannot create another one, croaks with C<pthread_create> and its error text.

=head2 remove

    my $removed = $set->remove(@subs);

Removes subscribers. Returns how many were in the set. A subscriber that is destroyed with C<DESTROY> is removed from its sets
automatically. Croaks if an argument is not a subscriber.

=head2 subscribers

    my @subs  = $set->subscribers;
    my $count = $set->subscribers;

Returns all subscribers of the set; in scalar context, their number.

=head2 wait

    my @ready = $set->wait;
    my @ready = $set->wait($timeout);

Sleeps until a subscriber has a message, and returns the subscribers that are known to have one, in no particular order; in
scalar context, their number. Subscribers whose message arrived at the same moment may only be returned by the next call. A
subscriber with unread messages is returned again. The objects are the same ones that were added, so C<==> compares them.

The timeout is in seconds, with fractions. Without one, or with undef or a negative number, the wait has no time limit; with
0 it does not block. If the time passes, the list is empty.

The list is also empty, immediately, if no message can arrive any more: all messages are read, and the rings of all
subscribers L<are gone|Data::PubSub::Shared/is_gone>. If only some rings are gone, their subscribers get no messages; after
L<reopen|Data::PubSub::Shared/reopen> a subscriber waits on the new ring.

Signal handlers run during the wait. They may die, publish, destroy subscribers, or change the set: the wait continues with
the subscribers that the set then has. Croaks with C<the set has no subscribers> if it is empty, and with
C<Data::PubSub::Shared::Set object destroyed during the call> if a handler destroyed it.

=head2 fh

    my $fh = $set->fh;

One file handle for the whole set, readable while any of its subscribers has messages to read, regardless of which process published
them. Pass it to an event loop, to C<select>, or to poll(2); in the callback, C<< $set->wait(0) >> returns the subscribers with
messages. Otherwise it is like a subscriber's L<fh|Data::PubSub::Shared/fh>: it is level-triggered, do not read from it, it is the
same handle until it is closed, and after a fork the child must call C<fh> again. Adding or removing subscribers later takes effect
at once.

The first call starts a native thread that watches the subscribers, including those that are added later. One thread serves all
watched subscribers of the process, in sets and alone (but see L</WHAT IT COSTS>). It runs no perl code, gets no signals, and ends
when no subscriber is watched any more.

=head2 DESTROY

Ends the set, its handle and its threads immediately; subscribers with other references live on. Perl calls it when the last
reference goes away. Afterwards any other method croaks with C<Attempted to use a destroyed Data::PubSub::Shared::Set object>.

=head1 WHAT IT COSTS

In C<wait> the calling thread itself sleeps on the rings of all subscribers. It needs no further threads or descriptors, however
many subscribers there are. C<fh> takes two descriptors for the set, and one thread for all sets and handles of the process.

So a process that watches 1,000 rings through one set has at most one additional thread, 2 additional descriptors, and some 15 KiB
of memory for each ring, most of it the ring's own pages. A message wakes it as soon as if it watched a single ring, plus a few
microseconds because the memory of one ring among 500 is no longer in a cache. F<bench/watch.pl> measures this on your host.

This needs io_uring (Linux 6.15 or later), which is used for sets of more than 8 subscribers and for C<fh>. A thread can wait for 16
such sets this way; further sets are watched by threads. On older kernels, and if io_uring is forbidden, as in many containers or by
the setting C<kernel.io_uring_disabled>, futex_waitv is used instead (Linux 5.16). It takes a thread for each 127 subscribers, which
C<wait> needs only for sets of more than 128, and a message takes up to 0.2 microseconds longer for each subscriber. Without
futex_waitv, each watched subscriber has a thread of its own, and C<wait> needs threads for sets of two or more subscribers.

Subscribers of L<read-only|Data::PubSub::Shared/new_readonly> handles cannot be woken. A set that has one polls it at least every
5 milliseconds.

=head1 SEE ALSO

L<Data::PubSub::Shared>, L<Data::PubSub::Shared::Cookbook>

=cut
