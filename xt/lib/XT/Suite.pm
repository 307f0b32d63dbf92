package XT::Suite;

# Runs programs under a memory checker: always the exercise of XT::Exercise, and with XT_ALL also all
# tests in t/.
#
#   XT_ALL   run all tests, which takes long

use strict;
use warnings;

use Exporter 'import';
use POSIX ();
use Test::More;
use XT::Build;

our @EXPORT = qw(watched command_works);

sub command_works {
    my (@command) = @_;
    XT::Build::run('/', @command);
    return $? == 0;
}

# Tests that say nothing about the memory of this module, or need another build or another perl.
my $APART = qr/^(?:eg|rust|leaktrace|resources|pod|pod-coverage|disk-full|cli.*|dist|debian)\.t$/;

# command: the checker and its options; inc: directories of the module; env: additional environment;
# bad: a pattern that must not be in the output; variants: only these.
sub watched {
    my (%how) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $root = XT::Build->root;
    my @inc  = @{ $how{inc} || ["$root/blib/lib", "$root/blib/arch"] };
    local @ENV{ 'PUBSUB_TEST_WATCHDOG', keys %{ $how{env} } } = (3600, values %{ $how{env} || {} });
    my @runs = (['the exercise', join(',', '-MXT::Exercise=run', @{ $how{variants} || [] }), '-e', 1]);
    if ($ENV{XT_ALL}) {
        for my $test (glob "$root/t/*.t") {
            my $name = $test =~ s{.*/}{}r;
            push @runs, [$name, $test] if $name !~ $APART;
        }
    }
    for my $run (@runs) {
        my ($name, @program) = @$run;
        my $output = XT::Build::run($root, @{ $how{command} }, (map {"-I$_"} @inc, "$root/xt/lib", "$root/t/lib"), @program);
        my $status = $?;
        my @bad    = $how{bad} ? grep { $_ =~ $how{bad} } split /\n(?=\S)/, $output : ();
        ok($status == 0 && !@bad && $output =~ /^(?:exercised|1\.\.\d)/m, $name)
            or diag("status $status\n" . substr join("\n", @bad, $output), 0, 20_000);
    }
    return;
}

1;
