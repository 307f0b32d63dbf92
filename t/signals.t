# Signals during a wait: handlers run at once, may die, and otherwise the wait goes on.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Time::HiRes qw(setitimer ITIMER_REAL);
use PubSubTest;

watchdog_process();

# A timer that fires again and again until its scope ends.
sub ticking { setitimer(ITIMER_REAL, 0.01, 0.01); return bless [], 'Ticking' }
sub Ticking::DESTROY { setitimer(ITIMER_REAL, 0); return }

each_variant(sub {
    my ($v) = @_;
    my $ring = $v->ring(16);
    my $sub  = $ring->subscribe;
    my %waits = (
        'poll_wait'              => sub { $sub->poll_wait },
        'poll_wait(60)'          => sub { $sub->poll_wait(60) },
        'poll_wait_multi(1)'     => sub { $sub->poll_wait_multi(1) },
        'poll_wait_multi(1, 60)' => sub { $sub->poll_wait_multi(1, 60) },
    );

    for my $name (sort keys %waits) {
        my $wait = $waits{$name};

        subtest "a handler that dies, $name" => sub {
            my $ok = eval {
                local $SIG{ALRM} = sub { die "wake up\n" };
                my $timer = ticking();
                $wait->();
                1;
            };
            ok(!$ok, 'ends the wait');
            is($@, "wake up\n", 'with its own error');
            $ring->publish($v->value(3));
            is($sub->poll, $v->value(3), 'and the subscriber works on');
        };

        subtest "a handler that returns, $name" => sub {
            my $ticks = 0;
            local $SIG{ALRM} = sub { $ring->publish($v->value(4)) if ++$ticks == 5 };
            my $timer = ticking();
            is($wait->(), $v->value(4), 'the wait goes on until there is a message');
            cmp_ok($ticks, '>=', 5, 'the handler ran each time');
        };
    }

    subtest 'the original deadline' => sub {
        my $ticks = 0;
        local $SIG{ALRM} = sub { $ticks++ };
        my $timer = ticking();
        is($sub->poll_wait(0.1), undef, 'holds for poll_wait under a storm of signals');
        is_deeply([$sub->poll_wait_multi(2, 0.1)], [], 'and for poll_wait_multi');
        cmp_ok($ticks, '>', 0, 'there was a storm');
    };

    subtest 'children ending' => sub {
        my $reaped = 0;
        local $SIG{CHLD} = sub { $reaped++ while waitpid(-1, POSIX::WNOHANG()) > 0 };
        my $kid = spawn(sub {
            my ($peer) = @_;
            $peer->hear;
            for (1 .. 30) { my $pid = fork; POSIX::_exit(0) if defined $pid && !$pid }
            until_asleep(getppid);
            $ring->publish($v->value(6));
        });
        for (1 .. 30) {
            my $pid = fork // die "fork: $!";
            POSIX::_exit(0) if !$pid;
        }
        $kid->tell('go');
        is($sub->poll_wait, $v->value(6), 'SIGCHLD does not end the wait');
        $SIG{CHLD} = 'DEFAULT';
        $reaped++ while waitpid(-1, 0) > 0;
        is($reaped, 31, 'and all were reaped');
    };

    subtest 'a handler in the subscriber' => sub {
        my %handlers = (
            'destroys it' => [sub { $_[0]->DESTROY }, 'destroyed during the call'],
            'undefines it' => [sub { undef $_[0] }, '(?:destroyed|replaced) during the call'],
            'replaces it' => [sub { $_[0] = $ring->subscribe }, 'replaced during the call'],
        );
        # Signals this process once, when it waits: a timer could be too early on a busy machine, or come twice.
        my $nudge = sub {
            my $kid = spawn(sub {
                my ($peer) = @_;
                $peer->hear;
                until_asleep(getppid);
                kill USR1 => getppid;
            });
            $kid->tell('go');
            return $kid;
        };
        for my $name (sort keys %handlers) {
            my ($how, $why) = @{ $handlers{$name} };
            for my $call (['poll_wait'], ['poll_wait_multi', 3]) {
                my ($method, @arguments) = @$call;
                my $victim = $ring->subscribe;
                local $SIG{USR1} = sub { $how->($victim) };
                my $kid = $nudge->();
                croaks_like(sub { $victim->$method(@arguments) }, "$method: .*$why", "$method: $name");
                $kid->end;
            }
        }
        my $victim = $ring->subscribe;
        local $SIG{USR1} = sub {
            $ring->publish_multi($v->values(1, 2));
            $victim->poll;
            undef $ring;
        };
        my $kid = $nudge->();
        is($victim->poll_wait, $v->value(2), 'polls it, and drops the ring: the rest is for the wait');
        $kid->end;
    };
});

subtest 'Ctrl-C' => sub {
    each_variant(sub {
        my ($v)  = @_;
        my $ring = $v->ring(16);
        for my $signal (qw(INT TERM HUP)) {
            my $kid = spawn(sub {
                my ($peer) = @_;
                $SIG{$signal} = 'DEFAULT';
                my $sub = $ring->subscribe;
                $peer->tell('ready');
                $sub->poll_wait;
            });
            $kid->hear;
            until_asleep($kid->pid);
            $kid->kill($signal);
            my $number = { INT => 2, TERM => 15, HUP => 1 }->{$signal};
            is($kid->end & 127, $number, "SIG$signal ends a process that waits");
        }
        my $kid = spawn(sub {
            my ($peer) = @_;
            local $SIG{INT} = sub { die "interrupted\n" };
            my $sub = $ring->subscribe;
            eval { $peer->tell('ready'); $sub->poll_wait };
            die "not interrupted but $@" if $@ ne "interrupted\n";
        });
        $kid->hear;
        until_asleep($kid->pid);
        $kid->kill('INT');
        reap('or runs its handler', $kid);
        $ring->publish($v->value(1));
        is($ring->subscribe_all->poll, $v->value(1), 'the ring is fine');
    });
};

done_testing;
