# Sets: one wait for several subscribers.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use POSIX        ();
use Scalar::Util qw(refaddr weaken);
use Test::More;
use PubSubTest;
use PubSubTest::Watchers;

my $SET = 'Data::PubSub::Shared::Set';

# How many times the threads of this process have gone to sleep by themselves.
sub sleeps {
    my $sum = 0;
    $sum += (slurp("/proc/self/task/$_/status") =~ /^voluntary_ctxt_switches:\s*(\d+)/m)[0] for entries('/proc/self/task');
    return $sum;
}

# Rings of this variant, and one subscriber for each.
sub rings {
    my ($v, $count) = @_;
    my @rings = map { $v->ring(8) } 1 .. $count;
    return (\@rings, [map { $_->subscribe } @rings]);
}

sub same { return join(' ', map { refaddr $_ } @{ $_[0] }) eq join(' ', map { refaddr $_ } @{ $_[1] }) }

each_variant(sub {
    my ($v) = @_;

    subtest 'wait returns the subscribers that have messages' => sub {
        my ($rings, $subs) = rings($v, 3);
        my $set = $SET->new(@$subs);
        isa_ok($set, $SET);
        is_deeply([$set->wait(0)],    [], 'wait returns no subscriber before the first publish');
        is_deeply([$set->wait(0.01)], [], 'wait with a timeout returns no subscriber before the first publish');
        $rings->[2]->publish($v->value(1));
        $rings->[0]->publish_multi($v->values(2, 3));
        my %seen;
        until (keys %seen == 2) { $seen{ refaddr $_ }++ for $set->wait }    # the set may learn of one a moment before the other
        ok($seen{ refaddr $subs->[0] } && $seen{ refaddr $subs->[2] }, 'wait returns both subscribers whose rings have messages');
        is(scalar $set->wait, 2, 'in scalar context, wait returns the number of ready subscribers');
        is($subs->[0]->poll, $v->value(2), 'the first ready subscriber has its first message');
        is($subs->[2]->poll, $v->value(1), 'the second ready subscriber has its message');
        ok(same([$set->wait(5)], [$subs->[0]]), 'a second wait returns the subscriber that has a message left');
        $_->drain for $set->wait(5);
        is_deeply([$set->wait(0)], [], 'wait returns no subscriber once all are drained');
    };

    subtest 'a publish by another process ends a wait' => sub {
        for my $count (2, 130) {
            my ($rings, $subs) = rings($v, $count);
            my $set = $SET->new(@$subs);
            my $kid = spawn(sub {
                my ($peer) = @_;
                while (defined(my $which = $peer->hear)) { $rings->[$which]->publish($v->value($which)) }
            });
            my @order = (1, 0, $count - 1, 1);
            my @got;
            for my $which (@order) {
                $kid->tell($which);
                my @ready = $set->wait;
                push @got, @ready == 1 && refaddr $ready[0] == refaddr $subs->[$which] ? $ready[0]->poll : 'another';
            }
            is_deeply(\@got, [map { $v->value($_) } @order],
                "each publish ends a wait of a set of $count, which returns that subscriber");
            $kid->kill('TERM');
            $kid->end;
        }
    };

    subtest 'fh: one handle for the whole set' => sub {
        my $threads = thread_count();
        for my $count (1, 3, 130) {
            my ($rings, $subs) = rings($v, $count);
            my $open = open_fds();
            my $set = $SET->new(@$subs);
            my $fh  = $set->fh;
            is(open_fds(), $open + 2, "$count rings: fh opens two descriptors");
            is(thread_count($threads + watchers($count)), $threads + watchers($count),
                "$count rings: fh starts as many threads as the set needs");
            is($set->fh, $fh, 'fh returns the same handle each time');
            ok(!readable($fh), 'the handle is not readable before the first publish');
            $rings->[$_]->publish($v->value(1)) for $count > 1 ? (0, -1) : 0;
            until_readable($fh);
            $subs->[0]->poll;
            $count > 1 ? until_readable($fh) : ok(!readable($fh), 'the handle is not readable once its only subscriber is drained');
            $_->drain for $set->wait(0);
            ok(!readable($fh), 'the handle is not readable once all subscribers are drained');
            $rings->[0]->publish($v->value(2));
            until_readable($fh);
            ok(same([$set->wait(0)], [$subs->[0]]), 'wait returns the subscriber that made the handle readable');
            undef $set;
            is(thread_count($threads), $threads, 'the threads end with the set');
            is($subs->[0]->poll, $v->value(2), 'a subscriber still works after its set is destroyed');
            ok(!readable($fh) || 1, 'a handle that outlives its set can still be selected on');
            close $fh;
            is(open_fds(), $open, 'closing the handle leaves no descriptor open');
        }
    };

    subtest 'add and remove' => sub {
        for my $watched (0, 1) {
            my ($rings, $subs) = rings($v, 3);
            my $set = $SET->new($subs->[0]);
            my $fh  = $watched && $set->fh;
            is($set->add(@$subs), 2, 'add returns the number of new subscribers');
            is($set->add($subs->[1]), 0, 'add of a subscriber that is already in the set returns 0');
            ok(same([$set->subscribers], $subs), 'subscribers returns all that were added');
            is(scalar $set->subscribers, 3, 'in scalar context, subscribers returns their number');
            $rings->[1]->publish($v->value(1));
            ok(same([$set->wait], [$subs->[1]]), 'wait returns an added subscriber');
            until_readable($fh) if $watched;
            is($set->remove(@$subs[1, 1]), 1, 'remove counts a subscriber that is given twice once');
            is($set->remove($subs->[1]), 0, 'remove of a subscriber that is not in the set returns 0');
            is_deeply([$set->wait(0)], [], 'wait does not return a removed subscriber');
            ok(!readable($fh), 'the handle is not readable for a removed subscriber') if $watched;
            $rings->[1]->publish($v->value(2));
            is_deeply([$set->wait(0.01)], [], 'a later publish to a removed subscriber does not end a wait');
            $set->add($subs->[1]);
            ok(same([$set->wait], [$subs->[1]]), 'a subscriber that is added again is returned with its unread messages');
            ok(readable($fh), 'the handle is readable for a subscriber that is added again') if $watched;
        }
    };

    subtest 'a subscriber in two sets, with a handle of its own' => sub {
        my ($rings, $subs) = rings($v, 2);
        my @sets = map { $SET->new(@$subs) } 1, 2;
        my @fh   = map { $_->fh } @sets, $subs->[0];
        $rings->[0]->publish($v->value(1));
        until_readable($_) for @fh;
        undef $sets[0];
        ok(readable($_), 'the other handles stay readable after one set is destroyed') for @fh[1, 2];
        $subs->[0]->poll;
        ok(!readable($_), 'the other handles are not readable once the message is read') for @fh[1, 2];
        $rings->[0]->publish($v->value(2));
        until_readable($_) for @fh[1, 2];
        pass('the other handles become readable again');
    };

    subtest 'a subscriber is moved while it is in a set' => sub {
        my ($rings, $subs) = rings($v, 2);
        my $set = $SET->new(@$subs);
        my $fh  = $set->fh;
        $rings->[0]->publish_multi($v->values(1, 4));
        until_readable($fh);
        $subs->[0]->reset;
        ok(!readable($fh), 'reset makes the handle unreadable');
        $subs->[0]->cursor(2);
        ok(readable($fh), 'setting the cursor back makes the handle readable');
        $rings->[0]->clear;
        is_deeply([$set->wait(0)], [], 'wait returns no subscriber after clear');
        ok(!readable($fh), 'the handle is not readable after clear');
        $rings->[0]->publish($v->value(5));
        until_readable($fh);
        is($subs->[0]->poll, $v->value(5), 'a publish after clear is delivered');
    };
});

