#!/usr/bin/env perl
# The tarball of `make dist`: its content, and that it builds, works and installs without network.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ExtUtils::Manifest 'maniread';
use File::Find 'find';
use JSON::PP 'decode_json';
use Test::More;

use XT::Tarball;

my $tarball = tarball();
my $dir  = unpacked($tarball);
chdir $dir or die "$dir: $!";

sub slurp {
    my ($path) = @_;
    open my $file, '<', $path or die "$path: $!";
    return do { local $/; <$file> };
}

subtest 'content' => sub {
    my @files;
    find({ no_chdir => 1, wanted => sub { push @files, s{^\./}{}r if -f } }, '.');
    is_deeply([sort keys %{ maniread() }], [sort @files], 'MANIFEST lists the files in the tarball');

    my @crates = slurp('Cargo.lock') =~ /^name = "(.+)"\nversion = .+\nsource/mg;
    is_deeply([map {s{vendor/}{}r} glob 'vendor/*'], [sort @crates], 'vendor/ has the crates of Cargo.lock');
    is_deeply([grep {m{^(?:tests/|xt/(?:fuzz|loom)|\.(?:ci|github)/)}} @files], [],
        'the tarball has no files that are only for checkouts');
    cmp_ok(-s $tarball, '<', 2_500_000, 'the tarball is small');
};

subtest 'META' => sub {
    my $meta = decode_json(slurp('META.json'));
    my ($version) = $tarball =~ /-([\d.]+)\.tar/;
    is($meta->{version}, $version, 'META has the version');
    is_deeply($meta->{license}, ['perl_5'], 'META has the license');
    is_deeply([keys %{ $meta->{resources} }], ['license'], 'META names no hosts');
    my @modules;
    find({ no_chdir => 1, wanted => sub { push @modules, s{^lib/(.+)\.pm$}{$1}r =~ s{/}{::}gr if /\.pm$/ } }, 'lib');
    my $hidden = join '|', map {"$_\::"} @{ $meta->{no_index}{namespace} };
    $hidden = join '|', $hidden, map {"$_\\z"} @{ $meta->{no_index}{package} };
    is_deeply([sort keys %{ $meta->{provides} }], [sort grep { !/\A(?:$hidden)/ } @modules],
        'META provides the modules that are not hidden');
    my @public = ('Data::PubSub::Shared', map {"Data::PubSub::Shared::$_"} qw(Bus Int Int16 Int32 Num Set Str));
    push @public, 'Mojolicious::Plugin::SharedBus';
    is_deeply([sort keys %{ $meta->{provides} }], \@public, 'META provides the public modules');
    is_deeply([grep { $_->{version} ne $version || !-f $_->{file} } values %{ $meta->{provides} }], [],
        'the provided modules have this version');
};

subtest 'kwalitee' => sub {
    eval { require Module::CPANTS::Analyse; require Module::CPANTS::Kwalitee; 1 }
        or plan skip_all => 'Module::CPANTS::Analyse is not installed';
    my $analysis = Module::CPANTS::Analyse->new({ dist => $tarball });
    $analysis->run;
    my $has = $analysis->d->{kwalitee};
    for my $indicator (grep { !$_->{is_experimental} } @{ Module::CPANTS::Kwalitee->new->get_indicators }) {
        ok($has->{ $indicator->{name} },
            "kwalitee: $indicator->{name}") or diag explain $analysis->d->{error}{ $indicator->{name} };
    }
};

subtest 'builds without network' => sub {
    my $root    = "$ENV{CARGO_HOME}/root";
    my @offline = offline();
    note "offline by: @offline";
    my ($ok, $said) = run_in($dir, @offline, $^X, 'Makefile.PL', "INSTALL_BASE=$root");
    ok($ok && -e 'Makefile', 'perl Makefile.PL succeeds') or diag $said;
    like($said, qr/Looks good/, 'Makefile.PL finds all files of MANIFEST');
    ($ok, $said) = run_in($dir, @offline, 'make');
    ok($ok, 'make succeeds') or return diag $said;
    ($ok, $said) = run_in($dir, @offline, qw(prove t/00-load.t t/publish-int.t t/publish-str.t t/rust.t));
    ok($ok, 'a selection of the tests passes') or diag $said;
    unlike($said, qr/skipped/, 'no test is skipped');
    like(slurp('Makefile'), qr{^CARGO = /}m, 'the Makefile has the path of cargo');
    ($ok, $said) = run_in($dir, @offline, qw(make install CARGO=/nonexistent/cargo));
    ok($ok, 'make install works without cargo') or diag $said;
    my $later = time + 10;
    utime $later, $later, 'src/lib.rs' or die "utime: $!";
    ($ok, $said) = run_in($dir, @offline, qw(make install CARGO=/nonexistent/cargo));
    ok(!$ok, 'make install runs cargo if the sources have changed') or diag $said;
    ($ok, $said) = run_in('/', $^X, "-Mlib=$root/lib/perl5", '-e', <<'PERL');
use Data::PubSub::Shared;
my $ring = Data::PubSub::Shared::Str->new(undef, 8, 4096);
my $sub  = $ring->subscribe;
$ring->publish("from $INC{'Data/PubSub/Shared.pm'}");
print $sub->poll;
PERL
    like($said, qr/^from \Q$root\E/, 'the installed module works');
};

subtest 'a tarball of the tarball' => sub {
    my ($ok, $said) = run_in($dir, offline(), qw(make dist));
    ok($ok, 'make dist succeeds in the unpacked tarball') or return diag $said;
    my $again = unpacked("$dir/" . $tarball =~ s{.*/}{}r);
    ($ok, $said) = run_in('/', qw(diff -r -q), '-x', 'META.*', $again, unpacked($tarball));
    is($said, '', 'the second tarball has the same content');
};

done_testing;
