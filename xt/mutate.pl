#!/usr/bin/env perl
# Do the tests find faults? Breaks a copy of the tree in many small ways, one at a time, and prints which test fails.
#
#   xt/mutate.pl [--dir DIRECTORY] [--table FILE] [--core] [--check] [NAME ...]
#
# The mutants are in xt/mutations/mutants.txt; NAMEs (or parts of them) select some. Each is built and tested with the unit
# tests, the loom models, t/*.t and, with XT=1, xt/*.t, until a test fails. DIRECTORY (default: a temporary one) keeps the
# build between runs; the table is written to FILE. --core leaves out t/ and xt/; --check only checks that all mutants
# still apply. Takes an hour or two. Not part of the tests; the table of the last run is xt/mutations/RESULTS.md.
use strict;
use warnings;

use File::Basename qw(dirname);
use File::Path qw(make_path);
use File::Spec;
use File::Temp;
use FindBin;
use Getopt::Long;

GetOptions('dir=s' => \my $dir, 'table=s' => \my $table, 'check' => \my $check, 'core' => \my $core_only) or die "see the head of $0\n";
my $top = File::Spec->rel2abs("$FindBin::Bin/..");
$table = File::Spec->rel2abs($table) if $table;
$dir = $dir ? File::Spec->rel2abs($dir) : File::Temp::tempdir(CLEANUP => 1);
my $tree = "$dir/tree";
my $log  = "$dir/log";
$| = 1;

my %slowest = map { $_ => 1 } qw(t/rust.t t/eg.t t/pod.t t/pod-coverage.t t/resources.t);    # run last
my @killers;                                                                                 # run first

# --- The mutants

sub slurp { my ($file) = @_; open my $in, '<', $file or die "$file: $!\n"; local $/; return scalar <$in> }
sub spew { my ($file, $text) = @_; open my $out, '>', $file or die "$file: $!\n"; print {$out} $text; close $out or die "$file: $!\n" }

