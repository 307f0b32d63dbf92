#!/usr/bin/env perl
# Draws the benchmarks' results as SVG charts with gnuplot (Debian package gnuplot-nox):
#
#     mkdir -p bench/results
#     for b in throughput baseline fanout latency contention compare bridge; do
#         perl -Mblib bench/$b.pl --json=bench/results/$b.json
#     done
#     perl bench/plot.pl

use 5.022;
use strict;
use warnings;

use File::Path qw(make_path);
use FindBin;
use lib "$FindBin::Bin/lib";

use BenchKit qw(percentile two_digits);
use Getopt::Long;
use JSON::PP ();
use List::Util qw(max min);
use POSIX ();
use Pod::Usage qw(pod2usage);

my $output = "$FindBin::Bin/charts";
GetOptions('output=s' => \$output, 'help|h' => \my $help) or pod2usage(-exitval => 2, -verbose => 0);
pod2usage(-exitval => 0, -verbose => 2, -noperldoc => 1) if $help;

# Colours that colour-blind readers can distinguish (Okabe and Ito).
my ($BLUE, $ORANGE, $GREEN, $PINK, $YELLOW, $SKY, $GREY)
    = map {hex} qw(0072B2 D55E00 009E73 CC79A7 E69F00 56B4E9 777777);

my %charts = (
    throughput => \&throughput, baseline => \&multiples_of_baseline, fanout => \&fanout,
    latency => \&latency, contention => \&contention, compare => \&compare, bridge => \&bridge,
);

