# The handle of a subscriber: readable while it has messages to read, whoever published them.

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
        cmp_ok(fileno $fh, '>', 2, 'has a number');
        is($fh->fileno, fileno $fh, 'and methods');
        ok(fd_is_cloexec(fileno $fh), 'close-on-exec');
        is($sub->fh, $fh, 'the same one each time');
        is(thread_count($threads + 1), $threads + 1, 'one thread');
        is($sub->fileno, -1, 'no eventfd of the ring is involved');
        ok(!readable($fh), 'not readable at first');
        my $number = fileno $fh;
        close $fh or die "close: $!";
        my $next = $sub->fh;
        isnt($next, $fh, 'another one after close');
        is(thread_count($threads + 1), $threads + 1, 'still one thread');
        is($sub->fh, $next, 'and that one stays');
        $ring->publish($v->value(1));
        ok(until_readable($next), 'it is readable, too');
        is($sub->poll, $v->value(1), 'and right');
        ok(!readable($next), 'and quiet again');
    };

    my $fh = $sub->fh;

    subtest 'an unrelated publisher' => sub {
        for my $method (qw(publish publish_multi publish_notify)) {
            $stranger->ask($method, $v->value(2));
            ok(until_readable($fh), "$method makes it readable");
            is($sub->poll, $v->value(2), 'there is the message');
            $stranger->expect('done');
            ok(!readable($fh), 'and then it is not');
            is($sub->poll, undef, 'no more');
        }
    };

    subtest 'two of them' => sub {
        my $other = PubSubTest::Stranger->start($v->class, $path);
        $_->ask(publish_multi => $v->values(1, 20)) for $stranger, $other;
        my $got = 0;
        while ($got < 40) {
            until_readable($fh);
            my @some = $sub->poll_multi(3) or fail('readable, and nothing there');
            $got += @some;
        }
        is($got, 40, 'all messages');
        $_->expect('done') for $stranger, $other;
        ok(!readable($fh), 'and then it is quiet');
        is($other->dismiss, 0, 'the publisher ends well');
    };

    subtest 'a level, not an edge' => sub {
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
            is_deeply(\@got, [$v->values(1, 50)], "$name gets all");
            is_deeply(\@level, [map {1} 1 .. (50 + $step - 1) / $step], 'readable before each');
            ok(!readable($fh), 'and not after the last');
        }

        $stranger->call(publish_multi => $v->values(1, 50));
        until_readable($fh);
        my %seen;
        is(
            $sub->poll_cb(sub { $sub->lag ? $seen{ readable($fh) }++ : ($seen{last} = readable($fh)) }), 50,
            'poll_cb gets all'
        );
        is_deeply(\%seen, { 1 => 49, last => 0 }, 'readable in the handler while there are more');
        ok(!readable($fh), 'and not afterwards');
        my $n = 0;
        $stranger->call(publish_multi => $v->values(1, 4));
        until_readable($fh);
        eval { $sub->poll_cb(sub { die "third\n" if ++$n == 3 }) };
        is($@, "third\n", 'a handler that dies');
        ok(readable($fh), 'leaves it readable');
        is($sub->poll, $v->value(4), 'for the rest');
        ok(!readable($fh), 'up to the last');
    };

    subtest 'moves' => sub {
        $stranger->call(publish_multi => $v->values(1, 5));
        until_readable($fh);
        my $at = $sub->cursor;
        $sub->reset;
        ok(!readable($fh), 'not after reset');
        $sub->cursor($at + 2);
        ok(readable($fh), 'but after a seek back');
        is($sub->poll, $v->value(3), 'to that message');
        $sub->cursor($at + 5);
        ok(!readable($fh), 'not at the write position');
        $sub->reset_oldest;
        ok(readable($fh), 'at the oldest one');
        is(scalar(() = $sub->drain), 64, 'from there, all that the ring holds');
        ok(!readable($fh), 'and not after that');
        my $end = $sub->write_pos;
        $sub->cursor($end + 3);
        ok(!readable($fh), 'not when it waits for a later message');
        $stranger->call(publish_multi => $v->values(1, 3));
        ok(!readable($fh), 'and not for those before');
        $stranger->ask(publish => $v->value(4));
        ok(until_readable($fh), 'for that one');
        is($sub->poll, $v->value(4), 'which it gets');
        $stranger->expect('done');
        ok(!readable($fh), 'and that was all');
    };

    subtest 'overflow and clear' => sub {
        $stranger->call(count => 1, 100);
        until_readable($fh);
        is($sub->poll, 37, 'the oldest that is left');
        ok(readable($fh), 'more');
        $sub->drain;
        ok(!readable($fh), 'no more');

        $stranger->call(publish_multi => $v->values(1, 5));
        until_readable($fh);
        $stranger->call('clear');
        is($sub->poll, undef, 'nothing after a clear');
        ok(!readable($fh), 'and the handle knows after a poll');
        $stranger->call(publish => $v->value(6));
        ok(until_readable($fh), 'a message after the clear');
        is($sub->poll, $v->value(6), 'is delivered');
        ok(!readable($fh), 'once');
    };

    subtest 'never for nothing' => sub {
        my ($spurious, $wrong) = (0, 0);
        for my $n (1 .. 1000) {
            $ring->publish($v->value($n));
            until_readable($fh) if $n % 2;    # otherwise perhaps before the thread has seen it
            my $got = $sub->poll;
            $wrong++ if !defined $got || $got ne $v->value($n);
            $spurious++ if readable($fh);
        }
        is($wrong, 0, 'a message each time');
        is($spurious, 0, 'and never readable after it');
        $stranger->ask(count => 1, 3000);
        my ($got, $lost, $empty) = (0, $sub->overflow_count, 0);
        until ($got + $sub->overflow_count - $lost == 3000) {
            until_readable($fh);
            my @some = $sub->drain(5);
            $empty++ if !@some;
            $got += @some;
        }
        $stranger->expect('done');
        ok(!readable($fh), 'quiet after three thousand of a busy publisher');
        # A slot may be under way again when it is looked at, in a ring that is lapped.
        cmp_ok($empty, '<=', $sub->overflow_count - $lost, 'readable for messages');
    };

    subtest 'several subscribers' => sub {
        my @more = map { $ring->subscribe } 1 .. 5;
        my @fh   = map { $_->fh } @more;
        my $all = $threads + watchers(6);
        is(thread_count($all), $all, 'the threads that they need');
        $stranger->call(publish_multi => $v->values(1, 2));
        until_readable($_) for @fh, $fh;
        $more[0]->drain;
        $more[1]->poll;
        is_deeply([map { readable($_) } @fh], [0, 1, 1, 1, 1], 'each for itself');
        undef @more;
        is(thread_count($threads + 1), $threads + 1, 'and they go with them');
        $sub->drain;
    };

    # That tells in the ring's wake-ups, counted beside two flags: others who sleep are not disturbed.
    subtest 'a subscriber that goes' => sub {
        plan skip_all => 'on this kernel its thread can only be woken through the ring' if !has_waitv();
        my $path   = fresh_path();
        my $ring   = $v->ring(8, $path);
        my $sub    = $ring->subscribe;
        my $fh     = $sub->fh;
        my $epochs = sub { return unpack('L', peek($path, WAKE_WORD, 4)) >> 2 };
        select undef, undef, undef, 0.001 until $ring->stats->{sub_waiters};
        my $before = $epochs->();
        undef $sub;
        is($epochs->(), $before, 'wakes nobody but its thread');
        is($ring->stats->{sub_waiters}, 0, 'which does not wait for the ring any more');
    };

    subtest 'a forked child' => sub {
        my $seen = "$path.seen";
        my $kid  = spawn(sub {
            my ($peer) = @_;
            my $fds = open_fds();    # with the parent's handle, and what is behind it
            thread_count() == 1 or die 'a thread in the child';
            my $theirs = fileno $fh;
            my $own    = $sub->fh;
            $own != $fh or die 'the same handle';
            fileno $own != $theirs or die 'the same number';
            $sub->fh == $own or die 'not the same handle again';
            thread_count(2) == 2 or die 'no thread of its own';
            $peer->tell('watching');
            until_readable($own);
            my @got = $sub->drain;
            "@got" eq join ' ', $v->values(1, 3) or die "got @got";
            readable($own) and die 'readable after all';
            $peer->tell('read');
            $peer->hear;
            undef $_ for $sub, $own, $fh;
            thread_count(1) == 1 or die 'a thread is left';
            $peer->tell($fds - open_fds());
        });
        is($kid->hear, 'watching', 'has a handle of its own');
        ok(!readable($fh), "the parent's is quiet");
        $stranger->call(publish_multi => $v->values(1, 3));
        is($kid->hear, 'read', 'gets its messages');
        ok(until_readable($fh), "which leaves the parent's readable");
        is_deeply([$sub->drain], [$v->values(1, 3)], 'the parent gets them, too');
        ok(!readable($fh), 'and is quiet');
        $kid->tell('go');
        is($kid->hear, 2, "the child lets go of its subscriber, and of the parent's descriptors");
        reap('the child ends well', $kid);

        reap('a child that only reads', spawn(sub { $ring->publish($v->value(9)); $sub->drain; $sub->reset }));
        ok(until_readable($fh), 'takes nothing from the parent');
        is($sub->poll, $v->value(9), 'which works on');
        ok(!readable($fh), 'as before');
    };

    subtest "the parent's descriptors in a forked child" => sub {
        my ($inner) = grep { $_ != fileno $fh } eventfds();
        # What it does, the eventfds that it has then: its subscriber keeps the parent's handle until it has its own.
        my @ways = (
            ['asks for a handle',           sub { $sub->fh },            2],
            ['reads',                       sub { $sub->poll },          1],
            ['moves',                       sub { $sub->reset },         1],
            ['destroys its subscriber',     sub { $sub->DESTROY },       1],
            ['drops its subscriber',        sub { undef $sub },          0],
            ['has closed it, unasked',      sub { POSIX::close($inner) }, 1],
            ['exits with it',               sub { },                     2],
        );
        for (@ways) {
            my ($name, $do, $left) = @$_;
            reap("one that $name", spawn(sub {
                my $maps = shared_maps();
                undef $fh;
                $do->();
                my @open = eventfds();
                @open == $left or die "eventfds: @open";
                # Others have its number now, and keep it.
                my @files = map { open my $in, '<', '/dev/null' or die "open: $!"; $in } 1 .. 5;
                $left == 2 || grep { fileno $_ == $inner } @files or die 'the number is not free';
                undef $sub;
                -c $_ or die 'somebody else was closed' for @files;
                undef $ring;
                shared_maps() == $maps - 1 or die 'the ring is still mapped';
            }));
            $stranger->call(publish => $v->value(5));
            ok(until_readable($fh), 'the parent is told');
            is($sub->poll, $v->value(5), 'and has its message');
            ok(!readable($fh), 'and no other');
        }
    };

    subtest 'gone inside a callback' => sub {
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
        is($calls, 12, 'three calls each');
        is(thread_count($threads + 1), $threads + 1, 'their threads are gone');

        my $brief = $ring->subscribe;
        my $kept  = $brief->fh;
        $stranger->call(publish_multi => $v->values(1, 3));
        until_readable($kept);
        eval { $brief->poll_cb(sub { $brief->DESTROY }) };
        like($@, qr/destroyed during the call/, 'destroyed inside poll_cb');
        is(thread_count($threads + 1), $threads + 1, 'with its thread');
        ok(eval { $brief->fh; 1 } ? 0 : $@ =~ /destroyed/, 'no handle any more');
        ok(defined readable($kept), 'the old one harms nobody');
        ok(close $kept, 'and can be closed');
        $sub->drain;
    };

    subtest 'destroyed beside one that sleeps' => sub {
        my $kid = spawn(sub { my ($peer) = @_; my $s = $ring->subscribe; $peer->tell('ready'); $s->poll_wait });
        $kid->hear;
        until_asleep($kid->pid);
        my $brief = $ring->subscribe;
        $brief->fh;
        undef $brief;
        is(thread_count($threads + 1), $threads + 1, 'only its own thread ends');
        $stranger->call(publish => $v->value(1));
        reap('the other gets its message', $kid);
        $sub->drain;
    };

    subtest 'it outlives its ring' => sub {
        my $own = $ring->subscribe;
        my $h   = $own->fh;
        undef $ring;
        $stranger->call(publish => $v->value(8));
        ok(until_readable($h), 'and is still told');
        is($own->poll, $v->value(8), 'of messages');
        $ring = $v->class->new($path);
    };

    undef $sub;
    undef $fh;
    is(thread_count($threads), $threads, 'no thread is left');
    is(open_fds(), $alone, 'and no descriptor');
    is($stranger->dismiss, 0, 'the publisher ends well');

    subtest 'two thousand of them' => sub {
        my $once = sub { my $s = $ring->subscribe; my $h = $s->fh; $ring->publish($v->value(1)) if $_ % 2; $s->poll };
        $once->() for 1 .. 100;
        my ($fds, $kb) = (open_fds(), rss_kb());
        $once->() for 1 .. 2000;
        is(open_fds(), $fds, 'descriptors');
        is(thread_count($threads), $threads, 'threads');
        cmp_ok(rss_kb() - $kb, '<', 2048, 'memory');
    };
});

