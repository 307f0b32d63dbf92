#!/usr/bin/env perl
# Writes the figures of bench/results into the pages that quote them, between the marks <!-- NAME --> and <!-- /NAME -->:
#
#     perl bench/tables.pl            # bench/README.md, README.md
#     perl bench/tables.pl --check    # changes nothing; exit code 1 if a page differs

use 5.022;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use BenchKit qw(two_digits with_commas);
use Getopt::Long;
use JSON::PP ();
use Pod::Usage qw(pod2usage);

GetOptions('check' => \my $check, 'help|h' => \my $help) && !@ARGV or pod2usage(-exitval => 2, -verbose => 0);
pod2usage(-exitval => 0, -verbose => 2, -noperldoc => 1) if $help;

my %part = (
    calls => \&calls, processes => \&processes, bridge => \&bridge, rust => \&rust, machine => \&machine,
    headline => \&headline,
);
sub slurp {
    my ($file) = @_;
    open my $in, '<', $file or die "$file: $!\n";
    local $/;
    return scalar <$in>;
}

# Returns the results of a benchmark.
sub result {
    my ($name) = @_;
    return JSON::PP->new->decode(slurp("$FindBin::Bin/results/$name.json"));
}

# A table of rows of cells; the heading has a colon at the end of each column of numbers.
sub table {
    my ($heading, @rows) = @_;
    my @columns = map { /\A(.*):\z/s ? [$1, '---:'] : [$_, '---'] } @$heading;
    return join '', map { '| ' . join(' | ', @$_) . " |\n" }
        [map { $_->[0] } @columns], [map { $_->[1] } @columns], @rows;
}

# "1.3 to 1.4", or "1.3" if both are the same.
sub span {
    my ($low, $high) = map { two_digits($_) } @_;
    return $low eq $high ? $low : "$low to $high";
}

# -- the parts ------------------------------------------------------------------------------------

