# The workflow's matrix of roots is that of xt/perls.pl.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use XT::Roots;

my $path = "$FindBin::Bin/../.github/workflows/ci.yml";
open my $file, '<', $path or plan skip_all => 'for checkouts: there is no workflow here';
my ($list) = do { local $/; <$file> } =~ /^        row:\n((?:          - .*\n)+)/m;
is_deeply([map {/- (\S+)/} split /\n/, $list // ''], [map { $_->name } rows()], 'the same rows');

done_testing;
