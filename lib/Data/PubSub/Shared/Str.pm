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

A ring of strings. Any number of processes may publish at once, without locks. L<Data::PubSub::Shared> describes
rings and subscribers in full; this page describes the features of this variant.

=head2 Values

Any string of 0 to C<msg_size> bytes, NUL bytes included. Perl's UTF-8 flag is kept with each message, so
characters come back as characters and bytes as bytes. For a string of characters, the length is that of
its UTF-8 form. Other values are converted to strings, as always in perl; a reference becomes something
like C<HASH(0x55d0)>, so encode structures first (JSON, Storable, pack).

A longer string croaks, and nothing is published:

    Data::PubSub::Shared::Str->publish: message too long (513 > 512) at ...

C<publish_multi> checks all lengths before it publishes the first message: it publishes all messages or none.

=head2 Memory

A header of 4096 bytes; 128 bytes for each of the C<readers> and of the C<publishers>; 8 bytes for each slot; and the arena for the
text. The arena has a block for each slot and for each of the C<publishers>: C<msg_size> rounded up to a multiple of 8, plus 8
bytes. So 1024 slots with the default C<msg_size> of 256 take 4 + 8 + 8 + 8 + 280.5 KiB. The last C<capacity> messages always fit,
regardless of their sizes.

=head2 Publishers

A publisher writes a message into a spare block first, and then exchanges this block with that of the oldest message. There are
as many spare blocks as publishers can be in the middle of C<publish> at once: by default as many as fit into 4 MiB, at least
16 and at most 64. Processes that have the ring open but are not publishing need no spare block. See C<publishers> in
L<Data::PubSub::Shared/new>, and L<Data::PubSub::Shared/AFTER A CRASH>.

The messages of a batch of C<publish_multi> are adjacent in the ring, in order, and become visible one by one.

=head1 METHODS

The constructors take:

    my $ring = Data::PubSub::Shared::Str->new($path, $capacity, $msg_size, $mode);
    my $ring = Data::PubSub::Shared::Str->new($path, $capacity,
        msg_size => $bytes, publishers => $number, mode => $mode);
    my $ring = Data::PubSub::Shared::Str->new_readonly($path);
    my $ring = Data::PubSub::Shared::Str->new_memfd($name, $capacity, $msg_size);
    my $ring = Data::PubSub::Shared::Str->new_from_fd($fd);

They and all other methods are the same for all variants. L<Data::PubSub::Shared> describes them:
L<CONSTRUCTORS|Data::PubSub::Shared/CONSTRUCTORS>; L<RING METHODS|Data::PubSub::Shared/RING METHODS>;
for the objects that C<subscribe> returns, of class C<Data::PubSub::Shared::Str::Sub>,
L<SUBSCRIBER METHODS|Data::PubSub::Shared/SUBSCRIBER METHODS>;
and L<METHODS OF BOTH|Data::PubSub::Shared/METHODS OF BOTH>.
C<msg_size> exists for this variant only, and L<stats|Data::PubSub::Shared/stats> has four more fields for it.

=head1 KEYWORDS

C<use Data::PubSub::Shared::Str> turns them on until the end of the enclosing block or file, C<no>
turns them off. They work like the methods, without a method call; see
L<Data::PubSub::Shared/KEYWORDS>.

=over 4

=item ps_str_publish $ring, $value

=item ps_str_poll $sub

=item ps_str_lag $sub

=back

=head1 SEE ALSO

L<Data::PubSub::Shared>, L<Data::PubSub::Shared::Int>, L<Data::PubSub::Shared::Int32>,
L<Data::PubSub::Shared::Int16>, L<Data::PubSub::Shared::Num>

=head1 AUTHOR

The Data::PubSub::Shared authors.

=head1 LICENSE

The same terms as Perl itself; see L<Data::PubSub::Shared/LICENSE>.

=cut
