# The XS part, and if possible the core, under AddressSanitizer.

use strict;
use warnings;
use Config;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Build;
use XT::Suite;
use PubSubTest qw(slurp);
use Test::More;

chomp(my $library = XT::Build::run('/', $Config{cc}, '-print-file-name=libasan.so'));
plan skip_all => "$Config{cc} has no libasan" if !-e $library;
plan skip_all => 'programs do not run with libasan here'
    if !command_works('env', "LD_PRELOAD=$library", 'ASAN_OPTIONS=detect_leaks=0', $^X, '-e', 1);

# Builds the core with the sanitizer, in the directory in which the XS part is built. RUSTC_BOOTSTRAP lets stable compilers use
# it.
sub instrumented_core {
    my ($cargo, $target) = slurp(XT::Build->root . '/Makefile') =~ /^CARGO = (.+)\nCARGO_TARGET = (.+)$/m or return;
    local $ENV{RUSTC_BOOTSTRAP} = 1;
    local $ENV{RUSTFLAGS} = '-Zsanitizer=address';
    my $log = XT::Build::run(
        XT::Build->root, $cargo, qw(build --quiet --release --locked --lib --target), $target, '--target-dir', 'target/xt/asan-core'
    );
    my $core = XT::Build->root . "/target/xt/asan-core/$target/release/libdata_pubsub_shared.a";
    return $core if $? == 0 && -e $core;
    diag("the core is not instrumented: $log");
    return;
}

my $core  = -e XT::Build->root . '/Makefile' ? instrumented_core() : undef;
my $build = XT::Build->glue(
    'asan', $core ? (core => $core) : (),
    make => ['OPTIMIZE=-g -O1 -fsanitize=address -fno-omit-frame-pointer', 'LDDLFLAGS=-shared -fsanitize=address'],
);
plan skip_all => $build->{why} if !$build->{dir};
like(slurp($build->{object}), qr/__asan_report_load/, 'the build is instrumented, the core ' . ($core ? 'too' : 'not'));

watched(
    command => [$^X], inc => $build->{inc}, bad => qr/AddressSanitizer/,
    env     => { LD_PRELOAD => $library, ASAN_OPTIONS => 'detect_leaks=0:abort_on_error=0:exitcode=98' },
);

done_testing;
