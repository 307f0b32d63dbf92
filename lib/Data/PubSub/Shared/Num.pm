package Data::PubSub::Shared::Num;

use strict;
use warnings;

use Data::PubSub::Shared ();

our $VERSION = '1.000';
our @ISA     = 'Data::PubSub::Shared';

@Data::PubSub::Shared::Num::Sub::ISA = 'Data::PubSub::Shared::Sub';

1;

__END__

=head1 NAME

Data::PubSub::Shared::Num - shared-memory broadcast of floating-point numbers

=head1 SYNOPSIS

    use Data::PubSub::Shared::Num;

    my $ring = Data::PubSub::Shared::Num->new('/dev/shm/sensor.ring', 4096);
    my $sub  = $ring->subscribe;

    $ring->publish(21.375);
    $ring->publish_multi(-0.0, 1e300, 9**9**9);

    my @values = $sub->drain;             # 21.375, -0, 1e+300, Inf

    ps_num_publish $ring, 0.5;            # the same as methods, but faster
    my $half = ps_num_poll $sub;

    $ring->publish_packed(pack 'd*', 1.5, 2.5);
    my @pair = unpack 'd*', $sub->drain_packed;

=head1 DESCRIPTION

A ring of floating-point numbers of 64 bits (C's C<double>, IEEE 754 binary64). It works as
L<Data::PubSub::Shared::Int> does: any number of processes may publish at once, without locks.
L<Data::PubSub::Shared> describes rings and subscribers in full; this page describes the features of this variant.

=head2 Values

All values of a C<double>, with exactly the published bits: negative zero keeps its sign, and NaN its
payload. C<publish> takes perl's numeric value of its argument: a string is read as a number, undef is 0,
with perl's usual warnings. Integers beyond 2**53 are rounded, as always when perl converts them to
floating-point numbers. On a perl whose numbers are longer than a C<double> (C<uselongdouble>,
C<usequadmath>) all numbers are rounded to a C<double>.

    $ring->publish(9007199254740993);         # 2**53 + 1
    my $v = $sub->poll;                       # 9007199254740992

=head2 Memory

16 bytes for each slot, a header of 4096 bytes, and 128 bytes for each entry of the table of readers (8 KiB by default). A ring of
1024 slots takes 28 KiB in all, a ring of 1048576 slots 16 MiB and 12 KiB.

=head1 METHODS

The constructors take:

    my $ring = Data::PubSub::Shared::Num->new($path, $capacity, $mode);
    my $ring = Data::PubSub::Shared::Num->new_readonly($path);
    my $ring = Data::PubSub::Shared::Num->new_memfd($name, $capacity);
    my $ring = Data::PubSub::Shared::Num->new_from_fd($fd);

They and all other methods are the same for all variants. L<Data::PubSub::Shared> describes them:
L<CONSTRUCTORS|Data::PubSub::Shared/CONSTRUCTORS>; L<RING METHODS|Data::PubSub::Shared/RING METHODS>;
for the objects that C<subscribe> returns, of class C<Data::PubSub::Shared::Num::Sub>,
L<SUBSCRIBER METHODS|Data::PubSub::Shared/SUBSCRIBER METHODS>;
and L<METHODS OF BOTH|Data::PubSub::Shared/METHODS OF BOTH>.

=head1 KEYWORDS

C<use Data::PubSub::Shared::Num> turns them on until the end of the enclosing block or file, C<no>
turns them off. They work like the methods, without a method call; see
L<Data::PubSub::Shared/KEYWORDS>.

=over 4

=item ps_num_publish $ring, $value

=item ps_num_poll $sub

=item ps_num_lag $sub

=back

=head1 SEE ALSO

L<Data::PubSub::Shared>, L<Data::PubSub::Shared::Int>, L<Data::PubSub::Shared::Int32>,
L<Data::PubSub::Shared::Int16>, L<Data::PubSub::Shared::Str>

=head1 AUTHOR

The Data::PubSub::Shared authors.

=head1 LICENSE

The same terms as Perl itself; see L<Data::PubSub::Shared/LICENSE>.

=cut
