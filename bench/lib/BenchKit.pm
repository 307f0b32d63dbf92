package BenchKit;

# The common parts of the benchmarks: options, the clock, alternating rounds, medians, the table and the
# JSON output. Child processes that meet at barriers are in BenchKit::Crew.
#
# A benchmark is one object:
#
#     my $bench = BenchKit->start(rounds => 5, options => { 'items=i' => 1_000_000 });
#     $bench->note('What a reader has to know to believe the figures.');
#     $bench->row(section => 'BATCH', name => 'Int', rate => $summary);
#     $bench->finish([name => 'row'], [rate => 'M/s', '%.1f']);
#
# --help, --json[=FILE], --force, --quick and --rounds are understood by all of them.

use 5.022;
use strict;
use warnings;

use Config;
use Exporter 'import';
use File::Basename qw(basename);
use File::Temp qw(tempdir);
use Getopt::Long qw(GetOptionsFromArray);
use JSON::PP ();
use List::Util qw(max min);
use POSIX ();
use Pod::Usage qw(pod2usage);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC CLOCK_PROCESS_CPUTIME_ID);

our @EXPORT_OK = qw(
    now now_ns elapsed processor_time paced median percentile summary alternate scratch ring_class warm_ring
    with_commas two_digits
);

# Results are not written to a file if more processes than this per CPU want to run.
our $BUSY = 0.5;

# A benchmark that hangs ends by this many seconds, in every process of its own.
our $WATCHDOG = 900;

# -- the clock ------------------------------------------------------------------------------------

# Seconds of the monotonic clock, which all processes of the host share.
sub now { return clock_gettime(CLOCK_MONOTONIC) }

# The same in whole nanoseconds: fits an Int message.
sub now_ns { return int(clock_gettime(CLOCK_MONOTONIC) * 1e9) }

# The seconds that a call of $code takes.
sub elapsed {
    my ($code) = @_;
    my $begin = now();
    $code->();
    return now() - $begin;
}

# The seconds of CPU time of a call of $code, on which other load of the host has little influence.
sub processor_time {
    my ($code) = @_;
    my $begin = clock_gettime(CLOCK_PROCESS_CPUTIME_ID);
    $code->();
    return clock_gettime(CLOCK_PROCESS_CPUTIME_ID) - $begin;
}

# Calls $code $count times, $gap seconds after the previous call returned. The wait is a loop that looks at
# the clock: a sleeping publisher would measure the host's timers instead of the messages.
sub paced {
    my ($count, $gap, $code) = @_;
    for my $turn (1 .. $count) {
        $code->($turn);
        my $next = now() + $gap;
        1 while now() < $next;
    }
    return;
}

# -- figures --------------------------------------------------------------------------------------

sub median {
    my @sorted = sort { $a <=> $b } @_ or return undef;
    my $middle = @sorted >> 1;
    return @sorted & 1 ? $sorted[$middle] : ($sorted[$middle - 1] + $sorted[$middle]) / 2;
}

# The nearest-rank percentile of an ascending list.
sub percentile {
    my ($sorted, $percent) = @_;
    my $rank = POSIX::ceil($percent / 100 * @$sorted);
    return $sorted->[max(1, $rank) - 1];
}

# What is kept of one figure measured once a round. Half of the rounds lie from `low` to `high`.
sub summary {
    my @values = @_;
    my @sorted = sort { $a <=> $b } @values;
    return {
        median => median(@values), min => $sorted[0], max => $sorted[-1], runs => [@values],
        low => percentile(\@sorted, 25), high => percentile(\@sorted, 75),
    };
}

# A figure with the digits that it deserves.
sub two_digits {
    my ($value) = @_;
    return '0' unless $value;
    # Rounded first: 9.96 is 10.
    my $places = 1 - POSIX::floor(log(abs sprintf '%.1e', $value) / log(10) + 1e-9);
    return sprintf '%.*f', $places, $value if $places > 0;
    return sprintf '%.0f', sprintf('%.1e', $value);
}

# Runs every job once a round, in turn, in the opposite order every other round, so that a drift of the host
# affects all of them alike. A job is [key => $code]; $code returns a hash of figures. Gives back { key => {
# figure => summary } }.
sub alternate {
    my ($rounds, @jobs) = @_;
    my %runs;
    for my $round (1 .. $rounds) {
        for my $job ($round & 1 ? @jobs : reverse @jobs) {
            my ($key, $code) = @$job;
            progress("round $round of $rounds: $key");
            my $figures = $code->($round);
            push @{ $runs{$key}{$_} }, $figures->{$_} for keys %$figures;
        }
    }
    progress('');
    my %result;
    for my $key (keys %runs) {
        $result{$key}{$_} = summary(@{ $runs{$key}{$_} }) for keys %{ $runs{$key} };
    }
    return \%result;
}

# One line on a terminal's standard error, overwritten by the next.
sub progress {
    my ($text) = @_;
    return unless -t STDERR;
    printf STDERR "\r%-78.78s%s", $text, $text eq '' ? "\r" : '';
    return;
}

