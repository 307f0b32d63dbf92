# File names: the ring is in the file that perl's own functions find under the same string.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

# The same text in perl's two internal forms gives two file names, as it does for `open`.
my %names = (
    'bytes'                    => "caf\xe9",
    'narrow characters'        => do { my $name = "caf\xe9"; utf8::upgrade($name); $name },
    'encoded'                  => "caf\xc3\xa9",
    'wide characters'          => "\x{65e5}\x{672c}",
    'plain, marked as UTF-8'   => do { my $name = 'plain'; utf8::upgrade($name); $name },
    'a number'                 => 42,
);

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;
    for my $kind (sort keys %names) {
        my $dir  = fresh_dir();
        my $path = "$dir/$names{$kind}";
        my $kept = $path;
        my $flag = utf8::is_utf8($path);

        my $ring = $class->new($path, 8);
        my @files = entries($dir);
        is(@files, 1, "$kind: new creates one file");
        ok(-e $path, "$kind: perl finds the file by that name");
        is((stat _)[7], $ring->stats->{mmap_size}, "$kind: the file is the ring");
        is($ring->path, "$dir/$files[0]", "$kind: path returns the bytes of the file name");

        $ring->publish($v->value(1));
        is($class->new($path)->subscribe_all->poll, $v->value(1), "$kind: new opens the ring again");
        is($class->new_readonly($path)->subscribe_all->poll, $v->value(1), "$kind: new_readonly opens the ring");
        is($class->new($ring->path)->subscribe_all->poll, $v->value(1), "$kind: new opens the ring by the result of path");

        ok($class->unlink($path), "$kind: unlink returns true");
        is_deeply([entries($dir)], [], "$kind: unlink removes the file");
        is($path, $kept, "$kind: the variable with the path keeps its value");
        is(utf8::is_utf8($path), $flag, "$kind: the variable with the path keeps its UTF-8 flag");

        open my $file, '>', $path or die "open: $!";
        close $file;
        $class->new($path, 8)->unlink;
        is_deeply([entries($dir)], [], "$kind: a file that perl created is filled in and removed");

        my $missing = "$dir/missing/$names{$kind}";
        croaks_like(sub { $class->new($missing, 8) }, "\Q$class\E->new: \\w+\\(.*\\): No such file",
            "$kind: an error names the path");
    }

    my $name = "m\xe9m\x{65e5}";
    my $ring = $class->new_memfd($name, 8);
    like(fd_target($ring->memfd), qr/memfd:m\xc3\xa9m\xe6\x97\xa5/, 'the name of a memfd is encoded');
    is($name, "m\xe9m\x{65e5}", 'the variable with the name keeps its value');
    my $nul = "a\x{65e5}\0b";
    croaks_like(sub { $class->new($nul, 8) },       'new: path contains a NUL byte',
        'new croaks on a path with a NUL byte among wide characters');
    croaks_like(sub { $class->new({}, 8) },         'new: path must be a string, not a reference',
        'new croaks on a path that is a reference');
    croaks_like(sub { $class->$_([]) },             "$_: path must be a string, not a reference",
        "$_ croaks on a path that is a reference") for qw(new_readonly unlink);
    croaks_like(sub { $class->new_memfd([], 8) },   'new_memfd: name must be a string, not a reference',
        'new_memfd croaks on a name that is a reference');
    croaks_like(sub { $class->new_memfd($nul, 8) }, 'new_memfd: name contains a NUL byte',
        'new_memfd croaks on a name with a NUL byte');
});

done_testing;
