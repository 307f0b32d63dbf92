# What the benchmarks do with figures, and on a busy host.
use strict;
use warnings;

use Test::More;
use File::Temp qw(tempdir);
use FindBin;

use Data::PubSub::Shared;

plan skip_all => 'the benchmarks are missing' unless -e "$FindBin::Bin/../bench/lib/BenchKit.pm";
require lib;
lib->import("$FindBin::Bin/../bench/lib");
require BenchKit;

subtest 'figures are rounded to two digits' => sub {
    my %text = (
        0 => '0', 0.01234 => '0.012', 0.96 => '0.96', 0.996 => '1.0', 1 => '1.0', 1.249 => '1.2', 9.94 => '9.9', 9.96 => '10',
        12.4 => '12', 99.6 => '100', 105.1 => '110', 5_432 => '5400',
    );
    is BenchKit::two_digits($_), $text{$_}, "$_ is $text{$_}" for sort { $a <=> $b } keys %text;
};

subtest 'summary and middle of the rounds' => sub {
    my $of = BenchKit::summary(9, 1, 3, 2, 8, 5, 4, 7, 6, 100);
    is_deeply [@$of{qw(min low median high max)}], [1, 3, 5.5, 8, 100], 'summary sorts rounds as numbers';
    is BenchKit::middle('x')->({ x => $of }), '3.0 to 8.0', 'middle shows the middle half as text';
};

subtest 'a busy host writes no results' => sub {
    no warnings qw(once redefine);
    my $file = tempdir(CLEANUP => 1) . '/results.json';
    my ($load, $processors) = (0, 2);
    local *BenchKit::machine = sub { return { load => $load, processors => $processors } };
    my $tries = sub {
        my @argv = @_;
        my $bench = eval { BenchKit->start(title => 'none', argv => \@argv) };
        alarm 0;
        return defined $bench ? '' : $@;
    };
    local @SIG{qw(INT TERM)};
    for (['at its limit' => 1], ['of no known load' => undef]) {
        (my $what, $load) = @$_;
        is $tries->("--json=$file"), '', "a host $what writes results";
    }
    $load = '1.01';
    like $tries->("--json=$file"), qr/the host is busy: its load average is 1\.01, with 2 CPUs: .*--force/,
        'a host above its limit is refused';
    ok !-e $file, 'no results are written';
    is $tries->("--json=$file", '--force'), '', '--force writes results on a busy host';
    is $tries->(), '', 'a table is always printed';
    is $tries->('--json'), '', 'JSON is always printed to standard output';
};

done_testing;
