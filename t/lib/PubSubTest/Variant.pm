package PubSubTest::Variant;

# What tests have to know of each variant, so that one body can run over all of them.

use strict;
use warnings;

my $INT64_MIN = -9223372036854775807 - 1;

my @ALL = map { bless $_, __PACKAGE__ } (
    {   name     => 'Int',
        slot     => 16,
        bits     => 64,
        template => 'q',
        samples  => [0, 1, -1, 4294967296, 9223372036854775807, $INT64_MIN],
    },
    {   name     => 'Int32',
        slot     => 8,
        bits     => 32,
        template => 'l',
        samples  => [0, 1, -1, 65536, 2147483647, -2147483648],
    },
    {   name     => 'Int16',
        slot     => 8,
        bits     => 16,
        template => 's',
        samples  => [0, 1, -1, 256, 32767, -32768],
    },
    {   name     => 'Num',
        slot     => 16,
        template => 'd',
        samples  => [in_64_bits(0, 1, -1, 0.1, -2.5e-300, 1.7976931348623157e308, 9**9**9, -9**9**9)],
    },
    {   name     => 'Str',
        slot     => 8,
        samples  => ['', '0', "nul\0nul\0", "\xff\xfe\x80", "\x{263a} wide", 'x' x 256],
    },
);

sub all { return @ALL }

# Rounds numbers to the doubles that rings store; this perl's numbers may be longer.
sub in_64_bits { return unpack 'd*', pack 'd*', @_ }

sub name      { return $_[0]{name} }
sub slot      { return $_[0]{slot} }
sub bits      { return $_[0]{bits} }
sub samples   { return @{ $_[0]{samples} } }
sub template  { return $_[0]{template} }    # of pack
sub is_str    { return $_[0]{name} eq 'Str' }
sub is_int    { return defined $_[0]{bits} }
sub is_num    { return $_[0]{name} eq 'Num' }
sub keyword   { return 'ps_' . lc($_[0]{name}) . "_$_[1]" }
sub class     { return 'Data::PubSub::Shared::' . $_[0]{name} }
sub sub_class { return $_[0]->class . '::Sub' }

# A ring; the default is an anonymous one with a capacity of 16.
sub ring {
    my ($self, $capacity, $path, @more) = @_;
    return $self->class->new($path, $capacity || 16, @more);
}

# The values number $from to $to: distinct for 0 .. 32767 whatever the width.
sub value  { return $_[0]->is_str ? "message $_[1]" : $_[1] }
sub values { my ($self, $from, $to) = @_; return map { $self->value($_) } $from .. $to }

# Method name => valid arguments; for rings and for subscribers.
sub ring_methods {
    my ($self) = @_;
    my $value = $self->value(7);
    return (
        publish        => [$value],
        publish_multi  => [$value, $value],
        publish_notify => [$value],
        eventfd_set    => [-1],
        ($self->is_str ? () : (publish_packed => [pack $self->template, $value])),
        publish_wait   => [$value],
        try_publish    => [$value],
        forget         => ['no such name'],
        wait_for_readers => [0],
        (   map { $_ => [] }
                qw(subscribe subscribe_all readonly generation capacity path stats sync clear write_pos memfd readers waiting_for
                eventfd fileno notify eventfd_consume), $self->is_str ? 'msg_size' : ()
        ),
    );
}

sub sub_methods {
    my ($self) = @_;
    return (
        ($self->is_str ? (prefix => [''], map { $_ => [] } qw(time time_ns sender)) : (drain_packed => [])),
        poll_multi      => [2],
        poll_wait       => [0],
        poll_wait_multi => [2, 0],
        poll_cb         => [sub { }],
        each            => [sub { }, 0],
        cursor          => [0],
        eventfd_set     => [-1],
        (   map { $_ => [] }
                qw(poll latest drain drain_notify lag position filtered skipped ring overflow_count has_overflow write_pos
                reset reset_oldest capacity fileno eventfd_consume notify fh name release)
        ),
    );
}

1;
