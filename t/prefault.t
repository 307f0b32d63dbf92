# Rings with prefault: publishes cause no page faults.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use PubSubTest;
use Test::More;

use constant PAGE => 4096;

# The minor page faults of this process so far.
sub faults { return (split ' ', (split /\) /, slurp('/proc/self/stat'))[1])[7] }

# The page faults of the first lap of messages.
sub faults_of_a_lap {
    my ($ring, $value) = @_;
    my $before = faults();
    $ring->publish($value) for 1 .. $ring->capacity;
    return faults() - $before;
}

my ($release) = slurp('/proc/sys/kernel/osrelease') =~ /^(\d+\.\d+)/;
plan skip_all => 'needs Linux 5.14' if sprintf('%d%03d', split /\./, $release) < 5014;

each_variant(sub {
    my ($v) = @_;
    my ($class, $value, $capacity) = ($v->class, $v->value(7), 1 << 16);
    my $path = fresh_path();
    my $make = sub { return $class->new($_[0], $capacity, ($v->is_str ? 1000 : ()), @_[1 .. $#_]) };
    # Messages in each page.
    my $pages = $make->(undef)->stats->{mmap_size} / PAGE;

    faults_of_a_lap($make->(undef), $value);    # page faults of perl itself
    my $usual = faults_of_a_lap($make->(undef), $value);
    cmp_ok($usual, '>=', $capacity * $v->slot / PAGE, 'without prefault, there is a page fault for each page of slots');
    for my $where ([undef, 'a ring in memory'], [$path, 'a new file'], [$path, 'an existing file']) {
        my $faults = faults_of_a_lap($make->($where->[0], prefault => 1), $value);
        cmp_ok($faults, '<', $usual / 20, "with prefault, there are hardly any page faults: $where->[1]")
            or diag "$faults of $usual, $pages pages";
    }
    cmp_ok(faults_of_a_lap($class->new_memfd('p', $capacity, prefault => 1), $value), '<', $usual / 20,
        'with prefault, there are hardly any page faults: a memfd');
});

done_testing;
