# The workflow has the rows of xt/perls.pl, and the Debian packages are for the architectures that pass there.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use XT::Roots;

my $path = "$FindBin::Bin/../.github/workflows/ci.yml";
open my $file, '<', $path or plan skip_all => 'this is not a checkout';
my ($list) = do { local $/; <$file> } =~ /^        row:\n((?:          - .*\n)+)/m;
is_deeply([map {/- (\S+)/} split /\n/, $list // ''], [map { $_->name } rows()], 'the workflow has the same rows');

open my $control, '<', "$FindBin::Bin/../debian/control" or die "debian/control: $!";
my %said  = map { ($_ => 1) } do { local $/; <$control> } =~ /^Architecture: (.+)$/mg;
my %tried = map { ($_->arch => 1) } grep { !$_->is_refused } rows();
is_deeply([keys %said], [join ' ', sort keys %tried], 'the packages have the tested architectures');

done_testing;
