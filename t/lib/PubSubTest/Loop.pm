package PubSubTest::Loop;

# Tests of a subscriber's handle for all event loops. A test file supplies how its loop watches, runs and stops.

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use Test::More;

use PubSubTest;
use PubSubTest::Program;
use PubSubTest::Stranger;

our @EXPORT = qw(loop_ok example_ok);

# watch($fh, $code): a watcher; every($seconds, $code): a timer; unwatch($watcher or timer); run() until stop().
sub loop_ok {
    my ($name, %loop) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    subtest $name => sub {
        each_variant(sub { everything($_[0], %loop) });
        cmp_ok(thread_count(1), '==', 1, 'no thread is left after the loop') if !$loop{threads};
    };
    return;
}

sub everything {
    my ($v, %loop) = @_;
    my $path     = fresh_path();
    my $ring     = $v->ring(1024, $path);
    my @stranger = map { PubSubTest::Stranger->start($v->class, $path) } 1 .. 2;
    my $threads  = thread_count();

    subtest 'unrelated publishers' => sub {
        my ($sub, $calls, $empty, @got) = ($ring->subscribe, 0, 0);
        my $watcher = $loop{watch}->(
            $sub->fh,
            sub {
                my @some = $sub->drain(10);
                $calls++;
                $empty++ if !@some;
                push @got, @some;
                $loop{stop}->() if @got == 300;
            }
        );
        $_->ask(publish_multi => $v->values(1, 150)) for @stranger;
        $loop{run}->();
        $_->expect('done') for @stranger;
        $loop{unwatch}->($watcher);
        is_deeply(
            [sort @got], [sort map { ($_, $_) } $v->values(1, 150)],
            'all messages arrive, although each callback takes ten at most'
        );
        cmp_ok($calls, '>=', 30, 'the loop calls again for the other messages');
        is($empty, 0, 'no call comes without a message');
    };

    subtest 'one message at a time, answered by another process' => sub {
        my ($sub, $n) = ($ring->subscribe, 0);
        my $watcher = $loop{watch}->(
            $sub->fh,
            sub {
                my $got = $sub->poll;
                return $loop{stop}->() if !defined $got || $got ne $v->value($n) || $n == 100;
                $stranger[0]->ask(publish => $v->value(++$n));
            }
        );
        $stranger[0]->ask(publish => $v->value($n));
        $loop{run}->();
        is($n, 100, 'a hundred messages are answered');
        $stranger[0]->expect('done') for 0 .. 100;
        $loop{unwatch}->($watcher);
    };

    subtest 'other watchers while messages keep coming' => sub {
        my ($sub, $ticks, $seen) = ($ring->subscribe, 0, 0);
        my ($timer, $watcher);
        $watcher = $loop{watch}->(
            $sub->fh,
            sub {
                $sub->poll;
                $seen++;
                $ring->publish($v->value(1)) if $ticks < 3;    # so the handle is always readable
                $loop{stop}->() if $ticks >= 3;
            }
        );
        $timer = $loop{every}->(0.002, sub { $ticks++ });
        $ring->publish($v->value(1));
        $loop{run}->();
        cmp_ok($ticks, '>=', 3, 'a timer runs while messages keep coming');
        $loop{unwatch}->($_) for $watcher, $timer;
    };

    subtest 'subscribers are destroyed in their callbacks' => sub {
        my %watched;
        my $calls = 0;
        for my $n (1 .. 4) {
            my $sub = $ring->subscribe;
            $watched{$n} = { sub => $sub };
            $watched{$n}{watcher} = $loop{watch}->(
                $sub->fh,
                sub {
                    my $mine = $watched{$n} or return fail('no callback is called for a destroyed subscriber');
                    $calls++;
                    $mine->{sub}->poll;
                    return if ++$mine->{calls} < $n;
                    $loop{unwatch}->($mine->{watcher});
                    delete $watched{$n};
                    $loop{stop}->() if !%watched;
                }
            );
            undef $sub;
        }
        $stranger[1]->ask(count => 1, 20) if !$v->is_str;
        $stranger[1]->ask(publish_multi => $v->values(1, 20)) if $v->is_str;
        $loop{run}->();
        $stranger[1]->expect('done');
        is($calls, 1 + 2 + 3 + 4, 'each callback is called until its subscriber is destroyed');
        is(thread_count($threads), $threads, 'the threads end with their subscribers');
    };

    subtest 'signals' => sub {
        my ($sub, $came) = ($ring->subscribe, 0);
        my $watcher = $loop{watch}->($sub->fh, sub { $sub->drain; $loop{stop}->() if $came });
        local $SIG{USR1} = sub { $came++; $ring->publish($v->value(1)) };
        my $kid = spawn(sub { my ($peer) = @_; $peer->hear; until_asleep(getppid); kill USR1 => getppid });
        my $timer = $loop{every}->(0.01, sub { });    # some loops check for signals only between their turns
        $kid->tell('go');
        $loop{run}->();
        is($came, 1, 'the signal handler runs once');
        $loop{unwatch}->($_) for $watcher, $timer;
        end($kid);
    };

    end($_) for @stranger;
    return;
}

# Some loops reap all children themselves.
sub end {
    my ($kid) = @_;
    shutdown $kid->{socket}, 1;
    is($kid->hear, undef, 'a process closes its end');
    eval { $kid->end };
    return;
}

# The example program for this loop works.
sub example_ok {
    my ($name, @arguments) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $program = "$FindBin::Bin/../eg/$name.pl";
    SKIP: {
        skip 'the examples are missing', 1 if !-e $program;
        my ($out, $status) = run_file($program, '--messages', 500, @arguments);
        is($status, 0, "$name exits with 0") or diag($out);
        like($out, qr/^1000 messages of 2 publishers, 0 lost/m, "$name gets all messages");

        ($out, $status) = run_file($program, '--help');
        is($status, 0, "$name --help exits with 0");
        like($out, qr/Usage:.*\Q$name\E\.pl/s, "$name --help prints its usage");
        is((run_file($program, '--nonsense'))[1] >> 8, 2, "$name --nonsense exits with 2");

        # In the background, with a ring to which the same program publishes in another process.
        my $path = fresh_path();
        my ($pid, $follower) = read_perl(sub { }, $program, '--ring', $path);
        my $hello = "it runs\n";
        my $ring;
        1 until -e $path && ($ring = eval { Data::PubSub::Shared::Str->new($path) });
        my $waits = $ring->subscribe;
        1 until $ring->stats->{sub_waiters};    # its thread sleeps, so it has subscribed
        my $feed = open(my $lines, '|-') // die "fork: $!";
        exec_perl($program, '--ring', $path, '--publish') if !$feed;
        print {$lines} $hello;
        ok(close $lines, "$name --publish exits with 0");
        is($waits->poll, 'it runs', "$name --publish publishes its input");
        # The follower prints when its buffer is full, or when it ends.
        1 until -e "/proc/$pid" && $ring->stats->{sub_waiters};
        kill INT => $pid;
        is(do { local $/; <$follower> } =~ s/^\d+ messages.*//msr, $hello, "$name --ring prints the messages until SIGINT");
        ok(close $follower, "$name --ring exits with 0");
    }
    return;
}

1;
