# No space: a full file system, a limit on the size of files. The error is clear, and no file is left.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

# Runs $code in a child with a tmpfs of 256 kB, in a mount namespace that ends with the child.
sub on_small_disk {
    my ($code) = @_;
    my $dir = fresh_dir();
    return spawn(sub {
        my ($peer) = @_;
        if (small_disk($dir, 'size=256k,nr_inodes=32')) {
            $peer->tell('cannot');
            return;
        }
        $peer->tell('mounted');
        $code->($dir);
    });
}

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;

    subtest 'full tmpfs' => sub {
        my $kid = on_small_disk(sub {
            my ($dir) = @_;
            my $open = open_fds();
            eval { $class->new("$dir/ring", 65536); 1 } and die 'no error';
            $@ =~ /->new: .*No space left on device/ or die "wrong error: $@";
            entries($dir) and die 'files left: ' . join ' ', entries($dir);
            open_fds() == $open or die 'a descriptor was left open';

            my $ring = $class->new("$dir/small", 64);
            $ring->publish_multi($v->values(1, 64)) for 1 .. 10;
            $ring->unlink;
            undef $ring;

            # Space for half of it: an empty file is not filled in until there is enough space.
            my $capacity = $v->is_str ? 256 : 8192;
            my $half     = $class->new(undef, $capacity)->stats->{mmap_size} / 2;
            my $path     = spew("$dir/empty", '');
            spew("$dir/ballast", 'x' x (256 * 1024 - $half));
            eval { $class->new($path, $capacity); 1 } and die 'no error with half of the space';
            $@ =~ /No space left on device/ or die "wrong error: $@";
            unlink "$dir/ballast";
            $class->new($path, $capacity)->publish($v->value(1));
        });
        my $can = $kid->hear;
        if ($can eq 'cannot') {
            $kid->end;
            plan skip_all => 'needs the right to mount';
        }
        reap('new on a full tmpfs croaks and leaves nothing; the empty file can be filled in later', $kid);
    };

    subtest 'RLIMIT_FSIZE' => sub {
        for my $handler ('', '$SIG{XFSZ} = "IGNORE";', 'our $x; $SIG{XFSZ} = sub { $x++ };') {
            my $dir     = fresh_dir();
            my $program = $handler . <<'PERL';
                use strict; use warnings; require Data::PubSub::Shared;
                my ($class, $path) = @ARGV;
                print eval { $class->new($path, 65536); 1 } ? "made\n" : $@;
                print -e $path ? "left\n" : "clean\n";
                print $class->new("$path-small", 8)->publish(1), "\n";
PERL
            open my $out, '-|', '/bin/sh', '-c', 'ulimit -f 128 && exec "$@" 2>&1', 'sh', $^X,
                (map {"-I$_"} grep { !ref } @INC), '-e', $program, $class, "$dir/ring"
                or die "fork: $!";
            my $output = do { local $/; <$out> };
            close $out;
            is($?, 0, 'the program is not ended by SIGXFSZ');
            like($output, qr/\A\S+->new: .*File too large.*\nclean\n1\n\z/,
                'new croaks with File too large, and a small ring works');
            is_deeply([entries($dir)], ['ring-small'], 'no other file is left');
        }
    };
});

done_testing;
