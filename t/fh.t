# The handle of a subscriber (fh): readable while it has unread messages, from any publisher.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use POSIX ();
use Test::More;
use PubSubTest;
use PubSubTest::Stranger;
use PubSubTest::Watchers;

use constant WAKE_WORD => 384;

sub eventfds { return grep { (fd_target($_) // '') =~ /eventfd/ } entries('/proc/self/fd') }

my $threads = thread_count();

each_variant(sub {
    my ($v)      = @_;
    my $open     = open_fds();
    my $path     = fresh_path();
    my $ring     = $v->ring(64, $path);
    my $stranger = PubSubTest::Stranger->start($v->class, $path);
    my $alone    = open_fds();
    my $sub      = $ring->subscribe;

    subtest 'the handle' => sub {
        my $fh = $sub->fh;
        cmp_ok(fileno $fh, '>', 2, 'fh returns an open handle');
        is($fh->fileno, fileno $fh, 'the handle has the methods of IO::Handle');
        ok(fd_is_cloexec(fileno $fh), 'the handle is close-on-exec');
        is($sub->fh, $fh, 'fh returns the same handle each time');
        is(thread_count($threads + 1), $threads + 1, 'fh starts one thread');
        is($sub->fileno, -1, 'fh does not use the eventfd of the ring');
        ok(!readable($fh), 'the handle is not readable before the first publish');
        my $number = fileno $fh;
        close $fh or die "close: $!";
        my $next = $sub->fh;
        isnt($next, $fh, 'fh returns another handle after close');
        is(thread_count($threads + 1), $threads + 1, 'the second handle needs no further thread');
        is($sub->fh, $next, 'fh returns the second handle each time');
        $ring->publish($v->value(1));
        ok(until_readable($next), 'the second handle becomes readable');
        is($sub->poll, $v->value(1), 'the subscriber gets the message');
        ok(!readable($next), 'the second handle is not readable once the message is read');
    };

    my $fh = $sub->fh;

    subtest 'messages of an unrelated process' => sub {
        for my $method (qw(publish publish_multi publish_notify)) {
            $stranger->ask($method, $v->value(2));
            ok(until_readable($fh), "$method makes the handle readable");
            is($sub->poll, $v->value(2), "$method: poll returns the message");
            $stranger->expect('done');
            ok(!readable($fh), "$method: the handle is not readable once the message is read");
            is($sub->poll, undef, "$method: a second poll returns undef");
        }
    };

    subtest 'messages of two unrelated processes' => sub {
        my $other = PubSubTest::Stranger->start($v->class, $path);
        $_->ask(publish_multi => $v->values(1, 20)) for $stranger, $other;
        my $got = 0;
        while ($got < 40) {
            until_readable($fh);
            my @some = $sub->poll_multi(3) or fail('the handle was readable without a message');
            $got += @some;
        }
        is($got, 40, 'all messages arrive');
        $_->expect('done') for $stranger, $other;
        ok(!readable($fh), 'the handle is not readable once all messages are read');
        is($other->dismiss, 0, 'the publisher exits with 0');
    };

    subtest 'the handle is level-triggered' => sub {
        my $keyword = eval "use @{[$v->class]}; sub { @{[$v->keyword('poll')]}(\$_[0]) }" or die $@;
        my @reads   = (
            [drain_notify    => sub { $sub->drain_notify(10) },         10],
            [drain           => sub { $sub->drain(10) },                10],
            [poll            => sub { $sub->poll },                     1],
            [keyword         => sub { $keyword->($sub) },               1],
            [poll_multi      => sub { $sub->poll_multi(7) },            7],
            [poll_wait       => sub { $sub->poll_wait },                1],
            [poll_wait_multi => sub { $sub->poll_wait_multi(5, 10) },   5],
        );
        for (@reads) {
            my ($name, $read, $step) = @$_;
            $stranger->call(publish_multi => $v->values(1, 50));
            until_readable($fh);
            my (@got, @level);
            while (@got < 50) {
                push @level, readable($fh);
                push @got,   $read->();
            }
            is_deeply(\@got, [$v->values(1, 50)], "$name returns all messages");
            is_deeply(\@level, [map {1} 1 .. (50 + $step - 1) / $step], "$name: the handle is readable before each call");
            ok(!readable($fh), "$name: the handle is not readable after the last message");
        }

        $stranger->call(publish_multi => $v->values(1, 50));
        until_readable($fh);
        my %seen;
        is(
            $sub->poll_cb(sub { $sub->lag ? $seen{ readable($fh) }++ : ($seen{last} = readable($fh)) }), 50,
            'poll_cb calls its callback for all messages'
        );
        is_deeply(\%seen, { 1 => 49, last => 0 }, 'poll_cb: inside the callback, the handle is readable until the last message');
        ok(!readable($fh), 'poll_cb: the handle is not readable afterwards');
        my $n = 0;
        $stranger->call(publish_multi => $v->values(1, 4));
        until_readable($fh);
        eval { $sub->poll_cb(sub { die "third\n" if ++$n == 3 }) };
        is($@, "third\n", 'poll_cb: an exception of the callback is passed on');
        ok(readable($fh), 'poll_cb: after the exception, the handle is readable');
        is($sub->poll, $v->value(4), 'poll_cb: after the exception, poll returns the next message');
        ok(!readable($fh), 'the handle is not readable once that message is read');
    };

    subtest 'the cursor is moved' => sub {
        $stranger->call(publish_multi => $v->values(1, 5));
        until_readable($fh);
        my $at = $sub->cursor;
        $sub->reset;
        ok(!readable($fh), 'reset makes the handle unreadable');
        $sub->cursor($at + 2);
        ok(readable($fh), 'setting the cursor back makes the handle readable');
        is($sub->poll, $v->value(3), 'poll returns the message at the cursor');
        $sub->cursor($at + 5);
        ok(!readable($fh), 'the handle is not readable at the write position');
        $sub->reset_oldest;
        ok(readable($fh), 'reset_oldest makes the handle readable');
        is(scalar(() = $sub->drain), 64, 'from the oldest message, drain returns all that the ring holds');
        ok(!readable($fh), 'the handle is not readable after drain');
        my $end = $sub->write_pos;
        $sub->cursor($end + 3);
        ok(!readable($fh), 'the handle is not readable while the cursor is ahead of the write position');
        $stranger->call(publish_multi => $v->values(1, 3));
        ok(!readable($fh), 'messages before the cursor do not make the handle readable');
        $stranger->ask(publish => $v->value(4));
        ok(until_readable($fh), 'the message at the cursor makes the handle readable');
        is($sub->poll, $v->value(4), 'poll returns that message');
        $stranger->expect('done');
        ok(!readable($fh), 'the handle is not readable after that message');
    };

    subtest 'overflow and clear' => sub {
        $stranger->call(count => 1, 100);
        until_readable($fh);
        is($sub->poll, 37, 'after an overflow, poll returns the oldest message that is left');
        ok(readable($fh), 'the handle is readable for the rest');
        $sub->drain;
        ok(!readable($fh), 'the handle is not readable after drain');

        $stranger->call(publish_multi => $v->values(1, 5));
        until_readable($fh);
        $stranger->call('clear');
        is($sub->poll, undef, 'poll returns undef after clear');
        ok(!readable($fh), 'the handle is not readable after a poll that follows clear');
        $stranger->call(publish => $v->value(6));
        ok(until_readable($fh), 'a message after clear makes the handle readable');
        is($sub->poll, $v->value(6), 'poll returns the message published after clear');
        ok(!readable($fh), 'the handle is not readable once it is read');
    };

    subtest 'the handle is never readable without a message' => sub {
        my ($spurious, $wrong) = (0, 0);
        for my $n (1 .. 1000) {
            $ring->publish($v->value($n));
            until_readable($fh) if $n % 2;    # otherwise possibly before the thread has seen it
            my $got = $sub->poll;
            $wrong++ if !defined $got || $got ne $v->value($n);
            $spurious++ if readable($fh);
        }
        is($wrong, 0, 'each poll returns its message');
        is($spurious, 0, 'the handle is never readable after its message was read');
        $stranger->ask(count => 1, 3000);
        my ($got, $lost, $empty) = (0, $sub->overflow_count, 0);
        until ($got + $sub->overflow_count - $lost == 3000) {
            until_readable($fh);
            my @some = $sub->drain(5);
            $empty++ if !@some;
            $got += @some;
        }
        $stranger->expect('done');
        ok(!readable($fh), 'the handle is not readable after three thousand messages of a busy publisher');
        # In a ring that is lapped, a slot may be claimed again between the check and the read.
        cmp_ok($empty, '<=', $sub->overflow_count - $lost,
            'readable without a message at most as often as messages were overwritten');
    };

    subtest 'several subscribers of one ring' => sub {
        my @more = map { $ring->subscribe } 1 .. 5;
        my @fh   = map { $_->fh } @more;
        my $all = $threads + watchers(6);
        is(thread_count($all), $all, 'six handles start as many threads as they need');
        $stranger->call(publish_multi => $v->values(1, 2));
        until_readable($_) for @fh, $fh;
        $more[0]->drain;
        $more[1]->poll;
        is_deeply([map { readable($_) } @fh], [0, 1, 1, 1, 1],
            'each handle is readable only while its own subscriber has messages');
        undef @more;
        is(thread_count($threads + 1), $threads + 1, 'the threads end with their subscribers');
        $sub->drain;
    };

    # Seen in the ring's count of wake-ups, which shares its word with two flags: other sleepers are not disturbed.
    subtest 'destroying a subscriber ends its thread only' => sub {
        plan skip_all => 'on this kernel its thread can only be woken through the ring' if !has_waitv();
        my $path   = fresh_path();
        my $ring   = $v->ring(8, $path);
        my $sub    = $ring->subscribe;
        my $fh     = $sub->fh;
        my $epochs = sub { return unpack('L', peek($path, WAKE_WORD, 4)) >> 2 };
        select undef, undef, undef, 0.001 until $ring->stats->{sub_waiters};
        my $before = $epochs->();
        undef $sub;
        is($epochs->(), $before, 'destroying a subscriber wakes no other sleeper of the ring');
        is($ring->stats->{sub_waiters}, 0, 'its thread no longer waits on the ring');
    };

    subtest 'a forked child' => sub {
        my $seen = "$path.seen";
        my $kid  = spawn(sub {
            my ($peer) = @_;
            my $fds = open_fds();    # includes the parent's handle and the descriptor behind it
            thread_count() == 1 or die 'the child inherited a thread';
            my $theirs = fileno $fh;
            my $own    = $sub->fh;
            $own != $fh or die "the child got its parent's handle";
            fileno $own != $theirs or die 'the handle of the child has the same descriptor number';
            $sub->fh == $own or die 'fh returned another handle the second time';
            thread_count(2) == 2 or die 'the child started no thread of its own';
            $peer->tell('watching');
            until_readable($own);
            my @got = $sub->drain;
            "@got" eq join ' ', $v->values(1, 3) or die "got @got";
            readable($own) and die 'the handle is readable after the last message';
            $peer->tell('read');
            $peer->hear;
            undef $_ for $sub, $own, $fh;
            thread_count(1) == 1 or die 'a thread outlived the subscriber';
            $peer->tell($fds - open_fds());
        });
        is($kid->hear, 'watching', 'the child gets a handle of its own');
        ok(!readable($fh), "the handle of the parent is not readable before the publish");
        $stranger->call(publish_multi => $v->values(1, 3));
        is($kid->hear, 'read', 'the child gets its messages');
        ok(until_readable($fh), "the read of the child leaves the handle of the parent readable");
        is_deeply([$sub->drain], [$v->values(1, 3)], 'the parent gets the same messages');
        ok(!readable($fh), 'the handle of the parent is not readable once they are read');
        $kid->tell('go');
        is($kid->hear, 2, "destroying its subscriber closes two descriptors in the child, the parent's included");
        reap('the child exits with 0', $kid);

        reap('a child that only reads exits with 0', spawn(sub { $ring->publish($v->value(9)); $sub->drain; $sub->reset }));
        ok(until_readable($fh), 'the read of the child does not affect the handle of the parent');
        is($sub->poll, $v->value(9), 'the parent gets the message');
        ok(!readable($fh), 'the handle of the parent is not readable once it is read');
    };

    subtest "the parent's descriptors in a forked child" => sub {
        my ($inner) = grep { $_ != fileno $fh } eventfds();
        # Action, eventfds that are open after it: the subscriber keeps the handle of the parent until it has its own.
        my @ways = (
            ['asks for a handle',           sub { $sub->fh },            2],
            ['reads',                       sub { $sub->poll },          1],
            ['moves',                       sub { $sub->reset },         1],
            ['destroys its subscriber',     sub { $sub->DESTROY },       1],
            ['drops its subscriber',        sub { undef $sub },          0],
            ['has closed the descriptor itself',      sub { POSIX::close($inner) }, 1],
            ['exits with it',               sub { },                     2],
        );
        for (@ways) {
            my ($name, $do, $left) = @$_;
            reap("a child that $name keeps the expected descriptors", spawn(sub {
                my $maps = shared_maps();
                undef $fh;
                $do->();
                my @open = eventfds();
                @open == $left or die "eventfds: @open";
                # Other files have its number now, and must not be closed.
                my @files = map { open my $in, '<', '/dev/null' or die "open: $!"; $in } 1 .. 5;
                $left == 2 || grep { fileno $_ == $inner } @files or die 'the descriptor number is not free';
                undef $sub;
                -c $_ or die 'a descriptor of another file was closed' for @files;
                undef $ring;
                shared_maps() == $maps - 1 or die 'the ring is still mapped';
            }));
            $stranger->call(publish => $v->value(5));
            ok(until_readable($fh), "after a child $name, the handle of the parent becomes readable");
            is($sub->poll, $v->value(5), "after a child $name, the parent gets the message");
            ok(!readable($fh), "after a child $name, the parent's handle is not readable again");
        }
    };

    subtest 'subscribers are destroyed in an event loop' => sub {
        my %watched = map { my $s = $ring->subscribe; (fileno $s->fh => { sub => $s, fh => $s->fh }) } 1 .. 4;
        $stranger->call(publish_multi => $v->values(1, 3));
        my $calls = 0;
        while (%watched) {
            my $bits = '';
            vec($bits, $_, 1) = 1 for keys %watched;
            select my $ready = $bits, undef, undef, undef;
            for my $fd (grep { vec $ready, $_, 1 } keys %watched) {
                $calls++;
                next if defined $watched{$fd}{sub}->poll && $watched{$fd}{sub}->lag;
                delete $watched{$fd};
            }
        }
        is($calls, 12, 'each of four subscribers was called three times');
        is(thread_count($threads + 1), $threads + 1, 'the threads of destroyed subscribers have ended');

        my $brief = $ring->subscribe;
        my $kept  = $brief->fh;
        $stranger->call(publish_multi => $v->values(1, 3));
        until_readable($kept);
        eval { $brief->poll_cb(sub { $brief->DESTROY }) };
        like($@, qr/destroyed during the call/, 'poll_cb croaks if its callback destroys the subscriber');
        is(thread_count($threads + 1), $threads + 1, 'the thread of that subscriber has ended');
        ok(eval { $brief->fh; 1 } ? 0 : $@ =~ /destroyed/, 'fh croaks on the destroyed subscriber');
        ok(defined readable($kept), 'a handle that outlives its subscriber can be selected on');
        ok(close $kept, 'a handle that outlives its subscriber can be closed');
        $sub->drain;
    };

    subtest 'a subscriber is destroyed while another process sleeps on the ring' => sub {
        my $kid = spawn(sub { my ($peer) = @_; my $s = $ring->subscribe; $peer->tell('ready'); $s->poll_wait });
        $kid->hear;
        until_asleep($kid->pid);
        my $brief = $ring->subscribe;
        $brief->fh;
        undef $brief;
        is(thread_count($threads + 1), $threads + 1, 'destroying a subscriber ends only its own thread');
        $stranger->call(publish => $v->value(1));
        reap('a subscriber in another process still gets its message', $kid);
        $sub->drain;
    };

    subtest 'a handle outlives the ring object' => sub {
        my $own = $ring->subscribe;
        my $h   = $own->fh;
        undef $ring;
        $stranger->call(publish => $v->value(8));
        ok(until_readable($h), 'the handle becomes readable after the ring object is gone');
        is($own->poll, $v->value(8), 'poll returns the message after the ring object is gone');
        $ring = $v->class->new($path);
    };

    undef $sub;
    undef $fh;
    is(thread_count($threads), $threads, 'no thread is left');
    is(open_fds(), $alone, 'no descriptor is left');
    is($stranger->dismiss, 0, 'the publisher exits with 0');

    subtest 'two thousand handles, one after the other' => sub {
        my $once = sub { my $s = $ring->subscribe; my $h = $s->fh; $ring->publish($v->value(1)) if $_ % 2; $s->poll };
        $once->() for 1 .. 100;
        my ($fds, $kb) = (open_fds(), rss_kb());
        $once->() for 1 .. 2000;
        is(open_fds(), $fds, 'no descriptor leaks');
        is(thread_count($threads), $threads, 'no thread leaks');
        cmp_ok(rss_kb() - $kb, '<', 2048, 'no memory leaks');
    };
});

subtest 'reset after the cursor was set ahead' => sub {
    my $ring = variant('Int')->ring(64);
    my $sub  = $ring->subscribe;
    my $fh   = $sub->fh;
    $sub->cursor(1000);
    my ($task) = grep { $_ != $$ } entries('/proc/self/task');
    for (1 .. 3) {
        $ring->publish(0);
        until_asleep("$$/task/$task");    # most likely waits for message 1000 now
    }
    $sub->reset;
    # Each message comes within the second after which a sleeping thread checks by itself.
    my $published = 0;
    until (readable($fh) || $published == 8) {
        $ring->publish(++$published);
        vec(my $bits = '', fileno $fh, 1) = 1;
        select $bits, undef, undef, 0.2;
    }
    ok(readable($fh), 'after reset, the next message makes the handle readable');
};

subtest 'wrong calls croak' => sub {
    each_variant(sub {
        my ($v)   = @_;
        my $ring  = $v->ring(8);
        my $sub   = $ring->subscribe;
        my $class = $v->sub_class;
        my $fh    = $class->can('fh');
        croaks_like(sub { $fh->(@$_) }, qr/^Usage: \Q$class\E::fh\(self\)/, 'fh croaks when called with ' . @$_ . ' arguments')
            for [], [$sub, 1];
        croaks_like(sub { $fh->($_) }, qr/^\Q$class\E->fh: Expected a \Q$class\E object/,
            'fh croaks on an invocant that is not a subscriber')
            for undef, 'text', {}, $ring, (bless \my $x, $class), $class;
        $sub->DESTROY;
        croaks_like(sub { $sub->fh }, qr/^\Q$class->fh: Attempted to use a destroyed $class object\E/,
            'fh croaks on a destroyed subscriber');
    });
    is(thread_count($threads), $threads, 'the wrong calls started no thread');
};

subtest 'PerlIO layers of the handle' => sub {
    my $sub = variant('Int')->ring(8)->subscribe;
    my $fh  = eval q{use open IN => ':encoding(UTF-8)'; open my $in, '<', '/dev/null' or die $!; [$sub->fh, $in]} or die $@;
    my ($ours, $other) = map { join ' ', PerlIO::get_layers($_) } @$fh;
    like($other, qr/encoding/, '`use open` sets the layers of other handles');
    is($ours, 'unix perlio', '`use open` does not change the layers of this handle');
};

subtest 'fh at the limit of open files' => sub {
    my $limited = q{exec 'sh', '-c', 'ulimit -n 40 && exec "$@"', 'sh', $^X, (map {"-I$_"} @INC), '-e', $ARGV[0]};
    my ($out, $status) = run_perl($limited, <<'END');
        use Data::PubSub::Shared;
        my $ring = Data::PubSub::Shared::Int->new(undef, 8);
        my $try  = sub { my $sub = $ring->subscribe; $sub->fh; 1 };
        my $full = sub { my @open; while (open my $in, '<', '/dev/null') { push @open, $in } return @open };
        $try->();
        for my $spare (0 .. 2) {
            my @open = $full->();
            splice @open, 0, $spare;
            print eval { $try->() } ? "fine\n" : $@ =~ s/ at .*//sr . "\n";
            undef @open;
            my @tasks;    # a joined thread may be listed for a moment longer
            for (1 .. 5000) {
                @tasks = glob '/proc/self/task/*';
                last if @tasks == 1;
                select undef, undef, undef, 0.001;
            }
            print scalar(@tasks), " task\n";
        }
END
    my $croak = 'Data::PubSub::Shared::Int::Sub->fh: ';
    my @lines = ("${croak}eventfd: Too many open files", "${croak}fcntl(F_DUPFD_CLOEXEC): Too many open files", 'fine');
    is($out, join('', map {"$_\n1 task\n"} @lines), 'fh croaks at the limit and leaves no thread or descriptor');
    is($status, 0, 'the program exits with 0');
};

subtest 'signals and the threads of handles' => sub {
    my $ring = variant('Int')->ring(16);
    my @subs = map { $ring->subscribe } 1 .. 3;
    my @fh   = map { $_->fh } @subs;
    my $all  = 0;
    for my $task (grep { $_ != $$ } entries('/proc/self/task')) {
        my ($blocked) = slurp("/proc/self/task/$task/status") =~ /^SigBlk:\s*(\w+)/m;
        # Not the signals that cannot be blocked (KILL, STOP), nor those of the C library (32, 33).
        $all++ if (hex(substr $blocked, 8) & 0x7ffbfeff) == 0x7ffbfeff;
    }
    is($all, watchers(3), 'the threads block all signals');

    my $came = 0;
    local $SIG{USR1} = sub { $came++ };
    my $kid = spawn(sub {
        my ($peer) = @_;
        $peer->tell('ready');
        kill(USR1 => getppid), select undef, undef, undef, 0.001 while 1;
    });
    $kid->hear;
    for my $wait (
        ['select'    => sub { vec(my $b = '', fileno $fh[0], 1) = 1; select($b, undef, undef, undef) }],
        [   'sysread' => sub {
                pipe my $read, my $write or die "pipe: $!";
                local $SIG{USR1} = sub { close $write; $came++ };
                sysread $read, my $bytes, 1;
            }
        ],
        ['poll_wait' => sub { local $SIG{USR1} = sub { $came++; $ring->publish(1) }; $subs[1]->poll_wait }],
    ) {
        my ($name, $code) = @$wait;
        $came = 0;
        $code->();
        1 until $came;
        cmp_ok($came, '>', 0, "perl runs signal handlers during $name");
    }
    $kid->kill('KILL');
    $kid->end;
    undef @subs;
    undef @fh;
    is(thread_count($threads), $threads, 'no thread is left');
};

subtest 'a program ends with open handles' => sub {
    my ($out, $status) = run_perl(<<'END');
        use Data::PubSub::Shared;
        our $ring = Data::PubSub::Shared::Str->new(undef, 8);
        our @subs = map { $ring->subscribe } 1 .. 3;
        our @fh   = map { $_->fh } @subs;
        $ring->publish('x');
        my $pid = fork // die;
        exit 0 if !$pid;
        waitpid $pid, 0;
        print "child $?\n";
END
    is($out, "child 0\n", 'a child exits with 0 with open handles');
    is($status, 0, 'the program exits with 0 with open handles');
};

done_testing;
