# Errors about files: they say what the file is, give the cause even if the path is long, and never advise to remove
# a file that is not a ring.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

# The error of a call, without file and line.
sub error_of {
    my ($code) = @_;
    return 'none' if eval { $code->(); 1 };
    return $@ =~ s/ at .+? line \d+\.\n\z//r;
}

# The errors of all three ways to open a file.
sub errors_of {
    my ($class, $path) = @_;
    open my $handle, '+<', $path or die "open $path: $!";
    return map { s/\A\S+->\w+: (?:\Q$path\E|descriptor \d+): //r } map { error_of($_) }
        sub { $class->new($path, 16) }, sub { $class->new_readonly($path) }, sub { $class->new_from_fd(fileno $handle) };
}

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;
    my $name  = $v->name;
    my $made  = fresh_path();
    my $size  = $class->new($made, 16)->stats->{mmap_size};
    my $ring  = slurp($made);

    my $text = spew(fresh_path(), "root:x:0:0:root:/root:/bin/bash\n" x 300);
    is_deeply([errors_of($class, $text)], [('invalid or incompatible: not a ring file') x 3], 'a text file is not a ring file');
    for my $short ('', 'x', "\0" x 4095) {
        my $path   = spew(fresh_path(), $short);
        my @errors = errors_of($class, $path);
        shift @errors if !length $short;    # new creates a ring in it
        my $bytes = length $short;
        is_deeply([grep { $_ ne "too small for a ring file ($bytes bytes)" } @errors], [],
            "a file of $bytes bytes is too small") if $bytes;
    }
    for my $other (grep { $_->name ne $name } variants()) {
        my $path = fresh_path();
        $other->class->new($path, 16);
        my $article = $other->is_int ? 'an' : 'a';
        is_deeply(
            [errors_of($class, $path)],
            [("invalid or incompatible: holds $article @{[$other->name]} ring, opened as $name") x 3],
            'another variant: ' . $other->name
        );
    }
    my %changed = (
        'a file of the implementation in C' => [0, '1BSP',
            'a ring file of Data::PubSub::Shared 0.x, another implementation (magic "1BSP")'],
        'another byte order' => [0, scalar reverse('PubSubSh'), 'a ring file of a host with another byte order'],
        'an unknown variant' => [12, pack('L', 9), "holds a ring of unknown variant 9, opened as $name"],
        'a later version'    => [8, pack('L', 77), qr/\Alayout version 77, and this library reads \d+\z/],
        'a wrong capacity'   => [16, pack('Q', 7), 'inconsistent header: capacity 7'],
    );
    for my $what (sort keys %changed) {
        my ($at, $bytes, $says) = @{ $changed{$what} };
        my $path = spew(fresh_path(), $ring);
        poke($path, $at, $bytes);
        for my $error (errors_of($class, $path)) {
            $error =~ s/\Ainvalid or incompatible: // or fail($error);
            ref $says ? like($error, $says, $what) : is($error, $says, $what);
        }
    }
    my $path = spew(fresh_path(), $ring . 'x');
    my $more = $size + 1;
    is((errors_of($class, $path))[0], "invalid or incompatible: wrong size: the ring has $size bytes, the file $more",
        'a file that is too long is reported with both sizes');
    spew($path, "\0" x 8 . substr($ring, 8) . 'x');
    like((errors_of($class, $path))[0], qr/did not finish; remove it to make a new one\z/,
        'an unfinished ring of a wrong size may be removed');

    subtest 'long paths' => sub {
        for my $length (900, 991, 1023, 1024, 2000, 4000) {
            my $dir  = fresh_dir();
            my $long = $dir . '/' . join '/', ('d' x 99) x (($length - length $dir) / 100);
            croaks_like(sub { $class->new($long, 16) }, qr/: open\(\Q$dir\E.*d\): No such file or directory/,
                "new with a path of $length bytes gives the cause");
            croaks_like(sub { $class->new_readonly($long) }, ': No such file or directory',
                "new_readonly with a path of $length bytes gives the cause");
            croaks_like(sub { $class->unlink("$made/$long") }, ': Not a directory',
                "unlink with a path of $length bytes gives the cause");
        }
        my $wide = fresh_dir() . '/' . "\xe2\x82\xac" x 600;
        croaks_like(sub { $class->new($wide, 16) }, ': File name too long', 'a long path is shortened between characters');
    };
});

done_testing;