subtest 'a seek ahead that is taken back' => sub {
    my $ring = variant('Int')->ring(64);
    my $sub  = $ring->subscribe;
    my $fh   = $sub->fh;
    $sub->cursor(1000);
    my ($task) = grep { $_ != $$ } entries('/proc/self/task');
    for (1 .. 3) {
        $ring->publish(0);
        until_asleep("$$/task/$task");    # most likely waiting for message 1000 now
    }
    $sub->reset;
    # Each message comes before a sleep has lasted for a second, and so could end by itself.
    my $published = 0;
    until (readable($fh) || $published == 8) {
        $ring->publish(++$published);
        vec(my $bits = '', fileno $fh, 1) = 1;
        select $bits, undef, undef, 0.2;
    }
    ok(readable($fh), 'the next message makes it readable');
};

subtest 'wrong calls' => sub {
    each_variant(sub {
        my ($v)   = @_;
        my $ring  = $v->ring(8);
        my $sub   = $ring->subscribe;
        my $class = $v->sub_class;
        my $fh    = $class->can('fh');
        croaks_like(sub { $fh->(@$_) }, qr/^Usage: \Q$class\E::fh\(self\)/, @$_ . ' arguments') for [], [$sub, 1];
        croaks_like(sub { $fh->($_) }, qr/^\Q$class\E->fh: Expected a \Q$class\E object/, 'no subscriber')
            for undef, 'text', {}, $ring, (bless \my $x, $class), $class;
        $sub->DESTROY;
        croaks_like(sub { $sub->fh }, qr/^\Q$class->fh: Attempted to use a destroyed $class object\E/, 'destroyed');
    });
    is(thread_count($threads), $threads, 'no thread was started');
};

