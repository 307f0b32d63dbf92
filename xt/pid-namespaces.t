# The only spare block of a string ring that processes of several pid namespaces share: one that lives is never
# robbed of it, however long it stands still and whatever numbers the others know it by; that of one that is dead is
# taken over at once.

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

# A holder that stopped itself in the middle of a publish, and one that wants the spare.
my @scenes;
my @homes = sort keys %homes;
for my $holds (@homes) {
    for my $wants (@homes) {
        my $path   = fresh_path();
        my $waiter = publisher($wants, $path);
        my $holder = publisher($holds, $path, 'spare-taken=stop@2');
        is($holder->ask('$r->publish("first")'), 1, "$holds: publishes");
        $holder->tell('$r->publish("held")');
        until_state($holder->leaf, 'T');
        $waiter->tell('$r->publish("waited"); $r->stats->{recoveries}');
        push @scenes, { path => $path, holder => $holder, waiter => $waiter, name => "holder: $holds, waiter: $wants" };
    }
}

# A while in which each looks many times whether the holder lives.
my $end = now() + ($QUICK ? 0.5 : seconds());
for my $scene (@scenes) {
    my $left = $end - now();
    subtest $scene->{name} => sub {
        ok(!$scene->{waiter}->speaks_within($left > 0 ? $left : 0), 'a holder that was stopped is not robbed');
        state_is($scene->{holder}, 'T', 'it is still stopped');
        kill KILL => $scene->{holder}->leaf;
        my $start = now();
        is($scene->{waiter}->hear, 1, 'once it is dead its spare is taken over, and that is counted');
        diag(sprintf 'taken over after %.1f ms', 1000 * (now() - $start));
        my $ring = CLASS->new($scene->{path});
        is_deeply([$ring->subscribe_all->drain], ['first', 'waited'], 'and what was published is there');
        is($ring->stats->{leaked}, 0, 'nothing leaked');
    };
    $_->finish for $scene->{waiter}, $scene->{holder};
}

done_testing;