sub with_commas {
    my ($number) = @_;
    1 while $number =~ s/^(-?\d+)(\d{3})/$1,$2/;
    return $number;
}

# -- places and names -----------------------------------------------------------------------------

# A directory of our own that is removed at the end; in memory if the host has such a file system, so that no
# disk is measured.
sub scratch {
    my $shm = '/dev/shm';
    my @parent = -d $shm && -w $shm ? (DIR => $shm) : (TMPDIR => 1);
    return tempdir('pubsub-bench-XXXXXXXX', @parent, CLEANUP => 1);
}

sub ring_class { return "Data::PubSub::Shared::$_[0]" }

# A ring in anonymous memory, every page of which has been used, so that no first touch is measured.
sub warm_ring {
    my ($variant, $capacity, $lossless) = @_;
    my $ring = ring_class($variant)->new(undef, $capacity, lossless => $lossless);
    my $value = $variant eq 'Str' ? 'x' x $ring->msg_size : 1;
    $ring->publish($value) for 0 .. $ring->capacity;
    return $ring;
}

# -- one benchmark --------------------------------------------------------------------------------

sub start {
    my ($class, %arg) = @_;
    my %given;
    GetOptionsFromArray($arg{argv} // \@ARGV, \%given,
        keys %{ $arg{options} // {} }, qw(rounds=i json:s force quick help|h))
        or pod2usage(-exitval => 2, -verbose => 0);
    help() if $given{help};

    # The caller's defaults, lowered by --quick, then what was asked for.
    my ($json, $force, $quick) = delete @given{qw(json force quick)};
    my %opt = (rounds => $arg{rounds} // 5);
    for my $spec (keys %{ $arg{options} // {} }) {
        my ($name) = $spec =~ /^([\w-]+)/;
        $opt{$name} = $arg{options}{$spec};
    }
    %opt = (%opt, rounds => 1, %{ $arg{quick} // {} }) if $quick;
    %opt = (%opt, %given);
    pod2usage(-exitval => 2, -message => 'rounds must be at least 1') if $opt{rounds} < 1;

    my $machine = machine();
    my $busy    = busy($machine);
    die "$0: $busy: wait until it is idle, or write the results anyway with --force\n"
        if $busy and length $json // '' and !$force;

    alarm $WATCHDOG;
    $SIG{INT} = $SIG{TERM} = sub { exit 1 };    # so that scratch directories go away
    return bless {
        opt => \%opt, json => $json, quick => $quick, rows => [], notes => [],
        name => basename($0, '.pl'), title => $arg{title}, machine => $machine,
    }, $class;
}

# The manual of the program, and below it what holds for all of them.
sub help {
    pod2usage(-exitval => 'NOEXIT', -verbose => 2, -noperldoc => 1);
    pod2usage(-exitval => 0, -verbose => 99, -sections => 'OPTIONS OF ALL BENCHMARKS', -input => __FILE__);
}

sub opt {
    my ($self, $name) = @_;
    return $self->{opt}{$name};
}

# The reason why figures of this host would be useless now, or nothing.
sub busy {
    my ($machine) = @_;
    my ($load, $processors) = @$machine{qw(load processors)};
    return unless defined $load and $load > $BUSY * $processors;
    return sprintf 'the host is busy: its load average is %s, with %d CPU%s', $load, $processors,
        $processors == 1 ? '' : 's';
}

# The host and the perl, for readers of the figures.
sub machine {
    my ($cpu, $count) = ('unknown CPU', 0);
    if (open my $in, '<', '/proc/cpuinfo') {
        while (<$in>) {
            $count++ if /^processor\s*:/;
            $cpu = $1 if /^(?:model name|cpu model|Model)\s*:\s*(.*\S)/;
        }
    }
    my ($memory, $load);
    if (open my $in, '<', '/proc/meminfo') {
        ($memory) = map { /^MemTotal:\s*(\d+)/ ? sprintf('%.0f GiB', $1 / 1024 / 1024) : () } <$in>;
    }
    if (open my $in, '<', '/proc/loadavg') {
        ($load) = split ' ', <$in>;
    }
    my ($system, undef, $release, undef, $arch) = POSIX::uname();
    return {
        cpu => $cpu, processors => $count || 1, memory => $memory, load => $load, arch => $arch,
        kernel => "$system $release", perl => sprintf('%vd', $^V),
        perl_build => $Config{archname} . ($Config{usethreads} ? ', threads' : ', no threads'),
        date => POSIX::strftime('%Y-%m-%d', localtime), module => Data::PubSub::Shared->VERSION,
    };
}

# Adds notes: paragraphs, with an empty line between them.
sub note {
    my ($self, $text) = @_;
    push @{ $self->{notes} }, map { join ' ', split } split /\n{2,}/, $text;
    return;
}

# Adds a row; figures are numbers or summaries.
sub row {
    my ($self, %row) = @_;
    push @{ $self->{rows} }, \%row;
    return;
}

# Prints the table, or the JSON, or both with --json=FILE. A column is [key, heading, format]; the format
# is a sprintf format, or code that gets the row and returns text.
sub finish {
    my ($self, @columns) = @_;
    progress('');
    my $json = $self->{json};
    $self->print_table(@columns) if !defined $json or length $json;
    if (defined $json) {
        my $text = encoded($self->document);
        if (length $json) {
            open my $out, '>', $json or die "$json: $!\n";
            print {$out} $text;
            close $out or die "$json: $!\n";
        }
        else {
            print $text;
        }
    }
    alarm 0;
    return;
}

# A document as JSON: a line for each row and for each note, so that a new run is a short difference. Figures keep the digits
# that mean something.
sub encoded {
    my ($document) = @_;
    my $json = JSON::PP->new->canonical->allow_nonref;
    my $text = join ",\n", map {
        my $value = rounded($document->{$_});
        my $list  = ref $value eq 'ARRAY' ? join ",\n", map { '  ' . $json->encode($_) } @$value : undef;
        $json->encode($_) . ': ' . (defined $list ? "[\n$list\n]" : $json->encode($value));
    } sort keys %$document;
    return "{\n$text\n}\n";
}

sub rounded {
    my ($value) = @_;
    return { map { ($_ => rounded($value->{$_})) } keys %$value } if ref $value eq 'HASH';
    return [ map { rounded($_) } @$value ] if ref $value eq 'ARRAY';
    return $value if ref $value || !defined $value;
    return JSON::PP->new->allow_nonref->encode($value) =~ /\A-?[0-9]+\./ ? 0 + sprintf '%.5g', $value : $value;
}

sub document {
    my ($self) = @_;
    my %opt = %{ $self->{opt} };
    return {
        benchmark => $self->{name}, title => $self->{title}, quick => $self->{quick} ? \1 : \0,
        options => \%opt, machine => $self->{machine}, notes => $self->{notes}, rows => $self->{rows},
    };
}

sub print_table {
    my ($self, @columns) = @_;
    my $about = $self->{machine};
    my $plural = $self->opt('rounds') == 1 ? 'round' : 'rounds';
    printf "%s\n", $self->{title};
    printf "%s, %d CPUs, %s, %s\n", @$about{qw(cpu processors arch kernel)};
    printf "perl %s (%s), Data::PubSub::Shared %s, %s\n", @$about{qw(perl perl_build module date)};
    printf "median of %d %s%s; load average %s when this began\n", $self->opt('rounds'), $plural,
        $self->{quick} ? ', --quick: rough figures' : '', $about->{load} // 'unknown';

    my @cells = map {
        my $row = $_;
        [map { cell($row, $_) } @columns]
    } @{ $self->{rows} };
    my @width = map {
        my $column = $_;
        max(length $columns[$column][1], map { length $_->[$column] } @cells);
    } 0 .. $#columns;

    my $section = '';
    my $print = sub {
        my (@texts) = @_;
        my $line = join '  ', map {
            my $left = $columns[$_][0] eq 'name' || $columns[$_][0] eq 'remark';
            sprintf $left ? '%-*s' : '%*s', $width[$_], $texts[$_];
        } 0 .. $#texts;
        $line =~ s/\s+$//;
        print "  $line\n";
    };
    print "\n";
    $print->(map { $_->[1] } @columns);
    for my $index (0 .. $#cells) {
        my $of = $self->{rows}[$index]{section} // '';
        print "$of\n" if $of ne $section;
        $section = $of;
        $print->(@{ $cells[$index] });
    }
    print "\n" if @{ $self->{notes} };
    print wrap("- $_") for @{ $self->{notes} };
    return;
}

sub cell {
    my ($row, $column) = @_;
    my ($key, undef, $format) = @$column;
    return $format->($row) if ref $format;
    my $value = $row->{$key};
    return '-' unless defined $value;
    $value = $value->{median} if ref $value;
    return defined $format ? sprintf($format, $value) : $value;
}

# How far the rounds of a figure lie apart, as text for a column.
sub spread {
    my ($figure) = @_;
    return sub {
        my $summary = $_[0]{$figure} // return '-';
        return '-' unless @{ $summary->{runs} } > 1 and $summary->{median};
        return sprintf '%.0f%%', 100 * ($summary->{max} - $summary->{min}) / $summary->{median};
    };
}

# Where half of the rounds of a figure lie, as text for a column.
sub middle {
    my ($figure) = @_;
    return sub {
        my $summary = $_[0]{$figure} // return '-';
        return join ' to ', map { two_digits($_) } @$summary{qw(low high)};
    };
}

sub wrap {
    my ($text) = @_;
    my ($line, @lines) = ('');
    for my $word (split ' ', $text) {
        if (length($line) + length($word) > 98) {
            push @lines, $line;
            $line = ' ';
        }
        $line .= $line eq '' ? $word : " $word";
    }
    return map {"$_\n"} @lines, $line;
}

1;

__END__

=head1 NAME

BenchKit - private to the benchmarks: their common parts

=head1 OPTIONS OF ALL BENCHMARKS

=over 4

=item --quick

Rough figures in a few seconds.

=item --json, --json=FILE

Print JSON instead of the table, or write it to a file beside the table.

=item --force

Write the file even if the host is busy, with a load average above half a process per CPU. Otherwise
no file is written.

=back

=cut
