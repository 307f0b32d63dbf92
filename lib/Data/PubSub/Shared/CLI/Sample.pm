package Data::PubSub::Shared::CLI::Sample;

# Private to the command pubsub-shared: a sample of several rings, and the changes since an earlier sample.

use 5.022;
use strict;
use warnings;

use List::Util qw(max min sum0);
use Time::HiRes qw(clock_gettime time CLOCK_MONOTONIC);

use Data::PubSub::Shared::CLI qw(attempt printable text);
use Data::PubSub::Shared::CLI::File;

# Opens each file again, so that new, removed and replaced rings are detected.
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
    my ($file, $readers, $slow, $age) = @{ attempt(sub {
        my $file = Data::PubSub::Shared::CLI::File->ring($path);
        return [$file, [$file->readers], [$file->waiting_for], $file->{stamped} ? _age($file) : undef];
    }) or return _failed($path) };
    my $now = clock_gettime(CLOCK_MONOTONIC);
    return { path => $path, file => $file, readers => $readers, waiting_for => $slow, age => $age, time => $now };
}

# Seconds since the newest message of a stamped ring was published; undef if there is none.
sub _age {
    my ($file) = @_;
    my $sub = $file->attach->subscribe_all;
    return defined $sub->latest ? max(0, time - $sub->time) : undef;
}

sub _failed { return { path => $_[0], error => $@ =~ s/\A\Q$_[0]\E: |\n\z//gr } }

sub rows { return @{ $_[0]{rows} } }

sub errors { return grep { defined $_->{error} } $_[0]->rows }

# Adds to each row its rate: positions per second since $before. It is undefined if the ring was not in that sample.
sub compare {
    my ($self, $before) = @_;
    my %before = map { $_->{path} => $_ } $before->rows;
    for my $row (grep { $_->{file} } $self->rows) {
        my $old = $before{ $row->{path} };
        next if !$old || !$old->{file} || $old->{file}{identity} ne $row->{file}{identity} || $row->{time} <= $old->{time};
        # Internal positions, which a clear does not reset.
        $row->{interval} = $row->{time} - $old->{time};
        $row->{rate}     = ($row->{file}{raw_pos} - $old->{file}{raw_pos}) / $row->{interval};
    }
    return $self;
}

# The duration of one lap in seconds at this rate: a reader that pauses for longer loses messages.
sub lap {
    my ($row) = @_;
    return $row->{rate} ? $row->{file}{capacity} / $row->{rate} : undef;
}

# The reader that is furthest behind, of those that are alive or named; undef if there is none.
sub slowest {
    my ($row) = @_;
    my ($slowest) = sort { $b->{lag} <=> $a->{lag} || $a->{pid} <=> $b->{pid} }
        grep { $_->{alive} // 1 or defined $_->{name} } @{ $row->{readers} };
    return $slowest;
}

# The name or pid of a reader, in characters.
sub name_of {
    my ($reader) = @_;
    return defined $reader->{name} ? text(printable($reader->{name})) : $reader->{pid};
}

# How many messages all readers in the table lost.
sub losses { my ($row) = @_; return sum0(map { $_->{lost} } @{ $row->{readers} }) }

# --- As a table

# The most important columns first: a narrow terminal does not show the last ones.
my @COLUMNS = (
    ['TYPE',     -5, sub { $_[1]{variant} }],
    ['RATE/S',   6,  sub { short($_[0]{rate}) }],
    ['LAP',      5,  sub { duration(lap($_[0])) }],
    ['USED',     6,  sub { $_[1]{used} == $_[1]{capacity} ? slots($_[1]{used}) : short($_[1]{used}) }],
    ['SLOTS',    5,  sub { slots($_[1]{capacity}) }],
    ['WAITERS',  7,  sub { $_[1]{waiters} }],
    ['LAG',      6,  sub { my $reader = slowest($_[0]); $reader ? short($reader->{lag}) : '-' }],
    ['SLOWEST',  -12, sub { my $reader = slowest($_[0]); $reader ? substr name_of($reader), 0, 12 : '-' }],
    ['LOST',     6,  sub { short(losses($_[0])) }],
    ['AGE',      5,  sub { duration($_[0]{age}) }],
    ['POSITION', 12, sub { $_[1]{write_pos} }],
    ['RECOV',    5,  sub { $_[1]{recoveries} }],
    ['ABAND',    5,  sub { $_[1]{abandoned} }],
    ['LEAKED',   6,  sub { $_[1]{leaked} // '-' }],
    ['PUBLISHERS', 10, sub { $_[1]{publishers} // '-' }],
);

# The path gets the space left by these columns, and at least this many characters.
use constant { ALWAYS => 6, LEAST_PATH => 12 };

sub width_of { return sum0(map { 2 + abs $_->[1] } @_) }

# Lines of characters without newlines, the titles first; except for errors not longer than $columns, if given.
sub table {
    my ($self, $columns) = @_;
    my @paths  = map { text(printable($_->{path})) } $self->rows;
    my $longest = max(4, map { length } @paths);
    my @shown   = @COLUMNS;
    if (defined $columns) {
        $longest = min($longest, max(LEAST_PATH, $columns - width_of(@COLUMNS[0 .. ALWAYS - 1])));
        pop @shown while @shown && $longest + width_of(@shown) > $columns;
    }
    my $format = join '  ', "%-${longest}s", map {"%$_->[1]s"} @shown;
    my @lines  = sprintf $format, 'RING', map { $_->[0] } @shown;
    for my $row ($self->rows) {
        my $path = shift @paths;
        # The end of a path is the most significant part.
        $path = '...' . substr $path, 3 - $longest if length $path > $longest;
        my ($file, $error) = @$row{qw(file error)};
        push @lines, $file ? sprintf $format, $path, map { $_->[2]->($row, $file) } @shown
            : sprintf "%-${longest}s  %s", $path, text($error);
    }
    s/ +\z// for @lines;
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

# Seconds in 5 columns.
sub duration {
    my ($seconds) = @_;
    return '-' if !defined $seconds;
    for my $unit ([1, 'ms', 0.001], [60, 's', 1], [3600, 'm', 60], [86400, 'h', 3600]) {
        my ($below, $name, $one) = @$unit;
        return sprintf('%.*f', $seconds / $one >= 9.95 ? 0 : 1, $seconds / $one) . $name if $seconds < $below;
    }
    my $days = int($seconds / 86400);
    return $days > 9999 ? '>27y' : "${days}d";
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
