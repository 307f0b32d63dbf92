# The shipped object contains no trace of the fault points that tests use; the build that the
# other tests use contains all of them.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Build;
use PubSubTest;
use Test::More;

my %points;
for my $file (glob XT::Build->root . '/src/{*,*/*,*/*/*}.rs') {
    my $text = slurp($file);
    $points{$1}++ while $text =~ /fault_point!\("([^"]+)"\)/g;
}
ok(scalar keys %points, 'the sources have fault points: ' . join ' ', sort keys %points);

# Short names could be part of other texts, so only names with a hyphen are searched for: no other text has them.
my @marks = ('PUBSUB_FAULT', grep {/-/} sort keys %points);

sub traces {
    my ($object) = @_;
    my $bytes = slurp($object);
    return grep { index($bytes, $_) >= 0 } @marks;
}

SKIP: {
    my $shipped = XT::Build->root . '/blib/arch/auto/Data/PubSub/Shared/Shared.so';
    skip 'the project is not built', 2 if !-e $shipped;
    is_deeply([traces($shipped)], [], 'the shipped object has no trace of them');
    is_deeply([traces(XT::Build->core)], [], 'the core that it was linked with has no trace of them');
}

my $fault = XT::Build->fault;
SKIP: {
    skip $fault->{why}, 1 if !$fault->{dir};
    is_deeply([traces($fault->{object})], \@marks, 'the build with faults has all of them');
}

done_testing;
