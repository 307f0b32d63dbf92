# A process that may not map as much memory as a ring needs: an error, and no file or space is left in use.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

my $PROGRAM = <<'PERL';
    use strict; use warnings; require Data::PubSub::Shared;
    my ($class, $path, $size) = @ARGV;
    print eval { $class->new($path, $size); 1 } ? "made\n" : $@;
    print eval { $class->new(undef, $size); 1 } ? "made\n" : $@;
    print $class->new("$path-small", 8)->publish(1), "\n";
PERL

for my $v (grep { $_->name =~ /^Int(?:16)?\z/ } variants()) {
    my $class = $v->class;
    for my $before (undef, '') {
        my $dir = fresh_dir();
        spew("$dir/ring", $before) if defined $before;
        # These numbers are far apart: the memory of perl itself, the limit, and the size of the ring.
        my @perl = ($^X, (map {"-I$_"} grep { !ref } @INC), '-e', $PROGRAM);
        open my $out, '-|', '/bin/sh', '-c', 'ulimit -v 1000000 && exec "$@" 2>&1', 'sh', @perl, $class, "$dir/ring", 1 << 28
            or die "fork: $!";
        my $output = do { local $/; <$out> };
        close $out;
        my $no = qr/\Q$class\E->new: (?:\Q$dir\E\/ring: )?mmap\(\d+ bytes\): Cannot allocate memory.*\n/;
        like($output, qr/\A$no${no}1\n\z/, "$class: new croaks" . (defined $before ? ', with an empty file before' : ''));
        is_deeply([entries($dir)], [defined $before ? 'ring' : (), 'ring-small'], 'no further file is left');
        is(-s "$dir/ring", 0, 'the empty file is still empty') if defined $before;
    }
}

done_testing;
