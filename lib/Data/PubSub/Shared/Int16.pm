package Data::PubSub::Shared::Int16;

use strict;
use warnings;

use Data::PubSub::Shared ();

our $VERSION = '1.000';
our @ISA     = 'Data::PubSub::Shared';

@Data::PubSub::Shared::Int16::Sub::ISA = 'Data::PubSub::Shared::Sub';

1;

__END__

=head1 NAME

Data::PubSub::Shared::Int16 - shared-memory broadcast of 16-bit integers

=head1 SYNOPSIS

    use Data::PubSub::Shared::Int16;

    my $ring = Data::PubSub::Shared::Int16->new('/dev/shm/status.ring', 65536);
    my $sub  = $ring->subscribe;

    $ring->publish(404);
    my $status = $sub->poll_wait(1);      # 404

    ps_int16_publish $ring, -5;           # the same as methods, but faster
    my $five = ps_int16_poll $sub;

=head1 DESCRIPTION

A ring of signed 16-bit integers. A slot has the same size as in L<Data::PubSub::Shared::Int32>; this variant
only cuts each value to 16 bits. It works as L<Data::PubSub::Shared::Int> does: any number of processes may
publish at once, without locks. L<Data::PubSub::Shared> describes rings and subscribers in full; this page
describes the features of this variant.

=head2 Values

From -32768 to 32767. C<publish> takes perl's integer value of its argument and keeps the lowest
16 bits of it, as a cast to C<int16_t> does in C. There is no warning:

    $ring->publish(40000);
    my $v = $sub->poll;                       # -25536
    my $u = $v & 0xffff;                      # 40000 again

=head2 Memory

8 bytes for each slot, a header of 4096 bytes, and 128 bytes for each entry of the table of readers (8 KiB by default). A ring of
1024 slots takes 20 KiB in all, a ring of 1048576 slots 8 MiB and 12 KiB.

=head2 Laps

The lap number that guards a slot has 31 bits here, so it repeats after 2**31 laps round the ring.
See L<Data::PubSub::Shared/LIMITS>.

=head1 METHODS

The constructors take:

    my $ring = Data::PubSub::Shared::Int16->new($path, $capacity, $mode);
    my $ring = Data::PubSub::Shared::Int16->new_readonly($path);
    my $ring = Data::PubSub::Shared::Int16->new_memfd($name, $capacity);
    my $ring = Data::PubSub::Shared::Int16->new_from_fd($fd);

They and all other methods are the same for all variants. L<Data::PubSub::Shared> describes them:
L<CONSTRUCTORS|Data::PubSub::Shared/CONSTRUCTORS>; L<RING METHODS|Data::PubSub::Shared/RING METHODS>;
for the objects that C<subscribe> returns, of class C<Data::PubSub::Shared::Int16::Sub>,
L<SUBSCRIBER METHODS|Data::PubSub::Shared/SUBSCRIBER METHODS>;
and L<METHODS OF BOTH|Data::PubSub::Shared/METHODS OF BOTH>.

=head1 KEYWORDS

C<use Data::PubSub::Shared::Int16> turns them on until the end of the enclosing block or file, C<no>
turns them off. They work like the methods, without a method call; see
L<Data::PubSub::Shared/KEYWORDS>.

=over 4

=item ps_int16_publish $ring, $value

=item ps_int16_poll $sub

=item ps_int16_lag $sub

=back

=head1 SEE ALSO

L<Data::PubSub::Shared>, L<Data::PubSub::Shared::Int>, L<Data::PubSub::Shared::Int32>,
L<Data::PubSub::Shared::Num>, L<Data::PubSub::Shared::Str>

=head1 AUTHOR

The Data::PubSub::Shared authors.

=head1 LICENSE

The same terms as Perl itself; see L<Data::PubSub::Shared/LICENSE>.

=cut
