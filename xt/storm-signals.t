# Storms of signals upon processes that wait, publish, and call back: handlers that return run and
# nothing else happens; handlers that die end the call they came in, and lose nothing but what it had.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Board;
use PubSubTest;
use POSIX ();
use Test::More;
use Time::HiRes qw(setitimer ITIMER_REAL);

use constant { COUNT => 30_000, LAST => 32_767 };

our $in_call = 0;    # only there may a handler die

watchdog_process();

# Signals everybody, all the time, and makes children die under those who ask for it.
sub tormentor {
    my (@pids) = @_;
    return spawn(sub {
        XT::in_storm();
        while (1) {
            kill((qw(USR1 USR2 CHLD))[random(3)], $pids[random(scalar @pids)]);
            select undef, undef, undef, rand 0.0004 if !random(3);
        }
    });
}

# Reads by blocking calls until the last message. What comes is 0, 1, 2 ... LAST.
sub reader {
    my ($v, $sub, $dies, $board, $who) = @_;
    return spawn(sub {
        my ($peer) = @_;
        XT::in_storm();
        $board->attach;
        my ($handled, $reaped, $died, $next, $wrong) = (0) x 5;
        $SIG{USR1} = $SIG{USR2} = sub { $handled++ };
        $SIG{USR2} = sub { $handled++; die "hit\n" if $in_call } if $dies;
        $SIG{CHLD} = sub { $handled++; $reaped++ while waitpid(-1, POSIX::WNOHANG()) > 0 };
        $SIG{ALRM} = sub { $handled++ };
        setitimer(ITIMER_REAL, 0.001, 0.0007);
        $peer->tell('ready');
        until ($next > LAST) {
            my @got;
            my $ok = eval {
                local $in_call = 1;
                my $way = random(4);
                @got = $way == 0 ? scalar $sub->poll_wait
                    : $way == 1  ? $sub->poll_wait_multi(1 + random(20))
                    : $way == 2  ? $sub->poll_wait(rand 0.01)
                    :              $sub->poll_wait_multi(1 + random(20), rand 0.01);
                1;
            };
            if (!$ok) { $@ eq "hit\n" ? $board->set($who, ++$died) : die $@ }
            for my $message (grep {defined} @got) {
                # What a dying call had taken already is gone with it.
                my $number = $message =~ s/\D+//r;
                $wrong++ if $dies ? $number < $next : $number != $next && $number != LAST;
                $next = $number + 1;
            }
            if (!random(50)) { my $kid = fork; POSIX::_exit(0) if defined $kid && !$kid }
        }
        setitimer(ITIMER_REAL, 0);
        $SIG{$_} = 'IGNORE' for qw(USR1 USR2 CHLD);
        $peer->tell("$wrong $handled $died " . ($sub->cursor - $sub->overflow_count));
    });
}

# Until the numbers or the time are used up.
sub storm {
    my ($v, $dies, $end) = @_;
    my $ring  = $v->ring(1 << 15);
    my $board = XT::Board->new(2);
    my @kids  = map { reader($v, $ring->subscribe, $dies, $board, $_) } 0, 1;
    $_->hear for @kids;

    # The publisher is hit as well; a handler of its own publishes elsewhere.
    my $aside  = $v->ring(16);
    my $inside = 0;
    local $SIG{USR1} = local $SIG{USR2} = local $SIG{CHLD} = sub { $inside++; $aside->publish($v->value(1)) };
    my $tormentor = tormentor($$, map { $_->pid } @kids);
    my $n = 0;
    while ($n < COUNT && now() < $end) {
        $ring->publish_multi($v->values($n, $n + 9));
        $n += 10;
        $ring->publish($v->value($n++));
        select undef, undef, undef, 0.0001 if !random(4);
    }
    select undef, undef, undef, 0.001 while $dies && grep { !$_ } $board->get(0, 2);
    $ring->publish($v->value(LAST));
    my @reports = map { [split ' ', $_->hear // ''] } @kids;
    $tormentor->kill('KILL');
    $tormentor->end;
    for my $report (@reports) {
        my ($wrong, $handled, $died, $passed) = @$report;
        is($wrong, 0, 'nothing missing, nothing twice');
        cmp_ok($handled, '>', 0, "$handled signals were handled");
        cmp_ok($died, $dies ? '>' : '==', 0, "$died ended a call");
        is($passed, $ring->write_pos, 'all was passed and nothing lost');
    }
    is_deeply([map { $_->end } @kids], [0, 0], 'the readers end');
    cmp_ok($inside, '>', 0, "the publisher handled $inside");
    is($aside->write_pos, $inside, 'publishing in each');
    return;
}

each_variant(sub {
    my ($v) = @_;
    for my $dies (0, 1) {
        subtest $dies ? 'one handler dies' : 'all handlers return' => sub {
            my $end = now() + 0.2 * seconds();
            do { storm($v, $dies, $end) } while now() < $end;
        };
    }
});

done_testing;
