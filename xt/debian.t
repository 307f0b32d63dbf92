#!/usr/bin/env perl
# The Debian packages, source and binary: they build from the tarball with the tools of Debian and without network, lintian
# finds no error, and their content works. Takes half a minute, and more with the program pubsub-bridge, which needs a newer
# cargo; with XT_QUICK set, it runs only if XT_DEBIAN=1 is set.

use strict;
use warnings;

use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use XT::Tarball;

plan skip_all => 'takes half a minute: set XT_DEBIAN=1' if $ENV{XT_QUICK} && !$ENV{XT_DEBIAN};
for my $command (qw(dpkg-buildpackage dpkg-checkbuilddeps dpkg-deb dh)) {
    installed($command) or plan skip_all => "$command is not installed";
}

my ($ok, $said) = run_in("$FindBin::Bin/..", 'dpkg-checkbuilddeps');
plan skip_all => $said =~ s/.*(?=[Uu]nmet)//r =~ s/\s+/ /gr if !$ok;

my $tarball = tarball();
my $dir  = unpacked($tarball);
(my $orig = $tarball) =~ s/.*-(.+)(?=\.tar)/libdata-pubsub-shared-perl_$1.orig/;
symlink $tarball, "$dir/../$orig" or die "$orig: $!";

# The bridge is a component of the source package, and needs a newer cargo than a release may have.
sub cargo_for_bridge {
    for my $cargo ((run_in('/', qw(rustup which cargo)))[1], map {"$_/cargo"} split /:/, $ENV{PATH}) {
        chomp $cargo;
        (my $rustc = $cargo) =~ s/cargo\z/rustc/;
        return $cargo if -x $rustc && ((run_in('/', $cargo, '--version'))[1] =~ /^cargo 1\.([0-9]+)/ && $1 >= 89);
    }
    return;
}
my @profile;
if (my $cargo = $ENV{BRIDGE_CARGO} = cargo_for_bridge()) {
    (my $component = "$dir/../$orig") =~ s/orig(?=\.tar)/orig-bridge/;
    ($ok, $said) = run_in("$FindBin::Bin/..", $^X, 'maint/bridge-component.pl', $cargo, $component);
    ok($ok, 'the component of the bridge is made') or BAIL_OUT($said);
    ($ok, $said) = run_in($dir, qw(tar -xzf), $component);
    ok($ok, 'the component is unpacked') or BAIL_OUT($said);
    @profile = qw(-d -Ppkg.libdata-pubsub-shared-perl.bridge);
}

# Other tests run t/. This one examines the content of the packages, not their speed.
$ENV{DEB_BUILD_OPTIONS} = 'nocheck';
$ENV{CARGO_PROFILE_RELEASE_OPT_LEVEL} = 0;
($ok, $said) = run_in($dir, offline(), qw(dpkg-buildpackage -us -uc), @profile);
ok($ok, 'dpkg-buildpackage succeeds') or BAIL_OUT($said =~ s/\n/ | /gr);
my ($package) = glob "$dir/../libdata-pubsub-shared-perl_*.deb";
my @for_c     = glob "$dir/../libpubsub-shared*.deb";
my ($bridge)  = glob "$dir/../pubsub-bridge_*.deb";
my ($changes) = glob "$dir/../*.changes";

SKIP: {
    installed('lintian') or skip 'lintian is not installed', 1;
    ($ok, $said) = run_in('/', qw(lintian --allow-root --tag-display-limit 0), $changes);
    ok($ok, 'lintian finds no error');
    note $said;
}

(undef, $said) = run_in('/', qw(dpkg-deb -f), $package, 'Depends');
like($said, qr/\b\Q$_\E\b/, "the Perl package depends on $_") for qw(libxs-parse-keyword-perl perlapi libc6);

