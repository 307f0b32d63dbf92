# The workflow's matrix of roots is that of xt/perls.pl, and the Debian package is for the processors that pass there.

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

open my $control, '<', "$FindBin::Bin/../debian/control" or die "debian/control: $!";
my %said  = map { ($_ => 1) } do { local $/; <$control> } =~ /^Architecture: (.+)$/mg;
my %tried = map { ($_->arch => 1) } grep { !$_->is_refused } rows();
is_deeply([keys %said], [join ' ', sort keys %tried], 'architectures of all packages');

done_testing;