sub mutants {
    my (@all, $part);
    for (split /\n/, slurp("$top/xt/mutations/mutants.txt")) {
        if (/^== ([\w-]+): (.*)/) { push @all, { name => $1, breaks => $2, parts => [] } }
        elsif (/^\@\@ (\S+)(?: ([0-9]+))?$/) { push @{ $all[-1]{parts} }, $part = { file => $1, nth => $2, old => [], new => [] } }
        elsif (/^models first$/) { $all[-1]{models_first} = 1 }
        elsif (/^tests (.+)/) { $all[-1]{tests} = [ split ' ', $1 ] }
        elsif (/^-(.*)/s)  { push @{ $part->{old} }, $1 }
        elsif (/^\+(.*)/s) { push @{ $part->{new} }, $1 }
        elsif (/^[^#]/)    { die "cannot parse: $_\n" }
    }
    return @all;
}

# path => new content of the files that the mutant changes; dies if it does not apply.
sub mutated {
    my ($mutant, $from) = @_;
    my %text;
    for my $part (@{ $mutant->{parts} }) {
        my ($old, $new) = map { join "\n", @$_ } @$part{qw(old new)};
        my $text  = $text{ $part->{file} } // slurp("$from/$part->{file}");
        my $count = () = $text =~ /\Q$old/g;
        my $nth   = $part->{nth} // 1;
        die "$mutant->{name}: found $count times in $part->{file}\n" if $part->{nth} ? $count < $nth : $count != 1;
        my $seen = 0;
        $text =~ s/\Q$old/++$seen == $nth ? $new : $old/ge;
        $text{ $part->{file} } = $text;
    }
    return %text;
}

# --- Running commands

# Runs a command in the tree. True if it succeeds in time; its output is in $log.
my ($timed_out, $running);
$SIG{$_} = sub { kill KILL => -$running if $running; exit 1 } for qw(INT TERM);
sub succeeds {
    my ($seconds, %what) = @_;
    my $pid = fork // die "cannot fork: $!\n";
    if (!$pid) {
        setpgrp;
        $SIG{$_} = 'DEFAULT' for qw(INT QUIT HUP);
        chdir $tree or exit 126;
        open STDIN,  '<', '/dev/null';
        open STDOUT, '>', $log;
        open STDERR, '>&', \*STDOUT;
        %ENV = (%ENV, %{ $what{env} // {} });
        exec @{ $what{run} } or exit 127;
    }
    $timed_out = 0;
    $running = $pid;
    local $SIG{ALRM} = sub { $timed_out = 1; kill KILL => -$pid };
    alarm $seconds;
    waitpid $pid, 0;
    my $status = $?;
    alarm 0;
    kill KILL => -$pid;    # processes that it left running
    $running = undef;
    return $status == 0;
}

sub first_line { my ($pattern) = @_; my ($found) = slurp($log) =~ $pattern; return $found }

# Each of these returns the test that failed, or nothing; with `!` in front if the build failed.
sub unit_tests {
    my $cargo = $ENV{CARGO} // 'cargo';
    my @command = ($cargo, qw(test --locked --lib --target-dir), "$dir/unit");
    succeeds(900, run => [ @command, '--no-run' ]) or return '!' . (first_line(qr/^(error.*)/m) // 'cargo test');
    succeeds(120, run => \@command) and return;
    my $who = first_line(qr/^test (\S+) \.\.\. FAILED/m) // first_line(qr/^test (\S+ has been running)/m) // first_line(qr/(SIG\w+)/);
    return 'unit: ' . ($who // 'a crash') =~ s/has been running/hangs/r;
}

sub models {
    my $cargo = $ENV{CARGO} // 'cargo';
    my %env = (RUSTFLAGS => '--cfg loom');
    my @command = ($cargo, qw(test --locked --lib --manifest-path xt/loom/Cargo.toml --target-dir), "$dir/loom");
    succeeds(900, run => [ @command, '--no-run' ], env => \%env) or return '!' . (first_line(qr/^(error.*)/m) // 'loom');
    for my $preemptions (1, 2) {    # the first finds most faults soon
        $env{LOOM_MAX_PREEMPTIONS} = $preemptions;
        succeeds(600, run => [ @command, '--', 'system::tests' ], env => \%env) and next;
        return 'loom: ' . ($timed_out ? 'no end' : first_line(qr/^test system::tests::(\S+) \.\.\. FAILED/m) // 'a crash');
    }
    return;
}

# Tests that failed recently come first.
sub tests_in {
    my ($subdir) = @_;
    my %rank;
    @rank{@killers} = 1 .. @killers;
    my @tests = map { "$subdir/" . (File::Spec->splitpath($_))[2] } glob "$tree/$subdir/*.t";
    return sort { ($slowest{$a} // 0) <=> ($slowest{$b} // 0) || ($rank{$a} // 99) <=> ($rank{$b} // 99) || $a cmp $b } @tests;
}

my %broken;    # tests that fail without any mutant
sub perl_tests {
    my (@tests) = @_;
    my %env = (CARGO_PROFILE_RELEASE_LTO => 'off', CARGO_PROFILE_RELEASE_CODEGEN_UNITS => 16);
    if (!-e "$tree/Makefile") {
        succeeds(100, run => [ $^X, 'Makefile.PL' ]) or die "no Makefile:\n" . slurp($log);
    }
    succeeds(900, run => ['make'], env => \%env) or return '!' . (first_line(qr/(.*error.*)/) // 'make');
    for my $test (@tests) {
        next if $broken{$test} || $test eq 'xt/loom.t';
        succeeds(240, run => [ 'prove', '-bl', $test ], env => { %env, XT_QUICK => 1 }) and next;
        @killers = ($test, grep { $_ ne $test } @killers);
        my $what = $timed_out ? 'hangs' : first_line(qr/^#\s+Failed test '(.*?)'/m) // first_line(qr/(Signal: \w+|Non-zero \w+ status: \d+)/) // '';
        return $test . ($what ne '' ? ": $what" : '');
    }
    return;
}

# Runs tests until one fails. The models have no files and descriptors.
sub judge {
    my @files = map { $_->{file} } map { @{ $_->{parts} } } @_;
    my $core   = grep { m{^src/} } @files;
    my $shared = grep { m{^src/(?!region|create|notify|ffi)} } @files;
    my @first  = $core_only ? () : map { @{ $_->{tests} // [] } } @_;
    my $found  = (@first && perl_tests(@first)) || ($_[0]{models_first} && models()) || ($core && unit_tests())
        || ($shared && !$_[0]{models_first} && models());
    return $found || undef if $core_only;
    return $found || perl_tests(tests_in('t')) || ($ENV{XT} && perl_tests(tests_in('xt'))) || undef;
}

# --- Main program

my @mutants = mutants();
if ($check) {
    my $bad = 0;
    for my $mutant (@mutants) {
        eval { mutated($mutant, $top); 1 } or print($@), $bad++;
    }
    printf "%d mutants, %d do not apply\n", scalar @mutants, $bad;
    exit !!$bad;
}
@mutants = grep { my $mutant = $_; grep { index($mutant->{name}, $_) >= 0 } @ARGV } @mutants if @ARGV;

make_path($tree);
unlink "$tree/Makefile";
system(qq{cd "$top" && git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -T - -cf - | tar -C "$tree" -xmf -}) == 0
    or die "cannot copy the tree\n";

print "without a mutant\n";
while (my $found = judge(@mutants)) {
    my ($test) = $found =~ m{^(x?t/\S+\.t)} or die "does not pass as it is: $found\n", slurp($log);
    print "  left out, since it fails without a mutant: $found\n";
    $broken{$test} = 1;
}
@killers = ();

my (@rows, $missed);
for my $mutant (@mutants) {
    my $start = time;
    my %new = eval { mutated($mutant, $tree) };
    my $found = %new ? do {
        my %old = map { $_ => slurp("$tree/$_") } keys %new;
        spew("$tree/$_", $new{$_}) for keys %new;
        my $by = judge($mutant);
        spew("$tree/$_", $old{$_}) for keys %old;
        $by;
    } : "!does not apply: $@";
    $missed++ if !defined $found || $found =~ /^!/;
    $found //= '**nothing**';
    $found =~ s/[|\n]/ /g;
    push @rows, "| $mutant->{name} | $mutant->{breaks} | $found |\n";
    printf "%-32s %s  (%d s)\n", $mutant->{name}, $found, time - $start;
    spew($table, join '', "| mutant | what it breaks | noticed by |\n| --- | --- | --- |\n", @rows) if $table;
}
printf "%d mutants, %d not noticed\n", scalar @rows, $missed // 0;
exit !!$missed;
