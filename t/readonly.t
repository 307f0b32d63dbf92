# Rings opened for reading only: which calls work, which are refused, and that none of them changes the
# file.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);
use PubSubTest;
use PubSubTest::Stranger;

# Permissions of the mappings of a file.
sub mappings {
    my ($path) = @_;
    return [sort map { (split)[1] } grep {/ \Q$path\E$/} split /\n/, slurp('/proc/self/maps')];
}

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;
    my $path  = fresh_path();

    subtest 'new_readonly refuses what is not a ring of its class' => sub {
        croaks_like(sub { $class->new_readonly($path) }, qr/\Q$class->new_readonly: open($path): No such file/,
            'new_readonly of a missing file croaks');
        ok(!-e $path, 'new_readonly does not create the file');
        croaks_like(sub { $class->new_readonly(undef) }, qr/path is undefined/, 'new_readonly(undef) croaks');
        croaks_like(sub { $class->new_readonly("a\0b") }, qr/path contains a NUL byte/,
            'new_readonly of a path with a NUL byte croaks');
        croaks_like(sub { $class->new_readonly }, qr/^Usage: \Q$class\E::new_readonly/, 'new_readonly without arguments croaks');
        croaks_like(sub { $class->new_readonly($path, 8) }, qr/^Usage: \Q$class\E::new_readonly/,
            'new_readonly with two arguments croaks');
        croaks_like(sub { $class->new_readonly(fresh_dir()) }, qr/new_readonly: /, 'new_readonly of a directory croaks');
        for my $bytes ('', 'short', "\0" x 8192, 'x' x 8192) {
            my $file = spew(fresh_path(), $bytes);
            croaks_like(sub { $class->new_readonly($file) }, qr/too small|invalid or incompatible/,
                'new_readonly of ' . length($bytes) . ' bytes that are not a ring croaks');
            is(slurp($file), $bytes, 'the refused file is unchanged');
        }
        my $other = fresh_path();
        variant($v->is_str ? 'Int' : 'Str')->class->new($other, 8);
        croaks_like(sub { $class->new_readonly($other) }, qr/holds an? @{[$v->is_str ? 'Int' : 'Str']} ring, opened as @{[$v->name]}/,
            'new_readonly of a ring of another variant croaks');
        symlink $other, "$other.link";
        croaks_like(sub { $class->new_readonly("$other.link") }, qr/symbolic links are refused/,
            'new_readonly of a symbolic link croaks');
    };

    my $ring = $v->ring(16, $path);
    my $only = $class->new_readonly($path);

    subtest 'methods that work on a read-only handle' => sub {
        isa_ok($only, $class);
        @PubSubTest::Own::ISA = $class;
        is(ref PubSubTest::Own->new_readonly($path), 'PubSubTest::Own',
            'new_readonly of a subclass returns an object of the subclass');
        is_deeply(mappings($path), ['r--s', 'rw-s'],
            'the memory is mapped without the right to write, beside the mapping of our own writable handle');
        is($only->capacity, 16, 'capacity returns the capacity');
        is($only->msg_size, 256, 'msg_size returns the message size') if $v->is_str;
        is($only->path, $path, 'path returns the path');
        is($only->memfd, -1, 'memfd returns -1');
        is($only->write_pos, 0, 'write_pos of an empty ring is 0');
        $ring->publish_multi($v->values(1, 3));
        is($only->write_pos, 3, 'write_pos follows the publishes');
        is_deeply($only->stats, $ring->stats, 'stats agree with those of the writable handle');
        lives(sub { $only->sync }, 'sync does not croak');
        is($only->fileno, -1, 'a read-only handle has no eventfd at first');
        my $fd = $only->eventfd;
        is($only->fileno, $fd, 'eventfd creates an eventfd');
        ok($only->notify, 'notify writes to the eventfd');
        is($only->eventfd_consume, 1, 'eventfd_consume reads the eventfd');
        is($only->subscribe->fileno, $fd, 'a new subscriber uses the eventfd');
        $only->eventfd_set(-1);
        is($only->fileno, -1, 'eventfd_set(-1) removes the eventfd');
    };

    subtest 'methods that a read-only handle refuses' => sub {
        my $before  = slurp($path);
        my $keyword = eval "use $class; sub { @{[$v->keyword('publish')]}(\$_[0], \$_[1]) }" or die $@;
        my $value   = $v->value(7);
        for (
            [publish => $value], [publish_multi => $value, $value], ['publish_multi'], [publish_notify => $value],
            ['clear'], ['unlink'],
        ) {
            my ($method, @arguments) = @$_;
            my $text = "$class->$method: this ring is read-only";
            croaks_like(sub { $only->$method(@arguments) }, qr/^\Q$text\E/, "$method croaks");
        }
        croaks_like(
            sub { $keyword->($only, $value) }, qr/^\Q@{[$v->keyword('publish')]}: this ring is read-only\E/, 'the keyword croaks'
        );
        is(slurp($path), $before, 'the refused calls do not change the file');
        ok(-e $path, 'the file still exists');
    };

    subtest 'reading' => sub {
        my $before = slurp($path);
        my $all    = $only->subscribe_all;
        my $sub    = $only->subscribe;
        isa_ok($sub, $v->sub_class);
        is($all->poll, $v->value(1), 'poll returns the first message');
        is_deeply([$all->drain], [$v->values(2, 3)], 'drain returns the other messages');
        is($all->poll, undef, 'poll returns undef after the last message');
        is($sub->poll, undef, 'a later subscriber does not get earlier messages');
        is($sub->poll_wait(0), undef, 'poll_wait(0) returns undef');
        my $start = clock_gettime(CLOCK_MONOTONIC);
        is($sub->poll_wait(0.05), undef, 'poll_wait with a timeout returns undef');
        is_deeply([$sub->poll_wait_multi(3, 0.05)], [], 'poll_wait_multi with a timeout returns nothing');
        cmp_ok(clock_gettime(CLOCK_MONOTONIC) - $start, '>=', 0.1, 'both wait for their timeout');
        $all->reset_oldest;
        is($all->lag, 3, 'after reset_oldest, lag counts all messages');
        $all->cursor(1);
        is($all->poll, $v->value(2), 'after a change of the cursor, poll returns the message there');
        $all->reset;
        is($all->poll, undef, 'after reset, poll returns undef');
        is(slurp($path), $before, 'none of these calls changes the file');
        is($ring->stats->{sub_waiters}, 0, 'a read-only subscriber is not counted as a waiter');

        $ring->publish_multi($v->values(1, 20));
        is(scalar(() = $sub->drain), 16, 'after an overflow, drain returns the messages that are left');
        is($sub->overflow_count, 4, 'overflow_count counts the lost messages');
        my $n = 0;
        $ring->publish_multi($v->values(1, 5));
        is($sub->poll_cb(sub { $n++ }), 5, 'poll_cb returns the number of messages');
        is($n, 5, 'poll_cb calls its callback for each message');
        $ring->publish($v->value(1));
        $ring->clear;
        is($sub->poll, undef, 'poll returns undef after another handle called clear');
        $ring->publish($v->value(2));
        is($sub->poll, $v->value(2), 'poll returns a message published after clear');
    };

    subtest 'poll_wait and poll_wait_multi' => sub {
        my $stranger = PubSubTest::Stranger->start($class, $path);
        my $sub      = $only->subscribe;
        for my $n (1 .. 3) {
            my $kid = spawn(sub {
                my ($peer) = @_;
                until_asleep(getppid);
                $ring->publish($v->value($n));
            });
            is($sub->poll_wait, $v->value($n), 'poll_wait returns a message that is published later');
            reap('the publisher exits with 0', $kid);
        }
        $stranger->ask(publish => $v->value(4));
        is_deeply([$sub->poll_wait_multi(5)], [$v->value(4)], 'poll_wait_multi returns a message that is published later');
        $stranger->expect('done');

        my ($got, $lost) = (0, $sub->overflow_count);
        $stranger->ask(count => 1, 20_000);
        while ($got + $sub->overflow_count - $lost < 20_000) { $got += () = $sub->poll_wait_multi(100) }
        $stranger->expect('done');
        is($got + $sub->overflow_count - $lost, 20_000,
            'with a busy publisher, delivered and lost messages add up to all messages');
        is($stranger->dismiss, 0, 'the publisher exits with 0');
    };

    subtest 'fh' => sub {
        my $stranger = PubSubTest::Stranger->start($class, $path);
        my $sub      = $only->subscribe;
        my $fh       = $sub->fh;
        ok(!readable($fh), 'the handle is not readable before the first publish');
        for my $n (1 .. 3) {
            $stranger->call(publish_multi => $v->values(1, 2));
            ok(until_readable($fh), 'a publish makes the handle readable');
            is($sub->poll, $v->value(1), 'poll returns the first message');
            ok(readable($fh), 'the handle is readable while a message is left');
            is($sub->poll, $v->value(2), 'poll returns the last message');
            ok(!readable($fh), 'the handle is not readable after the last message');
        }
        $sub->cursor(0);
        ok(readable($fh), 'setting the cursor back makes the handle readable');
        $sub->reset;
        ok(!readable($fh), 'reset makes the handle unreadable');
        is($stranger->dismiss, 0, 'the publisher exits with 0');
    };

    subtest 'lifetimes of read-only handles' => sub {
        my ($fds, $maps) = (open_fds(), shared_maps());
        for (1 .. 100) {
            my $brief = $class->new_readonly($path);
            my $sub   = $brief->subscribe;
            undef $brief;
            $ring->publish($v->value(1));
            defined $sub->poll or fail('poll returned no message');
        }
        is(open_fds(), $fds, 'no descriptor leaks');
        is(shared_maps(), $maps, 'no mapping leaks');
        my $sub = $only->subscribe;
        $only->DESTROY;
        croaks_like(sub { $only->capacity }, qr/Attempted to use a destroyed $class object/,
            'capacity croaks on a destroyed handle');
        croaks_like(sub { $only->publish($v->value(1)) }, qr/^\Q$class\E->publish: /, 'publish croaks on a destroyed handle');
        $ring->publish($v->value(3));
        is($sub->poll, $v->value(3), 'a subscriber outlives its handle');
    };
});

