# The table of readers: which readers follow a ring, how far each has read and how much it lost; names that keep their
# position; forks, full tables, read-only handles, other pid namespaces.

use strict;
use warnings;
use utf8;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

# A child that subscribes with these options and then follows commands: `read N`, `sleep`, `end`.
sub reader {
    my ($v, $ring, %options) = @_;
    my $kid = spawn(sub {
        my ($peer) = @_;
        my $sub = eval { (delete $options{all} ? $ring->subscribe_all(%options) : $ring->subscribe(%options)) };
        $peer->tell($sub ? 'ready' : $@);
        while ($sub && defined(my $line = $peer->hear)) {
            if    ($line =~ /\Aread (\d+)/) { $peer->tell(join '|', $sub->drain($1)) }
            elsif ($line eq 'sleep')        { $peer->tell($sub->poll_wait) }
            elsif ($line eq 'end')          { return }
        }
    });
    my $said = $kid->hear;
    is($said, 'ready', 'a reader subscribes') if !defined wantarray || $said ne 'ready';
    return $kid;
}

# The readers by name or, if they have no name, by pid.
sub table { my ($ring) = @_; return { map { ($_->{name} // $_->{pid} => $_) } $ring->readers } }

sub names { return join ' ', sort map { $_->{name} // '-' } $_[0]->readers }

each_variant(sub {
    my ($v) = @_;

    subtest 'readers lists each subscriber and its position' => sub {
        my $ring = $v->ring(16, fresh_path());
        is_deeply([$ring->readers], [], 'a new ring lists no reader');
        my $sub = $ring->subscribe;
        my ($mine) = my @all = $ring->readers;
        is(scalar @all, 1, 'a subscriber is listed');
        # The clock of a host may be set at any moment, but not by much.
        ok(abs($mine->{since} - time) < 3600, 'since is about now');
        delete $mine->{since};
        is_deeply($mine, { name => undef, pid => $$, position => 0, lag => 0, lost => 0, delivered => 0, waits => 0, lossy => 0, alive => 1 },
            'the entry of a new subscriber');
        $ring->publish_multi($v->values(1, 5));
        is(($ring->readers)[0]{lag}, 5, 'lag counts the published messages');
        is($sub->poll, $v->value(1), 'the subscriber reads the first message');
        $sub->drain;
        $sub->poll;
        is_deeply([@{ ($ring->readers)[0] }{qw(position lag delivered lost)}], [5, 0, 5, 0],
            'after a read that found the ring empty, the entry counts all messages');
        $ring->publish_multi($v->values(1, 20));
        $sub->drain;
        $sub->poll;
        is_deeply([@{ ($ring->readers)[0] }{qw(position lag delivered lost)}], [25, 0, 21, 4],
            'the entry counts delivered and lost messages');
        is($sub->overflow_count, 4, 'overflow_count agrees with the entry');
        $ring->clear;
        is_deeply([@{ ($ring->readers)[0] }{qw(position lag)}], [0, 0], 'clear sets position and lag to 0');
        my $second = $ring->subscribe_all(lossy => 1);
        is(join(' ', sort map { $_->{lossy} } $ring->readers), '0 1', 'lossy readers are listed, too');
        undef $second;
        is(scalar(my @left = $ring->readers), 1, 'a destroyed subscriber is no longer listed');
        my $kept = $sub;
        undef $ring;
        is($kept->poll, undef, 'a subscriber outlives its ring object');
    };

    subtest 'a sleeping reader is listed as waiting' => sub {
        my $ring = $v->ring(16);
        my $kid  = reader($v, $ring);
        is(table($ring)->{ $kid->pid }{waits}, 0, 'waits is 0 before the reader sleeps');
        $kid->tell('sleep');
        # The entry is updated before the reader goes to sleep.
        select undef, undef, undef, 0.001 until table($ring)->{ $kid->pid }{waits};
        $ring->publish($v->value(3));
        is($kid->hear, $v->value(3), 'a publish wakes the reader');
        is(table($ring)->{ $kid->pid }{waits}, 0, 'waits is 0 after the wake-up');
        is(finished($kid), 0, 'the reader exits with 0');
        is_deeply([$ring->readers], [], 'no reader is listed after its exit');
    };

    subtest 'the listed position of a busy reader' => sub {
        my $ring = $v->ring(64);
        my $sub  = $ring->subscribe;
        my ($most, $ahead) = (0, 0);
        for my $n (1 .. 200) {
            $ring->publish_multi($v->values(1, 2));
            $sub->poll;
            $ring->clear, $sub->reset if $n % 50 == 0;
            my $off = $sub->cursor - ($ring->readers)[0]{position};
            $most = $off if $off > $most;
            $ahead++ if $off < 0;
        }
        is($ahead, 0, 'the listed position is never ahead of the cursor');
        cmp_ok($most, '<=', 8, 'the listed position is at most an eighth of the ring behind the cursor');
    };

    for my $end ('', 'KILL') {
        subtest 'a name keeps its position, ' . ($end ? "after SIG$end" : 'after an exit') => sub {
            my $ring = $v->ring(16, fresh_path());
            my $kid  = reader($v, $ring, name => 'audit');
            $ring->publish_multi($v->values(1, 5));
            is(asked($kid, 'read 2'), join('|', $v->values(1, 2)), 'the reader reads two messages');
            my %its = %{ table($ring)->{audit} };
            is_deeply([@its{qw(pid position lag delivered alive)}], [$kid->pid, 2, 3, 2, 1],
                'the entry shows its position at once');
            croaks_like(sub { $ring->subscribe(name => 'audit') }, qr/->subscribe: reader "audit" lives in process ${\$kid->pid}/,
                'subscribe croaks on a name in use');
            croaks_like(sub { $ring->forget('audit') }, qr/->forget: reader "audit" lives in process ${\$kid->pid}/,
                'forget croaks on a name in use');
            finished($kid, $end);
            %its = %{ table($ring)->{audit} };
            is_deeply([@its{qw(pid position lag delivered alive waits)}], [$kid->pid, 2, 3, 2, 0, 0],
                'the entry of a reader that has ended stays, marked as not alive');
            $ring->publish_multi($v->values(6, 7));
            my $sub = $ring->subscribe(name => 'audit');
            is($sub->name, 'audit', 'the new subscriber has the name');
            is($sub->lag, 5, 'the new subscriber lags as the old one did');
            is_deeply([$sub->drain], [$v->values(3, 7)], 'the new subscriber gets all messages that the old one had not read');
            $sub->poll;
            %its = %{ table($ring)->{audit} };
            is_deeply([@its{qw(pid delivered lost alive)}], [$$, 7, 0, 1],
                'the new subscriber continues the counts of the old one');
            undef $sub;

            $ring->publish_multi($v->values(1, 20));
            $sub = $ring->subscribe_all(name => 'audit');
            is_deeply([$sub->drain], [$v->values(5, 20)],
                'after an overflow, the named subscriber gets the messages that are left');
            is($sub->overflow_count, 4, 'overflow_count counts the overwritten messages');
            is_deeply([@{ table($ring)->{audit} }{qw(delivered lost)}], [23, 4], 'the entry counts the lost messages');
            is(names($ring), 'audit', 'the name never has more than one entry');
        };
    }

    subtest 'valid and invalid names' => sub {
        my $ring = $v->ring(16);
        my %sub  = map { ($_ => $ring->subscribe(name => $_)) } 'a', 'ä', "\x{263a}", 'x' x 47, ' ', '0';
        is($sub{$_}->name, $_, 'name returns the name') for sort keys %sub;
        is(scalar keys %{ table($ring) }, 6, 'readers lists all names');
        is(names($ring), join(' ', sort keys %sub), 'readers returns the names unchanged');
        my $undefined = $ring->subscribe(name => undef);
        is($undefined->name, undef, 'a name that is undef makes a reader without a name');
        croaks_like(sub { $ring->subscribe(name => '') }, qr/name must be 1 to 47 bytes of UTF-8, not 0/,
            'subscribe croaks on an empty name');
        croaks_like(sub { $ring->subscribe(name => 'x' x 48) }, qr/name must be 1 to 47 bytes of UTF-8, not 48/,
            'subscribe croaks on a name of 48 bytes');
        croaks_like(sub { $ring->subscribe(name => 'ä' x 24) }, qr/not 48/, 'the length of a name is counted in bytes of UTF-8');
        croaks_like(sub { $ring->subscribe(name => ['x']) }, qr/subscribe: name must be a string, not a reference/,
            'subscribe croaks on a name that is a reference');
        croaks_like(sub { $ring->forget({}) }, qr/forget: name must be a string, not a reference/,
            'forget croaks on a name that is a reference');
        croaks_like(sub { $ring->subscribe(name => "a\0b") }, qr/name contains a NUL byte/,
            'subscribe croaks on a NUL byte in a name');
        croaks_like(sub { $ring->subscribe(nme => 'a') }, qr/->subscribe: unknown option "nme"; known: lossy, name/,
            'subscribe croaks on an unknown option');
        croaks_like(sub { $ring->subscribe_all('name') }, qr/Usage: .*subscribe_all/,
            'subscribe_all croaks on an option without a value');
        croaks_like(sub { $ring->forget(undef) }, qr/->forget: name is undefined/, 'forget croaks on undef');
        croaks_like(sub { $ring->forget('') }, qr/->forget: name must be/, 'forget croaks on an empty name');
    };

    subtest 'release and forget' => sub {
        my $ring = $v->ring(16);
        my $sub  = $ring->subscribe(name => 'one');
        $ring->publish_multi($v->values(1, 4));
        $sub->poll;
        $sub->release;
        is($sub->name, undef, 'after release, the subscriber has no name');
        is(table($ring)->{one}{alive}, 0, 'after release, the name is not in use');
        is($sub->poll, $v->value(2), 'after release, the subscriber still reads');
        my $other = $ring->subscribe(name => 'one');
        is($other->poll, $v->value(2), 'another subscriber takes over the name and its position');
        lives(sub { $sub->release }, 'a second release does nothing');
        is(table($ring)->{one}{alive}, 1, 'a second release does not free the name of the other subscriber');
        undef $other;
        ok($ring->forget('one'), 'forget returns true for a name');
        ok(!$ring->forget('one'), 'forget returns false for an unknown name');
        is_deeply([$ring->readers], [], 'the forgotten reader is no longer listed');
        is($ring->subscribe_all(name => 'one')->poll, $v->value(1), 'a new reader with a forgotten name starts without a position');
    };

    subtest 'a full table' => sub {
        my $ring = $v->class->new(undef, 16, readers => 1);
        is($ring->stats->{readers}, 1, 'the ring has a table for one reader');
        my $first = $ring->subscribe;
        my $more  = $ring->subscribe;
        is($ring->stats->{unlisted}, 1, 'unlisted counts a subscriber without an entry');
        croaks_like(sub { $ring->subscribe(name => 'a') }, qr/->subscribe: the table of readers is full \(1\)/,
            'subscribe with a name croaks if the table is full');
        $ring->publish($v->value(9));
        is($_->poll, $v->value(9), 'subscribers read with and without an entry') for $first, $more;
        is(scalar(my @listed = $ring->readers), 1, 'only one of them is listed');
        undef $first;
        my $kid = reader($v, $ring);
        is(($ring->readers)[0]{pid}, $kid->pid, 'a later reader gets the freed entry');
        finished($kid, 'KILL');
        my $last = $ring->subscribe(name => 'a');
        is(names($ring), 'a', 'the entry of a killed reader is reused');
    };

    subtest 'no table' => sub {
        my $ring = $v->class->new(undef, 16, readers => 0);
        is($ring->stats->{readers}, 0, 'stats: the ring has a table for 0 readers');
        my $sub = $ring->subscribe;
        $ring->publish($v->value(9));
        is($sub->poll, $v->value(9), 'a subscriber reads without a table');
        is_deeply([$ring->readers, $ring->waiting_for], [], 'readers and waiting_for return nothing');
        croaks_like(sub { $ring->subscribe(name => 'a') }, qr/->subscribe: this ring has no table of readers/,
            'subscribe croaks on a name');
        ok(!$ring->forget('a'), 'forget returns false');
        ok($ring->wait_for_readers, 'wait_for_readers returns at once');
    };

    subtest 'a forked child gets an entry of its own' => sub {
        my $ring = $v->ring(16);
        my $sub  = $ring->subscribe(name => 'parent');
        $ring->publish_multi($v->values(1, 3));
        $sub->poll;
        my $kid = spawn(sub {
            my ($peer) = @_;
            $peer->tell(names($ring));
            $peer->hear;
            $peer->tell($sub->poll);
            $peer->tell(join ' ', map { ($_->{name} // '-', $_->{pid}, $_->{position}) } sort { $a->{pid} <=> $b->{pid} } $ring->readers);
            $peer->hear;
            $sub->release;
            $peer->tell($sub->poll);
        });
        is($kid->hear, 'parent', 'before its first read, a child shares the entry of its parent');
        $kid->tell('go');
        is($kid->hear, $v->value(2), 'the child reads at the position of its parent');
        my @both = sort { $a->[1] <=> $b->[1] } ['parent', $$, 1], ['-', $kid->pid, 2];
        is($kid->hear, join(' ', map {@$_} @both), 'after its first read, the child has an entry of its own, without the name');
        is($sub->poll, $v->value(2), 'the parent reads at its own position');
        $kid->tell('go');
        is($kid->hear, $v->value(3), 'after release, the child still reads');
        reap('the child exits with 0', $kid);
        is(names($ring), 'parent', 'only the entry of the parent is left');
        is($sub->name, 'parent', 'the parent keeps its name');
        is($sub->poll, $v->value(3), 'the parent keeps its position');
    };

    subtest 'a read-only handle' => sub {
        my $path = fresh_path();
        my $ring = $v->ring(16, $path);
        my $sub  = $ring->subscribe(name => 'one');
        my $far  = $v->class->new_readonly($path);
        my $all  = $far->subscribe_all;
        is(names($far), 'one', 'a read-only handle lists readers and is not listed itself');
        is(($far->readers)[0]{alive}, 1, 'a read-only handle sees that a reader is alive');
        croaks_like(sub { $far->subscribe(name => 'far') },
            qr/name "far": readers of a ring that is open for reading only are not listed/,
            'subscribe of a read-only handle croaks on a name');
        croaks_like(sub { $far->forget('one') }, qr/->forget: this ring is read-only/, 'forget croaks on a read-only handle');
        croaks_like(sub { $far->wait_for_readers }, qr/->wait_for_readers: this ring is read-only/,
            'wait_for_readers croaks on a read-only handle');
        lives(sub { $all->release }, 'release of a subscriber without an entry does nothing');
        my $kid = reader($v, $ring);
        finished($kid, 'KILL');
        is(table($far)->{ $kid->pid }{alive}, 0, 'a read-only handle sees that a reader was killed');
        is(scalar(my @listed = $far->readers), 2, 'a read-only handle does not free the entry of a killed reader');
        is(names($ring), 'one', 'a writable handle frees the entry of a killed reader');
    };

    subtest 'reopen moves a name to the new ring' => sub {
        my $path = fresh_path();
        my $ring = $v->ring(16, $path);
        my $sub  = $ring->subscribe(name => 'one');
        $ring->publish_multi($v->values(1, 3));
        $sub->drain;
        $ring->unlink;
        my $next = $v->ring(16, $path);
        $next->publish_multi($v->values(4, 6));
        $sub->reopen;
        is_deeply([$sub->name, $sub->drain], ['one', $v->values(4, 6)], 'reopen keeps the name and reads the new ring');
        is(names($next), 'one', 'the name is listed in the new ring');
        is(table($ring)->{one}{alive}, 0, 'the name is not in use in the old ring');
    };
});

# --- Tests that need only one variant

my $int = variant('Int');

subtest 'wait_for_readers of a ring that is not lossless' => sub {
    my $ring = $int->ring(16);
    my $kid  = reader($int, $ring);
    my $lazy = $ring->subscribe(lossy => 1);
    ok($ring->wait_for_readers(0), 'wait_for_readers(0) returns true before the first publish');
    $ring->publish_multi(1 .. 3);
    ok(!$ring->wait_for_readers(0), 'wait_for_readers(0) returns false before any reader has read');
    my $waits = spawn(sub { $_[0]->tell('ready'); $_[0]->tell($ring->wait_for_readers) });
    $waits->hear;
    until_asleep($waits->pid);
    is(asked($kid, 'read 9'), '1|2|3', 'the reader reads the messages');
    is(asked($kid, 'read 9'), '',      'the reader has read all messages');
    is($waits->hear, 1, 'wait_for_readers returns once the reader has read, and does not wait for a lossy reader');
    reap('the waiting process exits with 0', $waits);
    $ring->publish(4);
    finished($kid, 'KILL');
    ok($ring->wait_for_readers, 'wait_for_readers does not wait for a killed reader');
    my $own = $ring->subscribe_all;
    croaks_like(sub { $ring->wait_for_readers }, qr/->wait_for_readers: would wait forever for this process's own subscriber/,
        'without a timeout, wait_for_readers croaks if it would wait for this process itself');
    ok(!$ring->wait_for_readers(0.01), 'with a timeout, wait_for_readers for this process itself times out');
    croaks_like(sub { $ring->wait_for_readers('x') }, qr/timeout must be a number of seconds, not "x"/,
        'wait_for_readers croaks on a timeout that is not a number');
};

subtest 'several processes ask for one name at the same time' => sub {
    my $ring = $int->ring(16);
    for my $round (1 .. 20) {
        my @kids = map {
            spawn(sub {
                my ($peer) = @_;
                $peer->hear;
                my $sub = eval { $ring->subscribe(name => "r$round") };
                $peer->tell($sub ? 'got it' : $@);
                $peer->hear;
            })
        } 1 .. 3;
        $_->tell('go') for @kids;
        my @said = map { $_->hear } @kids;
        my @got  = grep { $_ eq 'got it' } @said;
        is(scalar @got, 1, "round $round: one process gets the name") or diag("@said");
        like($_, qr/reader "r$round" lives in process/, 'each other process gets an error that names the holder')
            for grep { $_ ne 'got it' } @said;
        $_->tell('end') for @kids;
        reap('the processes exit with 0', @kids);
    }
};

subtest 'another pid namespace' => sub {
    my $unshare = sysnum('unshare');
    plan skip_all => 'needs root' if $> || !$unshare;
    # Runs $code as process 1 of a new pid namespace, and kills that process on command.
    my $in_namespace = sub {
        my ($peer, $code) = @_;
        return $peer->tell('no namespace') if syscall($unshare, 0x20000000) != 0;    # CLONE_NEWPID
        my $pid = fork // die "fork: $!";
        if (!$pid) {
            eval { $code->(); 1 } or print STDERR "# $@";
            POSIX::_exit(0);
        }
        $peer->hear;
        kill KILL => $pid;
        waitpid $pid, 0;
        return $peer->tell($? & 127 ? 'killed' : 'ended');
    };
    for my $locks (1, 0) {
        my $path = fresh_path();
        my $ring = $int->ring(16, $path);
        # Without a path, processes find no file to lock.
        unlink $path or die "unlink: $!" if !$locks;
        my $mine = $ring->subscribe(name => 'outside');
        my $kid  = spawn(sub {
            my ($peer) = @_;
            $in_namespace->($peer, sub {
                my $sub = $ring->subscribe(name => 'inside');
                $peer->tell($$);
                $peer->tell(table($ring)->{outside}{alive} // 'undef');
                sleep 1000;
            });
        });
        my $pid = $kid->hear;
        if ($pid eq 'no namespace') { $kid->end; plan skip_all => $pid }
        is($pid, 1, 'the process in the namespace has pid 1');
        is($kid->hear, $locks ? 1 : 'undef', "locks $locks: whether the process in the namespace sees the reader outside as alive");
        my %its = %{ table($ring)->{inside} };
        is_deeply([@its{qw(pid alive)}], [1, $locks ? 1 : undef], 'the entry of the process in the namespace, seen from outside');
        croaks_like(sub { $ring->subscribe(name => 'inside') }, qr/reader "inside" lives in process 1\b/,
            'subscribe croaks on its name');
        is(table($ring)->{outside}{alive}, 1, 'our own reader is alive');
        $kid->tell('go');
        is($kid->hear, 'killed', 'the process in the namespace is killed');
        is(table($ring)->{inside}{alive}, $locks ? 0 : undef, "locks $locks: whether the killed process is seen as not alive");
        my $sub = eval { $ring->subscribe(name => 'inside') };
        is(!!$sub, !!$locks, "locks $locks: whether the name of the killed process can be taken");
        reap('the parent of the namespace exits with 0', $kid);
    }
};

subtest 'a corrupt table does not disturb publishers and subscribers' => sub {
    each_variant(sub {
        my ($v)  = @_;
        my $path = fresh_path();
        my $ring = $v->class->new($path, 16, readers => 8);
        survives('publish, read, subscribe and release work with a corrupt table', sub {
            my ($note) = @_;
            srand 7;
            for my $round (1 .. 300) {
                my $sub = eval { $ring->subscribe(name => "n$round") } || $ring->subscribe;
                my $bytes = $round % 3 == 0 ? "\xff" x 1024 : $round % 3 == 1 ? "\0" x 1024 : join '', map { chr int rand 256 } 1 .. 1024;
                $note->("round $round");
                poke($path, 4096, $bytes);
                $ring->publish_multi($v->values(1, 20));
                my @got = $sub->drain;
                die "round $round: got @got" if "@got" ne join ' ', $v->values(5, 20);
                $sub->poll;
                my @all = $ring->readers;
                eval { $ring->forget("n$round") };
                $sub->release;
            }
        });
    });
};

each_variant(sub {
    my ($v)  = @_;
    my $ring = $v->ring(1024);
    my $sub  = $ring->subscribe;
    my $lag  = sub { return ($ring->readers)[0]{lag} };
    for my $way ([drain => sub { $sub->drain }], [poll_multi => sub { $sub->poll_multi(10) }], [poll_cb => sub { $sub->poll_cb(sub { }) }]) {
        my ($name, $read) = @$way;
        $ring->publish_multi($v->values(1, 10));
        $read->();
        is($lag->(), 0, "after all messages are read with $name, the listed lag is 0");
    }
});

done_testing;
