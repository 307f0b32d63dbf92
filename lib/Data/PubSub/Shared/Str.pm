package Data::PubSub::Shared::Str;

use strict;
use warnings;

use Data::PubSub::Shared ();

our $VERSION = '1.000';
our @ISA     = 'Data::PubSub::Shared';

@Data::PubSub::Shared::Str::Sub::ISA = 'Data::PubSub::Shared::Sub';

1;

__END__

=head1 NAME

Data::PubSub::Shared::Str - shared-memory broadcast of strings

=head1 SYNOPSIS

    use Data::PubSub::Shared::Str;

    # 1024 messages of up to 512 bytes
    my $ring = Data::PubSub::Shared::Str->new('/dev/shm/log.ring', 1024, 512);
    my $sub  = $ring->subscribe;

    $ring->publish("worker $$ is up");
    my $line = $sub->poll_wait(1);

    ps_str_publish $ring, "worker $$ is busy";    # the same as methods, but faster
    my $next = ps_str_poll $sub;

=head1 DESCRIPTION

A ring of strings. Any number of processes may publish at once, without locks.
L<Data::PubSub::Shared> describes rings and subscribers in full; this page says what is particular
to this variant, and lists its methods.

=head2 Values

Any string of 0 to C<msg_size> bytes, NUL bytes included. Perl's UTF-8 flag is kept with each
message, so characters come back as characters and bytes as bytes. A string of characters counts
with the bytes of its UTF-8 form. What is no string is turned into one, as perl does everywhere; a
reference becomes something like C<HASH(0x55d0)>, so encode structures first (JSON, Storable,
pack).

A longer one croaks, and nothing is published:

    Data::PubSub::Shared::Str->publish: message too long (513 > 512) at ...

C<publish_multi> looks at all lengths before it publishes the first message: all or nothing.

=head2 Memory

A header of 4096 bytes; 8 bytes for each slot; 128 for each of the C<publishers>; and for the text, the arena,
for each slot and each of the C<publishers> C<msg_size> rounded up to a multiple of 8, and 8 bytes. So 1024 slots with
the default of 256 bytes take 4 + 8 + 8 + 280.5 KiB. Whatever the sizes of the messages, the last C<capacity> of
them always fit.

=head2 Publishers

A message is written into a spare block first, which then changes places with the oldest message's. There are
as many spare blocks as publishers can be in the middle of C<publish> at once: by default as many as fit into 4 MiB, at
least 16 and at most 64. Processes that have the ring open, but are not publishing at that moment, need none. See
C<publishers> in L<Data::PubSub::Shared/new>, and L<Data::PubSub::Shared/AFTER A CRASH>.

The messages of a batch of C<publish_multi> stand next to each other, in order, and become visible one by one.

=head1 METHODS

Each entry is a reminder. Arguments, results and errors in detail: the sections of the same names
in L<Data::PubSub::Shared>.

=head2 Constructors

=over 4

=item Data::PubSub::Shared::Str->new($path, $capacity[, $msg_size[, $mode]])

Opens the ring in a file, or creates it: C<$capacity> slots (1 to 2**31, rounded up to a power of
two), messages of up to C<$msg_size> bytes (1 to 2**31 - 1, by default 256), file mode C<$mode>
(by default 0600). C<$path> undef: in anonymous memory, for forked children.

=item Data::PubSub::Shared::Str->new_readonly($path)

Opens the ring in a file for reading only: no publishing, no right to write needed.

=item Data::PubSub::Shared::Str->new_memfd($name, $capacity[, $msg_size])

Creates a ring in memory that has a descriptor.

=item Data::PubSub::Shared::Str->new_from_fd($fd)

Opens the ring behind a descriptor.

=back

=head2 Rings

=over 4

=item $ring->publish($value)

Appends one message and wakes sleepers. True.

=item $ring->publish_multi(@values)

Appends up to 8192 messages side by side. Their number.

=item $ring->publish_notify($value)

C<publish>, then C<notify>. True.

=item $ring->subscribe

A subscriber for messages from now on.

=item $ring->subscribe_all

A subscriber that begins with the oldest message held.

=item $ring->capacity

The number of slots.

=item $ring->msg_size

The longest message, in bytes.

=item $ring->write_pos

The position of the next message.

=item $ring->path

The file's path, or undef.

=item $ring->memfd

The descriptor of the memory, or -1.

=item $ring->stats

A hash reference with counters (C<msg_size> and C<arena_cap> among them).

=item $ring->clear

Discards all messages; positions start at 0 again.

=item $ring->sync

Writes the memory to its file.

=item $ring->unlink, Data::PubSub::Shared::Str->unlink($path)

Removes the file. True.

=item $ring->eventfd

Makes the eventfd on the first call. Its number.

=item $ring->eventfd_set($fd)

Borrows an eventfd; -1 for none.

=item $ring->fileno

The number of the eventfd, or -1.

=item $ring->notify

Adds one to the eventfd. True, or false where there is none.

=item $ring->eventfd_consume

Takes the count of the eventfd, or undef.

=item $ring->DESTROY

Lets go of the ring; perl calls it.

=back

=head2 Subscribers

These are the methods of C<Data::PubSub::Shared::Str::Sub>.

=over 4

=item $sub->poll

The next message, or undef.

=item $sub->poll_multi($n)

Up to C<$n> messages.

=item $sub->drain, $sub->drain($max)

All messages that are there, or up to C<$max>.

=item $sub->poll_wait, $sub->poll_wait($timeout)

The next message; waits for it, C<$timeout> seconds at most. Undef after that.

=item $sub->poll_wait_multi($n), $sub->poll_wait_multi($n, $timeout)

Waits for a first message, then returns up to C<$n>.

=item $sub->poll_cb($code)

Calls C<$code>, a code reference or a name, with each message that is there. Their number.

=item $sub->drain_notify, $sub->drain_notify($max)

C<eventfd_consume>, then C<drain>.

=item $sub->fh

A file handle for event loops: readable while there are messages to read.

=item $sub->lag

How many messages have not been read.

=item $sub->has_overflow

True while some of them are lost already.

=item $sub->overflow_count

How many were lost so far.

=item $sub->cursor, $sub->cursor($pos)

The position of the next message to read; moves there first.

=item $sub->reset

Moves behind the newest message.

=item $sub->reset_oldest

Moves to the oldest message held.

=item $sub->capacity

The number of slots.

=item $sub->write_pos

The position of the next message to be published.

=item $sub->eventfd_set($fd)

Borrows an eventfd; -1 for none.

=item $sub->fileno

The number of the eventfd, or -1.

=item $sub->eventfd_consume

Takes the count of the eventfd, or undef.

=item $sub->notify

Adds one to the eventfd. True, or false where there is none.

=item $sub->DESTROY

Lets go of the subscriber; perl calls it.

=back

=head1 KEYWORDS

C<use Data::PubSub::Shared::Str> turns them on until the end of the enclosing block or file, C<no>
turns them off. They do what the methods do, without a method call; see
L<Data::PubSub::Shared/KEYWORDS>.

=over 4

=item ps_str_publish $ring, $value

=item ps_str_poll $sub

=item ps_str_lag $sub

=back

=head1 SEE ALSO

L<Data::PubSub::Shared>, L<Data::PubSub::Shared::Int>, L<Data::PubSub::Shared::Int32>,
L<Data::PubSub::Shared::Int16>

=head1 AUTHOR

The Data::PubSub::Shared authors.

=head1 LICENSE

The same terms as Perl itself; see L<Data::PubSub::Shared/LICENSE>.

=cut
