# Other perls and other architectures: built, loaded and tested in roots of their own. Runs only with XT_PERLS=1, because it
# takes long and downloads some hundred megabytes the first time.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use XT::Roots;

plan skip_all => 'runs only with XT_PERLS=1' if !$ENV{XT_PERLS};
if (my $why = why_no_roots()) { plan skip_all => $why }

my @rows = rows();
while (my $row = shift @rows) {
    subtest $row->name => sub {
        my $why = $row->why_not;
        plan skip_all => $why if defined $why;
        $row->prepare;
        for my $step ($row->steps) {
            my ($ok, $error, $log) = $row->step($step);
            ok($ok, $row->name . ": $step") or diag "$error ($log)";
            last if !$ok && $step eq 'build';
        }
    };
}

done_testing;
