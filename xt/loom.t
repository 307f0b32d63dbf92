# loom tries all orders in which the threads of small models can run, with the sources of the core (src/models/).
#
# The default is executions with at most 2 preemptions (small models: 3), which takes about a minute after the build;
# LOOM_MAX_PREEMPTIONS sets another limit; XT_FULL=1 sets none, which takes hours.
use strict;
use warnings;

use Test::More;
use FindBin;
use lib "$FindBin::Bin/lib";
use XT::Cargo;

my @manifest = qw(--manifest-path xt/loom/Cargo.toml);
my @models   = (qw(test --lib --locked --target-dir target/loom), @manifest);
needs_cargo(73, @manifest);

local $SIG{ALRM} = sub { die "the models take too long\n" };
alarm($ENV{XT_FULL} ? 0 : 1500);
local $ENV{RUSTFLAGS} = '--cfg loom';
local $ENV{LOOM_MAX_PREEMPTIONS} = $ENV{LOOM_MAX_PREEMPTIONS} // 2;
delete $ENV{LOOM_MAX_PREEMPTIONS} if $ENV{XT_FULL};

my ($status, $says) = cargo(sub { }, @models, '--no-run');
is $status, 0, 'the models build' or diag $says;

my $executions = 0;
($status, $says) = cargo(
    sub {
        my ($model, $count) = $_[0] =~ /(model: .*?: ([0-9]+) executions.*)/ or return;
        pass $model;
        $executions += $count;
    },
    @models, qw(-- --nocapture --test-threads=2 system::tests)
);
is $status, 0, 'all executions of all models are right' or diag $says;
cmp_ok $executions, '>', 0, "$executions executions in all";

done_testing;