subtest 'layers' => sub {
    my $sub = variant('Int')->ring(8)->subscribe;
    my $fh  = eval q{use open IN => ':encoding(UTF-8)'; open my $in, '<', '/dev/null' or die $!; [$sub->fh, $in]} or die $@;
    my ($ours, $other) = map { join ' ', PerlIO::get_layers($_) } @$fh;
    like($other, qr/encoding/, 'that `use open` gives to handles');
    is($ours, 'unix perlio', 'are not given to this one');
};

subtest 'no descriptors left' => sub {
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
            my @tasks;    # one that was joined may be listed for a moment still
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
    is($out, join('', map {"$_\n1 task\n"} @lines), 'an error, and nothing is left');
    is($status, 0, 'no crash');
};

subtest 'signals' => sub {
    my $ring = variant('Int')->ring(16);
    my @subs = map { $ring->subscribe } 1 .. 3;
    my @fh   = map { $_->fh } @subs;
    my $all  = 0;
    for my $task (grep { $_ != $$ } entries('/proc/self/task')) {
        my ($blocked) = slurp("/proc/self/task/$task/status") =~ /^SigBlk:\s*(\w+)/m;
        # Not those that cannot be blocked (KILL, STOP), nor the library's own (32, 33).
        $all++ if (hex(substr $blocked, 8) & 0x7ffbfeff) == 0x7ffbfeff;
    }
    is($all, watchers(3), 'are blocked in the threads');

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
        cmp_ok($came, '>', 0, "arrive at perl during $name");
    }
    $kid->kill('KILL');
    $kid->end;
    undef @subs;
    undef @fh;
    is(thread_count($threads), $threads, 'no thread is left');
};

subtest 'the end of a program' => sub {
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
    is($out, "child 0\n", 'with handles open, in parent and child');
    is($status, 0, 'is a clean one');
};

done_testing;