# A subscriber of a read-only ring is destroyed while another process sleeps on the ring.
subtest 'a watched subscriber is destroyed while another process sleeps' => sub {
    my $path = fresh_path();
    my $ring = variant('Int')->ring(16, $path);
    my $only = variant('Int')->class->new_readonly($path);
    my $kid  = spawn(sub { my ($peer) = @_; my $sub = $ring->subscribe; $peer->tell('ready'); $sub->poll_wait });
    $kid->hear;
    until_asleep($kid->pid);
    survives(
        'destroying a watched subscriber does not crash',
        sub {
            my $sub = $only->subscribe;
            $sub->fh;
            undef $sub;
        }
    );
    $ring->publish(1);
    reap('the sleeping process gets its message', $kid);
};

# A read-only subscriber waits in short naps; a signal may come in a nap or between two.
subtest 'signals during a wait' => sub {
    my $path = fresh_path();
    my $ring = variant('Int')->ring(16, $path);
    my $sub  = variant('Int')->class->new_readonly($path)->subscribe;
    my $late = 0;
    for (1 .. 20) {
        my $before = clock_gettime(CLOCK_MONOTONIC) + 1.5;
        my $kid    = spawn(sub { my ($peer) = @_; $peer->hear; kill USR1 => getppid; $peer->hear });
        local $SIG{USR1} = sub { $late++ if clock_gettime(CLOCK_MONOTONIC) > $before; die "wake up\n" };
        eval { $kid->tell('go'); $sub->poll_wait(1.5); 1 } and $late++;
        undef $kid;
        1 until waitpid(-1, 0) < 0;
        last if $late;
    }
    is($late, 0, 'a handler runs at once, and its exception ends the wait');
};

