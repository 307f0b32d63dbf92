# Publishers of strings and the locks by which others know that they live: where there are none, and where strangers have
# locked the file.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use PubSubTest;
use Test::More;

use Data::PubSub::Shared;
use Fcntl qw(F_RDLCK F_WRLCK F_SETLK SEEK_SET);

my $class = 'Data::PubSub::Shared::Str';

# A lock of the old kind on `length` bytes from `start` on; 0: up to the end. Held as long as the process lives.
sub locks {
    my ($path, $kind, $start, $length) = @_;
    my $kid = spawn(sub {
        my ($peer) = @_;
        open my $file, '+<', $path or die "$path: $!";
        my $lock = pack 's s x4 q q l x4', $kind, SEEK_SET, $start, $length, 0;
        $peer->tell(fcntl($file, F_SETLK, $lock) ? 'locked' : "fcntl: $!");
        $peer->hear;
    });
    is($kid->hear, 'locked', 'a stranger has the lock');
    return $kid;
}

sub check { my ($path) = @_; return scalar qx{$^X -Mblib bin/pubsub-shared check --quiet $path 2>&1} . ($? >> 8) }

# What the header says of publishers without a number.
sub mark { my ($path) = @_; return peek($path, 536, 8) }

subtest 'a file that was renamed, and another in its place: no number, and still fine' => sub {
    my $path = fresh_path();
    my $ring = $class->new($path, 16, 64, publishers => 2);
    rename $path, "$path.2" or die "rename: $!";
    my $another = $class->new($path, 16, 64);
    $ring->publish($_) for 1 .. 40;
    is($another->write_pos, 0, 'the other file is another ring');
    is(mark("$path.2"), 'no locks', 'the ring says so');
    is(check("$path.2"), '0', 'check finds nothing wrong');
    my $other = $class->new("$path.2");
    $other->publish($_) for 41 .. 80;
    is(join(' ', $ring->subscribe_all->drain), join(' ', 65 .. 80), 'both publish');
};

my @locks = (
    ['the whole file, for reading', F_RDLCK, 0, 0],
    ['the whole file', F_WRLCK, 0, 0],
    ['everything from one number on', F_WRLCK, (1 << 62) + 1, 0],
    ['the numbers, for reading', F_RDLCK, (1 << 62) + 1, 65_535],
);
for (@locks) {
    my ($name, @lock) = @$_;
    subtest "a stranger locks $name" => sub {
        my $path  = fresh_path();
        my $ring  = $class->new($path, 16, 64, publishers => 2);
        my $kid   = locks($path, @lock);
        my $other = $class->new($path);
        is(mark($path), "\0" x 8, 'nobody has published');
        $_->publish('x') for $ring, $other;
        is(mark($path), 'no locks', 'the ring says that there are publishers without a number');
        is(() = $ring->subscribe_all->drain, 2, 'publishers do not wait for it');
        $kid->tell("end");
        is($kid->end, 0, "the stranger ends");
        $ring->publish('y');
        $class->new($path)->publish('z');
        is(join('', $ring->subscribe_all->drain), 'xxyz', 'afterwards, too');
        is(check($path), '0', 'nothing is damaged');
    };
}

done_testing;
