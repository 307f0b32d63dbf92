# $ring->unlink removes the file that the ring was opened in, and no other.

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
    is($ring->path, 'ring', 'path as it was given');
    my $dotted = $class->new('./dotted', 8);
    chdir $there or die "chdir: $!";
    my $stranger = $class->new('ring', 8);
    ok($ring->unlink, 'from another directory');
    is_deeply([entries($here)],  ['dotted'], 'its own file is gone');
    is_deeply([entries($there)], ['ring'],   "the stranger's of the same name is not");
    ok($ring->unlink, 'gone already is fine');
    ok($dotted->unlink, 'a path with a dot');
    is_deeply([entries($here)], [], 'is found, too');
    chdir '/' or die "chdir: $!";

    my $path = fresh_path();
    my $old  = $class->new($path, 8);
    my $same = $class->new($path);
    ok($same->unlink && !-e $path, 'any handle on the ring may remove it');
    my $new = $class->new($path, 8);
    $new->publish($v->value(1));
    croaks_like(sub { $old->unlink }, qr/^\Q$class->unlink: $path is another ring now\E/, 'a stale object');
    is($class->new($path)->subscribe_all->poll, $v->value(1), 'removes nothing');
    ok($new->unlink, 'its own object does');
    mkdir $path or die "mkdir: $!";
    croaks_like(sub { $old->unlink }, qr/\Q$path\E is no ring file now/, 'a directory there');
    ok(-d $path, 'stays');

    my $moved = fresh_path();
    my $goes  = $class->new($moved, 8);
    rename $moved, "$moved.old" or die "rename: $!";
    ok($goes->unlink, 'a file that was renamed is gone from its path');
    ok(-e "$moved.old", 'and stays under its new name');

    my $mine = $class->new(fresh_path(), 8);
    my $other = fresh_path();
    $class->new($other, 8);
    croaks_like(sub { $mine->unlink($other) }, qr/^\Q$class\E->unlink: .*takes no path; Usage: /, 'an argument on an object');
    croaks_like(sub { $mine->unlink($mine->path) }, 'takes no path', 'be it its own');
    ok(-e $other && -e $mine->path, 'removes nothing');
    ok($class->unlink($other) && !-e $other, 'as a class method it removes that');
});

done_testing;
