# Rings opened for reading only: what they can do, that they cannot do more, and that nothing of them reaches the
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

    subtest 'what cannot be opened' => sub {
        croaks_like(sub { $class->new_readonly($path) }, qr/\Q$class->new_readonly: open($path): No such file/,
            'no file');
        ok(!-e $path, 'nor is one made');
        croaks_like(sub { $class->new_readonly(undef) }, qr/path is undefined/, 'undef');
        croaks_like(sub { $class->new_readonly("a\0b") }, qr/path contains a NUL byte/, 'a NUL byte');
        croaks_like(sub { $class->new_readonly }, qr/^Usage: \Q$class\E::new_readonly/, 'too few arguments');
        croaks_like(sub { $class->new_readonly($path, 8) }, qr/^Usage: \Q$class\E::new_readonly/, 'too many');
        croaks_like(sub { $class->new_readonly(fresh_dir()) }, qr/new_readonly: /, 'a folder');
        for my $bytes ('', 'short', "\0" x 8192, 'x' x 8192) {
            my $file = spew(fresh_path(), $bytes);
            croaks_like(sub { $class->new_readonly($file) }, qr/too small|invalid or incompatible/,
                length($bytes) . ' bytes that are no ring');
            is(slurp($file), $bytes, 'which stay as they are');
        }
        my $other = fresh_path();
        variant($v->is_str ? 'Int' : 'Str')->class->new($other, 8);
        croaks_like(sub { $class->new_readonly($other) }, qr/holds an? @{[$v->is_str ? 'Int' : 'Str']} ring, opened as @{[$v->name]}/,
            'another variant');
        symlink $other, "$other.link";
        croaks_like(sub { $class->new_readonly("$other.link") }, qr/symbolic links are refused/, 'a symbolic link');
    };

    my $ring = $v->ring(16, $path);
    my $only = $class->new_readonly($path);

    subtest 'looking on' => sub {
        isa_ok($only, $class);
        @PubSubTest::Own::ISA = $class;
        is(ref PubSubTest::Own->new_readonly($path), 'PubSubTest::Own', 'a subclass');
        is_deeply(mappings($path), ['r--s', 'rw-s'], 'the memory is mapped without the right to write, beside our own ring');
        is($only->capacity, 16, 'capacity');
        is($only->msg_size, 256, 'msg_size') if $v->is_str;
        is($only->path, $path, 'path');
        is($only->memfd, -1, 'memfd');
        is($only->write_pos, 0, 'write_pos');
        $ring->publish_multi($v->values(1, 3));
        is($only->write_pos, 3, 'which goes on');
        is_deeply($only->stats, $ring->stats, 'stats');
        lives(sub { $only->sync }, 'sync');
        is($only->fileno, -1, 'no eventfd');
        my $fd = $only->eventfd;
        is($only->fileno, $fd, 'but it can have one');
        ok($only->notify, 'notify');
        is($only->eventfd_consume, 1, 'eventfd_consume');
        is($only->subscribe->fileno, $fd, 'its subscribers take it over');
        $only->eventfd_set(-1);
        is($only->fileno, -1, 'eventfd_set');
    };

    subtest 'what it refuses' => sub {
        my $before  = slurp($path);
        my $keyword = eval "use $class; sub { @{[$v->keyword('publish')]}(\$_[0], \$_[1]) }" or die $@;
        my $value   = $v->value(7);
        for (
            [publish => $value], [publish_multi => $value, $value], ['publish_multi'], [publish_notify => $value],
            ['clear'], ['unlink'],
        ) {
            my ($method, @arguments) = @$_;
            my $text = "$class->$method: this ring is read-only";
            croaks_like(sub { $only->$method(@arguments) }, qr/^\Q$text\E/, $method);
        }
        croaks_like(
            sub { $keyword->($only, $value) }, qr/^\Q@{[$v->keyword('publish')]}: this ring is read-only\E/, 'keyword'
        );
        is(slurp($path), $before, 'the file is as it was');
        ok(-e $path, 'and where it was');
    };

    subtest 'reading' => sub {
        my $before = slurp($path);
        my $all    = $only->subscribe_all;
        my $sub    = $only->subscribe;
        isa_ok($sub, $v->sub_class);
        is($all->poll, $v->value(1), 'poll');
        is_deeply([$all->drain], [$v->values(2, 3)], 'drain');
        is($all->poll, undef, 'no more');
        is($sub->poll, undef, 'nothing for who came later');
        is($sub->poll_wait(0), undef, 'poll_wait(0)');
        my $start = clock_gettime(CLOCK_MONOTONIC);
        is($sub->poll_wait(0.05), undef, 'poll_wait with a timeout');
        is_deeply([$sub->poll_wait_multi(3, 0.05)], [], 'poll_wait_multi with a timeout');
        cmp_ok(clock_gettime(CLOCK_MONOTONIC) - $start, '>=', 0.1, 'which they wait for');
        $all->reset_oldest;
        is($all->lag, 3, 'reset_oldest, lag');
        $all->cursor(1);
        is($all->poll, $v->value(2), 'cursor');
        $all->reset;
        is($all->poll, undef, 'reset');
        is(slurp($path), $before, 'nothing of that reached the file');
        is($ring->stats->{sub_waiters}, 0, 'no sleeper was ever announced');

        $ring->publish_multi($v->values(1, 20));
        is(scalar(() = $sub->drain), 16, 'lapped: what is left');
        is($sub->overflow_count, 4, 'and what is lost');
        my $n = 0;
        $ring->publish_multi($v->values(1, 5));
        is($sub->poll_cb(sub { $n++ }), 5, 'poll_cb');
        is($n, 5, 'all of them');
        $ring->publish($v->value(1));
        $ring->clear;
        is($sub->poll, undef, 'clear by another');
        $ring->publish($v->value(2));
        is($sub->poll, $v->value(2), 'and what comes after it');
    };

    subtest 'waiting' => sub {
        my $stranger = PubSubTest::Stranger->start($class, $path);
        my $sub      = $only->subscribe;
        for my $n (1 .. 3) {
            my $kid = spawn(sub {
                my ($peer) = @_;
                until_asleep(getppid);
                $ring->publish($v->value($n));
            });
            is($sub->poll_wait, $v->value($n), 'poll_wait sees a message that comes later');
            reap('the publisher ends well', $kid);
        }
        $stranger->ask(publish => $v->value(4));
        is_deeply([$sub->poll_wait_multi(5)], [$v->value(4)], 'so does poll_wait_multi');
        $stranger->expect('done');

        my ($got, $lost) = (0, $sub->overflow_count);
        $stranger->ask(count => 1, 20_000);
        while ($got + $sub->overflow_count - $lost < 20_000) { $got += () = $sub->poll_wait_multi(100) }
        $stranger->expect('done');
        is($got + $sub->overflow_count - $lost, 20_000, 'beside a busy publisher: delivered and lost are all');
        is($stranger->dismiss, 0, 'the publisher ends well');
    };

    subtest 'fh' => sub {
        my $stranger = PubSubTest::Stranger->start($class, $path);
        my $sub      = $only->subscribe;
        my $fh       = $sub->fh;
        ok(!readable($fh), 'not readable at first');
        for my $n (1 .. 3) {
            $stranger->call(publish_multi => $v->values(1, 2));
            ok(until_readable($fh), 'readable when messages have come');
            is($sub->poll, $v->value(1), 'the first');
            ok(readable($fh), 'readable still');
            is($sub->poll, $v->value(2), 'the last');
            ok(!readable($fh), 'and not after it');
        }
        $sub->cursor(0);
        ok(readable($fh), 'a seek');
        $sub->reset;
        ok(!readable($fh), 'a reset');
        is($stranger->dismiss, 0, 'the publisher ends well');
    };

    subtest 'lifetime' => sub {
        my ($fds, $maps) = (open_fds(), shared_maps());
        for (1 .. 100) {
            my $brief = $class->new_readonly($path);
            my $sub   = $brief->subscribe;
            undef $brief;
            $ring->publish($v->value(1));
            defined $sub->poll or fail('no message');
        }
        is(open_fds(), $fds, 'descriptors');
        is(shared_maps(), $maps, 'mappings');
        my $sub = $only->subscribe;
        $only->DESTROY;
        croaks_like(sub { $only->capacity }, qr/Attempted to use a destroyed $class object/, 'destroyed');
        croaks_like(sub { $only->publish($v->value(1)) }, qr/^\Q$class\E->publish: /, 'and no publisher either');
        $ring->publish($v->value(3));
        is($sub->poll, $v->value(3), 'its subscriber goes on');
    };
});

