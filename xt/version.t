#!/usr/bin/env perl
# The version is in lib/Data/PubSub/Shared.pm and in the other public modules (t/versions.t), not in private ones; all other
# places have the same. The crate has it in Rust's form: 1.000 is 1.0.0.

use strict;
use warnings;

use ExtUtils::MakeMaker;
use File::Find 'find';
use FindBin;
use Test::More;
use version;

chdir "$FindBin::Bin/.." or die "chdir: $!";

sub slurp {
    my ($path) = @_;
    open my $file, '<', $path or die "$path: $!";
    return do { local $/; <$file> };
}

my $version = MM->parse_version('lib/Data/PubSub/Shared.pm');
like($version, qr/^\d+\.\d\d+$/, "the version is a number: $version");

my ($change) = slurp('Changes') =~ /^(\d\S*)/m;
is($change, $version, 'Changes begins with the version');

SKIP: {
    -d 'debian' or skip 'there is no debian/ in this tree', 1;
    my ($package) = slurp('debian/changelog') =~ /^\S+ \((.+)-/;
    is($package, $version, 'the changelog of the Debian package has the version');
}

my $of_crate = version->parse($version)->normal =~ s/^v//r;
like(slurp($_), qr/^name = "data-pubsub-shared"\nversion = "\Q$of_crate\E"$/m, "$_ has $of_crate") for qw(Cargo.toml Cargo.lock);

SKIP: {
    -d 'python' or skip 'there is no python/ in this tree', 1;
    my ($of_wheel) = slurp('python/Cargo.toml') =~ /^version = "(.+)"$/m;
    is($of_wheel, $of_crate, 'the Python package has the version');
}

SKIP: {
    -d 'bridge' or skip 'there is no bridge/ in this tree', 1;
    like(slurp("bridge/$_"), qr/^name = "pubsub-bridge"\nversion = "\Q$of_crate\E"$/m,
        "bridge/$_ has the version") for qw(Cargo.toml Cargo.lock);
}

my @own;
find({ no_chdir => 1, wanted => sub { push @own, $_ if /\.pm$/ && slurp($_) =~ /^\s*our\s+\$VERSION\s*=\s*['"\d]/m } }, 'lib');
my @public = ('lib/Data/PubSub/Shared.pm', (map {"lib/Data/PubSub/Shared/$_.pm"} qw(Bus Int Int16 Int32 Num Set Str)),
    'lib/Mojolicious/Plugin/SharedBus.pm');
is_deeply([sort @own], \@public, 'no private module has a version of its own');

done_testing;
