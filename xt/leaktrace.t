# No call leaks a scalar, valid or invalid, whatever its arguments do during the call.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Exercise;
use PubSubTest;
use Test::More;

BEGIN {
    eval { require Test::LeakTrace; Test::LeakTrace->import(qw(leaked_refs)); 1 }
        or plan skip_all => 'Test::LeakTrace is not installed';
}

# Each new file handle makes perl forget which packages it has looked up, and it allocates scalars for them again. So the last
# step is to open another one.
sub forget_packages { open my $handle, '<', '/dev/null' or die "open: $!"; return }

# The leaked scalars themselves: to find where they were allocated would scan all memory for each statement.
my @results;
XT::Exercise::each_part(sub {
    my ($v, $part, $name) = @_;
    return if $name eq 'deparse';    # B::Deparse itself keeps a scalar
    $part->($v) for 1 .. 2;    # perl keeps what it compiles and looks up
    my @leaks = leaked_refs { $part->($v); forget_packages() };
    push @results, [$v->name . ": $name", @leaks];
});

for my $result (@results) {
    my ($name, @leaks) = @$result;
    is(scalar @leaks, 0, "no leak: $name") or diag(explain(@leaks > 10 ? [@leaks[0 .. 9]] : \@leaks));
}

done_testing;
