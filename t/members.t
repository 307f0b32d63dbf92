# Publishers of strings and the locks that show that they are alive: rings without locks, and files that other programs
# have locked.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use PubSubTest;
use Test::More;

use Data::PubSub::Shared;
use Fcntl qw(F_RDLCK F_WRLCK F_SETLK SEEK_SET);

my $class = 'Data::PubSub::Shared::Str';

# Takes a POSIX lock on `length` bytes from `start` on (0: to the end of the file). Held until the process ends.
sub locks {
    my ($path, $kind, $start, $length) = @_;
    my $kid = spawn(sub {
        my ($peer) = @_;
        open my $file, '+<', $path or die "$path: $!";
        my $lock = pack 's s x4 q q l x4', $kind, SEEK_SET, $start, $length, 0;
        $peer->tell(fcntl($file, F_SETLK, $lock) ? 'locked' : "fcntl: $!");
        $peer->hear;
    });
    is($kid->hear, 'locked', 'another program has the lock');
    return $kid;
}

sub check { my ($path) = @_; return scalar qx{$^X -Mblib bin/pubsub-shared check --quiet $path 2>&1} . ($? >> 8) }

# The mark in the header for publishers without a number.
sub mark { my ($path) = @_; return peek($path, 536, 8) }

subtest 'a ring file was renamed and replaced: publishers work without a number' => sub {
    my $path = fresh_path();
    my $ring = $class->new($path, 16, 64, publishers => 2);
    rename $path, "$path.2" or die "rename: $!";
    my $another = $class->new($path, 16, 64);
    $ring->publish($_) for 1 .. 40;
    is($another->write_pos, 0, 'the new file is another ring');
    is(mark("$path.2"), 'no locks', 'the header of the renamed ring says that it has no locks');
    is(check("$path.2"), '0', 'check finds no problem');
    my $other = $class->new("$path.2");
    $other->publish($_) for 41 .. 80;
    is(join(' ', $ring->subscribe_all->drain), join(' ', 65 .. 80), 'both handles publish to the renamed ring');
};

my @locks = (
    ['the whole file, for reading', F_RDLCK, 0, 0],
    ['the whole file', F_WRLCK, 0, 0],
    ['everything from one number on', F_WRLCK, (1 << 62) + 1, 0],
    ['the numbers, for reading', F_RDLCK, (1 << 62) + 1, 65_535],
);
for (@locks) {
    my ($name, @lock) = @$_;
    subtest "another program locks $name" => sub {
        my $path  = fresh_path();
        my $ring  = $class->new($path, 16, 64, publishers => 2);
        my $kid   = locks($path, @lock);
        my $other = $class->new($path);
        is(mark($path), "\0" x 8, 'before a publish, the header does not say that there are no locks');
        $_->publish('x') for $ring, $other;
        is(mark($path), 'no locks', 'after a publish, the header says that there are publishers without a number');
        is(() = $ring->subscribe_all->drain, 2, 'publishers do not wait for the lock');
        $kid->tell("end");
        is($kid->end, 0, "the other program exits with 0");
        $ring->publish('y');
        $class->new($path)->publish('z');
        is(join('', $ring->subscribe_all->drain), 'xxyz', 'publishers work after the lock is released');
        is(check($path), '0', 'check finds no problem');
    };
}

done_testing;
