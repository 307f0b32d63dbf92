# Signals during a wait: handlers run at once; their exceptions end the wait, otherwise the wait continues.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Time::HiRes qw(setitimer ITIMER_REAL);
use PubSubTest;

watchdog_process();

# A timer that fires repeatedly until its scope ends.
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
            ok(!$ok, "$name: an exception of a handler ends the wait");
            is($@, "wake up\n", "$name: the exception is passed on unchanged");
            $ring->publish($v->value(3));
            is($sub->poll, $v->value(3), "$name: the subscriber still works");
        };

        subtest "a handler that returns, $name" => sub {
            my $ticks = 0;
            local $SIG{ALRM} = sub { $ring->publish($v->value(4)) if ++$ticks == 5 };
            my $timer = ticking();
            is($wait->(), $v->value(4), "$name: the wait continues until there is a message");
            cmp_ok($ticks, '>=', 5, "$name: the handler ran for each signal");
        };
    }

    subtest 'signals do not extend a timeout' => sub {
        my $ticks = 0;
        local $SIG{ALRM} = sub { $ticks++ };
        my $timer = ticking();
        is($sub->poll_wait(0.1), undef, 'poll_wait times out despite frequent signals');
        is_deeply([$sub->poll_wait_multi(2, 0.1)], [], 'poll_wait_multi times out despite frequent signals');
        cmp_ok($ticks, '>', 0, 'the handler ran');
    };

    subtest 'children end during a wait' => sub {
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
        is($reaped, 31, 'all children were reaped');
    };

    subtest 'a handler uses the subscriber that waits' => sub {
        my %handlers = (
            'destroys it' => [sub { $_[0]->DESTROY }, 'destroyed during the call'],
            'undefines it' => [sub { undef $_[0] }, '(?:destroyed|replaced) during the call'],
            'replaces it' => [sub { $_[0] = $ring->subscribe }, 'replaced during the call'],
        );
        # Sends one signal to this process while it waits: a timer could fire too early on a busy host, or twice.
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
                croaks_like(sub { $victim->$method(@arguments) }, "$method: .*$why", "$method croaks if a handler $name");
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
        is($victim->poll_wait, $v->value(2),
            'a handler polls the subscriber and destroys the ring: poll_wait returns the next message');
        $kid->end;
    };
});

subtest 'signals that end a process' => sub {
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
        reap('SIGINT runs the handler of a process that waits', $kid);
        $ring->publish($v->value(1));
        is($ring->subscribe_all->poll, $v->value(1), 'the ring still works');
    });
};

done_testing;