subtest 'signal handlers run during a wait' => sub {
    for my $count (2, 130) {
        my ($rings, $subs) = rings(variant('Int'), $count);
        my $set  = $SET->new(@$subs);
        my $came = 0;
        local $SIG{USR1} = sub { $came++; $rings->[1]->publish(7) if $came == 3 };
        my $kid = spawn(sub { my ($peer) = @_; $peer->hear; while (1) { kill USR1 => getppid; select undef, undef, undef, 0.001 } });
        $kid->tell('go');
        ok(same([$set->wait], [$subs->[1]]),
            "a set of $count: handlers run during a wait, and a message that a handler publishes ends it");
        # Signals arrive all the time, also outside of `eval`. Assigned: `local` would set the default action for a moment.
        my $inside = 0;
        $SIG{USR1} = sub { $inside-- && die "out\n" if $inside };
        $subs->[1]->drain;
        is(eval { $inside = 1; $set->wait; 1 } ? 'returned' : $@, "out\n",
            "a set of $count: an exception of a handler ends the wait");
        $SIG{USR1} = sub { $set->DESTROY if $inside };
        is((eval { $inside = 1; $set->wait; 1 } ? 'returned' : $@) =~ s/ at .*//sr,
            "$SET->wait: $SET object destroyed during the call",
                "a set of $count: a handler that destroys the set makes wait croak");
        $SIG{USR1} = 'IGNORE';
        $kid->kill('KILL');
        $kid->end;
    }
    my ($rings, $subs) = rings(variant('Int'), 3);
    my $set = $SET->new(@$subs);
    local $SIG{ALRM} = sub { $_->DESTROY for splice @$subs, 0, 2; $rings->[2]->publish(1) };
    POSIX::alarm(1);
    ok(same([$set->wait], $subs), 'a wait continues after a handler destroys two of three subscribers');
    is(scalar $set->subscribers, 1, 'destroyed subscribers are no longer in the set');
    watchdog();
};

