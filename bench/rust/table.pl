#!/usr/bin/env perl
# table.pl [--json=FILE] DIRECTORY: the medians of a run of `cargo bench` as a table, in nanoseconds, each also as a multiple of this
# crate's. DIRECTORY is where criterion left its results: target/criterion.
use strict;
use warnings;

use File::Find qw(find);
use Getopt::Long qw(GetOptions);
use JSON::PP;

GetOptions('json=s' => \my $json) && @ARGV == 1 or die "usage: table.pl [--json=FILE] DIRECTORY\n";

sub slurp { my ($file) = @_; open my $in, '<', $file or die "$file: $!\n"; local $/; return decode_json(<$in>) }
sub median { my @sorted = sort { $a <=> $b } @_; return ($sorted[$#sorted / 2] + $sorted[@sorted / 2]) / 2 }

# By job, receivers and library: a median for each turn.
my (%turns, @jobs, %libraries);
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

my %result;
print "| job, receivers | library | ns | x this crate |\n| --- | --- | ---: | ---: |\n";
for my $job (sort { ($a =~ /^(\D+)/)[0] cmp ($b =~ /^(\D+)/)[0] || $a cmp $b } keys %turns) {
    my %ns   = map { $_ => median(@{ $turns{$job}{$_} }) } keys %{ $turns{$job} };
    my $ours = $ns{'this crate'} or next;
    my $name = $job;
    for my $library ('this crate', grep { $_ ne 'this crate' } sort keys %ns) {
        printf "| %s | %s | %s | %.2f |\n", $name, $library, sprintf($ns{$library} < 1000 ? '%.1f' : '%.0f', $ns{$library}),
            $ns{$library} / $ours;
        $name = '';
        $result{$job}{$library} = 0 + sprintf '%.2f', $ns{$library};
    }
}
if (defined $json) {
    open my $load_file, '<', '/proc/loadavg' or die "/proc/loadavg: $!\n";
    my ($load) = (split ' ', <$load_file>)[1];
    open my $out, '>', $json or die "$json: $!\n";
    print {$out} JSON::PP->new->canonical->pretty->encode({ unit => 'ns', load_average => $load + 0, medians => \%result })
        or die "$json: $!\n";
    close $out or die "$json: $!\n";
}