# The watch of a read-only ring ends while somebody who may write sleeps on it.
subtest 'destroyed beside one that sleeps' => sub {
    my $path = fresh_path();
    my $ring = variant('Int')->ring(16, $path);
    my $only = variant('Int')->class->new_readonly($path);
    my $kid  = spawn(sub { my ($peer) = @_; my $sub = $ring->subscribe; $peer->tell('ready'); $sub->poll_wait });
    $kid->hear;
    until_asleep($kid->pid);
    survives(
        'a watched subscriber goes',
        sub {
            my $sub = $only->subscribe;
            $sub->fh;
            undef $sub;
        }
    );
    $ring->publish(1);
    reap('who slept gets its message', $kid);
};

# A signal may come in a nap or between two.
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
    is($late, 0, 'run their handlers at once, which may end it');
};

# A claim that its publisher never fills: the position is taken, as by one that was killed at that instant.
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
        is($sub->poll, $v->value(1), 'what stands before it');
        my $before = clock_gettime(CLOCK_MONOTONIC);
        is($sub->poll, undef, 'then nothing');
        is($sub->poll_wait(0.02), undef, 'for some time');
        my $passed = $sub->overflow_count;
        SKIP: {
            skip 'this machine took longer than a reader is patient', 1 if clock_gettime(CLOCK_MONOTONIC) - $before > 0.1;
            is($passed, 0, 'and no verdict');
        }
        $ring->publish($v->value(4));
        is($sub->poll_wait, $v->value(4), 'then it goes on behind the claims');
        is($sub->overflow_count, 2, 'which count as lost');
        is($ring->stats->{abandoned}, 0, 'for itself only');
        my $other = $ring->subscribe_all;
        is_deeply([$other->poll, $other->poll_wait], [$v->value(1), $v->value(4)], 'who may write gives them up');
        is($ring->stats->{abandoned}, 2, 'for all');

        $ring->publish($v->value(5));
        poke($path, $write_pos, pack 'Q', 7);
        $sub = $only->subscribe_all;
        $sub->cursor(4);
        my $fh = $sub->fh;
        is($sub->poll, $v->value(5), 'a watched one');
        ok(!readable($fh), 'is not told of a claim');
        $ring->publish($v->value(6));
        {
            vec(my $bits = '', fileno $fh, 1) = 1;
            ok(select($bits, undef, undef, 1) > 0, 'but of what stands behind it');
        }
        is($sub->poll_wait, $v->value(6), 'which it gets');
        is($sub->overflow_count, 2, 'less what it passed');
        ok(!readable($fh), 'and no more');
        is($ring->stats->{abandoned}, 2, 'nothing given up for others');

        # A batch of fifty: one after the other they would take five seconds.
        my $many = fresh_path();
        my $big  = $v->ring(64, $many);
        poke($many, $write_pos, pack 'Q', 50);
        $sub = $v->class->new_readonly($many)->subscribe_all;
        $big->publish($v->value(7));
        is($sub->poll_wait(3), $v->value(7), 'the claims of a whole batch are passed at once');
        is($sub->overflow_count, 50, 'and counted');
    }
};