my $root = "$ENV{CARGO_HOME}/root";
($ok, $said) = run_in('/', qw(dpkg-deb -x), $package, $root);
ok($ok, 'the Perl package is unpacked') or diag $said;
$ENV{PERL5LIB} = join ':', glob("$root/usr/lib/*/perl5/*"), $ENV{PERL5LIB};
($ok, $said) = run_in('/', '/usr/bin/perl', '-MData::PubSub::Shared', '-e', 'print $INC{"Data/PubSub/Shared.pm"}');
like($said, qr/^\Q$root\E/, 'perl loads the module of the package');
($ok, $said) = run_in('/', '/usr/bin/perl', "$root/usr/share/doc/libdata-pubsub-shared-perl/examples/basic.pl");
ok($ok, 'an example runs');
like($said, qr/^child: +world$/m, 'the processes of the example communicate');

subtest 'the bridge' => sub {
    defined $bridge or plan skip_all => 'there is no cargo 1.89 or later';
    ($ok, $said) = run_in('/', qw(dpkg-deb -x), $bridge, $root);
    ok($ok, 'the package is unpacked') or diag $said;
    ok(-s "$root/$_", "the package has $_")
        for qw(usr/share/man/man1/pubsub-bridge.1.gz usr/share/man/man1/pubsub-bridge-run.1.gz), 'usr/lib/sysusers.d/pubsub-bridge.conf',
        'usr/lib/tmpfiles.d/pubsub-bridge.conf', 'usr/share/bash-completion/completions/pubsub-bridge';
    my ($unit) = grep {-s} map {"$root/$_/systemd/system/pubsub-bridge.service"} qw(lib usr/lib);
    ok($unit, 'the package has a systemd unit');
    ($ok, $said) = run_in('/', "$root/usr/bin/pubsub-bridge", qw(check --offline),
        "$root/usr/share/doc/pubsub-bridge/examples/pubsub-bridge.toml");
    like($said, qr/^news up: ring |: no directory /m, 'the program reads the sample configuration') or diag $said;
    (undef, $said) = run_in('/', qw(dpkg-deb -f), $bridge, 'Depends');
    unlike($said, qr/perl/, 'the package does not depend on perl');
};

{
    local @ENV{qw(PATH AUTOPKGTEST_TMP)} = ("$root/usr/bin:$ENV{PATH}", tempdir(CLEANUP => 1));
    ($ok, $said) = run_in('/', "$dir/debian/tests/smoke");
    ok($ok, 'the test for autopkgtest succeeds') or diag $said;
}

subtest 'the library for C' => sub {
    is_deeply([sort map {m{.*/(.+?)_}} @for_c], [qw(libpubsub-shared-dev libpubsub-shared1)],
        'there is a runtime and a development package');
    my $c = "$ENV{CARGO_HOME}/c";
    for my $deb (@for_c) {
        ($ok, $said) = run_in('/', qw(dpkg-deb -x), $deb, $c);
        ok($ok, 'a package is unpacked') or diag $said;
    }
    my ($libdir) = glob "$c/usr/lib/*";
    open my $file, '>', "$c/try.c" or die "$c/try.c: $!";
    print {$file} "#include <pubsub.h>\nint main(void) { return ps_abi() != PS_ABI; }\n";
    close $file or die "$c/try.c: $!";
    ($ok, $said) = run_in('/', 'cc', "$c/try.c", "-I$c/usr/include/pubsub-shared", "-L$libdir", '-lpubsub-shared', '-o', "$c/try");
    ok($ok, 'a program compiles with the packages') or diag $said;
    local $ENV{LD_LIBRARY_PATH} = $libdir;
    ($ok, $said) = run_in('/', "$c/try");
    ok($ok, 'the program runs') or diag $said;
    ($ok, $said) = run_in('/', qw(dpkg-deb -f), (grep {/-dev_/} @for_c), 'Depends');
    like($said, qr/^libpubsub-shared1 \(= /, 'the development package depends on the runtime package');
};

done_testing;
