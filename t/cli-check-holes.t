# `pubsub-shared check`: a ring's file that was copied with holes lacks disk space, until it is opened.

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
like($before, qr/\A\Q$path\E: fine [^\n]*\n\z/, 'a ring that was made: nothing to note');

# What cp --sparse=always and rsync -S leave.
my $copy = fresh_path();
spew($copy, substr slurp($path), 0, 16_384);
truncate $copy, -s $path or die "truncate: $!";
plan skip_all => 'no holes here' if blocks($copy) >= -s $copy;
my $missing = (-s $copy) - blocks($copy);
my ($status, $out) = cli('check', $copy);
is($status, 0, 'a copy with holes is no problem');
like($out, qr/^  note: $missing of @{[-s $copy]} bytes have no disk space /m, 'but is noted');

my $bytes = slurp($copy);
is_deeply([$class->new_readonly($copy)->subscribe_all->drain], [1 .. 10], 'it can be read');
my $again = $class->new($copy);
ok(blocks($copy) >= -s $copy, 'opened for publishing, it has its disk space') or diag blocks($copy);
ok(slurp($copy) eq $bytes, 'and no byte has changed');
is((cli('check', $copy))[1], $before =~ s/\Q$path\E/$copy/r, 'nothing is noted any more');

my $memory = $class->new_memfd('m', 65536);
my $number = $memory->memfd;
unlike((cli('check', "/proc/$$/fd/$number"))[1], qr/disk space/, 'memory without a name has none, and needs none');

done_testing;
