# What is shipped holds no trace of the points at which tests hurt a process; the build that the
# other tests use does.

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
ok(scalar keys %points, 'the sources name points: ' . join ' ', sort keys %points);

# Names short enough to be parts of others' texts are told apart by what surrounds them: no text of
# ours or of the system's has a hyphen there.
my @marks = ('PUBSUB_FAULT', grep {/-/} sort keys %points);

sub traces {
    my ($object) = @_;
    my $bytes = slurp($object);
    return grep { index($bytes, $_) >= 0 } @marks;
}

SKIP: {
    my $shipped = XT::Build->root . '/blib/arch/auto/Data/PubSub/Shared/Shared.so';
    skip 'the project is not built', 2 if !-e $shipped;
    is_deeply([traces($shipped)], [], 'the object that is shipped has none of them');
    is_deeply([traces(XT::Build->core)], [], 'nor has the core that it was linked from');
}

my $fault = XT::Build->fault;
SKIP: {
    skip $fault->{why}, 1 if !$fault->{dir};
    is_deeply([traces($fault->{object})], \@marks, 'the build for faults has all of them');
}

done_testing;
