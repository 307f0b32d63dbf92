package Data::PubSub::Shared::CLI::Prometheus;

# Private to the command pubsub-shared: the data of `stat` in Prometheus' text exposition format 0.0.4.

use 5.022;
use strict;
use warnings;

use List::Util qw(max sum0);

use Data::PubSub::Shared::CLI qw(printable);

# Metrics of rings: name, type, help, function of a file, which returns undef if the metric does not apply.
my @OF_RINGS = (
    ['capacity',         gauge   => 'Messages that the ring can hold.',             sub { $_[0]{capacity} }],
    ['size_bytes',       gauge   => 'All the memory of the ring.',                  sub { $_[0]{mmap_size} }],
    ['used',             gauge   => 'Messages that the ring holds.',                sub { $_[0]{used} }],
    ['published_total',  counter => 'Messages published since the ring was made.',  sub { $_[0]{raw_pos} - $_[0]{abandoned} }],
    ['abandoned_total',  counter => 'Positions that their publishers never filled.', sub { $_[0]{abandoned} }],
    ['recoveries_total', counter => 'Spare blocks taken over from dead publishers.',
        sub { $_[0]->is_str ? $_[0]{recoveries} : undef }],
    ['leaked_blocks',    gauge   => 'Spare blocks that are missing.',               sub { $_[0]{leaked} }],
    ['publishers_max',   gauge   => 'Publishers that can be in the middle of a publish at once.', sub { $_[0]{publishers} }],
    ['waiters',          gauge   => 'Subscribers that sleep until a message arrives.', sub { $_[0]{waiters} }],
    ['lossless',         gauge   => '1 if publishers wait for readers.',              sub { $_[0]{lossless} }],
    ['readers',          gauge   => 'Subscribers in the table of readers.',         sub { scalar @{ $_[1]{readers} } }],
    ['readers_max',      gauge   => 'Entries of the table of readers.',             sub { $_[0]{readers} }],
    ['unlisted_total',   counter => 'Subscribers that found that table full.', sub { $_[0]{unlisted} }],
    ['waiting_for',      gauge   => 'Readers that publishers of a lossless ring have to wait for.',
        sub { $_[0]{lossless} ? scalar @{ $_[1]{waiting_for} } : undef }],
);

# Metrics of readers: the function aggregates readers that have the same labels.
my @OF_READERS = (
    ['lag',             gauge   => 'Messages published and not yet read.',              sub { max(map { $_->{lag} } @_) }],
    ['lost_total',      counter => 'Messages that were overwritten before they were read.', sub { sum0(map { $_->{lost} } @_) }],
    ['delivered_total', counter => 'Messages that were read.',                          sub { sum0(map { $_->{delivered} } @_) }],
    ['alive',           gauge   => '1 if the process is alive, 0 if it is away or dead.',
        sub { my @known = grep {defined} map { $_->{alive} } @_; @known ? max(@known) : undef }],
);

# Bytes.
sub text_of {
    my (@rows) = @_;
    my @rings = grep { $_->{file} } @rows;
    my $text  = family('pubsub_ring_up', gauge => '1 if the ring could be read.',
        map { [labels(ring => $_->{path}), $_->{file} ? 1 : 0] } @rows);
    for (@OF_RINGS) {
        my ($name, $type, $help, $value) = @$_;
        $text .= family("pubsub_ring_$name", $type, $help,
            map { [labels(ring => $_->{path}, variant => $_->{file}{variant}), $value->($_->{file}, $_)] } @rings);
    }
    my @readers = map { readers_of($_) } @rings;
    for (@OF_READERS) {
        my ($name, $type, $help, $value) = @$_;
        $text .= family("pubsub_reader_$name", $type, $help, map { [$_->[0], $value->(@{ $_->[1] })] } @readers);
    }
    return $text;
}

# Named readers are labelled with the name, regardless of the process; others with their process, which may have several.
sub readers_of {
    my ($row) = @_;
    my %same;
    for my $reader (@{ $row->{readers} }) {
        my @label = defined $reader->{name} ? (name => $reader->{name}) : (pid => $reader->{pid});
        push @{ $same{ labels(ring => $row->{path}, @label) } }, $reader;
    }
    return map { [$_, $same{$_}] } sort keys %same;
}

# Samples are [labels, value].
sub family {
    my ($name, $type, $help, @samples) = @_;
    my @known = grep { defined $_->[1] } @samples or return '';
    return "# HELP $name $help\n# TYPE $name $type\n" . join '', map {"$name$_->[0] $_->[1]\n"} @known;
}

sub labels {
    my (@pairs) = @_;
    my @labels;
    while (my ($name, $value) = splice @pairs, 0, 2) {
        push @labels, "$name=\"" . (printable($value) =~ s/([\\"])/\\$1/gr) . '"';
    }
    return '{' . join(',', @labels) . '}';
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::Prometheus - private to the command pubsub-shared

=cut
