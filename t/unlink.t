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
    ok($ring->unlink, 'method');
    ok(!-e $path, 'removes the file');
    ok($ring->unlink, 'already gone is fine');
    $ring->publish($v->value(1));
    is($sub->poll, $v->value(1), 'the ring itself goes on');
    is($ring->path, $path, 'and remembers its path');

    my $second = $class->new($path, 4);
    is($second->capacity, 4, 'the path is free for another ring');
    ok($class->unlink($path), 'class method');
    ok(!-e $path, 'removes the file');
    ok($class->unlink($path), 'already gone is fine');
    ok($class->unlink("$path-never-was"), 'never there is fine');

    my $dir = fresh_dir();
    croaks_like(sub { $class->unlink($dir) }, "\Q$class\E->unlink: .*Is a directory", 'a directory');
    ok(-d $dir, 'stays');
    my $file = spew(fresh_path(), 'text');
    croaks_like(sub { $class->unlink("$file/ring") }, 'unlink: .*Not a directory', 'a path through a file');
    mkdir "$dir/keep";
    spew("$dir/keep/a", 'text');
    chdir "$dir/keep" or die $!;
    croaks_like(sub { $class->unlink("a\0b") }, 'unlink: ', 'a path with a NUL');
    ok(-e 'a', 'removes nothing');
    chdir '/' or die $!;
    croaks_like(sub { $class->unlink }, '', 'no path');
    croaks_like(sub { $class->unlink(undef) }, 'unlink: ', 'undef');

    for my $pathless ($class->new(undef, 8), $class->new_memfd('t', 8)) {
        croaks_like(sub { $pathless->unlink }, "\Q$class\E->unlink: ", 'a ring without a path');
        $pathless->publish($v->value(2));
        is($pathless->subscribe_all->poll, $v->value(2), 'works on');
    }
});

done_testing;
