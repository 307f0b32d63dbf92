#!/usr/bin/env perl
# A bridge knows its ring: another one under the same name, even with the same inode, is another one.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use Data::PubSub::Shared::Bridge;
use PubSubTest;

# A backend that nobody reaches.
package PubSubTest::Nowhere {
    sub new    { return bless {}, shift }
    sub append { return }
    sub is_id  { return 0 }
}

sub identity {
    my ($path) = @_;
    return Data::PubSub::Shared::Bridge->up(
        ring => $path, stream => 'test', backend => 'PubSubTest::Nowhere', state => fresh_dir() . '/state',
    )->ring_id;
}

for my $folder (fresh_dir(), grep { -d && -w } '/dev/shm') {
    my $path = "$folder/bridge-identity.$$.ring";
    my $make = sub { return Data::PubSub::Shared::Int->new($path, 16) };
    my $first = do { $make->(); identity($path) };
    is(identity($path), $first, "$folder: the same ring, opened again");
    $make->()->publish_multi(1 .. 100);
    $make->()->clear;
    chmod 0640, $path;
    rename $path, "$path.moved";
    rename "$path.moved", $path;
    is(identity($path), $first, 'published to, cleared, and moved about');
    # Many a file system gives the inode away again at once.
    my $other = do { $make->()->unlink; $make->(); identity($path) };
    SKIP: {
        skip 'this file system does not say when a file was made, and has reused its inode', 1 if $other =~ /:0\z/ && $other eq $first;
        isnt($other, $first, 'another ring');
    }
    unlink $path;
}

done_testing;
