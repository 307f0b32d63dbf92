# A publisher that waits for the only spare block yields the CPU before it sleeps, because the holder may need it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Build 'fault';
use XT::Remote;
use PubSubTest;
use Test::More;

plan skip_all => 'strace is not installed, or may not trace' if system('strace -qq -o /dev/null true 2>/dev/null') != 0;

my $class = variant('Str')->class;
my $path  = fresh_path();
my $trace = fresh_path();
my $ring  = $class->new($path, 16, publishers => 1);

my $holder = XT::Remote->start(env => { PUBSUB_FAULT => 'spare-taken=stop' });
$holder->ask("our \$r = $class->new('$path'); 1");
$holder->tell('$r->publish("held"); 1');
ok($holder->stopped, 'a publisher holds the spare');

my $waiter = XT::Remote->start(prefix => ['strace', '-qq', '-f', '-e', 'trace=sched_yield,clock_nanosleep,nanosleep,getppid', '-o', $trace]);
$waiter->ask("our \$r = $class->new('$path'); 1");
$waiter->tell('our $x = getppid; $r->publish("later"); 1');
select undef, undef, undef, 0.001 until slurp($trace) =~ /getppid.*nanosleep/s;
kill CONT => $holder->pid;
is($_->hear, 1, 'both publishers finish their calls') for $holder, $waiter;
$_->finish for $holder, $waiter;

my ($before) = slurp($trace) =~ /getppid(.*?)nanosleep/s;
my $yields = () = $before =~ /sched_yield/g;
cmp_ok($yields, '>', 0, "the waiter yielded $yields times before it slept");
is_deeply([$ring->subscribe_all->drain], ['held', 'later'], 'both messages are delivered');

done_testing;
