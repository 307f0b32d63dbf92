# The only spare block of a string ring that processes of several pid namespaces share: it is never taken from a
# process that is alive, however long that is stopped and whatever pids the others see; it is taken over from a killed
# process at once.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Build 'fault';
use XT::Remote;
use PubSubTest;
use Test::More;

use constant CLASS => 'Data::PubSub::Shared::Str';

# Commands that start a process in different namespaces. The first process of a namespace cannot be stopped like others, so
# ours is the second. It ends with its parent.
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
    'a namespace with our /proc'  => ['unshare', '--pid', '--fork', @second],
    'a namespace without /proc'        =>
        ['unshare', '--mount', '--pid', '--fork', first('system "umount -l /proc"')],
);

plan skip_all => 'this process may not create pid namespaces'
    if system('unshare --pid --fork --mount-proc true >/dev/null 2>&1') != 0;

sub publisher {
    my ($home, $path, $fault, @prefix) = @_;
    my $remote = XT::Remote->start(
        prefix => [@prefix, @{ $homes{$home} }],
        $fault ? (env => { PUBSUB_FAULT => $fault }) : ()
    );
    my $made = $remote->ask("our \$r = @{[CLASS]}->new('$path', 64, publishers => 1); 1");
    $made eq '1' or die $made;
    return $remote;
}

sub state_is {
    my ($remote, $state, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is(state_of($remote->leaf), $state, $name);
}

# A holder of the spare that stopped itself in the middle of a publish, and a publisher that waits for the spare.
my @scenes;
my @homes = sort keys %homes;
for my $holds (@homes) {
    for my $wants (@homes) {
        my $path   = fresh_path();
        my $waiter = publisher($wants, $path);
        my $holder = publisher($holds, $path, 'spare-taken=stop@2');
        is($holder->ask('$r->publish("first")'), 1, "$holds: the holder publishes");
        $holder->tell('$r->publish("held")');
        until_state($holder->leaf, 'T');
        $waiter->tell('$r->publish("waited"); $r->stats->{recoveries}');
        push @scenes, { path => $path, holder => $holder, waiter => $waiter, name => "holder: $holds, waiter: $wants" };
    }
}

# During this time, each waiter checks many times whether the holder is alive.
my $end = now() + ($QUICK ? 0.5 : seconds());
for my $scene (@scenes) {
    my $left = $end - now();
    subtest $scene->{name} => sub {
        ok(!$scene->{waiter}->speaks_within($left > 0 ? $left : 0), 'the spare is not taken from a stopped holder');
        state_is($scene->{holder}, 'T', 'the holder is still stopped');
        kill KILL => $scene->{holder}->leaf;
        my $start = now();
        is($scene->{waiter}->hear, 1, 'after the holder is killed, the spare is taken over, and that is counted');
        diag(sprintf 'taken over after %.1f ms', 1000 * (now() - $start));
        my $ring = CLASS->new($scene->{path});
        is_deeply([$ring->subscribe_all->drain], ['first', 'waited'], 'the ring has the messages that were published');
        is($ring->stats->{leaked}, 0, 'no spare has leaked');
    };
    $_->finish for $scene->{waiter}, $scene->{holder};
}

done_testing;
