#!/usr/bin/env perl
# table.pl [--json=FILE] DIRECTORY: the medians of a run of `cargo bench` as a table: nanoseconds of this crate, and what the others
# take as multiples of these. DIRECTORY is where criterion left its results: target/criterion.
use strict;
use warnings;

use File::Find qw(find);
use Getopt::Long qw(GetOptions);
use JSON::PP;

GetOptions('json=s' => \my $json) && @ARGV == 1 or die "usage: table.pl [--json=FILE] DIRECTORY\n";

my $OURS   = 'this crate';
my @OTHERS = ('tokio broadcast', 'crossbeam-channel, one each', 'bus', 'iceoryx2');

sub slurp { my ($file) = @_; open my $in, '<', $file or die "$file: $!\n"; local $/; return decode_json(<$in>) }
sub median { my @sorted = sort { $a <=> $b } @_; return ($sorted[$#sorted / 2] + $sorted[@sorted / 2]) / 2 }

# By job and library: a median for each turn.
my %turns;
find(
    {
        no_chdir => 1,
        wanted   => sub {
            m{/new/benchmark\.json\z} or return;
            my ($about, $estimates) = (slurp($_), slurp(s/benchmark\.json\z/estimates.json/r));
            my ($job) = $about->{group_id} =~ /^(.*), turn \d+\z/ or return;
            push @{ $turns{$job}{ $about->{function_id} } }, $estimates->{median}{point_estimate};
        },
    },
    $ARGV[0],
);
%turns or die "$ARGV[0] has no results\n";

my %medians;
for my $job (keys %turns) {
    $medians{$job}{$_} = 0 + sprintf '%.1f', median(@{ $turns{$job}{$_} }) for keys %{ $turns{$job} };
}

# Calls first, and then ways.
my %rank = map { $_ => /^publish/ ? "0$_" : /^poll/ ? "1$_" : "2$_" } keys %medians;
print '| ', join(' | ', 'job, receivers', "$OURS, ns", map {"$_, x"} @OTHERS), " |\n", '| --- |', ' ---: |' x (1 + @OTHERS), "\n";
for my $job (sort { $rank{$a} cmp $rank{$b} } keys %medians) {
    my $ours  = $medians{$job}{$OURS} // next;
    my @cells = map { defined $medians{$job}{$_} ? sprintf '%.2f', $medians{$job}{$_} / $ours : '' } @OTHERS;
    print '| ', join(' | ', lc $job, sprintf($ours < 1000 ? '%.1f' : '%.0f', $ours), @cells), " |\n";
}

if (defined $json) {
    open my $load_file, '<', '/proc/loadavg' or die "/proc/loadavg: $!\n";
    my ($load) = (split ' ', <$load_file>)[1];
    open my $out, '>', $json or die "$json: $!\n";
    my $result = { benchmark => 'rust', unit => 'ns', load_average => 0 + $load, medians => \%medians };
    print {$out} JSON::PP->new->canonical->pretty->encode($result) or die "$json: $!\n";
    close $out or die "$json: $!\n";
}