# Where the next position stands in the file: the only word that counts what is published.
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
    return is(@at, 1, 'the next position was found in the header') ? 8 * $at[0] : undef;
}

subtest 'another user' => sub {
    my ($uid, $gid) = nobody() or plan skip_all => 'only root can become somebody else';
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
            die 'may write' if $writer;
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
        is($kid->hear, 'following', 'can follow a file of mode 0644, and not write to it');
        $ring->publish($v->value(1));
        is($kid->hear, $v->value(1), 'gets a message by its handle');
        $ring->publish($v->value(2));
        is($kid->hear, $v->value(2), 'and one by waiting');
        reap('cannot remove the file', $kid);
        is((stat $path)[1], $inode, 'which is there still');

        chmod 0444, $path;
        lives(sub { $class->new_readonly($path)->subscribe_all->poll }, 'a file of mode 0444');
        reap('for others, too', spawn(sub {
            become($uid, $gid);
            $class->new_readonly($path)->subscribe_all->poll eq $v->value(1) or die 'no message';
        }));
        chmod 0600, $path;
        reap('but not one of mode 0600', spawn(sub {
            become($uid, $gid);
            eval { $class->new_readonly($path); 1 } and die 'opened';
            $@ =~ /new_readonly: open\(\Q$path\E\): Permission denied/ or die $@;
        }));
    });
};

done_testing;
