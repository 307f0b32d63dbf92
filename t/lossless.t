# Lossless rings: publishers wait for readers as long as these are alive, and no message is overwritten before all of them
# have read it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use POSIX qw(WUNTRACED);
use PubSubTest;

# Signals in this test are sent by children, never by a timer.
my $number = 0;

# A child that subscribes with these options and then reads as many messages as each command says.
sub reader {
    my ($ring, %options) = @_;
    my $kid = spawn(sub {
        my ($peer) = @_;
        my $sub = eval { $ring->subscribe(%options) };
        $peer->tell($sub ? 'ready' : $@);
        while ($sub && defined(my $line = $peer->hear)) {
            return if $line eq 'end';
            my @got;
            push @got, $sub->poll_wait while @got < $line;
            $peer->tell(join '|', @got);
        }
    });
    my $said = $kid->hear;
    is($said, 'ready', 'a reader subscribes') if $said ne 'ready';
    return $kid;
}

# A child that runs $code, most likely asleep in it when this returns, and then sends its result or its exception.
sub waiting {
    my ($code) = @_;
    my $kid = spawn(sub {
        my ($peer) = @_;
        $peer->tell('ready');
        my $result = eval { $code->() };
        $peer->tell($@ || $result);
    });
    $kid->hear;
    until_asleep($kid->pid);
    return $kid;
}

sub said { my ($kid) = @_; my $said = $kid->hear; $kid->end; return $said }

# A child that sends us a signal whenever we sleep, until it is told to stop.
sub signaller {
    my ($signal) = @_;
    my $parent = $$;
    return spawn(sub {
        my ($peer) = @_;
        until (readable($peer->{socket})) {
            until_asleep($parent);
            kill $signal => $parent;
            select undef, undef, undef, 0.001;
        }
    });
}

# All ways to publish: name => code that publishes $count values beginning with number $from.
sub ways {
    my ($v, $ring) = @_;
    my $keyword = eval sprintf 'use %s; sub { %s $_[0], $_[1] }', $v->class, $v->keyword('publish') or die $@;
    my %ways = (
        publish        => sub { $ring->publish($_)        for $v->values($_[0], $_[0] + $_[1] - 1); 1 },
        publish_notify => sub { $ring->publish_notify($_) for $v->values($_[0], $_[0] + $_[1] - 1); 1 },
        publish_wait   => sub { $ring->publish_wait($_)   for $v->values($_[0], $_[0] + $_[1] - 1); 1 },
        keyword        => sub { $keyword->($ring, $_)     for $v->values($_[0], $_[0] + $_[1] - 1); 1 },
        publish_multi  => sub { $ring->publish_multi($v->values($_[0], $_[0] + $_[1] - 1)) },
    );
    $ways{publish_packed} = sub { $ring->publish_packed(pack $v->template . '*', $v->values($_[0], $_[0] + $_[1] - 1)) } if !$v->is_str;
    return %ways;
}

