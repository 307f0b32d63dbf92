# Names of files: the ring is in the very file that perl's own functions find under the same string.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

# The same text in perl's two forms are two names to the system, as they are to `open`.
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
        is(@files, 1, "$kind: one file");
        ok(-e $path, 'which perl finds by that name');
        is((stat _)[7], $ring->stats->{mmap_size}, 'and is the ring');
        is($ring->path, "$dir/$files[0]", 'path returns the bytes of its name');

        $ring->publish($v->value(1));
        is($class->new($path)->subscribe_all->poll, $v->value(1), 'opened again');
        is($class->new_readonly($path)->subscribe_all->poll, $v->value(1), 'and for reading');
        is($class->new($ring->path)->subscribe_all->poll, $v->value(1), 'and by what path returns');

        ok($class->unlink($path), 'unlink');
        is_deeply([entries($dir)], [], 'removes it');
        is($path, $kept, 'the variable holds what it held');
        is(utf8::is_utf8($path), $flag, 'in the form that it had');

        open my $file, '>', $path or die "open: $!";
        close $file;
        $class->new($path, 8)->unlink;
        is_deeply([entries($dir)], [], 'a file that perl made, filled and removed by the object');

        my $missing = "$dir/missing/$names{$kind}";
        croaks_like(sub { $class->new($missing, 8) }, "\Q$class\E->new: \\w+\\(.*\\): No such file", 'a croak of our form');
    }

    my $name = "m\xe9m\x{65e5}";
    my $ring = $class->new_memfd($name, 8);
    like(fd_target($ring->memfd), qr/memfd:m\xc3\xa9m\xe6\x97\xa5/, 'the name of a memfd');
    is($name, "m\xe9m\x{65e5}", 'which stays as it is');
    my $nul = "a\x{65e5}\0b";
    croaks_like(sub { $class->new($nul, 8) },       'new: path contains a NUL byte',        'a NUL among wide characters');
    croaks_like(sub { $class->new({}, 8) },         'new: path must be a string, not a reference', 'a reference');
    croaks_like(sub { $class->$_([]) },             "$_: path must be a string, not a reference", "in $_") for qw(new_readonly unlink);
    croaks_like(sub { $class->new_memfd([], 8) },   'new_memfd: name must be a string, not a reference', 'for a memfd');
    croaks_like(sub { $class->new_memfd($nul, 8) }, 'new_memfd: name contains a NUL byte', 'in a memfd');
});

done_testing;
