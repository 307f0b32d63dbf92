# $ring->unlink removes only the file that the ring was opened in.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;

    my ($here, $there) = (fresh_dir(), fresh_dir());
    chdir $here or die "chdir: $!";
    my $ring = $class->new('ring', 8);
    is($ring->path, 'ring', 'path returns the relative path');
    my $dotted = $class->new('./dotted', 8);
    chdir $there or die "chdir: $!";
    my $stranger = $class->new('ring', 8);
    ok($ring->unlink, 'unlink works from another directory');
    is_deeply([entries($here)],  ['dotted'], 'unlink removes the file in the original directory');
    is_deeply([entries($there)], ['ring'],   "unlink does not remove another file of that name");
    ok($ring->unlink, 'a second unlink returns true');
    ok($dotted->unlink, 'unlink accepts a path with a dot');
    is_deeply([entries($here)], [], 'unlink removes that file');
    chdir '/' or die "chdir: $!";

    my $path = fresh_path();
    my $old  = $class->new($path, 8);
    my $same = $class->new($path);
    ok($same->unlink && !-e $path, 'any handle on the ring can remove the file');
    my $new = $class->new($path, 8);
    $new->publish($v->value(1));
    croaks_like(sub { $old->unlink }, qr/^\Q$class->unlink: $path is another ring now\E/,
        'unlink croaks if the path has another ring now');
    is($class->new($path)->subscribe_all->poll, $v->value(1), 'the other ring is not removed');
    ok($new->unlink, 'unlink of its own handle succeeds');
    mkdir $path or die "mkdir: $!";
    croaks_like(sub { $old->unlink }, qr/\Q$path\E is no ring file now/, 'unlink croaks if the path has a directory now');
    ok(-d $path, 'the directory is not removed');

    my $moved = fresh_path();
    my $goes  = $class->new($moved, 8);
    rename $moved, "$moved.old" or die "rename: $!";
    ok($goes->unlink, 'unlink of a renamed file returns true');
    ok(-e "$moved.old", 'the renamed file is not removed');

    my $mine = $class->new(fresh_path(), 8);
    my $other = fresh_path();
    $class->new($other, 8);
    croaks_like(sub { $mine->unlink($other) }, qr/^\Q$class\E->unlink: .*takes no path; Usage: /,
        'unlink of an object croaks on an argument');
    croaks_like(sub { $mine->unlink($mine->path) }, 'takes no path', 'unlink of an object croaks on its own path as argument');
    ok(-e $other && -e $mine->path, 'the calls that croak remove no file');
    ok($class->unlink($other) && !-e $other, 'unlink as a class method removes the file');
});

done_testing;
