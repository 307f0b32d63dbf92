# Random calls and random damage with the optimised core, through its Rust interface: tests/fuzz.rs, which `cargo test`
# runs for a second with overflow checks. FUZZ_SEED repeats its random numbers.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use XT;
use XT::Cargo;

needs_cargo(63);
alarm 1500;    # a build takes long on a busy host
my @fuzz = qw(test --release --locked --target-dir target/xt/fuzz --test fuzz);
my ($status, $says) = cargo(sub { }, @fuzz, '--no-run');
is $status, 0, 'the test builds' or diag $says;
alarm $ENV{PUBSUB_TEST_WATCHDOG};

local $ENV{FUZZ_SECONDS} = seconds();
local $ENV{FUZZ_SEED}    = $ENV{FUZZ_SEED} // random(1 << 31);
note "FUZZ_SEED=$ENV{FUZZ_SEED}";
($status, $says) = cargo(sub { note $1 if $_[0] =~ /([0-9]+ (?:opened|rounds).*)/ }, @fuzz, qw(-- --nocapture));
is $status, 0, 'each call returns an error or the ring works' or diag $says;
like $says, qr/^test result: ok\. 4 passed/m, 'all four tests ran';

done_testing;