subtest 'lifetimes of sets, subscribers and rings' => sub {
    my $threads = thread_count();
    my $maps    = shared_maps();
    my ($rings, $subs) = rings(variant('Str'), 3);
    my $set = $SET->new(@$subs);
    my $fh  = $set->fh;
    weaken(my $weak = $subs->[0]);
    @$subs = ();
    ok($weak, 'a set keeps its subscribers alive');
    $rings->[0]->publish('x');
    @$rings = ();
    is(($set->wait)[0]->poll, 'x', 'the subscribers keep their rings alive');
    $weak->DESTROY;
    is(scalar $set->subscribers, 2, 'a destroyed subscriber is no longer in the set');
    is_deeply([$set->wait(0)], [], 'wait ignores a destroyed subscriber');
    undef $set;
    ok(!$weak, 'the last subscribers are destroyed with the set');
    is(thread_count($threads), $threads, 'the threads end with the set');
    is(shared_maps(), $maps, 'the rings are unmapped with the set');

    ($rings, $subs) = rings(variant('Int'), 2);
    $set = $SET->new(@$subs);
    $_->DESTROY for @$subs;
    croaks_like(sub { $set->wait }, "$SET->wait: the set has no subscribers", 'wait croaks after all subscribers are destroyed');
    croaks_like(sub { $SET->new->wait(1) }, "$SET->wait: the set has no subscribers", 'wait croaks on a new, empty set');
    croaks_like(sub { $set->add($subs->[0]) }, "$SET->add: argument 1 is a subscriber that was destroyed",
        'add croaks on a destroyed subscriber');

    my ($out, $status) = run_perl(<<'END');
        use Data::PubSub::Shared;
        our @rings = map { Data::PubSub::Shared::Int->new(undef, 8) } 1 .. 3;
        our @subs  = map { $_->subscribe } @rings;
        our $set   = Data::PubSub::Shared::Set->new(@subs);
        our $fh    = $set->fh;
        our $self  = [$set, $fh, \@subs];
        push @$self, $self;
        { package Loud; our @ISA = 'Data::PubSub::Shared::Set'; sub DESTROY { print "gone\n" } }
        our $loud = Loud->new(@subs);
        $loud->fh;
        print "end\n";
END
    is($out, "end\ngone\n", 'a set in a cycle is destroyed at the end of the program');
    is($status, 0, 'global destruction of sets does not crash');
};