each_variant(sub {
    my ($v) = @_;
    my $new = sub { my ($capacity, %more) = @_; return $v->class->new(undef, $capacity, lossless => 1, %more) };
    # A full ring of 4 and its reader.
    my $full = sub {
        my (%options) = @_;
        my $ring   = $new->(4, %options);
        my $reader = reader($ring);
        $ring->publish_multi($v->values(1, 4));
        return ($ring, $reader);
    };

    subtest 'lossless and keep are properties of the ring' => sub {
        my $path = fresh_path();
        my $ring = $v->class->new($path, 4, lossless => 1, keep => 1.5);
        is_deeply([@{ $ring->stats }{qw(lossless keep)}], [1, 1.5], 'stats of the process that created the ring');
        is_deeply([@{ $v->class->new($path)->stats }{qw(lossless keep)}], [1, 1.5], 'stats of a handle that opens the ring later');
        is_deeply([@{ $v->ring(4)->stats }{qw(lossless keep)}], [0, undef], 'stats of a ring that is not lossless');
        my @warned;
        local $SIG{__WARN__} = sub { push @warned, @_ };
        $v->class->new(my $other = fresh_path(), 4);
        $v->class->new($other, 4, lossless => 1);
        like("@warned", qr/lossless was asked for, the ring is not/, 'opening another ring as lossless warns');
        croaks_like(sub { $v->class->new($other, 4, lossless => 1, strict => 1) }, qr/lossless was asked for, the ring is not/,
            'opening another ring as lossless and strict croaks');
        croaks_like(sub { $v->class->new($path, 4, lossless => 1, keep => 2, strict => 1) }, qr/keep 2 was asked for, the ring has 1.5/, 'opening with another keep and strict croaks');
        croaks_like(sub { $v->class->new(undef, 4, keep => 1) }, qr/keep is for lossless rings/, 'keep without lossless croaks');
        croaks_like(sub { $new->(4, keep => -1) }, qr/keep must be a number of seconds from 0 to 4294967, not -1/,
            'a negative keep croaks');
        croaks_like(sub { $new->(4, readers => 0) }, qr/a lossless ring needs a table of readers: readers must not be 0/,
            'a lossless ring without a table of readers croaks');
        is($v->class->new_memfd('t', 4, lossless => 1)->stats->{lossless}, 1, 'a memfd ring can be lossless');
    };

    subtest 'a lossless ring without readers' => sub {
        my $ring = $new->(4);
        ok($ring->publish($_), 'publish does not wait') for $v->values(1, 9);
        is_deeply([$ring->subscribe_all->drain], [$v->values(6, 9)], 'old messages are overwritten if there are no readers');
        ok($ring->wait_for_readers, 'wait_for_readers returns at once');
        is_deeply([$ring->waiting_for], [], 'waiting_for returns no reader');
    };

    subtest 'a full ring' => sub {
        my $ring = $new->(4);
        my $kid  = reader($ring);
        ok($ring->try_publish($_), 'try_publish succeeds until the ring is full') for $v->values(1, 4);
        my ($slow, @more) = $ring->waiting_for;
        is_deeply([@$slow{qw(pid lag alive)}, @more], [$kid->pid, 4, 1], 'waiting_for returns the reader of the oldest message');
        ok(!$ring->try_publish($v->value(5)), 'try_publish fails if the ring is full');
        ok(!$ring->publish_wait($v->value(5), $_), "publish_wait with a timeout of $_ s times out if the ring is full") for 0, 0.01;
        is($ring->write_pos, 4, 'a failed publish leaves no message');
        is(asked($kid, 1), $v->value(1), 'the reader reads one message');
        ok($ring->publish_wait($v->value(5)), 'publish_wait succeeds once one message was read');
        ok(!$ring->try_publish($v->value(6)), 'try_publish fails when the ring is full again');
        is(asked($kid, 4), join('|', $v->values(2, 5)), 'the reader reads all messages in order');
        is_deeply([$ring->waiting_for], [], 'waiting_for returns no reader once all is read');
        my ($it) = $ring->readers;
        is_deeply([@$it{qw(position delivered lost)}], [5, 5, 0], 'the entry of the reader counts no lost message');
        croaks_like(sub { $ring->publish_wait($v->value(1), 'x') }, qr/timeout must be a number of seconds, not "x"/,
            'publish_wait croaks on a timeout that is not a number');
        finished($kid);
    };

    my %ways = ways($v, $new->(4));
    for my $way (sort keys %ways) {
        subtest "$way waits while the ring is full" => sub {
            my ($ring, $reader) = $full->();
            my $more = $way eq 'publish_packed' ? 9 : 3;
            my $kid = waiting(sub { +{ ways($v, $ring) }->{$way}->(5, $more) });
            is($ring->write_pos, 4, "$way waits and has published nothing");
            is(asked($reader, 4), join('|', $v->values(1, 4)), 'the unread messages were not overwritten');
            is(asked($reader, $more), join('|', $v->values(5, 4 + $more)),
                'the messages that waited are published once there is room');
            ok(said($kid), "$way returns true");
            finished($reader);
        };
    }

    subtest 'publish_multi waits until there is room for the whole batch' => sub {
        my $ring = $new->(4);
        my $kid  = reader($ring);
        is($ring->publish_multi($v->values(1, 4)), 4, 'a batch as large as the ring is published');
        my $batch = waiting(sub { $ring->publish_multi($v->values(5, 8)) });
        is(asked($kid, 3), join('|', $v->values(1, 3)), 'the reader reads three of four messages');
        is($ring->write_pos, 4, 'the batch waits, although part of it would fit');
        is(asked($kid, 5), join('|', $v->values(4, 8)), 'the whole batch is published once there is room');
        is(said($batch), 4, 'publish_multi returns the size of the batch');
        croaks_like(sub { $ring->publish_multi($v->values(1, 5)) },
            qr/->publish_multi: 5 messages at once never fit a lossless ring of capacity 4/, 'a batch larger than the ring croaks');
        is($ring->write_pos, 8, 'a batch that croaks publishes nothing');
        finished($kid);
    };

    subtest 'several readers and publishers' => sub {
        my $ring = $new->(8);
        my $all  = 600;
        my @readers = map {
            my $id = $_;
            spawn(sub {
                my ($peer) = @_;
                my $sub = $ring->subscribe($id == 1 ? (name => 'first') : ());
                $peer->tell('ready');
                my (@got, %last);
                while (@got < 3 * $all) {
                    my @new = $id == 1 ? $sub->poll_wait : $id == 2 ? $sub->poll_wait_multi(5) : $sub->poll_wait_multi(100);
                    push @got, @new;
                }
                my $disorder = 0;
                for (@got) {
                    my ($n) = /(\d+)/;
                    my $from = int $n / 1000;
                    $disorder++ if $n % 1000 != ($last{$from} // -1) + 1;
                    $last{$from} = $n % 1000;
                }
                $peer->tell(join ' ', scalar(@got), $disorder, $sub->overflow_count);
            })
        } 1 .. 3;
        $_->hear for @readers;
        my @publishers = map {
            my $id = $_;
            spawn(sub {
                for (my $n = 0; $n < $all;) {
                    my $batch = $id == 1 ? 1 : $id * 2;
                    $ring->publish_multi(map { $v->value($id * 1000 + $n++) } 1 .. $batch);
                }
            })
        } 1 .. 3;
        is($_->hear, 3 * $all . ' 0 0', 'a reader gets all messages of each publisher, in order') for @readers;
        reap('the publishers and readers exit with 0', @publishers, @readers);
    };

    subtest 'signal handlers run while a publisher waits' => sub {
        local $SIG{USR1} = sub { $number++ };
        my ($ring, $reader) = $full->();
        my %ways  = ways($v, $ring);
        for my $way (sort keys %ways) {
            local $SIG{USR1} = sub { die "enough\n" };
            my $kid = signaller('USR1');
            my $end = eval { $ways{$way}->(1, 2) } // $@;
            # Ignored before anything else sleeps: another signal may be on its way. Assigned: `local` would set the default action
            # for a moment.
            $SIG{USR1} = 'IGNORE';
            $kid->tell('stop');
            $kid->end;
            is($end, "enough\n", "$way: an exception of a handler ends the wait");
        }
        is($ring->write_pos, 4, 'a publish that a handler ended leaves no message');

        $number = 0;
        local $SIG{USR1} = sub { $reader->tell(1) if ++$number == 5 };
        my $kid = signaller('USR1');
        ok($ring->publish($v->value(5)), 'publish waits on after handlers return, until there is room');
        $SIG{USR1} = 'IGNORE';
        $kid->tell('stop');
        $kid->end;
        is($reader->hear, $v->value(1), 'the reader has read one message on command of a handler');
        cmp_ok($number, '>=', 5, 'the handler ran for each signal');

        for my $how (['destroys it', sub { $_[0]->DESTROY }, 'destroyed'], ['replaces it', sub { $_[0] = $new->(4) }, 'replaced']) {
            my ($name, $code, $why) = @$how;
            for my $call ('publish', 'publish_wait', 'publish_multi', 'wait_for_readers') {
                my ($victim, $its) = $full->();
                local $SIG{USR1} = sub { $code->($victim) if $victim };
                my $kid = signaller('USR1');
                croaks_like(sub { $victim->$call($call eq 'wait_for_readers' ? () : $v->value(1)) }, qr/->$call: .*$why during the call/,
                    "$call: a handler that $name");
                $SIG{USR1} = 'IGNORE';
                $kid->tell('stop');
                $kid->end;
                finished($its, 'KILL');
            }
        }
        finished($reader);
    };

    subtest 'wait_for_readers of a lossless ring' => sub {
        my $ring = $new->(4);
        my @kids = map { reader($ring) } 1, 2;
        my $lazy = reader($ring, lossy => 1);
        ok($ring->wait_for_readers, 'wait_for_readers returns at once before the first publish');
        $ring->publish_multi($v->values(1, 3));
        ok(!$ring->wait_for_readers($_), "wait_for_readers times out after $_ s if no reader has read") for 0, 0.01;
        my $wait = waiting(sub { $ring->wait_for_readers });
        asked($kids[0], 3);
        ok(!$ring->wait_for_readers(0), 'wait_for_readers(0) returns false after one of two readers has read');
        asked($kids[1], 3);
        is(said($wait), 1, 'wait_for_readers returns after both have read, and does not wait for the lossy reader');
        ok($ring->wait_for_readers(0), 'wait_for_readers(0) returns true after both have read');
        $ring->publish($v->value(4));
        $wait = waiting(sub { $ring->wait_for_readers });
        $ring->publish($v->value(5));
        asked($kids[0], 1);
        asked($kids[1], 1);
        is(said($wait), 1, 'wait_for_readers does not wait for messages that are published after its call');
        finished($_) for @kids, $lazy;
    };

    subtest 'lossy readers are skipped' => sub {
        my $ring = $new->(4);
        my $lazy = $ring->subscribe(lossy => 1);
        $ring->publish($_) for $v->values(1, 9);
        is_deeply([$ring->waiting_for], [], 'waiting_for does not return a lossy reader');
        is_deeply([$lazy->drain], [$v->values(6, 9)], 'a lossy reader that was lapped gets the messages that are left');
        is($lazy->overflow_count, 5, 'a lossy reader counts the messages that it lost');
        my $far = $v->class->new_memfd('t', 4, lossless => 1);
        open my $fd, '<', '/proc/self/fd/' . $far->memfd or die "open: $!";
        my $sub = $v->class->new_from_fd(fileno $fd)->subscribe_all;
        $far->publish($_) for $v->values(1, 9);
        is_deeply([$sub->drain], [$v->values(6, 9)], 'publishers do not wait for subscribers of read-only handles');
    };

    subtest 'a reader is killed, exits, is stopped or released' => sub {
        my ($ring, $reader) = $full->();
        my $wait = waiting(sub { $ring->publish($v->value(5)) });
        finished($reader, 'KILL');
        is(said($wait), 1, 'a publisher that waits for a reader continues once that reader is killed');
        is_deeply([$ring->readers], [], 'the entry of the killed reader is freed');

        ($ring, $reader) = $full->();
        $wait = waiting(sub { $ring->publish($v->value(5)) });
        finished($reader);
        is(said($wait), 1, 'a publisher that waits for a reader continues once that reader exits');

        ($ring, $reader) = $full->();
        $reader->kill('STOP');
        waitpid $reader->pid, WUNTRACED;
        $wait = waiting(sub { $ring->publish($v->value(5)) });
        is($ring->publish_wait($v->value(6), 0.05), '', 'a publisher waits for a stopped reader');
        is(($ring->waiting_for)[0]{pid}, $reader->pid, 'waiting_for returns the stopped reader');
        $reader->kill('CONT');
        is(asked($reader, 5), join('|', $v->values(1, 5)), 'a continued reader gets all messages');
        is(said($wait), 1, 'the publisher continues after the reader has');
        finished($reader);

        $ring = $new->(4);
        my $sub = $ring->subscribe;
        $ring->publish_multi($v->values(1, 4));
        ok(!$ring->try_publish($v->value(5)), 'try_publish fails while the subscriber has not read');
        $sub->release;
        ok($ring->publish($v->value(5)), 'publish does not wait for a released subscriber');
        is_deeply([$sub->drain, $sub->overflow_count], [$v->values(2, 5), 1], 'a released subscriber may lose messages');
    };

    subtest 'named readers that are away' => sub {
        my $path = fresh_path();
        my $ring = $v->class->new($path, 4, lossless => 1);
        my $kid  = reader($ring, name => 'audit');
        $ring->publish_multi($v->values(1, 4));
        finished($kid, 'KILL');
        ok($ring->publish($v->value(5)), 'without keep, publishers do not wait for a named reader that is away');
        my $sub = $ring->subscribe(name => 'audit');
        is_deeply([$sub->drain, $sub->overflow_count], [$v->values(2, 5), 1], 'a named reader that comes back counts what it lost');

        $ring = $v->class->new(fresh_path(), 4, lossless => 1, keep => 3600);
        $kid  = reader($ring, name => 'audit');
        $ring->publish_multi($v->values(1, 4));
        is(asked($kid, 1), $v->value(1), 'the reader reads one message');
        finished($kid, 'KILL');
        ok($ring->publish_wait($v->value(5), 0.1),
            'with keep, a publisher gets the room of a message that was read before the reader ended');
        ok(!$ring->publish_wait($v->value(6), 0.1), 'with keep, publishers wait for a named reader that is away');
        my ($away, @others) = $ring->waiting_for;
        is_deeply([@$away{qw(name alive lag)}, @others], ['audit', 0, 4], 'waiting_for returns the named reader that is away');
        my $wait = waiting(sub { $ring->publish($v->value(6)) });
        $sub = $ring->subscribe(name => 'audit');
        is_deeply([map { $sub->poll_wait } 1 .. 5], [$v->values(2, 6)], 'the reader that comes back gets all messages');
        is(said($wait), 1, 'the publisher that waited returns');
        is($sub->overflow_count, 0, 'the reader that came back lost nothing');
        undef $sub;
        $ring->publish_multi($v->values(7, 10));
        ok(!$ring->try_publish($v->value(11)), 'publishers wait again after the reader has ended again');
        $wait = waiting(sub { $ring->publish($v->value(11)) });
        $ring->forget('audit');
        is(said($wait), 1, 'a publisher stops waiting for a forgotten reader');

        $ring = $v->class->new(undef, 4, lossless => 1, keep => 0.001);
        $sub  = $ring->subscribe(name => 'audit');
        $ring->publish_multi($v->values(1, 4));
        undef $sub;
        ok($ring->publish($v->value(5)), 'publishers do not wait for a reader that has been away for longer than keep');
        $sub = $ring->subscribe(name => 'audit');
        is_deeply([$sub->drain, $sub->overflow_count], [$v->values(2, 5), 1],
            'a reader that was away for longer than keep has lost a message');
    };

    subtest 'a process that publishes to its own subscriber' => sub {
        my $ring = $new->(4);
        my $sub  = $ring->subscribe;
        $ring->publish_multi($v->values(1, 4));
        my $why  = qr/would wait forever for this process's own subscriber, which is read in this thread/;
        my %ways = ways($v, $ring);
        for my $way (sort keys %ways) {
            my $call = $way eq 'keyword' ? $v->keyword('publish') . ':' : "->$way:";
            croaks_like(sub { $ways{$way}->(5, 1) }, qr/\Q$call\E .*$why/,
                "$way croaks instead of waiting for this process itself");
        }
        croaks_like(sub { $ring->wait_for_readers }, qr/->wait_for_readers: .*$why/,
            'wait_for_readers croaks instead of waiting for this process itself');
        ok(!$ring->publish_wait($v->value(5), 0.01), 'publish_wait with a timeout times out');
        ok(!$ring->try_publish($v->value(5)), 'try_publish fails');
        is($ring->write_pos, 4, 'none of these calls published a message');
        is_deeply([$sub->drain], [$v->values(1, 4)], 'the subscriber gets all earlier messages');
        ok($ring->publish($v->value(5)), 'publish succeeds once the subscriber has read');
        my $other = waiting(sub { $ring->publish_multi($v->values(6, 9)) });
        is_deeply([map { $sub->poll_wait } 1 .. 5], [$v->values(5, 9)], 'a publisher in another process waits for this subscriber');
        is(said($other), 4, 'that publisher returns once there is room');
    };

    subtest 'clear, reset and cursor' => sub {
        my ($ring, $reader) = $full->();
        my $wait = waiting(sub { $ring->publish($v->value(5)) });
        $ring->clear;
        is(said($wait), 1, 'clear ends the wait of a publisher');
        is(asked($reader, 1), $v->value(5), 'a reader continues after clear with the next message');
        finished($reader);

        $ring = $new->(4);
        my $sub = $ring->subscribe;
        $ring->publish_multi($v->values(1, 4));
        $sub->drain;
        $sub->reset_oldest;
        ok(!$ring->try_publish($v->value(5)), 'publishers wait for a subscriber that was set back');
        is_deeply([$sub->drain], [$v->values(1, 4)], 'a subscriber that was set back reads the messages again');
        ok($ring->try_publish($v->value(5)), 'try_publish succeeds once they are read again');
        is($sub->cursor(1), 1, 'the cursor can be set back to a message that the ring holds');
        ok(!$ring->try_publish($v->value(6)), 'try_publish fails after the cursor was set back');
        $sub->reset;
        ok($ring->try_publish($_), 'try_publish succeeds after reset has skipped messages') for $v->values(6, 9);
        is_deeply([$sub->drain, $sub->overflow_count], [$v->values(6, 9), 0],
            'the subscriber gets all later messages and lost none');
        $sub->cursor(0);
        ok(!$ring->try_publish($v->value(10)), 'a cursor before the oldest message holds the oldest message');
        is_deeply([$sub->drain, $sub->overflow_count], [$v->values(6, 9), 5],
            'a cursor before the oldest message counts the gap as lost');
        my $old = $ring->subscribe_all;
        ok(!$ring->try_publish($v->value(10)), 'publishers wait for the oldest message of subscribe_all');
        is_deeply([$old->drain], [$v->values(6, 9)], 'subscribe_all gets all messages that the ring holds');

        # Publishers get permission for an eighth of the ring at a time.
        $ring = $new->(16);
        $sub  = $ring->subscribe;
        $ring->publish_multi($v->values(1, 16));
        $sub->drain;
        $ring->publish($v->value(17));
        $sub->cursor(1);
        ok($ring->try_publish($v->value(18)), 'setting the cursor back does not revoke the room that publishers already have');
        ok(!$ring->try_publish($v->value(19)), 'publishers wait once that room is used');
        is_deeply([$sub->drain, $sub->overflow_count], [$v->values(3, 18), 1],
            'the subscriber counts messages that were overwritten in that room as lost');
    };

    subtest 'a full table' => sub {
        my $ring = $new->(4, readers => 1);
        my $sub  = $ring->subscribe;
        croaks_like(sub { $ring->$_ }, qr/->$_: the table of readers is full \(1\)/,
            "$_ croaks if the table is full") for qw(subscribe subscribe_all);
        my $lazy = $ring->subscribe(lossy => 1);
        is($ring->stats->{unlisted}, 3, 'a lossy subscriber needs no entry');
        undef $sub;
        lives(sub { $sub = $ring->subscribe }, 'subscribe succeeds once an entry is freed');
    };
});

# --- Tests that need only one variant

my $int = variant('Int');

subtest 'publishers wait for a subscriber in a forked child' => sub {
    my $ring = $int->class->new(undef, 4, lossless => 1);
    my $sub  = $ring->subscribe;
    my $kid  = spawn(sub {
        my ($peer) = @_;
        $peer->tell($sub->poll // 'none');
        $peer->hear;
        $peer->tell(join ' ', map { $sub->poll_wait } 1 .. 6);
    });
    is($kid->hear, 'none', 'the child finds the ring empty');
    my $wait = waiting(sub { $ring->publish($_) for 1 .. 6; 1 });
    is_deeply([map { $sub->poll_wait } 1 .. 4], [1 .. 4], 'the parent reads four messages');
    is_deeply([map { $_->{pid} } $ring->waiting_for], [$kid->pid], 'waiting_for returns the child');
    $kid->tell('go');
    is_deeply([map { $sub->poll_wait } 1, 2], [5, 6], 'the parent reads on once the child has read');
    is($kid->hear, '1 2 3 4 5 6', 'the child gets all messages');
    is(said($wait), 1, 'the publisher returns');
    reap('the child exits with 0', $kid);
};

subtest 'rings on which a reader cannot be seen to be alive' => sub {
    my $path = fresh_path();
    my $ring = $int->class->new($path, 4, lossless => 1);
    unlink $path or die "unlink: $!";
    croaks_like(sub { $ring->subscribe }, qr/->subscribe: publishers of this lossless ring could not tell whether this reader lives: its file was removed/,
        'subscribe croaks if the file of the ring is removed');
    lives(sub { $ring->subscribe(lossy => 1) }, 'a lossy subscriber needs no file');

    my $kid = spawn(sub {
        my ($peer) = @_;
        my $dir = fresh_dir();
        my $why = small_disk($dir, 'size=2m');
        return $peer->tell($why) if $why;
        mkdir "$dir/$_" or die "mkdir: $!" for qw(lower upper work ring);
        system("mount -t overlay -o lowerdir=$dir/lower,upperdir=$dir/upper,workdir=$dir/work none $dir/ring 2>/dev/null") == 0
            or return $peer->tell('no overlayfs');
        $peer->tell('mounted');
        my $made = eval { $int->class->new("$dir/ring/a", 4, lossless => 1); 1 };
        $peer->tell($made ? 'made' : $@);
        $peer->tell(join ' ', entries("$dir/ring"));
        my $ring = eval { $int->class->new("$dir/ring/a", 4) } // return $peer->tell($@);
        my $sub  = $ring->subscribe(name => 'one');
        $peer->tell(join ' ', map { ($_->{name}, $_->{alive}) } $ring->readers);
    });
    my $mounted = $kid->hear;
    SKIP: {
        skip $mounted, 3 if $mounted ne 'mounted';
        like($kid->hear, qr/ring\/a: a lossless ring needs a file system with open-file-description locks that hold as long as a mapping does/,
            'a lossless ring cannot be created on a file system without such locks');
        is($kid->hear, '', 'the failed creation leaves no file');
        is($kid->hear, 'one 1', 'a ring that is not lossless works there');
    }
    $kid->end;
};

subtest 'a publisher that was killed while it waited leaves no trace' => sub {
    each_variant(sub {
        my ($v)    = @_;
        my $ring   = $v->class->new(undef, 4, lossless => 1);
        my $reader = reader($ring);
        $ring->publish_multi($v->values(1, 4));
        my @kids = map { waiting(sub { $ring->publish($v->value(9)) }) } 1 .. 4;
        $_->kill('KILL') for @kids;
        $_->end for @kids;
        is(asked($reader, 4), join('|', $v->values(1, 4)), 'the reader gets the messages from before');
        $ring->publish($v->value(5));
        is(asked($reader, 1), $v->value(5), 'the reader gets the next message');
        is($ring->write_pos, 5, 'killed publishers published nothing');
        finished($reader);
    });
};

done_testing;
