# Storms of signals to processes that wait, publish, and run callbacks: handlers that return do not disturb them;
# exceptions of handlers end the current call, and lose at most the messages that it had taken.

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

our $in_call = 0;    # a handler may die only inside a call

watchdog_process();

# Sends signals to these processes all the time.
sub signaller {
    my (@pids) = @_;
    return spawn(sub {
        XT::in_storm();
        while (1) {
            kill((qw(USR1 USR2 CHLD))[random(3)], $pids[random(scalar @pids)]);
            select undef, undef, undef, rand 0.0004 if !random(3);
        }
    });
}

# Reads with blocking calls until the last message. The messages are 0, 1, 2 ... LAST.
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
                # Messages that a call had taken before a handler died are lost with it.
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

# Publishes until all numbers are used or the time is up.
sub storm {
    my ($v, $dies, $end) = @_;
    my $ring  = $v->ring(1 << 15);
    my $board = XT::Board->new(2);
    my @kids  = map { reader($v, $ring->subscribe, $dies, $board, $_) } 0, 1;
    $_->hear for @kids;

    # The publisher gets signals, too; its handler publishes to another ring.
    my $aside  = $v->ring(16);
    my $inside = 0;
    local $SIG{USR1} = local $SIG{USR2} = local $SIG{CHLD} = sub { $inside++; $aside->publish($v->value(1)) };
    my $signaller = signaller($$, map { $_->pid } @kids);
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
    $signaller->kill('KILL');
    $signaller->end;
    for my $report (@reports) {
        my ($wrong, $handled, $died, $passed) = @$report;
        is($wrong, 0, 'no message is missing or delivered twice');
        cmp_ok($handled, '>', 0, "the reader handled $handled signals");
        cmp_ok($died, $dies ? '>' : '==', 0, "handlers of the reader ended $died calls");
        is($passed, $ring->write_pos, 'all positions were passed and no message was lost');
    }
    is_deeply([map { $_->end } @kids], [0, 0], 'the readers exit with 0');
    cmp_ok($inside, '>', 0, "the publisher handled $inside signals");
    is($aside->write_pos, $inside, 'each handler of the publisher published a message');
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
