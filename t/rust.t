# A Rust program and a Perl one talk to each other through two rings.
use strict;
use warnings;

use Test::More;
use File::Temp 'tempdir';
use Data::PubSub::Shared;

my $cargo = qx{sed -n 's/^CARGO = //p' Makefile 2>/dev/null};
chomp $cargo;
plan skip_all => 'run from the built project' if !$cargo;

local $SIG{ALRM} = sub { die "the watchdog barked\n" };
alarm 300;
is system("$cargo build --quiet --locked --release --target-dir target --example exchange >&2"), 0, 'the example builds';
alarm 60;

my $dir     = tempdir(CLEANUP => 1);
my $count   = 2000;
my $words   = Data::PubSub::Shared::Str->new("$dir/words", 1024, 64)->subscribe_all;
my $answers = Data::PubSub::Shared::Int->new("$dir/answers", 1024);
open my $rust, '-|', 'target/release/examples/exchange', "$dir/words", "$dir/answers", $count or die "cannot run it: $!";
for my $i (1 .. $count) {
    my $word = $words->poll_wait;
    $word eq $i or BAIL_OUT("word $i is $word");
    $answers->publish($word);
}
is <$rust>, "$count words answered\n", 'each word was answered';
ok close $rust, 'and both sides were content';
is $words->overflow_count, 0, 'nothing was lost on the way';

done_testing;
