package Data::PubSub::Shared::Set;

use strict;
use warnings;
no warnings 'redefine';    # a module reloader comes here again

use Data::PubSub::Shared ();

our $VERSION = '1.000';

# As the subscribers, it belongs to one interpreter.
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

A set waits for several subscribers as if they were one. They may be of rings of any variants, and a subscriber may be in
several sets and have an L<fh|Data::PubSub::Shared/fh> of its own as well. A set does not read: it says which of its
subscribers have messages, and these are read with their own methods, as ever.

A set keeps its subscribers alive, and they keep their rings. It belongs to the interpreter that made it: in a new thread of
perl's the variable holds a reference to undef.

=head1 METHODS

=head2 new

    my $set = Data::PubSub::Shared::Set->new(@subs);

A set of these subscribers, of which there may be none yet. Croaks with C<expected subscribers, argument 2 is none> where one
of them is something else, and with C<argument 2 is a subscriber that was destroyed>.

=head2 add

    my $new = $set->add(@subs);

Adds subscribers. Returns how many were not in the set before. Croaks as C<new> does, and then none is added; and where the
set is watched by threads (see L</fh>) and the system has none left, with C<pthread_create> and its error text.

=head2 remove

    my $removed = $set->remove(@subs);

Removes subscribers. Returns how many were in the set. A subscriber that was destroyed with C<DESTROY> leaves its sets by
itself. Croaks where an argument is no subscriber.

=head2 subscribers

    my @subs  = $set->subscribers;
    my $count = $set->subscribers;

All subscribers of the set; in scalar context, how many.

=head2 wait

    my @ready = $set->wait;
    my @ready = $set->wait($timeout);

Sleeps until a subscriber has a message, and returns those that are known to have one, at least one, in no particular order;
in scalar context, how many. Others whose message came at the same moment are returned by the next call, and so is a
subscriber that was not read to its end. The objects are the very ones that were added, so C<==> tells them apart.

The timeout is in seconds, fractions allowed. Without one, or with undef or a negative number, the wait does not end by itself; with
0 it does not block. When the time is up, the list is empty.

The list is also empty, and at once, when nothing can come any more: all messages are read, and the rings of all
subscribers L<are gone|Data::PubSub::Shared/is_gone>. A ring that is gone among others is waited for in vain; after
L<reopen|Data::PubSub::Shared/reopen> its subscriber is waited for on the new ring.

Signal handlers run meanwhile. They may die, publish, destroy subscribers, or change the set: the wait goes on with
what the set then has. Croaks with C<the set has no subscribers> where it is empty, and with
C<Data::PubSub::Shared::Set object destroyed during the call> where a handler destroyed it.

=head2 fh

    my $fh = $set->fh;

One file handle for the whole set, readable while any of its subscribers has messages to read, whichever process publishes
them. It is what to hand to an event loop, to C<select>, or to poll(2); in the callback, C<< $set->wait(0) >> says who it
is. Otherwise it is as a subscriber's L<fh|Data::PubSub::Shared/fh>: a level, not to be read from, the same handle until
it is closed, and after a fork the child asks for its own. Subscribers that are added or removed later count at once.

The first call has a native thread watch the subscribers, also those that are added later: one thread for all watched
subscribers of the process, with and without sets (but see L</WHAT IT COSTS>). It runs no perl code and gets no signals, and ends with what it
watches.

=head2 DESTROY

Ends the set, its handle and its threads at once; its subscribers live as long as anything else refers to them. Otherwise that happens
when the last reference goes. Any other method croaks with C<Attempted to use a destroyed Data::PubSub::Shared::Set object>
afterwards.

=head1 WHAT IT COSTS

The calling thread itself sleeps on the rings of all subscribers: C<wait> needs neither threads nor descriptors, however many there are.
C<fh> takes two descriptors for the set, and one thread for all sets and handles of the process.

So a process that watches 1,000 rings through one set has at most one thread and 2 descriptors more, and some 15 KiB of memory for each
ring, most of it the ring's own pages. A message wakes it as soon as if it watched a single ring; that the memory
of a ring among 500 is in no cache any more costs a few microseconds. F<bench/watch.pl> measures that on your host.

This takes io_uring, for sets of more than 8 subscribers and for C<fh>, on Linux 6.15 or later. A thread that waits has 16 such sets; threads watch for
further ones. On older kernels, and where io_uring is forbidden, as in many containers or by the setting
C<kernel.io_uring_disabled>, futex_waitv takes its place (Linux 5.16): a thread for each 127 subscribers, which C<wait> needs only for sets
of more than 128, and a message takes up to 0.2 microseconds longer for each of them. Without futex_waitv, too, each watched
subscriber has a thread to itself, and C<wait> needs them for two subscribers and more.

Subscribers of L<read-only|Data::PubSub::Shared/new_readonly> handles cannot be woken. A set that has one looks at it every 5 milliseconds
at the latest.

=head1 SEE ALSO

L<Data::PubSub::Shared>, L<Data::PubSub::Shared::Cookbook>

=cut