# What dominates the cost of a call.
my %BOUND_BY = (
    'publish'                       => 'one fetch-and-add and one exchange of the slot; Str: one more exchange, and the copy',
    'publish, lossless'             => 'the same; the baseline is a ring that is not lossless',
    'publish + poll'                => 'as above, and one load of the slot; Str: a new scalar',
    'publish + poll, keywords'      => 'the two locked instructions',
    'poll of an empty ring'         => q{perl's call},
    'lag'                           => q{perl's call},
    'publish_notify'                => 'the system calls',
    'publish_multi of 100'          => q{perl's list, and the stores; Str: the copy, and an exchange a slot},
    'publish_multi of 8,000'        => q{perl's list, and the stores; the cache},
    'publish_packed of 8,000'       => 'the stores; the baseline is only these',
    'drain_packed of 8,192'         => 'the loads of a slot; the baseline is only these loads',
    'drain of 65536'                => q{perl's allocator: a scalar a message},
    'drain by 100'                  => q{perl's allocator},
    'poll_cb with an empty handler' => q{perl's call_sv; integers reuse one scalar},
);

sub calls {
    my $last = '';
    return table(['call', '', 'ns:', 'x baseline:', 'half of the rounds:', 'bound by'], map {
        my ($call) = $_->{section} =~ /\A([^:]*)/;
        my $begins = $call ne $last;
        $last = $call;
        [
            $begins ? $call : '', $_->{name}, two_digits($_->{ns}{median}), two_digits($_->{multiple}),
            span(@{ $_->{ratio} }{qw(low high)}), $begins ? $BOUND_BY{$call} // die "$call: bound by what?\n" : '',
        ]
    } @{ result('baseline')->{rows} });
}

sub processes {
    my @rows = map {
        [
            "$_->{variant}: one publisher, $_->{subscribers} blocked subscriber" . ($_->{subscribers} > 1 ? 's' : ''),
            sprintf('publishes %s, delivers %s million/s', map { two_digits($_->{median}) } @$_{qw(publish deliver)}),
            span(@{ $_->{deliver} }{qw(low high)}),
        ]
    } @{ result('fanout')->{rows} };
    push @rows, map {
        [
            "$_->{variant}: $_->{publishers} publisher" . ($_->{publishers} > 1 ? 's' : '') . ' on one ring',
            two_digits($_->{rate}{median}) . ' million/s in total', span(@{ $_->{rate} }{qw(low high)}),
        ]
    } @{ result('contention')->{rows} };
    my $latency = result('latency');
    my %kind = (oneway => "one way, a message every $latency->{options}{gap} µs", roundtrip => 'round trip');
    push @rows, map {
        [
            "$kind{ $_->{kind} }: $_->{name}",
            sprintf('median %s µs, 99 %% below %s µs', map { two_digits($_->{median}) } @$_{qw(p50 p99)}),
            span(@{ $_->{p50} }{qw(low high)}),
        ]
    } @{ $latency->{rows} };
    return table(['what', 'median', 'half of the rounds:'], @rows);
}

sub bridge {
    my @rows    = @{ result('bridge')->{rows} };
    my ($delay) = grep { $_->{p50} } @rows;
    my $table   = table(
        ['what', 'messages/s:', 'µs of CPU time per message, redis-server:', 'pubsub-bridge, both directions:'],
        map {
            [
                "$_->{name}, $_->{section}", with_commas(two_digits(1e3 * $_->{rate}{median})),
                map { $_ ? two_digits($_->{median}) : '' } @$_{qw(redis program)},
            ]
        } grep { $_->{rate} } @rows
    );
    my $rest = table(['bridges at rest', 'MB:', 'connections:', '% of a CPU:'],
        map { [$_->{name}, map { two_digits(ref ? $_->{median} : $_) } @$_{qw(memory connections load)}] } grep { $_->{memory} } @rows);
    return sprintf "%s\nAt 1,000 messages/s the median delay is %s ms, and 99 %% arrive within %s ms.\n\n%s", $table,
        map({ two_digits($_->{median}) } @$delay{qw(p50 p99)}), $rest;
}

sub rust {
    my $result = result('rust');
    my ($ours, @others) = @{ $result->{libraries} };
    return table(['job, receivers', "$ours, ns:", map {"$_, x:"} @others], map {
        my $of   = $_;
        my $base = $of->{medians}{$ours};
        [$of->{name}, two_digits($base), map { $of->{medians}{$_} ? two_digits($of->{medians}{$_} / $base) : '' } @others]
    } @{ $result->{rows} });
}

sub machine {
    my ($about) = result('baseline')->{machine};
    return sprintf "Measured on %s on a virtual machine with %d CPUs of an %s, %s, perl %s (%s).\n",
        @$about{qw(date processors cpu)}, $about->{kernel} =~ s/-.*//r, @$about{qw(perl perl_build)};
}

sub headline {
    my %million = map { ("$_->{size} $_->{name}" => two_digits($_->{deliver}{median} / 1e3)) } @{ result('compare')->{rows} };
    my ($ours, $batches, $zeromq, $redis, $pipes, $by_100) = @million{
        map {"30 $_"} 'Data::PubSub::Shared::Str', 'Data::PubSub::Shared::Str, batches of 100', 'ZeroMQ', 'Redis', 'pipes',
        'pipes, batches of 100',
    };
    return <<"TEXT";
**$ours million deliveries per second**: one publisher sends 30-byte strings one by one to 4 subscribers, each of which compares
every message with the expected one. In the same run ZeroMQ delivered $zeromq million, Redis $redis, and pipes $pipes; with 100 messages
per call, pipes reach $by_100 and this module $batches (2 CPUs of a virtual machine; [all figures](bench/README.md)).
TEXT
}

# -- the pages ------------------------------------------------------------------------------------

my $stale = 0;
for my $page ("$FindBin::Bin/README.md", "$FindBin::Bin/../README.md") {
    my $old = slurp($page);
    my $new = $old =~ s{(<!-- (\w+) -->\n).*?(<!-- /\2 -->)}{$1 . $part{$2}->() . $3}egrs;
    next if $new eq $old;
    $stale = 1;
    if ($check) {
        print "$page: its figures are not those of bench/results: run bench/tables.pl\n";
        next;
    }
    open my $out, '>', $page or die "$page: $!\n";
    print {$out} $new;
    close $out or die "$page: $!\n";
    print "$page\n";
}
exit($check ? $stale : 0);

__END__

=head1 NAME

tables.pl - the benchmarks' results in the pages that quote them

=head1 SYNOPSIS

    perl bench/tables.pl [--check]

=head1 DESCRIPTION

Reads F<bench/results> and writes the tables of F<bench/README.md> and the figures of F<README.md> again.

=head1 OPTIONS

=over 4

=item --check

Change nothing. The exit code is 1 if a page has other figures than the results.

=back

=cut
