package Data::PubSub::Shared::CLI::Stat;

# Private to the command pubsub-shared: `stat`, the properties and the state of a ring.

use 5.022;
use strict;
use warnings;

use Time::HiRes qw(sleep);

use Data::PubSub::Shared::CLI qw(options usage complain emit emit_text flush printable text json);
use Data::PubSub::Shared::CLI::Prometheus;
use Data::PubSub::Shared::CLI::Sample;
use Data::PubSub::Shared::CLI::Text qw(decimal);

sub run {
    my (@paths) = @_;
    my %opt = (interval => 0.5);
    options(\@paths, \%opt, 'interval|i=s', 'json|j', 'table|t', 'prometheus|p');
    usage('missing RING') if !@paths;
    usage("--interval must be a number of seconds, not '$opt{interval}'")
        if (decimal($opt{interval}) // 86401) > 86400;
    my @forms = grep { $opt{$_} } qw(json table prometheus);
    usage("expected --$forms[0] or --$forms[1], not both") if @forms > 1;
    # A monitoring system computes rates from earlier samples.
    $opt{interval} = 0 if $opt{prometheus};

    my $before = Data::PubSub::Shared::CLI::Sample->take(@paths);
    sleep $opt{interval} if $opt{interval} && grep { $_->{file} } $before->rows;
    my $sample = $opt{interval} ? Data::PubSub::Shared::CLI::Sample->take(@paths)->compare($before) : $before;

    if    ($opt{json})  { emit(json([map { as_data($_) } $sample->rows], 1)) }
    elsif ($opt{prometheus}) { emit(Data::PubSub::Shared::CLI::Prometheus::text_of($sample->rows)) }
    elsif ($opt{table}) { emit_text("$_\n") for $sample->table }
    else {
        emit(join "\n", map { as_text($_) } grep { $_->{file} } $sample->rows);
        flush();
        complain("$_->{path}: $_->{error}") for $sample->errors;
    }
    return $sample->errors ? 1 : 0;
}

# The names are those of the `stats` of a ring object, except `waiters`, which is the commands' name.
sub as_data {
    my ($row) = @_;
    my $path = text($row->{path});
    return { path => $path, error => text($row->{error}) } if !$row->{file};
    my $file = $row->{file};
    return {
        path      => $path,
        mode      => sprintf('%04o', $file->{mode}),
        owner     => owner($file),
        rate      => $row->{rate},
        interval  => $row->{interval},
        lap       => Data::PubSub::Shared::CLI::Sample::lap($row),
        listed    => $row->{readers},
        $file->{lossless} ? (waiting_for => $row->{waiting_for}) : (),
        $file->{stamped} ? (age => $row->{age}) : (),
        map({ ($_ => $file->{$_}) }
            qw(variant capacity mmap_size write_pos publish_ok used waiters readers unlisted lossless recoveries abandoned),
            $file->{lossless} ? 'keep' : (), $file->is_str ? qw(msg_size arena_cap publishers leaked stamped) : ()),
    };
}

sub as_text {
    my ($row) = @_;
    my $file  = $row->{file};
    my $speed = Data::PubSub::Shared::CLI::Sample::short($row->{rate});
    my $rate  = defined $row->{rate} ? sprintf '%s messages/s over %.2g s', $speed, $row->{interval}
        :                              'not measured';
    my $lap   = Data::PubSub::Shared::CLI::Sample::lap($row);
    my @lines = (
        [variant   => "$file->{variant} ($file->{carries})"],
        [capacity  => "$file->{capacity} messages" . ($file->is_str ? " of up to $file->{msg_size} bytes" : '')],
        [file      => sprintf '%d bytes, mode %04o, owner %s', $file->{mmap_size}, $file->{mode}, owner($file)],
        [position  => $file->{write_pos}],
        [used      => $file->{used} == 1 ? '1 message' : "$file->{used} messages"],
        [rate      => $rate],
        [lap       => defined $lap ? Data::PubSub::Shared::CLI::Sample::duration($lap) . ' at this rate' : '-'],
        [waiters   => $file->{waiters}],
        [readers   => readers($row)],
        ($file->{lossless} ? [lossless => lossless($row)] : ()),
        ($file->{stamped} ? [stamped => stamped($row)] : ()),
        [recoveries => $file->{recoveries}],
        [abandoned => $file->{abandoned}],
        ($file->is_str ? ([leaked => blocks($file->{leaked})], [publishers => "up to $file->{publishers} at once"]) : ()),
    );
    return join '', printable($row->{path}), "\n", map { sprintf "  %-12s%s\n", @$_ } @lines;
}

# 3 of 64; the slowest is audit, 120 behind; 7 lost
sub readers {
    my ($row)   = @_;
    my $slowest = Data::PubSub::Shared::CLI::Sample::slowest($row);
    my $name    = $slowest && printable(Data::PubSub::Shared::CLI::Sample::name_of($slowest));
    my $lost    = Data::PubSub::Shared::CLI::Sample::losses($row);
    return join '; ', scalar @{ $row->{readers} } . " of $row->{file}{readers}",
        $slowest ? "the slowest is $name, $slowest->{lag} behind" : (),
        $lost ? "$lost lost" : (), $row->{file}{unlisted} ? "$row->{file}{unlisted} not listed: the table was full" : ();
}

sub lossless {
    my ($row) = @_;
    my @slow  = map { printable(Data::PubSub::Shared::CLI::Sample::name_of($_)) } @{ $row->{waiting_for} };
    my $keep  = $row->{file}{keep} ? "yes, keep $row->{file}{keep} s" : 'yes';
    return @slow ? "$keep; full, publishers wait for " . join(', ', @slow) : $keep;
}

sub stamped {
    my ($row) = @_;
    return defined $row->{age} ? 'yes; the newest message is ' . Data::PubSub::Shared::CLI::Sample::duration($row->{age}) . ' old' : 'yes';
}

sub owner {
    my ($file) = @_;
    return text(getpwuid($file->{uid}) // $file->{uid});
}

sub blocks { my ($n) = @_; return $n == 1 ? '1 block' : "$n blocks" }

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::Stat - private to the command pubsub-shared

=cut
