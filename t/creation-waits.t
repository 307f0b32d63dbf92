# A file that another process has locked to fill it in: `new` waits, and signal handlers run during the wait.

use strict;
use warnings;
use Fcntl qw(:flock);
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

each_variant(sub {
    my ($v)  = @_;
    my $path = spew(fresh_path(), '');
    open my $held, '+<', $path or die "open: $!";
    flock $held, LOCK_EX or die "flock: $!";
    my $kid = spawn(sub {
        my ($peer) = @_;
        my $signals = 0;
        local $SIG{USR1} = sub { $signals++ };
        local $SIG{USR2} = sub { die "enough\n" };
        eval { $peer->tell('ready'); $v->class->new($path, 16); die "made\n" };
        $peer->tell($@ =~ s/\n//r);
        $peer->tell($signals);
    });
    $kid->hear;
    until_asleep($kid->pid);
    $kid->kill('USR1');
    $kid->kill('USR2');
    is($kid->hear, 'enough', 'an exception of a handler ends the wait');
    is($kid->hear, 1,        'a handler that returns does not end the wait');
    reap('the waiting process exits with 0', $kid);
    flock $held, LOCK_UN;
    is($v->class->new($path, 16)->publish($v->value(1)), 1, 'the next new fills in the file');
});

done_testing;