subtest 'a forked child uses the set of its parent' => sub {
    for my $count (2, 130) {
        my ($rings, $subs) = rings(variant('Int'), $count);
        my $set = $SET->new(@$subs);
        my $fh  = $set->fh;
        my $kid = spawn(sub {
            my ($peer) = @_;
            thread_count() == 1 or die 'the child inherited a thread';
            my $own = $set->fh;
            $own != $fh or die "the child got its parent's handle";
            thread_count(1 + watchers($count)) == 1 + watchers($count) or die 'the child did not start its own threads';
            $peer->tell('ready');
            until_readable($own);
            my @ready = $set->wait;
            @ready == 1 && $ready[0]->poll == 9 or die 'the child got a wrong message';
            readable($own) and die 'the handle is readable after the last message';
            $peer->tell('read');
            undef $_ for $set, $own, $fh;
            thread_count(1) == 1 or die 'a thread outlived the set';
        });
        is($kid->hear, 'ready', "a child has a handle of its own ($count rings)");
        $rings->[1]->publish(9);
        is($kid->hear, 'read', 'the handle and wait of the child deliver a message of the parent');
        until_readable($fh);
        ok(same([$set->wait(0)], [$subs->[1]]), 'the parent gets the message that its child has read, too');
        reap('the child that uses a handle exits with 0', $kid);
        $subs->[1]->drain;
        reap('a child that only calls wait exits with 0', spawn(sub { $rings->[0]->publish(4); ($set->wait)[0]->poll == 4 or die }));
        until_readable($fh);
        is(($set->wait)[0]->poll, 4, 'the parent gets the message that the waiting child has read, too');
        ok(!readable($fh), 'the handle of the parent is not readable after that message');
        reap('a child that destroys the set exits with 0', spawn(sub { undef $set; undef $fh; @$subs = () }));
        $rings->[0]->publish(5);
        until_readable($fh);
        is(($set->wait)[0]->poll, 5, 'the set of the parent works after a child has destroyed its copy');
    }
};

