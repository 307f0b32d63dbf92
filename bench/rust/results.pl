#!/usr/bin/env perl
# results.pl DIRECTORY FILE: the medians of a run of `cargo bench`, which criterion left in DIRECTORY (target/criterion), as results
# for tables.pl: FILE is bench/results/rust.json.
use strict;
use warnings;

use File::Find qw(find);
use FindBin;
use lib "$FindBin::Bin/../lib";

use BenchKit;
use JSON::PP ();

@ARGV == 2 or die "usage: results.pl DIRECTORY FILE\n";
my ($directory, $file) = @ARGV;

my @libraries = ('this crate', 'tokio broadcast', 'crossbeam-channel, one each', 'bus', 'iceoryx2');

sub slurp { my ($from) = @_; open my $in, '<', $from or die "$from: $!\n"; local $/; return JSON::PP::decode_json(<$in>) }

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
    $directory,
);
%turns or die "$directory has no results\n";

# Calls first, and then ways.
my %rank = map { $_ => /^publish/ ? "0$_" : /^poll/ ? "1$_" : "2$_" } keys %turns;
my @rows = map {
    my $of = $turns{$_};
    { name => lc, medians => { map { ($_ => BenchKit::median(@{ $of->{$_} })) } keys %$of } }
} sort { $rank{$a} cmp $rank{$b} } keys %turns;

open my $out, '>', $file or die "$file: $!\n";
print {$out} BenchKit::encoded(
    { benchmark => 'rust', unit => 'ns', machine => BenchKit::machine(), libraries => \@libraries, rows => \@rows });
close $out or die "$file: $!\n";
