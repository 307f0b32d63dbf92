package Data::PubSub::Shared::Int32;

use strict;
use warnings;

use Data::PubSub::Shared ();

our $VERSION = '1.000';
our @ISA     = 'Data::PubSub::Shared';

@Data::PubSub::Shared::Int32::Sub::ISA = 'Data::PubSub::Shared::Sub';

1;

__END__

=head1 NAME

Data::PubSub::Shared::Int32 - shared-memory broadcast of 32-bit integers

=head1 SYNOPSIS

    use Data::PubSub::Shared::Int32;

    my $ring = Data::PubSub::Shared::Int32->new('/dev/shm/cents.ring', 65536);
    my $sub  = $ring->subscribe;

    $ring->publish(1999);
    my $price = $sub->poll_wait(1);       # 1999

    ps_int32_publish $ring, -5;           # the same as methods, but faster
    my $five = ps_int32_poll $sub;

=head1 DESCRIPTION

A ring of signed 32-bit integers in half the memory of L<Data::PubSub::Shared::Int>. It works in
the same way: any number of processes may publish at once, without locks. L<Data::PubSub::Shared>
describes rings and subscribers in full; this page says what is particular to this variant, and
lists its methods.

=head2 Values

From -2147483648 (-2**31) to 2147483647 (2**31 - 1). C<publish> takes perl's integer value of its
argument and keeps the lowest 32 bits of it, as a cast to C<int32_t> does in C. There is no
warning:

    $ring->publish(2147483648);               # 2**31
    my $v = $sub->poll;                       # -2147483648

=head2 Memory

8 bytes for each slot, plus a header of 4096 bytes: a ring of 1024 slots takes 12 KiB in all, one
of 1048576 slots 8 MiB and 4 KiB.

=head2 Laps

The lap number that guards a slot has 31 bits here, so it repeats after 2**31 laps round the ring.
See L<Data::PubSub::Shared/LIMITS>.

=head1 METHODS

Each entry is a reminder. Arguments, results and errors in detail: the sections of the same names
in L<Data::PubSub::Shared>.

=head2 Constructors

=over 4

=item Data::PubSub::Shared::Int32->new($path, $capacity[, $mode])

Opens the ring in a file, or creates it: C<$capacity> slots (1 to 2**31, rounded up to a power of
two), file mode C<$mode> (by default 0600). C<$path> undef: in anonymous memory, for forked
children.

=item Data::PubSub::Shared::Int32->new_readonly($path)

Opens the ring in a file for reading only: no publishing, no right to write needed.

=item Data::PubSub::Shared::Int32->new_memfd($name, $capacity)

Creates a ring in memory that has a descriptor.

=item Data::PubSub::Shared::Int32->new_from_fd($fd)

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

=item $ring->write_pos

The position of the next message.

=item $ring->path

The file's path, or undef.

=item $ring->memfd

The descriptor of the memory, or -1.

=item $ring->stats

A hash reference with counters.

=item $ring->clear

Discards all messages; positions start at 0 again.

=item $ring->sync

Writes the memory to its file.

=item $ring->unlink, Data::PubSub::Shared::Int32->unlink($path)

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

These are the methods of C<Data::PubSub::Shared::Int32::Sub>.

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

C<use Data::PubSub::Shared::Int32> turns them on until the end of the enclosing block or file,
C<no> turns them off. They do what the methods do, without a method call; see
L<Data::PubSub::Shared/KEYWORDS>.

=over 4

=item ps_int32_publish $ring, $value

=item ps_int32_poll $sub

=item ps_int32_lag $sub

=back

=head1 SEE ALSO

L<Data::PubSub::Shared>, L<Data::PubSub::Shared::Int>, L<Data::PubSub::Shared::Int16>,
L<Data::PubSub::Shared::Str>

=head1 AUTHOR

The Data::PubSub::Shared authors.

=head1 LICENSE

The same terms as Perl itself; see L<Data::PubSub::Shared/LICENSE>.

=cut
