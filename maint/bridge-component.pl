#!/usr/bin/env perl
# Makes the component of Debian's source package that contains the program pubsub-bridge: `perl maint/bridge-component.pl CARGO
# FILE.orig-bridge.tar.gz`. It is bridge/ as git holds it, and the crates that cargo builds it from without network. Crates for
# other systems are named in Cargo.lock, so they must exist, but they are not built: they are left empty.

use strict;
use warnings;

use File::Basename 'dirname';
use File::Copy 'copy';
use File::Path qw(make_path remove_tree);
use File::Temp 'tempdir';
use JSON::PP ();

my ($cargo, $file) = @ARGV;
die "usage: perl maint/bridge-component.pl CARGO FILE\n" if @ARGV != 2;

sub spew {
    my ($path, $text) = @_;
    make_path(dirname($path));
    open my $out, '>', $path or die "$path: $!\n";
    print {$out} $text and close $out or die "$path: $!\n";
    return;
}

my $dir = tempdir(CLEANUP => 1) . '/bridge';
open my $git, '-|', qw(git ls-files -z bridge) or die "git: $!\n";
for my $name (split /\0/, do { local $/; <$git> }) {
    my $copy = dirname($dir) . "/$name";
    make_path(dirname($copy));
    copy($name, $copy) or die "$name: $!\n";
}
close $git or die "git ls-files failed\n";

system($cargo, qw(vendor --quiet --locked --manifest-path bridge/Cargo.toml), "$dir/vendor") == 0 or die "cargo vendor failed\n";
for my $crate (glob "$dir/vendor/{windows,winapi,wasi,wit-,wasm-bindgen,js-sys,web-sys}*") {
    opendir my $in, $crate or die "$crate: $!\n";
    my @rest = map {"$crate/$_"} grep { !/\A(?:\.\.?|Cargo\.toml|\.cargo-checksum\.json)\z/ } readdir $in;
    remove_tree(@rest);
    my $checksum = "$crate/.cargo-checksum.json";
    open my $json, '<', $checksum or die "$checksum: $!\n";
    my $sums = JSON::PP::decode_json(do { local $/; <$json> });
    spew("$crate/src/lib.rs", '');
    spew($checksum, JSON::PP->new->canonical->encode({ %$sums, files => {} }));
}
spew("$dir/.cargo/config.toml", <<'CONFIG');
# The crates are in vendor/.
[source.crates-io]
replace-with = "vendor"

[source.vendor]
directory = "vendor"
CONFIG

my @tar = (qw(tar --format=ustar --sort=name --owner=0 --group=0 --numeric-owner), '--mode=u=rwX,go=rX');
system(@tar, '-C', dirname($dir), '-czf', $file, 'bridge') == 0 or die "tar failed\n";
