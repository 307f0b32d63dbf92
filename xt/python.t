#!/usr/bin/env perl
# The Python package: `pip install ./python` into a new environment, its own tests there, together with a Perl process on the
# same rings, and a check of its type stubs. Needs the network, or the caches of pip and cargo.

use strict;
use warnings;

use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use XT::Build;
use XT::Cargo;

alarm 1800;
needs_cargo(85, qw(--manifest-path python/Cargo.toml));

my $root = XT::Build->root;
my $tmp  = tempdir(CLEANUP => 1);
delete @ENV{qw(PYTHONPATH PYTHONHOME VIRTUAL_ENV PIP_TARGET PIP_PREFIX CARGO_BUILD_TARGET RUSTFLAGS)};
$ENV{CARGO_TARGET_DIR} = "$root/target/python";

sub works {
    my ($name, $dir, @command) = @_;
    my $said = XT::Build::run($dir, @command);
    return ok($? == 0, $name) || (diag($said), 0)[1];
}

# Skips the test if this host lacks something.
sub needs {
    my ($what, @command) = @_;
    my $said = XT::Build::run('/', @command);
    $? == 0 or plan skip_all => "$what: " . ($said =~ /(\S.*)\s*\z/)[0];
    return $said;
}

needs('there is no Python 3.9 or later', qw(python3 -c), 'import sys; assert sys.version_info >= (3, 9), sys.version');
needs('python3 makes no environments', qw(python3 -m venv), "$tmp/env");
my $python = "$tmp/env/bin/python";
my @pip    = ($python, qw(-m pip install --quiet --disable-pip-version-check));
needs('pip fetches nothing', @pip, 'maturin>=1.7,<2', qw(pytest mypy));

works('pip install ./python succeeds', $root, @pip, './python') or BAIL_OUT('not installed');
works('the tests of the package pass', "$root/python", $python, qw(-m pytest -q -p no:cacheprovider));
works('the stubs describe the built module', $tmp, "$tmp/env/bin/stubtest", 'pubsub_shared');
works('mypy --strict accepts the package', $tmp, $python, qw(-m mypy --strict --cache-dir), "$tmp/mypy", '-p', 'pubsub_shared');

my ($site) = XT::Build::run($tmp, $python, '-c', 'import pubsub_shared; print(pubsub_shared.__file__)') =~ m{(.+)/};
is(join(' ', map {m{.*/(.+)}} glob "$site/_core*.so"), '_core.abi3.so', 'the wheel has one module for all versions of Python');

done_testing;
