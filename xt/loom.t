# loom tries every order in which the threads of small models can run, over the core's own sources (src/models.rs).
#
# Executions with at most 2 preemptions (small models: 3) by default, which takes about a minute after the build;
# LOOM_MAX_PREEMPTIONS sets another bound, XT_FULL=1 none at all, which takes hours.
use strict;
use warnings;

use Test::More;
use FindBin;

chdir "$FindBin::Bin/.." or die "cannot go to the top: $!";

# Runs a command and returns its exit status and its whole output; `every` is given each line as it comes.
sub run {
    my ($every, @command) = @_;
    my $pid = open my $out, '-|';
    defined $pid or die "cannot fork: $!";
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        exec @command or exit 127;
    }
    my $all = '';
    while (my $line = <$out>) {
        $all .= $line;
        $every->($line);
    }
    close $out;
    return ($?, $all);
}

my $cargo = qx{sed -n 's/^CARGO = //p' Makefile 2>/dev/null};
chomp $cargo;
$cargo = $cargo || $ENV{CARGO} || 'cargo';
my @models = ($cargo, 'test', '--lib', '--locked', qw(--target-dir target/loom --manifest-path xt/loom/Cargo.toml));

my ($status, $says) = run(sub { }, $cargo, '--version');
plan skip_all => "no cargo ($cargo)" if $status;
my ($minor) = $says =~ /^cargo 1\.([0-9]+)/;
plan skip_all => "loom needs cargo 1.73, and this is $says" if !$minor || $minor < 73;
($status, $says) = run(sub { }, $cargo, qw(fetch --locked --manifest-path xt/loom/Cargo.toml));
plan skip_all => 'the loom crate cannot be had: ' . ($says =~ /^(error.*)/m)[0] if $status;

local $SIG{ALRM} = sub { die "the watchdog barked\n" };
alarm($ENV{XT_FULL} ? 0 : 1500);
local $ENV{RUSTFLAGS} = '--cfg loom';
local $ENV{LOOM_MAX_PREEMPTIONS} = $ENV{LOOM_MAX_PREEMPTIONS} // 2;
delete $ENV{LOOM_MAX_PREEMPTIONS} if $ENV{XT_FULL};

($status, $says) = run(sub { }, @models, '--no-run');
is $status, 0, 'the models build' or diag $says;

my $executions = 0;
($status, $says) = run(
    sub {
        my ($model, $count) = $_[0] =~ /(model: .*?: ([0-9]+) executions.*)/ or return;
        pass $model;
        $executions += $count;
    },
    @models, qw(-- --nocapture --test-threads=2 models)
);
is $status, 0, 'every execution of every model is right' or diag $says;
cmp_ok $executions, '>', 0, "$executions executions in all";

done_testing;
