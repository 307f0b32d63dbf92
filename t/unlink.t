# unlink as a method and as a class method.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;
    my $path  = fresh_path();

    my $ring = $class->new($path, 8);
    my $sub  = $ring->subscribe;
    ok($ring->unlink, 'unlink as a method returns true');
    ok(!-e $path, 'unlink as a method removes the file');
    ok($ring->unlink, 'a second unlink returns true');
    $ring->publish($v->value(1));
    is($sub->poll, $v->value(1), 'the ring still works after unlink');
    is($ring->path, $path, 'path returns the path after unlink');

    my $second = $class->new($path, 4);
    is($second->capacity, 4, 'a new ring can be created at the path');
    ok($class->unlink($path), 'unlink as a class method returns true');
    ok(!-e $path, 'unlink as a class method removes the file');
    ok($class->unlink($path), 'a second unlink as a class method returns true');
    ok($class->unlink("$path-never-was"), 'unlink of a missing file returns true');

    my $dir = fresh_dir();
    croaks_like(sub { $class->unlink($dir) }, "\Q$class\E->unlink: .*Is a directory", 'unlink of a directory croaks');
    ok(-d $dir, 'the directory is not removed');
    my $file = spew(fresh_path(), 'text');
    croaks_like(sub { $class->unlink("$file/ring") }, 'unlink: .*Not a directory', 'unlink of a path through a file croaks');
    mkdir "$dir/keep";
    spew("$dir/keep/a", 'text');
    chdir "$dir/keep" or die $!;
    croaks_like(sub { $class->unlink("a\0b") }, 'unlink: ', 'unlink of a path with a NUL byte croaks');
    ok(-e 'a', 'no file is removed');
    chdir '/' or die $!;
    croaks_like(sub { $class->unlink }, '', 'unlink without a path croaks');
    croaks_like(sub { $class->unlink(undef) }, 'unlink: ', 'unlink(undef) croaks');

    for my $pathless ($class->new(undef, 8), $class->new_memfd('t', 8)) {
        croaks_like(sub { $pathless->unlink }, "\Q$class\E->unlink: ", 'unlink of a ring without a path croaks');
        $pathless->publish($v->value(2));
        is($pathless->subscribe_all->poll, $v->value(2), 'a ring without a path still works');
    }
});

done_testing;