make_path($output);
my @inputs = map { -d $_ ? glob("$_/*.json") : $_ } @ARGV ? @ARGV : "$FindBin::Bin/results";
die "no results to draw: run the benchmarks with --json=bench/results/NAME.json first\n" unless @inputs;
for my $file (@inputs) {
    open my $in, '<', $file or die "$file: $!\n";
    my $result = JSON::PP->new->decode(do { local $/; <$in> });
    my $draw   = $charts{ $result->{benchmark} // '' } or next;
    $draw->($result);
}

# -- the charts -----------------------------------------------------------------------------------

sub throughput {
    my ($result) = @_;
    bars($result, 'throughput',
        title => 'Messages a second in one process',
        xlabel => 'million messages a second (logarithmic)', log => 1,
        rows => coloured(map {
            { group => sentence($_->{section}), label => $_->{name}, value => $_->{rate}{median},
                text => two_digits($_->{rate}{median}), spread($_->{rate}) }
        } @{ $result->{rows} }),
    );
    return;
}

sub multiples_of_baseline {
    my ($result) = @_;
    bars($result, 'baseline',
        title => 'Cost of a call, as a multiple of what perl charges for an empty call of that shape',
        xlabel => 'multiple of the baseline (less is better; the line at 1 is the baseline)', line => 1,
        rows => coloured(map {
            {
                group => $_->{section}, label => $_->{name}, value => $_->{multiple},
                text => sprintf('%s  (%s ns)', two_digits($_->{multiple}), two_digits($_->{ns}{median})),
                spread($_->{ratio}),
            }
        } @{ $result->{rows} }),
    );
    return;
}

sub fanout {
    my ($result) = @_;
    my @rows;
    for my $variant (qw(Int Str)) {
        my $colour = $variant eq 'Int' ? $BLUE : $ORANGE;
        for (['publish', 'published'], ['deliver', 'delivered, all subscribers together']) {
            my ($key, $group) = @$_;
            push @rows, map {
                {
                    group => "$variant: $group", label => plural($_->{subscribers}, 'subscriber'),
                    value => $_->{$key}{median}, text => two_digits($_->{$key}{median}), spread($_->{$key}),
                    colour => $colour,
                }
            } grep { $_->{variant} eq $variant } @{ $result->{rows} };
        }
    }
    bars($result, 'fanout',
        title => 'Fan-out to blocked subscribers, each a process',
        xlabel => 'million messages a second (logarithmic)', log => 1, rows => \@rows,
    );
    return;
}

sub latency {
    my ($result) = @_;
    my %colour = (Int => $BLUE, Str => $ORANGE, pipe => $GREY);
    for (['oneway', 'One way'], ['roundtrip', 'There and back']) {
        my ($kind, $title) = @$_;
        my @of_kind = grep { $_->{kind} eq $kind } @{ $result->{rows} } or next;
        my @rows;
        for my $percentile (qw(50 90 99 99.9 100)) {
            for my $row (@of_kind) {
                my $value = $row->{"p$percentile"}{ $percentile eq '100' ? 'max' : 'median' };
                push @rows, {
                    group => $percentile eq '100' ? 'maximum' : "percentile $percentile",
                    label => $row->{name}, value => $value, text => two_digits($value),
                    colour => $colour{ $row->{name} =~ s/,.*//r },
                };
            }
        }
        my $gap = $kind eq 'oneway' ? ", a message every $result->{options}{gap} microseconds" : '';
        bars($result, "latency-$kind",
            title => "$title between two processes$gap",
            xlabel => 'microseconds (logarithmic; less is better)', log => 1, rows => \@rows,
        );
    }
    return;
}

sub contention {
    my ($result) = @_;
    my @rows = map {
        {
            group => $_->{variant}, label => plural($_->{publishers}, 'publisher'),
            value => $_->{rate}{median}, text => two_digits($_->{rate}{median}), spread($_->{rate}),
            colour => $_->{variant} eq 'Int' ? $BLUE : $ORANGE,
        }
    } @{ $result->{rows} };
    bars($result, 'contention',
        title => 'Several publishers on one ring, each a process',
        xlabel => 'million messages a second, all publishers together', rows => \@rows,
    );
    return;
}

sub compare {
    my ($result) = @_;
    my @rows = map {
        {
            group => "messages of $_->{size} bytes", label => $_->{name},
            value => $_->{deliver}{median} / 1e3, text => two_digits($_->{deliver}{median} / 1e3),
            spread($_->{deliver}, 1e3),
            colour => $_->{name} =~ /^Data::/ ? $BLUE : $GREY,
        }
    } @{ $result->{rows} };
    bars($result, 'compare',
        title => "The same fan-out to $result->{options}{subscribers} subscribers by different messengers",
        xlabel => 'million deliveries a second (logarithmic)', log => 1, rows => \@rows,
    );
    return;
}

sub bridge {
    my ($result) = @_;
    my %of = (redis => ['redis-server', $GREY], program => ['pubsub-bridge', $BLUE]);
    my @rows = map {
        my $row = $_;
        my $group = sprintf '%s, %s: %s thousand a second', @$row{qw(name section)}, two_digits($row->{rate}{median});
        map {
            {
                group => $group, label => $of{$_}[0], value => $row->{$_}{median},
                text => two_digits($row->{$_}{median}), colour => $of{$_}[1],
            }
        } grep { $row->{$_} } qw(redis program);
    } grep { $_->{rate} } @{ $result->{rows} };
    bars($result, 'bridge',
        title => 'CPU time of a message from ring to ring over Redis Streams',
        xlabel => 'microseconds of CPU time (less is better)', rows => \@rows,
    );
    return;
}

# -- drawing --------------------------------------------------------------------------------------

# Gives each group of rows a colour.
sub coloured {
    my (@rows) = @_;
    my @palette = ($BLUE, $ORANGE, $GREEN, $PINK, $YELLOW, $SKY);
    my (%colour, $next);
    $_->{colour} = $colour{ $_->{group} } //= $palette[$next++ % @palette] for @rows;
    return \@rows;
}

# Horizontal bars in groups: each group has its heading on a line of its own. A logarithmic axis has no 0 at which a bar could
# begin, so there it is a point. A thin line is where half of the rounds lie.
sub bars {
    my ($result, $name, %chart) = @_;
    my (@bars, @tics, @settings, $group);
    my $line = 0;
    for my $row (@{ $chart{rows} }) {
        if (!defined $group or $group ne $row->{group}) {
            $line += 0.3 if defined $group;
            $group = $row->{group};
            push @settings, sprintf q{set label %s at graph 0.008, first %.6g left tc rgb '#333333'},
                quoted($group), $line++;
        }
        my ($value, @half) = ($row->{value}, map { $_ // $row->{value} } @$row{qw(low high)});
        push @bars, sprintf '%.6g %.6g %d "%s" %.6g %.6g %.6g', $value, $line, $row->{colour}, $row->{text}, @half,
            max($value, @half);
        push @tics, sprintf '%s %.6g', quoted($row->{label}), $line++;
    }
    my @values = map { grep {defined} @$_{qw(value low high)} } @{ $chart{rows} };
    my ($from, $to) = (0, 1.25 * max(@values));
    if ($chart{log}) {
        $from = 10 ** POSIX::floor(log(min(@values)) / log(10));
        $to   = max(@values) * (max(@values) / $from) ** 0.2;
        push @settings, 'set logscale x';
    }
    if (my $at = $chart{line}) {
        push @settings,
            "set arrow from first $at, graph 0 to first $at, graph 1 nohead lw 1.5 lc rgb '#333333' back";
    }
    my $mark = $chart{log} ? 'using 1:2:3 with points pt 7 ps 0.9'
        : "using ($from):2:($from):1:(\$2-0.38):(\$2+0.38):3 with boxxyerror";
    gnuplot($result, $name, 130 + 20 * $line, $chart{title}, <<"SCRIPT", @bars);
set style fill solid 0.85 noborder
set xrange [$from:$to]
set yrange [@{[ $line - 0.3 ]}:-0.7]
set ytics (@{[ join ', ', @tics ]}) scale 0
set grid xtics lc rgb '#dddddd'
set xlabel @{[ quoted($chart{xlabel}) ]}
set key off
@{[ join "\n", @settings ]}
plot \$data $mark lc rgb variable, \\
     \$data using 1:2:5:6 with xerrorbars pt 0 lw 1.2 lc rgb '#333333', \\
     \$data using 7:2:4 with labels left offset 0.8,0 font ',11'
SCRIPT
    return;
}

sub gnuplot {
    my ($result, $name, $height, $title, $script, @data) = @_;
    my $file = "$output/$name.svg";
    open my $to, '|-', 'gnuplot' or die "gnuplot: $! (Debian package gnuplot-nox)\n";
    print {$to} <<"HEAD", join("\n", @data), "\nEOD\n", $script;
set terminal svg size 900,$height dynamic font 'DejaVu Sans,12' background rgb 'white' noenhanced
set output @{[ quoted($file) ]}
set encoding utf8
set border 3 lc rgb '#888888'
set tics nomirror textcolor rgb '#222222'
set tmargin 4
set bmargin 6
set label 1000 @{[ quoted($title) ]} at screen 0.5, screen @{[ 1 - 26 / $height ]} center font ',15'
set label 1001 @{[ quoted(caption($result)) ]} at screen 0.5, screen @{[ 16 / $height ]} center font ',9' \\
    textcolor rgb '#666666'
\$data << EOD
HEAD
    close $to or die "gnuplot could not draw $file\n";
    print "$file\n";
    return;
}

# Host, date and method, in the footer of each chart.
sub caption {
    my ($result) = @_;
    my $about = $result->{machine};
    return sprintf '%s, %s, %s, perl %s, Data::PubSub::Shared %s, %s; median of %s%s',
        $about->{cpu}, plural($about->{processors}, 'CPU'), @$about{qw(kernel perl module date)},
        plural($result->{options}{rounds}, 'round'), $result->{quick} ? ', quick run' : '';
}

sub plural {
    my ($count, $thing) = @_;
    return "$count $thing" . ($count == 1 ? '' : 's');
}

# Where half of the rounds of a figure lie, of a row to draw.
sub spread {
    my ($summary, $unit) = @_;
    my @sorted = sort { $a <=> $b } @{ $summary->{runs} };
    return unless @sorted > 1;
    my ($low, $high) = map { percentile(\@sorted, $_) / ($unit // 1) } 25, 75;
    return (low => $low, high => $high);
}

# "BATCH (100/batch): publish_multi" reads better in small letters.
sub sentence {
    my ($text) = @_;
    $text =~ s/\b([A-Z_]{2,})\b/\L$1/g;
    return $text;
}

sub quoted {
    my ($text) = @_;
    $text =~ s/'/''/g;
    return "'$text'";
}

__END__

=head1 NAME

plot.pl - charts of the benchmarks' results

=head1 SYNOPSIS

    perl bench/plot.pl [--output DIRECTORY] [FILE_OR_DIRECTORY ...]

=head1 DESCRIPTION

Reads the JSON that F<throughput.pl>, F<baseline.pl>, F<fanout.pl>, F<latency.pl>, F<contention.pl>, F<compare.pl> and
F<bridge.pl> write with C<--json=FILE>, and draws a chart for each. Without arguments it reads
F<bench/results>. The charts go to F<bench/charts>, or to the directory given with C<--output>.

Needed: gnuplot (Debian package F<gnuplot-nox>).

=cut