# A position that was claimed by a publisher that was killed before it wrote its message.
subtest 'a claim that is never committed' => sub {
    my @integers = grep { !$_->is_str } variants();
    for my $v (@integers) {
        my $path = fresh_path();
        my $ring = $v->ring(16, $path);
        $ring->publish($v->value(1));
        my $write_pos = find_write_pos($v, $ring, $path) // next;
        poke($path, $write_pos, pack 'Q', 3);
        my $only = $v->class->new_readonly($path);
        my $sub  = $only->subscribe_all;
        is($sub->poll, $v->value(1), 'poll returns the message before the claims');
        my $before = clock_gettime(CLOCK_MONOTONIC);
        is($sub->poll, undef, 'poll returns undef at a claim');
        is($sub->poll_wait(0.02), undef, 'poll_wait returns undef at a claim until the claim timeout');
        my $passed = $sub->overflow_count;
        SKIP: {
            skip 'this host took longer than the claim timeout', 1 if clock_gettime(CLOCK_MONOTONIC) - $before > 0.1;
            is($passed, 0, 'no position counts as lost before the claim timeout');
        }
        $ring->publish($v->value(4));
        is($sub->poll_wait, $v->value(4), 'poll_wait returns the message after the claims');
        is($sub->overflow_count, 2, 'the claims count as lost');
        is($ring->stats->{abandoned}, 0, 'a read-only subscriber does not mark the claims as abandoned');
        my $other = $ring->subscribe_all;
        is_deeply([$other->poll, $other->poll_wait], [$v->value(1), $v->value(4)], 'a writable subscriber passes the claims, too');
        is($ring->stats->{abandoned}, 2, 'a writable subscriber marks the claims as abandoned');

        $ring->publish($v->value(5));
        poke($path, $write_pos, pack 'Q', 7);
        $sub = $only->subscribe_all;
        $sub->cursor(4);
        my $fh = $sub->fh;
        is($sub->poll, $v->value(5), 'a watched subscriber reads the message before the claims');
        ok(!readable($fh), 'a claim does not make the handle readable');
        $ring->publish($v->value(6));
        {
            vec(my $bits = '', fileno $fh, 1) = 1;
            ok(select($bits, undef, undef, 1) > 0, 'a message after the claims makes the handle readable');
        }
        is($sub->poll_wait, $v->value(6), 'poll_wait returns that message');
        is($sub->overflow_count, 2, 'the claims that it passed count as lost');
        ok(!readable($fh), 'the handle is not readable after that message');
        is($ring->stats->{abandoned}, 2, 'a watched read-only subscriber does not mark claims as abandoned');

        # A batch of fifty: one after the other they would take five seconds.
        my $many = fresh_path();
        my $big  = $v->ring(64, $many);
        poke($many, $write_pos, pack 'Q', 50);
        $sub = $v->class->new_readonly($many)->subscribe_all;
        $big->publish($v->value(7));
        is($sub->poll_wait(3), $v->value(7), 'all claims of a batch are passed after one claim timeout');
        is($sub->overflow_count, 50, 'the claims of the batch count as lost');
    }
};

