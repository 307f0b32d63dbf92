#!/usr/bin/env perl
# Compares the cost of each call with a baseline, perl's own cost for a call of the same shape. Each row is run
# with Data::PubSub::Shared and with PubSubBaseline (bench/baseline), whose calls take the same arguments and return
# the same kind of result, but do nothing else. Absolute times depend on the host; the multiple of the baseline
# hardly does. Run in the built distribution:
#
#     perl -Mblib bench/baseline.pl

use 5.022;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use BenchKit qw(alternate processor_time scratch two_digits with_commas);
use Cwd qw(getcwd);
use Data::PubSub::Shared;
use File::Copy qw(copy);

my $bench = BenchKit->start(
    title => 'Cost of a call, and what perl itself charges for it', rounds => 15,
    options => { 'items=i' => 500_000, 'match=s' => '.' },
    quick => { items => 200_000 },
);

build_baseline();
my $rows = do "$FindBin::Bin/baseline/rows.pl" or die "baseline/rows.pl: ", $@ || $!, "\n";
my $items = $bench->opt('items');
my $match = $bench->opt('match');
my @rows  = grep {"$_->{section}: $_->{name}" =~ /$match/i} $rows->($items);
die "no row matches $match\n" unless @rows;

# The two passes of a row alternate in turns of some 20 ms, each first in every other round. Other load on the host
# varies, and affects both passes of a round alike. So the result is the median of the ratios of all rounds.
my $figures = alternate($bench->opt('rounds'), map {
    my $row = $_;
    ["$row->{section}: $row->{name}" => sub {
        my ($round) = @_;
        my @order = qw(baseline pass);
        $row->{$_}->() for $round == 1 ? @order : ();
        my %ns = map { $_ => processor_time($row->{$_}) / $row->{count} * 1e9 } $round & 1 ? @order : reverse @order;
        return { ns => $ns{pass}, baseline => $ns{baseline}, ratio => $ns{pass} / $ns{baseline} };
    }];
} @rows);

for my $row (@rows) {
    my $of = $figures->{"$row->{section}: $row->{name}"};
    $bench->row(
        section => $row->{section}, name => $row->{name}, items => $row->{count}, %$of,
        multiple => $of->{ratio}{median},
    );
}
my $each = with_commas($items);
$bench->note(<<"NOTES");
ns: CPU time of a message of Data::PubSub::Shared; baseline ns: of a message of the empty call; x baseline:
how many times as long ours takes, the median of the rounds; in half of the rounds it was "mostly".

Both passes contain the same loop. A pair of publish and poll counts as one message. Some $each
messages a pass (five times as many for batches of integers, a fifth for publish_notify); one process,
anonymous memory, rings of 65,536 slots, used once before.

The baseline of publish_packed and drain_packed is the stores to each slot, or the loads of each, and nothing else.
The baseline of "publish, lossless" is publish to a ring that is not lossless, so it is what waiting for readers
costs if there is room. The baseline of poll_cb is one call_sv with a fresh scalar a message, the ordinary way: less than 1 means
that the module calls back in a cheaper way. That of publish_notify makes one system call of the two.
NOTES
$bench->finish(
    [name => 'row'], (map { [$_->[0] => $_->[1], figure($_->[0])] } [ns => 'ns'], [baseline => 'baseline ns']),
    [multiple => 'x baseline', figure('ratio')], [ratio => 'mostly', BenchKit::middle('ratio')],
);

sub figure {
    my ($key) = @_;
    return sub { two_digits($_[0]{$key}{median}) };
}

# Builds PubSubBaseline in a scratch directory and makes it loadable. Its Makefile.PL is written there, so
# that the distribution's own build does not find it.
sub build_baseline {
    my $dir  = scratch();
    my $home = getcwd();
    for my $file (qw(PubSubBaseline.pm PubSubBaseline.xs)) {
        copy("$FindBin::Bin/baseline/$file", "$dir/$file") or die "copy $file: $!\n";
    }
    open my $out, '>', "$dir/Makefile.PL" or die "$dir/Makefile.PL: $!\n";
    print {$out} <<'MAKEFILE';
use ExtUtils::MakeMaker;
use XS::Parse::Keyword::Builder;
XS::Parse::Keyword::Builder->write_XSParseKeyword_h;
WriteMakefile(
    NAME => 'PubSubBaseline', VERSION_FROM => 'PubSubBaseline.pm', NO_META => 1, MAN1PODS => {}, MAN3PODS => {},
    INC => join(' ', XS::Parse::Keyword::Builder->extra_compiler_flags),
    PM => { 'PubSubBaseline.pm' => '$(INST_LIB)/PubSubBaseline.pm' },
);
MAKEFILE
    close $out or die "$dir/Makefile.PL: $!\n";

    chdir $dir or die "chdir $dir: $!\n";
    my $log = "$dir/log";
    local @ENV{qw(PERL5OPT PERL_MM_OPT)} = ('', '');
    if (system("'$^X' Makefile.PL >'$log' 2>&1 && make >>'$log' 2>&1") != 0) {
        open my $in, '<', $log or die "the baseline's module did not build\n";
        die "the baseline's module did not build:\n", <$in>;
    }
    chdir $home or die "chdir $home: $!\n";
    unshift @INC, "$dir/blib/lib", "$dir/blib/arch";
    return;
}

__END__

=head1 NAME

baseline.pl - the cost of each call as a multiple of the cost of an empty call

=head1 SYNOPSIS

    perl -Mblib bench/baseline.pl [--quick] [--rounds N] [--items N] [--match REGEX] [--json[=FILE] [--force]]

A C compiler and make are needed, as for the distribution itself.

=head1 OPTIONS

=over 4

=item --items N

Messages of a pass. Default: 500,000; with C<--quick> 200,000.

=item --match REGEX

Only the rows whose name matches.

=item --rounds N

How often each row is measured; medians are printed. Default: 15; with C<--quick> 1.

=back

=cut
