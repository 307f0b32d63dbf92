# `pubsub-shared check`: a ring file that was copied with holes lacks disk space until it is opened.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;
use PubSubTest::Cli;

sub blocks { return (stat $_[0])[12] * 512 }

my $class = variant('Int')->class;
my $path  = fresh_path();
my $ring  = $class->new($path, 65536);
$ring->publish($_) for 1 .. 10;
my (undef, $before) = cli('check', $path);
like($before, qr/\A\Q$path\E: fine [^\n]*\n\z/, 'check of a new ring prints no note');

# Like the copies that cp --sparse=always and rsync -S make.
my $copy = fresh_path();
spew($copy, substr slurp($path), 0, 16_384);
truncate $copy, -s $path or die "truncate: $!";
plan skip_all => 'this file system has no holes' if blocks($copy) >= -s $copy;
my $missing = (-s $copy) - blocks($copy);
my ($status, $out) = cli('check', $copy);
is($status, 0, 'check of a copy with holes exits with 0');
like($out, qr/^  note: $missing of @{[-s $copy]} bytes have no disk space /m, 'check notes the missing disk space');

my $bytes = slurp($copy);
is_deeply([$class->new_readonly($copy)->subscribe_all->drain], [1 .. 10], 'a copy with holes can be read');
my $again = $class->new($copy);
ok(blocks($copy) >= -s $copy, 'opening the copy for publishing allocates its disk space') or diag blocks($copy);
ok(slurp($copy) eq $bytes, 'opening the copy does not change its content');
is((cli('check', $copy))[1], $before =~ s/\Q$path\E/$copy/r, 'check of the opened copy prints no note');

my $memory = $class->new_memfd('m', 65536);
my $number = $memory->memfd;
unlike((cli('check', "/proc/$$/fd/$number"))[1], qr/disk space/, 'check of a memfd ring does not mention disk space');

done_testing;
