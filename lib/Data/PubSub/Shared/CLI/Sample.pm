package Data::PubSub::Shared::CLI::Sample;

# Private to the command pubsub-shared: several rings at one moment, and what has changed since an earlier
# one.

use 5.022;
use strict;
use warnings;

use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

use Data::PubSub::Shared::CLI qw(attempt);
use Data::PubSub::Shared::CLI::File;

# Each file is opened anew, so that rings which come, go and are replaced are seen.
sub take {
    my ($class, @paths) = @_;
    my @rows;
    for my $path (@paths) {
        my $found = attempt(sub { [Data::PubSub::Shared::CLI::File::expand($path)] });
        push @rows, $found ? map { _row($_) } @$found : _failed($path);
    }
    return bless { rows => \@rows }, $class;
}

sub _row {
    my ($path) = @_;
    my $file = attempt(sub { Data::PubSub::Shared::CLI::File->ring($path) }) or return _failed($path);
    delete $file->{fh};
    return { path => $path, file => $file, time => clock_gettime(CLOCK_MONOTONIC) };
}

sub _failed { return { path => $_[0], error => $@ =~ s/\A\Q$_[0]\E: |\n\z//gr } }

sub rows { return @{ $_[0]{rows} } }

sub errors { return grep { defined $_->{error} } $_[0]->rows }

# Adds to each row its rate: positions per second since $before. Undefined where the ring was not there
# then.
sub compare {
    my ($self, $before) = @_;
    my %before = map { $_->{path} => $_ } $before->rows;
    for my $row (grep { $_->{file} } $self->rows) {
        my $old = $before{ $row->{path} };
        next if !$old || !$old->{file} || $old->{file}{id} ne $row->{file}{id} || $row->{time} <= $old->{time};
        # Positions inside the ring, which a clear does not set back.
        $row->{interval} = $row->{time} - $old->{time};
        $row->{rate}     = ($row->{file}{raw_pos} - $old->{file}{raw_pos}) / $row->{interval};
    }
    return $self;
}

# --- As a table

my @COLUMNS = (
    ['TYPE',     -5, sub { $_[1]{variant} }],
    ['SLOTS',    5,  sub { slots($_[1]{capacity}) }],
    ['FULL',     4,  sub { int(100 * $_[1]{held} / $_[1]{capacity}) . '%' }],
    ['POSITION', 12, sub { $_[1]{write_pos} }],
    ['RATE/S',   6,  sub { short($_[0]{rate}) }],
    ['SLEEP',    5,  sub { $_[1]{sub_waiters} }],
    ['RECOV',    5,  sub { $_[1]{recoveries} }],
    ['ABAND',    5,  sub { $_[1]{abandoned} }],
    ['LOCK',     7,  sub { $_[1]->is_str ? $_[1]->lock_owner || 'free' : '-' }],
);

my $FORMAT = join '', map {"%$_->[1]s  "} @COLUMNS;

# What a line has before its path.
sub width { return length sprintf $FORMAT, ('') x @COLUMNS }

# Lines without newlines, the titles first. $show makes a path fit for the terminal.
sub table {
    my ($self, $show) = @_;
    my @lines  = sprintf("$FORMAT%s", (map { $_->[0] } @COLUMNS), 'RING');
    my $indent = width();
    for my $row ($self->rows) {
        my $path = $show->($row->{path});
        my ($file, $error) = @$row{qw(file error)};
        push @lines, $file
            ? sprintf("$FORMAT%s", (map { $_->[2]->($row, $file) } @COLUMNS), $path)
            : sprintf("%-${indent}s%s", length $error < $indent ? $error : substr($error, 0, $indent - 5) . '...',
                $path);
    }
    return @lines;
}

# A number in 6 columns at most: 999, 12.3k, 4.56M.
sub short {
    my ($n) = @_;
    return '-' if !defined $n;
    my @units = ('', 'k', 'M', 'G', 'T');
    while ($n >= 999.5 && @units > 1) {
        $n /= 1000;
        shift @units;
    }
    my $digits = $n == int $n && $units[0] eq '' || $n >= 99.95 ? 0 : $n >= 9.995 ? 1 : 2;
    return sprintf("%.${digits}f", $n) . $units[0];
}

# A power of two.
sub slots {
    my ($n) = @_;
    return $n >= 2**30 ? $n / 2**30 . 'G'
        : $n >= 2**20  ? $n / 2**20 . 'M'
        : $n >= 2**14  ? $n / 2**10 . 'k'
        :                $n;
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::Sample - private to the command pubsub-shared

=cut
