# The tests themselves: they do not depend on how and where they were started.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use POSIX ();
use Test::More;

use PubSubTest;

subtest 'signals that are ignored or blocked' => sub {
    my $kid = spawn(sub {
        my ($peer) = @_;
        $SIG{$_} = 'IGNORE' for qw(INT QUIT TERM PIPE USR1);
        POSIX::sigprocmask(POSIX::SIG_BLOCK(), POSIX::SigSet->new(POSIX::SIGINT(), POSIX::SIGTERM()));
        my ($out) = run_perl('use PubSubTest; print "$_ $SIG{$_} " for qw(INT QUIT TERM PIPE USR1); '
            . 'my $pid = fork; if (!$pid) { sleep 60 } kill INT => $pid; waitpid $pid, 0; print $?');
        $peer->tell($out);
    });
    is($kid->hear, join(' ', map({"$_ DEFAULT"} qw(INT QUIT TERM PIPE USR1)), POSIX::SIGINT()),
        'the tests reset signals that are ignored or blocked');
    is($kid->end, 0, 'the child exits with 0');
};

subtest '@INC with a directory that others may not enter' => sub {
    my @nobody = nobody() or plan skip_all => 'needs root';
    my $home = fresh_dir();
    chmod 0700, $home or die "chmod: $!";
    my $module = (grep { !$INC{"$_.pm"} } qw(Text::Abbrev Tie::RefHash Search::Dict)) [0];
    my $kid = spawn(sub {
        my ($peer) = @_;
        unshift @INC, $home;
        become(@nobody);
        $peer->tell(eval "require $module; 1" ? 'loaded' : $@);
    });
    is($kid->hear, 'loaded', 'an unprivileged user can load core modules');
    is($kid->end, 0, 'the child exits with 0');
};

done_testing;