# The offset of the write position in the file: the only word that counts publishes.
sub find_write_pos {
    my ($v, $ring, $path) = @_;
    my $probe = fresh_path();
    my $other = $v->ring(16, $probe);
    my @seen;
    for my $n (0 .. 2) {
        my $header = substr slurp($probe), 0, 4096;
        push @seen, [unpack 'Q*', $header];
        $other->publish($v->value(9));
    }
    my @at = grep { my $i = $_; !grep { $seen[$_][$i] != $_ } 0 .. 2 } 0 .. 511;
    return is(@at, 1, 'the write position was found in the header') ? 8 * $at[0] : undef;
}

subtest 'a user who may only read the file' => sub {
    my ($uid, $gid) = nobody() or plan skip_all => 'needs root';
    each_variant(sub {
        my ($v)   = @_;
        my $class = $v->class;
        my $path  = public_dir() . '/ring';
        my $ring  = $class->new($path, 16, ($v->is_str ? 64 : ()), 0644);
        my $inode = (stat $path)[1];
        my $kid = spawn(sub {
            my ($peer) = @_;
            become($uid, $gid);
            my $writer = eval { $class->new($path) };
            die 'another user may write' if $writer;
            $@ =~ /Permission denied/ or die $@;
            my $sub = $class->new_readonly($path)->subscribe;
            my $fh  = $sub->fh;
            $peer->tell('following');
            until_readable($fh);
            $peer->tell($sub->poll);
            $peer->tell($sub->poll_wait);
            eval { $class->unlink($path) };
            $@ =~ /Permission denied/ or die "unlink: $@";
        });
        is($kid->hear, 'following', 'another user subscribes to a ring of mode 0644, and cannot write to it');
        $ring->publish($v->value(1));
        is($kid->hear, $v->value(1), 'the handle and poll of another user deliver a message');
        $ring->publish($v->value(2));
        is($kid->hear, $v->value(2), 'poll_wait of another user delivers a message');
        reap('unlink by another user croaks', $kid);
        is((stat $path)[1], $inode, 'the file still exists');

        chmod 0444, $path;
        lives(sub { $class->new_readonly($path)->subscribe_all->poll }, 'the owner may read a ring of mode 0444');
        reap('other users may read a ring of mode 0444', spawn(sub {
            become($uid, $gid);
            $class->new_readonly($path)->subscribe_all->poll eq $v->value(1) or die 'no message';
        }));
        chmod 0600, $path;
        reap('other users may not read a ring of mode 0600', spawn(sub {
            become($uid, $gid);
            eval { $class->new_readonly($path); 1 } and die 'opened';
            $@ =~ /new_readonly: open\(\Q$path\E\): Permission denied/ or die $@;
        }));
    });
};

done_testing;
