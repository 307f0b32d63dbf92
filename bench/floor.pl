#!/usr/bin/env perl
# What a call costs beside what perl itself charges for a call of that shape: each row is run over
# Data::PubSub::Shared and over PubSubFloor (bench/floor), whose calls take the same arguments and give
# back the same kind of result but have nothing behind them. An absolute time does not travel from machine
# to machine; the multiple of the floor does. Run in the built distribution:
#
#     perl -Mblib bench/floor.pl

use 5.022;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use BenchKit qw(alternate elapsed scratch with_commas);
use Cwd qw(getcwd);
use Data::PubSub::Shared;
use File::Copy qw(copy);

my $bench = BenchKit->start(
    title => 'Cost of a call, and what perl itself charges for it', rounds => 5,
    options => { 'items=i' => 500_000, 'match=s' => '.' },
    quick => { items => 200_000 },
);

build_floor();
my $rows = do "$FindBin::Bin/floor/rows.pl" or die "floor/rows.pl: ", $@ || $!, "\n";
my $items = $bench->opt('items');
my $match = $bench->opt('match');
my @rows  = grep {"$_->{section}: $_->{name}" =~ /$match/i} $rows->($items);
die "no row matches $match\n" unless @rows;

# In a round the two passes of a row take turns three times, and the best of each counts: what else the
# machine does at that moment can only make them longer.
my $figures = alternate($bench->opt('rounds'), map {
    my $row = $_;
    ["$row->{section}: $row->{name}" => sub {
        my %seconds;
        for my $which (qw(floor pass) x 3) {
            my $took = elapsed($row->{$which});
            $seconds{$which} = $took unless defined $seconds{$which} and $seconds{$which} < $took;
        }
        return {
            ns => $seconds{pass} / $row->{count} * 1e9, floor => $seconds{floor} / $row->{count} * 1e9,
            ratio => $seconds{pass} / $seconds{floor},
        };
    }];
} @rows);

for my $row (@rows) {
    my $of = $figures->{"$row->{section}: $row->{name}"};
    $bench->row(
        section => $row->{section}, name => $row->{name}, items => $row->{count}, %$of,
        multiple => $of->{ns}{median} / $of->{floor}{median},
    );
}
my $each = with_commas($items);
$bench->note(<<"NOTES");
ns: a message of Data::PubSub::Shared; floor ns: a message of the empty call; x floor: the one median
divided by the other. In each round both are measured three times in turn, and the best of the three
counts. "lowest" and "highest" are the multiples of single rounds.

Both passes contain the same loop. A pair of publish and poll counts as one message. Some $each
messages a pass (five times as many for batches of integers, a fifth for publish_notify); one process,
anonymous memory, rings of 65,536 slots, used once before.

The floor of poll_cb is one call_sv with a fresh scalar a message, the ordinary way: less than 1 means
that the module calls back in a cheaper way.
NOTES
$bench->finish(
    [name => 'row'], [ns => 'ns', '%.2f'], [floor => 'floor ns', '%.2f'], [multiple => 'x floor', '%.2f'],
    [ratio => 'lowest', sub { sprintf '%.2f', $_[0]{ratio}{min} }],
    [ratio => 'highest', sub { sprintf '%.2f', $_[0]{ratio}{max} }],
);

# Builds PubSubFloor in a scratch directory and makes it loadable. Its Makefile.PL is written there, so
# that the distribution's own build never meets it.
sub build_floor {
    my $dir  = scratch();
    my $home = getcwd();
    for my $file (qw(PubSubFloor.pm PubSubFloor.xs)) {
        copy("$FindBin::Bin/floor/$file", "$dir/$file") or die "copy $file: $!\n";
    }
    open my $out, '>', "$dir/Makefile.PL" or die "$dir/Makefile.PL: $!\n";
    print {$out} <<'MAKEFILE';
use ExtUtils::MakeMaker;
use XS::Parse::Keyword::Builder;
XS::Parse::Keyword::Builder->write_XSParseKeyword_h;
WriteMakefile(
    NAME => 'PubSubFloor', VERSION_FROM => 'PubSubFloor.pm', NO_META => 1, MAN1PODS => {}, MAN3PODS => {},
    INC => join(' ', XS::Parse::Keyword::Builder->extra_compiler_flags),
    PM => { 'PubSubFloor.pm' => '$(INST_LIB)/PubSubFloor.pm' },
);
MAKEFILE
    close $out or die "$dir/Makefile.PL: $!\n";

    chdir $dir or die "chdir $dir: $!\n";
    my $log = "$dir/log";
    local @ENV{qw(PERL5OPT PERL_MM_OPT)} = ('', '');
    if (system("'$^X' Makefile.PL >'$log' 2>&1 && make >>'$log' 2>&1") != 0) {
        open my $in, '<', $log or die "the floor module did not build\n";
        die "the floor module did not build:\n", <$in>;
    }
    chdir $home or die "chdir $home: $!\n";
    unshift @INC, "$dir/blib/lib", "$dir/blib/arch";
    return;
}

__END__

=head1 NAME

floor.pl - the cost of each call as a multiple of what perl charges for an empty one

=head1 SYNOPSIS

    perl -Mblib bench/floor.pl [--quick] [--rounds N] [--items N] [--match REGEX] [--json[=FILE]]

A C compiler and make are needed, as for the distribution itself.

=head1 OPTIONS

=over 4

=item --items N

Messages of a pass. Default: 500,000; with C<--quick> 200,000.

=item --match REGEX

Only the rows whose name matches.

=item --rounds N

How often each row is measured; medians are printed. Default: 5; with C<--quick> 1.

=item --quick

Rough figures in a few seconds.

=item --json, --json=FILE

Print JSON instead of the table, or write it to a file beside the table.

=back

=cut
