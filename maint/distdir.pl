#!/usr/bin/env perl
# Makes the directory that `make dist` packs: `perl maint/distdir.pl CARGO DIRECTORY`.
#
# It contains the files of git that MANIFEST.SKIP does not exclude, and the crates of the build, as they were published, so that
# cargo needs no network there. Crates for development, optional crates, and the features that need them are left out;
# Cargo.toml and Cargo.lock are changed accordingly.
# In an unpacked tarball, which has no git but already has these files, it follows the MANIFEST.

use strict;
use warnings;

use ExtUtils::Manifest qw(maniread maniskip);
use File::Basename 'dirname';
use File::Copy 'copy';
use File::Find 'find';
use File::Path 'make_path';

my ($cargo, $dir) = @ARGV;
die "usage: perl maint/distdir.pl CARGO DIRECTORY\n" if @ARGV != 2;

sub slurp {
    my ($path) = @_;
    open my $file, '<', $path or die "$path: $!\n";
    return do { local $/; <$file> };
}

sub spew {
    my ($path, $text) = @_;
    open my $file, '>', $path or die "$path: $!\n";
    print {$file} $text and close $file or die "$path: $!\n";
    return;
}

sub files_of_git {
    my $skip = maniskip();
    open my $git, '-|', qw(git ls-files -z) or die "git: $!\n";
    my @files = split /\0/, do { local $/; <$git> };
    close $git or die "git ls-files failed\n";
    return grep { !$skip->($_) } @files;
}

# MakeMaker writes META.* again.
sub files_of_manifest { return grep { !/^META\./ } keys %{ maniread() } }

sub vendor_crates {
    my $manifest = slurp('Cargo.toml');
    $manifest =~ s/^\[(?:.+\.)?dev-dependencies\b.*\]\n(?:(?![\[#]).*\n)*//mg;
    $manifest =~ s/^\[dependencies\..+\]\n(?:(?!\[).*\n)*?optional = true\n//mg;
    $manifest =~ s/^(?:#.*\n)*[\w-]+ = \["dep:.*\n//mg;
    spew('Cargo.toml', $manifest);
    # Cargo removes unneeded crates from Cargo.lock, and keeps the versions of the others.
    system($cargo, qw(vendor --quiet vendor)) == 0 or die "cargo vendor failed\n";
    make_path('.cargo');
    spew('.cargo/config.toml', <<'CONFIG');
# The crates are in vendor/.
[source.crates-io]
replace-with = "vendor"

[source.vendor]
directory = "vendor"
CONFIG
    return;
}

sub write_manifest {
    my @files = 'MANIFEST';
    find({ no_chdir => 1, wanted => sub { push @files, s{^\./}{}r if -f } }, '.');
    my @odd = grep {/[^\w.+\@\/-]/} @files;
    die "a MANIFEST cannot list: @odd\n" if @odd;
    spew('MANIFEST', join '', map {"$_\n"} sort @files);
    return;
}

for my $name (-e '.git' ? files_of_git() : files_of_manifest()) {
    next if $name eq 'MANIFEST';
    make_path(dirname("$dir/$name"));
    copy($name, "$dir/$name") or die "$name: $!\n";
    chmod -x $name ? 0755 : 0644, "$dir/$name" or die "$dir/$name: $!\n";
}
chdir $dir or die "$dir: $!\n";
vendor_crates() if !-d 'vendor';
write_manifest();