subtest "a program closes the set's descriptors" => sub {
    my ($rings, $subs) = rings(variant('Int'), 2);
    my $set = $SET->new(@$subs);
    my $fh  = $set->fh;
    $rings->[0]->publish(1);
    until_readable($fh);
    POSIX::close($_) for grep { (fd_target($_) // '') =~ /eventfd/ } entries('/proc/self/fd');
    my @files = map { open my $in, '<', '/dev/null' or die "open: $!"; $in } 1 .. 20;
    my $next = $set->fh;
    isnt($next, $fh, 'fh returns another handle after the first was closed');
    ok(until_readable($next), 'the new handle becomes readable for the old message');
    $subs->[0]->drain;
    ok(!readable($next), 'the new handle is not readable once the message is read');
    $rings->[1]->publish(2);
    until_readable($next);
    is(($set->wait(0))[0]->poll, 2, 'a wait works after the descriptors were closed');
    undef $set;
    is(scalar(grep { !-c $_ } @files), 0, "destroying the set does not close descriptors that the program opened since");
};

subtest 'rings whose files are unlinked' => sub {
    for my $count (2, 130) {
        my $class = variant('Int')->class;
        my @rings = map { $class->new(fresh_path(), 8) } 1 .. $count;
        my @subs  = map { $_->subscribe } @rings;
        my $set   = $SET->new(@subs);
        $rings[0]->unlink;
        is_deeply([$set->wait(0.01)], [], "$count rings: wait times out if one ring was unlinked");
        $rings[-1]->publish(1);
        ok(same([$set->wait], [$subs[-1]]), "$count rings: wait returns a subscriber of another ring");
        $subs[-1]->drain;
        my $kid = spawn(sub {
            my ($peer) = @_;
            $peer->tell('waits');
            $peer->tell(scalar $set->wait);
        });
        $kid->hear;
        until_asleep($kid->pid);
        for my $ring (@rings[1 .. $count - 1]) { unlink $ring->path or die "unlink: $!" }
        is($kid->hear, 0, "$count rings: the wait ends once all rings are unlinked");
        reap("$count rings: the waiting child exits with 0", $kid);
    }
};

subtest 'a set of read-only rings and of several variants' => sub {
    my @paths = map { fresh_path() } 1, 2;
    my $int = variant('Int')->class->new($paths[0], 8);
    my $str = variant('Str')->class->new($paths[1], 8);
    my @subs = (variant('Int')->class->new_readonly($paths[0])->subscribe, $str->subscribe, $int->subscribe);
    my $set = $SET->new(@subs);
    my $kid = spawn(sub { my ($peer) = @_; $peer->hear; $int->publish(3); $peer->hear; $str->publish('x') });
    $kid->tell('int');
    # Both subscribers become ready, each in its own time.
    for my $which ([2, 'wait returns the subscriber of a writable ring'], [0, 'wait returns the subscriber of a read-only ring']) {
        my ($i, $name) = @$which;
        1 until grep { refaddr $_ == refaddr $subs[$i] } $set->wait;
        pass($name);
    }
    $_->drain for @subs;
    $kid->tell('str');
    is(($set->wait)[0]->poll, 'x', 'wait returns the subscriber of a Str ring with its message');
    reap('the publisher exits with 0', $kid);
    my $naps = $SET->new($subs[0]);
    my $fh   = $naps->fh;
    is_deeply([$naps->wait(0.02)], [], 'wait times out for a set of read-only rings alone');
    $int->publish(4);
    until_readable($fh);
    is(($naps->wait)[0]->poll, 4, 'a set of read-only rings alone gets a message');
};

subtest 'a ring file is replaced by a new one' => sub {
    my $class = variant('Int')->class;
    my $path  = fresh_path();
    my $ring  = $class->new($path, 8);
    my $sub   = $ring->subscribe;
    my $set   = $SET->new($sub, variant('Str')->ring(8)->subscribe);
    my $fh    = $set->fh;
    $ring->unlink;
    my $new = $class->new($path, 8);
    $new->publish(1);
    ok(!readable($fh), 'the handle ignores the new ring');
    $sub->reopen;
    ok(readable($fh), 'the handle becomes readable once the subscriber is reopened');
    is(($set->wait)[0]->poll, 1, 'wait returns the reopened subscriber with the message of the new ring');
    $new->publish(2);
    until_readable($fh);
    is(($set->wait)[0]->poll, 2, 'a later publish to the new ring is delivered');
};

subtest 'a set of five hundred rings' => sub {
    my ($rings, $subs) = rings(variant('Int'), 500);
    my %index = map { refaddr $subs->[$_] => $_ } 0 .. $#$subs;
    my $set = $SET->new(@$subs);
    my $fh  = $set->fh;
    srand(my $seed = $ENV{XT_SEED} // time);
    for my $how ('wait', 'fh') {
        my @order = map { int rand 500 } 1 .. 10;
        my $kid   = spawn(sub { my ($peer) = @_; for my $i (@order) { $peer->hear; $rings->[$i]->publish($i) } });
        my ($start, $before, @got) = (time, sleeps());
        for (@order) {
            $kid->tell('next');
            until_readable($fh) if $how eq 'fh';
            push @got, map { [$index{ refaddr $_ }, $_->drain] } $set->wait($how eq 'fh' ? 0 : ());
        }
        my $sleeps = sleeps() - $before;
        is_deeply(\@got, [map { [$_, $_] } @order], "$how: ten messages, one after the other on random rings, are all delivered")
            or diag "seed $seed";
        # A message wakes the caller and two threads, a few times each; and each thread checks its rings once a second.
        my $seconds = 2 + time - $start;
        cmp_ok($sleeps, '<', 10 * 20 + $seconds * (watchers(500) + 1), "$how: few sleeps, so no thread polls ($sleeps sleeps)");
        reap('the publisher exits with 0', $kid);
    }
    my ($sleeps, $cpu) = (sleeps(), (POSIX::times())[1] + (POSIX::times())[2]);
    is_deeply([$set->wait(1.5)], [], 'wait times out if no ring gets a message');
    $_ = $_->[1] - $_->[0] for my @spent = ([$sleeps, sleeps()], [$cpu, (POSIX::times())[1] + (POSIX::times())[2]]);
    cmp_ok($spent[0], '<=', 3 * (watchers(500) + 1), "the threads sleep through a wait without messages ($spent[0] sleeps)");
    cmp_ok($spent[1], '<=', 0.25 * POSIX::sysconf(POSIX::_SC_CLK_TCK()),
        "a wait without messages uses little CPU time ($spent[1] ticks)");
};

subtest 'a wait needs no threads and no descriptors' => sub {
    plan skip_all => 'this kernel has no queues of io_uring' if !has_queue();
    my ($rings, $subs) = rings(variant('Int'), 500);
    my @before = (thread_count(), open_fds());
    my $set = $SET->new(@$subs);
    my $wakes = sub {
        my ($name) = @_;
        my $i   = int rand 500;
        my $kid = spawn(sub { my ($peer) = @_; $peer->hear; $rings->[$i]->publish($i) });
        $kid->tell('go');
        my @ready = $set->wait;
        ok(same(\@ready, [$subs->[$i]]), $name);
        is($subs->[$i]->poll, $i, "$name: its message is read");
        reap('the publisher exits with 0', $kid);
    };
    $wakes->("$_: wait without a thread returns the subscriber that has a message") for 1 .. 3;
    is_deeply([thread_count(), open_fds()], \@before, 'wait starts no thread and opens no descriptor');
    my $fh = $set->fh;
    is(thread_count($before[0] + 1), $before[0] + 1, 'fh starts one thread');
    ok(!readable($fh), 'the handle is not readable before a publish');
    $wakes->('once fh was called, wait returns the subscriber that has a message');
    ok(!readable($fh), 'the handle is not readable once the message is read');
    $set->remove(@$subs);
    is(thread_count($before[0]), $before[0], 'the thread ends when the last subscriber is removed');
    $set->add(@$subs);
    $wakes->('wait works for subscribers that are added after the thread ended');

    # A forked child therefore inherits no thread and no descriptor of the set.
    my $waited = $SET->new(@$subs);
    is_deeply([$waited->wait(0.01)], [], 'wait on a second set times out');
    reap('a child waits with the set that its parent has waited with', spawn(sub {
        $rings->[7]->publish(7);
        same([$waited->wait], [$subs->[7]]) or die 'wait returned a wrong subscriber';
        $subs->[7]->poll == 7 or die 'poll returned a wrong message';
        $rings->[8]->publish(8);
        same([$waited->wait], [$subs->[8]]) or die 'wait returned a wrong subscriber';
        thread_count() == 1 or die 'the child has a thread';
    }));
    my @got;
    while (@got < 2) { push @got, map { $_->poll } $waited->wait }
    is_deeply([sort @got], [7, 8], 'the parent gets the messages that its child has read, too');

    reap('a child is forbidden io_uring_enter after its first wait', spawn(sub {
        for my $set ($SET->new(@$subs[0 .. 199])) {
            $set->wait(0.01);
            my $why = without_entering();
            die $why if $why;
            for my $i (3, 150, 150) {
                $rings->[$i]->publish($i);
                same([$set->wait], [$subs->[$i]]) or die 'wait returned a wrong subscriber';
                $subs->[$i]->poll == $i or die 'poll returned a wrong message';
            }
            $set->wait(0.01) and die 'wait returned a subscriber without a message';
            thread_count() > 1 or die 'no thread has taken over';
        }
    }));
};

subtest 'wrong calls croak' => sub {
    my ($rings, $subs) = rings(variant('Int'), 1);
    my $set = $SET->new;
    my %bad = ('a ring' => $rings->[0], 'undef' => undef, 'text' => 'x', 'a hash' => {}, 'a set' => $set,
        'a fake' => (bless [], 'Data::PubSub::Shared::Int::Sub'));
    for my $name (sort keys %bad) {
        croaks_like(sub { $set->$_($subs->[0], $bad{$name}) }, "$SET->$_: expected subscribers, argument 2 is not one",
            "$_ croaks on $name")
            for qw(add remove);
        croaks_like(sub { $SET->new($bad{$name}) }, "$SET->new: expected subscribers, argument 1 is not one", "new croaks on $name");
    }
    is(scalar $set->subscribers, 0, 'a call that croaks adds no subscriber');
    $set->add($subs->[0]);
    croaks_like(sub { $set->wait('soon') }, "$SET->wait: timeout must be a number of seconds, not \"soon\"",
        'wait croaks on a timeout that is not a number');
    croaks_like(sub { $set->wait(1, 2) },  qr/Usage: \Q$SET\E::wait\(self, timeout = forever\)/,
        'wait croaks on too many arguments');
    for my $method (qw(add remove subscribers wait fh)) {
        my $code = $SET->can($method);
        croaks_like(sub { $code->($_) }, "$SET->$method: Expected a $SET object",
            "$method croaks on an invocant that is not a set") for undef, {}, $subs->[0], $SET;
    }
    my $gone = $SET->new($subs->[0]);
    $gone->DESTROY;
    croaks_like(sub { $gone->$_ }, "$SET->$_: Attempted to use a destroyed $SET object", "$_ croaks on a destroyed set")
        for qw(add remove subscribers wait fh);
    { package Mine; our @ISA = $SET }
    isa_ok(Mine->new($subs->[0]), 'Mine');
    isa_ok($set->new, $SET);
    sub Tie::TIESCALAR { return bless $_[1], 'Tie' }
    sub Tie::FETCH     { return $_[0]->() }
    tie my $trap, 'Tie', sub { $set->DESTROY; return $subs->[0] };
    croaks_like(sub { $set->add($trap) }, "$SET->add: $SET object destroyed during the call",
        'add croaks if fetching an argument destroys the set');
};

done_testing;
