# A ring whose pages are mapped when it is opened: no page fault comes with a message.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use PubSubTest;
use Test::More;

use constant PAGE => 4096;

# Page faults of this process that needed no disk, so far.
sub faults { return (split ' ', (split /\) /, slurp('/proc/self/stat'))[1])[7] }

# Those of a first lap of messages.
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
    # With a message in each page, or several.
    my $pages = $make->(undef)->stats->{mmap_size} / PAGE;

    faults_of_a_lap($make->(undef), $value);    # perl's own
    my $usual = faults_of_a_lap($make->(undef), $value);
    cmp_ok($usual, '>=', $capacity * $v->slot / PAGE, 'without it there is a fault for each page of slots');
    for my $where ([undef, 'a ring in memory'], [$path, 'a new file'], [$path, 'a file that is there']) {
        my $faults = faults_of_a_lap($make->($where->[0], prefault => 1), $value);
        cmp_ok($faults, '<', $usual / 20, "with it there are hardly any: $where->[1]") or diag "$faults of $usual, $pages pages";
    }
    cmp_ok(faults_of_a_lap($class->new_memfd('p', $capacity, prefault => 1), $value), '<', $usual / 20, 'a memfd');
});

done_testing;
