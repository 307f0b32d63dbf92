# poll_wait and poll_wait_multi: timeouts, and wake-ups.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

my $inf = 9**9**9;
my $nan = $inf / $inf;

each_variant(sub {
    my ($v)  = @_;
    my $ring = $v->ring(16);
    my $sub  = $ring->subscribe;

    subtest 'timeouts' => sub {
        for my $timeout (0, 0.0, '0', 1e-9, 0.001, 0.05, '0.01') {
            is_deeply([$sub->poll_wait($timeout)], [undef], "poll_wait($timeout) of an empty ring returns undef");
            is_deeply([$sub->poll_wait_multi(3, $timeout)], [], "poll_wait_multi(3, $timeout) of an empty ring returns nothing");
        }
        my @each = (undef, -1, -0.5, $inf, -$inf, 0, 0.5, 3, 1e300, '2', 9223372036854775807, 1e18);
        for my $timeout (@each) {
            my $name = $timeout // 'undef';
            $ring->publish_multi($v->values(1, 2));
            is($sub->poll_wait($timeout), $v->value(1), "poll_wait($name) returns a message that is there");
            is_deeply([$sub->poll_wait_multi(3, $timeout)], [$v->value(2)],
                "poll_wait_multi(3, $name) returns a message that is there");
        }
        $ring->publish($v->value(5));
        is($sub->poll_wait, $v->value(5), 'poll_wait without a timeout returns a message that is there');
        for my $case (['abc', '"abc"'], [$nan, '(?i:nan)'], ['1s', '"1s"'], ['nan', '"?(?i:nan)"?']) {
            my ($timeout, $shown) = @$case;
            my $must = "timeout must be a number of seconds, not $shown";
            croaks_like(sub { $sub->poll_wait($timeout) }, quotemeta($v->sub_class) . "->poll_wait: $must",
                "poll_wait croaks on timeout $shown");
            croaks_like(sub { $sub->poll_wait_multi(1, $timeout) }, "->poll_wait_multi: $must",
                "poll_wait_multi croaks on timeout $shown");
        }
        croaks_like(sub { $sub->poll_wait(1, 2) },          'Usage: ', 'poll_wait croaks on too many arguments');
        croaks_like(sub { $sub->poll_wait_multi },          'Usage: ', 'poll_wait_multi croaks on too few arguments');
        croaks_like(sub { $sub->poll_wait_multi(1, 2, 3) }, 'Usage: ', 'poll_wait_multi croaks on too many arguments');
    };

    subtest 'a publish by a child ends a wait' => sub {
        my $path  = fresh_path();
        my $named = $v->class->new($path, 16);
        my %rings = (anonymous => $ring, named => $named, memfd => $v->class->new_memfd('t', 16));
        for my $kind (sort keys %rings) {
            my $shared = $rings{$kind};
            my $reader = $shared->subscribe;
            my $kid    = spawn(sub {
                my ($peer) = @_;
                for my $way (1 .. 8) {
                    $peer->hear;
                    until_asleep(getppid) if $way % 2;
                    $way < 5 ? $shared->publish($v->value($way))
                        : $way < 7 ? $shared->publish_multi($v->values($way, $way + 2))
                        :            $shared->publish_notify($v->value($way));
                }
            });
            for my $way (1 .. 8) {
                $kid->tell('go');
                if ($way < 5) {
                    my $timeout = (undef, 60, -1, $inf)[$way - 1];
                    is($reader->poll_wait($timeout), $v->value($way), "$kind: publish wakes poll_wait");
                }
                else {
                    my @got = $reader->poll_wait_multi(3, $way == 5 ? () : undef);
                    cmp_ok(scalar @got, '>=', 1, "$kind: poll_wait_multi returns at least one message");
                    push @got, $reader->poll_wait while $way < 7 && @got < 3;
                    is_deeply(\@got, [$v->values($way, $way < 7 ? $way + 2 : $way)], "$kind: the batch is whole");
                }
            }
            reap("$kind: the publisher exits with 0", $kid);
        }
    };

    subtest 'an unrelated process' => sub {
        my $path = fresh_path();
        my $here = $v->class->new($path, 16);
        my $mine = $here->subscribe;
        my $kid  = spawn(sub {
            my ($output, $status) = run_perl(<<'PERL', $v->class, $path, getppid);
                require Data::PubSub::Shared;
                my ($class, $path, $waiter) = @ARGV;
                my $ring = $class->new($path);
                my $sub  = $ring->subscribe_all;
                $ring->publish(1);
                print $sub->poll, ' ', $sub->poll_wait(60);
PERL
            die $output if $status || $output ne '1 2';
        });
        is($mine->poll_wait, 1, 'a message of an unrelated process ends a wait');
        $here->publish(2);
        reap('the unrelated process is woken and exits with 0', $kid);
    };

    subtest 'many sleeping processes' => sub {
        my @kids = map {
            spawn(sub {
                my ($peer) = @_;
                my $reader = $ring->subscribe;
                $peer->tell('ready');
                my @got = map { $reader->poll_wait } 1 .. 3;
                die "got @got" if "@got" ne join ' ', $v->values(1, 3);
            });
        } 1 .. 8;
        $_->hear for @kids;
        until_asleep($_->pid) for @kids;
        $ring->publish($v->value(1));
        until_asleep($_->pid) for @kids;
        $ring->publish_multi($v->values(2, 3));
        reap('each process is woken and gets all messages', @kids);
    };

    subtest 'two processes answer each other' => sub {
        my ($there, $back) = map { $v->ring(4) } 1 .. 2;
        my $answers = $back->subscribe;
        my $kid = spawn(sub {
            my ($peer) = @_;
            my $calls = $there->subscribe;
            $peer->tell('ready');
            $back->publish($calls->poll_wait) for 1 .. 3000;
        });
        $kid->hear;
        my $wrong = 0;
        for my $n (1 .. 3000) {
            $there->publish($v->value($n));
            $wrong++ if $answers->poll_wait ne $v->value($n);
        }
        is($wrong, 0, 'no wake-up is lost in 3000 rounds');
        reap('the other process exits with 0', $kid);
    };
});

done_testing;
