package Data::PubSub::Shared::Int;

use strict;
use warnings;

use Data::PubSub::Shared ();

our $VERSION = '1.000';
our @ISA     = 'Data::PubSub::Shared';

@Data::PubSub::Shared::Int::Sub::ISA = 'Data::PubSub::Shared::Sub';

1;

__END__

=head1 NAME

Data::PubSub::Shared::Int - shared-memory broadcast of 64-bit integers

=head1 SYNOPSIS

    use Data::PubSub::Shared::Int;

    my $ring = Data::PubSub::Shared::Int->new('/dev/shm/events.ring', 4096);
    my $sub  = $ring->subscribe;

    $ring->publish(1_700_000_000_000);
    $ring->publish_multi(-1, 0, 1);

    my @values = $sub->drain;             # 1700000000000, -1, 0, 1

    ps_int_publish $ring, 7;              # the same as methods, but faster
    my $seven = ps_int_poll $sub;

=head1 DESCRIPTION

A ring of signed 64-bit integers. Any number of processes may publish at once; they take no locks and do not wait
for each other. L<Data::PubSub::Shared> describes rings and subscribers in full; this page describes the features
of this variant.

=head2 Values

From -9223372036854775808 (-2**63) to 9223372036854775807 (2**63 - 1). C<publish> takes perl's integer value
of its argument: a fraction is dropped, a string is read as a number, undef is 0, with perl's usual warnings.
Floating-point numbers outside of the range become other numbers (1e30 becomes -1, for example). Perl's
unsigned numbers from 2**63 on keep their bits, and so become negative:

    $ring->publish(18446744073709551615);     # 2**64 - 1
    my $v = $sub->poll;                       # -1
    my $u = unpack 'Q', pack 'q', $v;         # 18446744073709551615 again

=head2 Memory

16 bytes for each slot, a header of 4096 bytes, and 128 bytes for each entry of the table of readers (8 KiB by default). A ring of
1024 slots takes 28 KiB in all, a ring of 1048576 slots 16 MiB and 12 KiB.

=head1 METHODS

The constructors take:

    my $ring = Data::PubSub::Shared::Int->new($path, $capacity, $mode);
    my $ring = Data::PubSub::Shared::Int->new_readonly($path);
    my $ring = Data::PubSub::Shared::Int->new_memfd($name, $capacity);
    my $ring = Data::PubSub::Shared::Int->new_from_fd($fd);

They and all other methods are the same for all variants. L<Data::PubSub::Shared> describes them:
L<CONSTRUCTORS|Data::PubSub::Shared/CONSTRUCTORS>; L<RING METHODS|Data::PubSub::Shared/RING METHODS>;
for the objects that C<subscribe> returns, of class C<Data::PubSub::Shared::Int::Sub>,
L<SUBSCRIBER METHODS|Data::PubSub::Shared/SUBSCRIBER METHODS>;
and L<METHODS OF BOTH|Data::PubSub::Shared/METHODS OF BOTH>.

=head1 KEYWORDS

C<use Data::PubSub::Shared::Int> turns them on until the end of the enclosing block or file, C<no>
turns them off. They work like the methods, without a method call; see
L<Data::PubSub::Shared/KEYWORDS>.

=over 4

=item ps_int_publish $ring, $value

=item ps_int_poll $sub

=item ps_int_lag $sub

=back

=head1 SEE ALSO

L<Data::PubSub::Shared>, L<Data::PubSub::Shared::Int32>, L<Data::PubSub::Shared::Int16>,
L<Data::PubSub::Shared::Num>, L<Data::PubSub::Shared::Str>

=head1 AUTHOR

The Data::PubSub::Shared authors.

=head1 LICENSE

The same terms as Perl itself; see L<Data::PubSub::Shared/LICENSE>.

=cut
