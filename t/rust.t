# A Rust program and a Perl program exchange messages through two rings.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

my ($cargo, $target) = map { chomp; $_ } qx{sed -n 's/^CARGO = //p; s/^CARGO_TARGET = //p' Makefile 2>/dev/null};
plan skip_all => 'run from the built project' if !$target;

# Runs cargo without network: (true if it succeeded, its output).
sub cargo {
    my (@arguments) = @_;
    my $pid = open(my $out, '-|') // die "fork: $!";
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        no warnings 'exec';
        exec $cargo, @arguments or print "$cargo: $!\n";
        POSIX::_exit(127);
    }
    my $said = do { local $/; <$out> } // '';
    return (close $out ? 1 : 0, $said);
}

# Skips the test, or dies if Cargo.lock is out of date.
sub skip_for {
    my ($why, $said) = @_;
    die "Cargo.lock is out of date: $said" if $said =~ /--locked/;
    my ($line) = $said =~ /^(?:error: *)?(\S.*)/m;
    plan skip_all => "$why: " . ($line // 'no output');
}

watchdog(1800);    # a compiler takes long on a busy host
my ($works, $said) = cargo('--version');
skip_for('cargo does not run', $said) if !$works;
my $into  = -w 'target/release' ? 'target' : fresh_dir();    # another user may have built there
my @build = (qw(build --quiet --offline --locked --release --example exchange --target-dir), $into, '--target', $target);
($works, $said) = cargo(@build);
skip_for('the crates are not installed, and tests use no network', $said) if $said =~ /--offline|--locked/;
ok $works, 'the example builds' or diag $said;
watchdog(60);

my $dir     = fresh_dir();
my $count   = 2000;
my $words   = Data::PubSub::Shared::Str->new("$dir/words", 1024, 64)->subscribe_all;
my $answers = Data::PubSub::Shared::Int->new("$dir/answers", 1024);
open my $rust, '-|', "$into/$target/release/examples/exchange", "$dir/words", "$dir/answers", $count or die "cannot run it: $!";
for my $i (1 .. $count) {
    my $word = $words->poll_wait;
    $word eq $i or BAIL_OUT("word $i is $word");
    $answers->publish($word);
}
is <$rust>, "$count words answered\n", 'the Rust program got an answer to each word';
ok close $rust, 'the Rust program exits with 0';
is $words->overflow_count, 0, 'no word was lost';

done_testing;
