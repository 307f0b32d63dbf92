# A subscriber that is so slow that each string is overwritten while it copies it (which t/lapped-copy.t leaves to chance): all
# calls return, timeouts are kept, and signal handlers run.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Build 'fault';
use XT::Remote;
use PubSubTest;
use Test::More;

my $v     = variant('Str');
my $class = $v->class;

# A publisher that publishes hundreds of messages during each copy.
my $path = fresh_path();
$class->new($path, 4, 64);
my $kid = spawn(sub {
    my ($peer) = @_;
    XT::dies_with_parent();
    my $ring = $class->new($path);
    $ring->publish("message $_") for 1 .. 4;
    $peer->tell('busy');
    for (my $n = 5;; $n++) { $ring->publish("message $n") }
});
is($kid->hear, 'busy', 'the publisher is busy');

my $slow = XT::Remote->start(env => { PUBSUB_FAULT => 'mid-copy=delay:20000' });
$slow->ask("our \$ring = $class->new('$path'); our \$sub = \$ring->subscribe_all; 1");

sub ask_slow { my ($program) = @_; return $slow->ask($program =~ s/\n\s*/ /gr) }

my %calls = (
    'poll'                      => '$sub->poll',
    'poll_wait(0)'              => '$sub->poll_wait(0)',
    'poll_wait(0.05)'           => '$sub->poll_wait(0.05)',
    'poll_multi(2)'             => '$sub->poll_multi(2)',
    'poll_wait_multi(2, 0.05)'  => '$sub->poll_wait_multi(2, 0.05)',
    'drain'                     => '$sub->drain',
    'poll_cb'                   => 'my @got; $sub->poll_cb(sub { push @got, $_[0] }); @got',
    'keyword'                   => "use $class; ps_str_poll \$sub",
);
for my $name (sort keys %calls) {
    my $said = ask_slow("my (\$lost, \$from) = (\$sub->overflow_count, \$sub->cursor);
        my \@got = grep {defined} do { $calls{$name} };
        my \$passed = \$sub->cursor - \$from - \@got;
        \$passed == \$sub->overflow_count - \$lost && !grep({ !/\\Amessage [0-9]+\\z/ } \@got) ? 'right' : \"\$passed, \@got\"");
    is($said, 'right', "$name returns, and its counts add up");
}

# The handler sends the signal again: so it runs wherever a call checks for signals.
for my $wait ('poll_wait', 'poll_wait(600)', 'poll_wait_multi(2)') {
    my $said = ask_slow("my \$times = 0;
        local \$SIG{USR1} = sub { ++\$times < 10 ? kill USR1 => \$\$ : die 'enough' };
        kill USR1 => \$\$; eval { \$sub->$wait while 1 }; \"\$times \$\@\"");
    like($said, qr/\A10 enough/, "$wait handles signals");
}

kill KILL => $kid->pid;
$kid->end;
$slow->finish;
done_testing;
