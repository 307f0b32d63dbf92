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

A ring of signed 32-bit integers in half the memory of L<Data::PubSub::Shared::Int>. It works in the
same way: any number of processes may publish at once, without locks. L<Data::PubSub::Shared>
describes rings and subscribers in full; this page describes the features of this variant.

=head2 Values

From -2147483648 (-2**31) to 2147483647 (2**31 - 1). C<publish> takes perl's integer value of its
argument and keeps the lowest 32 bits of it, as a cast to C<int32_t> does in C. There is no
warning:

    $ring->publish(2147483648);               # 2**31
    my $v = $sub->poll;                       # -2147483648

=head2 Memory

8 bytes for each slot, a header of 4096 bytes, and 128 bytes for each entry of the table of readers (8 KiB by default). A ring of
1024 slots takes 20 KiB in all, a ring of 1048576 slots 8 MiB and 12 KiB.

=head2 Laps

The lap number that guards a slot has 31 bits here, so it repeats after 2**31 laps round the ring.
See L<Data::PubSub::Shared/LIMITS>.

=head1 METHODS

The constructors take:

    my $ring = Data::PubSub::Shared::Int32->new($path, $capacity, $mode);
    my $ring = Data::PubSub::Shared::Int32->new_readonly($path);
    my $ring = Data::PubSub::Shared::Int32->new_memfd($name, $capacity);
    my $ring = Data::PubSub::Shared::Int32->new_from_fd($fd);

They and all other methods are the same for all variants. L<Data::PubSub::Shared> describes them:
L<CONSTRUCTORS|Data::PubSub::Shared/CONSTRUCTORS>; L<RING METHODS|Data::PubSub::Shared/RING METHODS>;
for the objects that C<subscribe> returns, of class C<Data::PubSub::Shared::Int32::Sub>,
L<SUBSCRIBER METHODS|Data::PubSub::Shared/SUBSCRIBER METHODS>;
and L<METHODS OF BOTH|Data::PubSub::Shared/METHODS OF BOTH>.

=head1 KEYWORDS

C<use Data::PubSub::Shared::Int32> turns them on until the end of the enclosing block or file, C<no>
turns them off. They work like the methods, without a method call; see
L<Data::PubSub::Shared/KEYWORDS>.

=over 4

=item ps_int32_publish $ring, $value

=item ps_int32_poll $sub

=item ps_int32_lag $sub

=back

=head1 SEE ALSO

L<Data::PubSub::Shared>, L<Data::PubSub::Shared::Int>, L<Data::PubSub::Shared::Int16>,
L<Data::PubSub::Shared::Num>, L<Data::PubSub::Shared::Str>

=head1 AUTHOR

The Data::PubSub::Shared authors.

=head1 LICENSE

The same terms as Perl itself; see L<Data::PubSub::Shared/LICENSE>.

=cut
