# The lock of a string ring that processes of several pid namespaces share: a holder that lives is
# never robbed, however long it stands still and whatever numbers the others know it by; one that is
# dead is followed at once.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Build 'fault';
use XT::Remote;
use PubSubTest;
use Test::More;

use constant { LOCK => 512, WAITERS => 0x80000000, CLASS => 'Data::PubSub::Shared::Str' };

# Ways to live. In a namespace the first process has other rights to be stopped: ours is the second.
# It goes with the one that made it.
sub first { return ($^X, (map {"-I$_"} grep { !ref } @INC), '-MXT', '-e', <<"PERL") }
    XT::dies_with_parent();
    $_[0];
    my \$pid = fork;
    exec \@ARGV if !\$pid;
    waitpid \$pid, 0;
PERL
my @second    = first('');
my @namespace = ('unshare', '--pid', '--fork', '--mount-proc', @second);
my %homes = (
    'here'                             => [],
    'its own namespace'                => \@namespace,
    'a namespace that sees our /proc'  => ['unshare', '--pid', '--fork', @second],
    'a namespace without /proc'        =>
        ['unshare', '--mount', '--pid', '--fork', first('system "umount -l /proc"')],
);

plan skip_all => 'this process may not make pid namespaces'
    if system('unshare --pid --fork --mount-proc true >/dev/null 2>&1') != 0;

sub lock_word { return unpack 'L', peek($_[0], LOCK, 4) }

sub until_lock {
    my ($path, $test) = @_;
    select undef, undef, undef, 0.001 until $test->(lock_word($path));
    return;
}

sub publisher {
    my ($home, $path, $fault, @prefix) = @_;
    my $remote = XT::Remote->start(
        prefix => [@prefix, @{ $homes{$home} }],
        $fault ? (env => { PUBSUB_FAULT => $fault }) : ()
    );
    my $made = $remote->ask("our \$r = @{[CLASS]}->new('$path', 64); 1");
    $made eq '1' or die $made;
    return $remote;
}

sub state_is {
    my ($remote, $state, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is(state_of($remote->leaf), $state, $name);
}

# A holder that stopped itself with the lock in its hands, and one that wants it.
my @scenes;
for my $pair (
    ['here'                            => 'here'],
    ['its own namespace'               => 'here'],
    ['here'                            => 'its own namespace'],
    ['its own namespace'               => 'its own namespace'],
    ['its own namespace'               => 'a namespace that sees our /proc'],
    ['a namespace that sees our /proc' => 'here'],
    ['a namespace without /proc'       => 'here'],
    ['a namespace without /proc'       => 'its own namespace'],
    ['here'                            => 'a namespace without /proc'],
) {
    my ($holds, $wants) = @$pair;
    my $path   = fresh_path();
    my $waiter = publisher($wants, $path);
    my $holder = publisher($holds, $path, 'locked=stop@2');
    is($holder->ask('$r->publish("first")'), 1, "$holds: publishes");
    $holder->tell('$r->publish("held")');
    until_state($holder->leaf, 'T');
    $waiter->tell('$r->publish("waited"); $r->stats->{recoveries}');
    push @scenes, { path => $path, holder => $holder, waiter => $waiter, name => "holder: $holds, waiter: $wants" };
}

# Two in one namespace that has the /proc of another: the waiter is a child of the holder's sister.
my $inside = fresh_path();
CLASS->new($inside, 64);    # who makes a ring passes a fault point, and its children then read no environment
my $family = publisher('a namespace that sees our /proc', $inside);
$family->ask(<<'PERL' =~ s/\n\s*/ /gr);
    $kid = fork // die;
    if (!$kid) { $ENV{PUBSUB_FAULT} = 'locked=stop'; $r->publish('held'); POSIX::_exit(0) } 1
PERL
until_lock($inside, sub { $_[0] });
$family->tell('$r->publish("waited"); $r->stats->{recoveries}');

# None is robbed in more than the two seconds after which a waiter may ask.
my $end = now() + ($QUICK ? 2.6 : 2.6 + seconds());
for my $scene (@scenes) {
    my $left = $end - now();
    subtest $scene->{name} => sub {
        ok(!$scene->{waiter}->speaks_within($left > 0 ? $left : 0), 'a holder that was stopped is not robbed');
        state_is($scene->{holder}, 'T', 'it is still stopped');
        kill KILL => $scene->{holder}->leaf;
        my $start = now();
        is($scene->{waiter}->hear, 1, 'once it is dead the lock is recovered, and counted');
        my $took = now() - $start;
        diag(sprintf 'recovered after %.1f ms', 1000 * $took);
        my @got = CLASS->new($scene->{path})->subscribe_all->drain;
        is_deeply(\@got, ['first', 'waited'], 'and what was published is there');
    };
    $_->finish for $scene->{waiter}, $scene->{holder};
}
subtest 'two in a namespace that sees the /proc of another' => sub {
    ok(!$family->speaks_within($end - now() > 0 ? $end - now() : 0), 'a holder that was stopped is not robbed');
    $family->finish;
};

# Threads of different namespaces may have one number. One of them dies as it hands over the lock to
# the other, delayed there by strace: that one keeps it.
subtest 'a death in a hand-over between equal numbers' => sub {
    plan skip_all => 'strace is not installed' if system('strace -V >/dev/null 2>&1') != 0;
    my $path   = fresh_path();
    my $giver  = publisher('its own namespace', $path, 'locked=delay:300000',
        qw(strace -f -qq -o /dev/null -e trace=futex -e inject=futex:delay_exit=30000000:when=2+));
    my $taker  = publisher('its own namespace', $path, 'locked=stop');
    is(substr($_->ask('$$'), 0, 9), 2, 'its number') for $giver, $taker;
    $giver->tell('$r->publish("given")');
    until_lock($path, sub { $_[0] });
    $taker->tell('$r->publish("taken"); 1');
    until_lock($path, sub { $_[0] & WAITERS || state_of($taker->leaf) eq 'T' });
    until_state($taker->leaf, 'T');
    $giver->finish;
    my $other = publisher('here', $path);
    $other->tell('$r->publish("other"); 1');
    ok(!$other->speaks_within(0.3), 'the one that has the lock keeps it');
    kill CONT => $taker->leaf;
    is($taker->hear, 1, 'and publishes');
    is($other->hear, 1, 'then comes the third');
    is_deeply([CLASS->new($path)->subscribe_all->drain], [qw(given taken other)], 'and nothing that was published is lost');
    $_->finish for $taker, $other;
};

done_testing;
