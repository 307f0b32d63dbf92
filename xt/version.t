#!/usr/bin/env perl
# The version is in lib/Data/PubSub/Shared.pm and in the other public modules (t/versions.t), in no private one; what
# else names it agrees. The crate has the same in Rust's form: 1.000 is 1.0.0.

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
like($version, qr/^\d+\.\d\d+$/, "version $version");

my ($change) = slurp('Changes') =~ /^(\d\S*)/m;
is($change, $version, 'Changes begins with it');

SKIP: {
    -d 'debian' or skip 'no debian here', 1;
    my ($package) = slurp('debian/changelog') =~ /^\S+ \((.+)-/;
    is($package, $version, 'so does the changelog of the Debian package');
}

my $of_crate = version->parse($version)->normal =~ s/^v//r;
like(slurp($_), qr/^name = "data-pubsub-shared"\nversion = "\Q$of_crate\E"$/m, "$_ has $of_crate") for qw(Cargo.toml Cargo.lock);

SKIP: {
    -d 'python' or skip 'no python here', 1;
    my ($of_wheel) = slurp('python/Cargo.toml') =~ /^version = "(.+)"$/m;
    is($of_wheel, $of_crate, 'so has the Python package');
}

SKIP: {
    -d 'bridge' or skip 'no bridge here', 1;
    like(slurp("bridge/$_"), qr/^name = "pubsub-bridge"\nversion = "\Q$of_crate\E"$/m, "and the bridge's $_") for qw(Cargo.toml Cargo.lock);
}

my @own;
find({ no_chdir => 1, wanted => sub { push @own, $_ if /\.pm$/ && slurp($_) =~ /^\s*our\s+\$VERSION\s*=\s*['"\d]/m } }, 'lib');
my @public = ('lib/Data/PubSub/Shared.pm', (map {"lib/Data/PubSub/Shared/$_.pm"} qw(Bus Int Int16 Int32 Num Set Str)),
    'lib/Mojolicious/Plugin/SharedBus.pm');
is_deeply([sort @own], \@public, 'no private module has a version of its own');

done_testing;
