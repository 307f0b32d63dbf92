# Sets: several subscribers waited for as one.

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

# Times that a process's threads went to sleep of themselves.
sub sleeps {
    my $sum = 0;
    $sum += (slurp("/proc/self/task/$_/status") =~ /^voluntary_ctxt_switches:\s*(\d+)/m)[0] for entries('/proc/self/task');
    return $sum;
}

# Rings of this variant, and a subscriber of each.
sub rings {
    my ($v, $count) = @_;
    my @rings = map { $v->ring(8) } 1 .. $count;
    return (\@rings, [map { $_->subscribe } @rings]);
}

sub same { return join(' ', map { refaddr $_ } @{ $_[0] }) eq join(' ', map { refaddr $_ } @{ $_[1] }) }

each_variant(sub {
    my ($v) = @_;

    subtest 'who has messages' => sub {
        my ($rings, $subs) = rings($v, 3);
        my $set = $SET->new(@$subs);
        isa_ok($set, $SET);
        is_deeply([$set->wait(0)],    [], 'nobody at first');
        is_deeply([$set->wait(0.01)], [], 'nor after a while');
        $rings->[2]->publish($v->value(1));
        $rings->[0]->publish_multi($v->values(2, 3));
        my %seen;
        until (keys %seen == 2) { $seen{ refaddr $_ }++ for $set->wait }    # one may be known a moment before the other
        ok($seen{ refaddr $subs->[0] } && $seen{ refaddr $subs->[2] }, 'those');
        is(scalar $set->wait, 2, 'in scalar context how many');
        is($subs->[0]->poll, $v->value(2), 'one is read');
        is($subs->[2]->poll, $v->value(1), 'and another');
        ok(same([$set->wait(5)], [$subs->[0]]), 'whoever has more comes again');
        $_->drain for $set->wait(5);
        is_deeply([$set->wait(0)], [], 'and nobody in the end');
    };

    subtest 'another process publishes' => sub {
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
            is_deeply(\@got, [map { $v->value($_) } @order], "each wakes a set of $count");
            $kid->kill('TERM');
            $kid->end;
        }
    };

    subtest 'a handle for the whole set' => sub {
        my $threads = thread_count();
        for my $count (1, 3, 130) {
            my ($rings, $subs) = rings($v, $count);
            my $open = open_fds();
            my $set = $SET->new(@$subs);
            my $fh  = $set->fh;
            is(open_fds(), $open + 2, "$count rings: two descriptors");
            is(thread_count($threads + watchers($count)), $threads + watchers($count), 'and the threads that they need');
            is($set->fh, $fh, 'the same each time');
            ok(!readable($fh), 'not readable at first');
            $rings->[$_]->publish($v->value(1)) for $count > 1 ? (0, -1) : 0;
            until_readable($fh);
            $subs->[0]->poll;
            $count > 1 ? until_readable($fh) : ok(!readable($fh), 'read');
            $_->drain for $set->wait(0);
            ok(!readable($fh), 'and not after that');
            $rings->[0]->publish($v->value(2));
            until_readable($fh);
            ok(same([$set->wait(0)], [$subs->[0]]), 'wait says who it is');
            undef $set;
            is(thread_count($threads), $threads, 'the threads go with the set');
            is($subs->[0]->poll, $v->value(2), 'its subscribers live');
            ok(!readable($fh) || 1, 'the handle that was kept harms nobody');
            close $fh;
            is(open_fds(), $open, 'and no descriptor is left');
        }
    };

    subtest 'add and remove' => sub {
        for my $watched (0, 1) {
            my ($rings, $subs) = rings($v, 3);
            my $set = $SET->new($subs->[0]);
            my $fh  = $watched && $set->fh;
            is($set->add(@$subs), 2, 'two are new');
            is($set->add($subs->[1]), 0, 'none is');
            ok(same([$set->subscribers], $subs), 'all are in it');
            is(scalar $set->subscribers, 3, 'three');
            $rings->[1]->publish($v->value(1));
            ok(same([$set->wait], [$subs->[1]]), 'one that was added');
            until_readable($fh) if $watched;
            is($set->remove(@$subs[1, 1]), 1, 'it goes, once');
            is($set->remove($subs->[1]), 0, 'and is in it no more');
            is_deeply([$set->wait(0)], [], 'so the set has nothing');
            ok(!readable($fh), 'nor has its handle') if $watched;
            $rings->[1]->publish($v->value(2));
            is_deeply([$set->wait(0.01)], [], 'nor later');
            $set->add($subs->[1]);
            ok(same([$set->wait], [$subs->[1]]), 'when it is added again it has its messages');
            ok(readable($fh), 'and the handle says so') if $watched;
        }
    };

    subtest 'a subscriber in two sets, with a handle of its own' => sub {
        my ($rings, $subs) = rings($v, 2);
        my @sets = map { $SET->new(@$subs) } 1, 2;
        my @fh   = map { $_->fh } @sets, $subs->[0];
        $rings->[0]->publish($v->value(1));
        until_readable($_) for @fh;
        undef $sets[0];
        ok(readable($_), 'one set goes, the others stay') for @fh[1, 2];
        $subs->[0]->poll;
        ok(!readable($_), 'read: quiet') for @fh[1, 2];
        $rings->[0]->publish($v->value(2));
        until_readable($_) for @fh[1, 2];
        pass('and again');
    };

    subtest 'what its subscribers do' => sub {
        my ($rings, $subs) = rings($v, 2);
        my $set = $SET->new(@$subs);
        my $fh  = $set->fh;
        $rings->[0]->publish_multi($v->values(1, 4));
        until_readable($fh);
        $subs->[0]->reset;
        ok(!readable($fh), 'reset');
        $subs->[0]->cursor(2);
        ok(readable($fh), 'a seek back');
        $rings->[0]->clear;
        is_deeply([$set->wait(0)], [], 'a clear');
        ok(!readable($fh), 'is noticed by wait');
        $rings->[0]->publish($v->value(5));
        until_readable($fh);
        is($subs->[0]->poll, $v->value(5), 'goes on');
    };
});

subtest 'signals' => sub {
    for my $count (2, 130) {
        my ($rings, $subs) = rings(variant('Int'), $count);
        my $set  = $SET->new(@$subs);
        my $came = 0;
        local $SIG{USR1} = sub { $came++; $rings->[1]->publish(7) if $came == 3 };
        my $kid = spawn(sub { my ($peer) = @_; $peer->hear; while (1) { kill USR1 => getppid; select undef, undef, undef, 0.001 } });
        $kid->tell('go');
        ok(same([$set->wait], [$subs->[1]]), "handlers run while $count are waited for, and what one publishes ends the wait");
        # They come all the time, also outside of `eval`. Assigned: `local` would set the default action for a moment.
        my $inside = 0;
        $SIG{USR1} = sub { $inside-- && die "out\n" if $inside };
        $subs->[1]->drain;
        is(eval { $inside = 1; $set->wait; 1 } ? 'returned' : $@, "out\n", 'a handler may die');
        $SIG{USR1} = sub { $set->DESTROY if $inside };
        is((eval { $inside = 1; $set->wait; 1 } ? 'returned' : $@) =~ s/ at .*//sr,
            "$SET->wait: $SET object destroyed during the call", 'or destroy the set');
        $SIG{USR1} = 'IGNORE';
        $kid->kill('KILL');
        $kid->end;
    }
    my ($rings, $subs) = rings(variant('Int'), 3);
    my $set = $SET->new(@$subs);
    local $SIG{ALRM} = sub { $_->DESTROY for splice @$subs, 0, 2; $rings->[2]->publish(1) };
    POSIX::alarm(1);
    ok(same([$set->wait], $subs), 'or subscribers of it');
    is(scalar $set->subscribers, 1, 'which are in it no more');
    watchdog();
};

subtest 'life and death' => sub {
    my $threads = thread_count();
    my $maps    = shared_maps();
    my ($rings, $subs) = rings(variant('Str'), 3);
    my $set = $SET->new(@$subs);
    my $fh  = $set->fh;
    weaken(my $weak = $subs->[0]);
    @$subs = ();
    ok($weak, 'a set keeps its subscribers');
    $rings->[0]->publish('x');
    @$rings = ();
    is(($set->wait)[0]->poll, 'x', 'which keep their rings');
    $weak->DESTROY;
    is(scalar $set->subscribers, 2, 'one that was destroyed is in it no more');
    is_deeply([$set->wait(0)], [], 'and left out');
    undef $set;
    ok(!$weak, 'they go with the set');
    is(thread_count($threads), $threads, 'and the threads');
    is(shared_maps(), $maps, 'and the rings');

    ($rings, $subs) = rings(variant('Int'), 2);
    $set = $SET->new(@$subs);
    $_->DESTROY for @$subs;
    croaks_like(sub { $set->wait }, "$SET->wait: the set has no subscribers", 'all are destroyed');
    croaks_like(sub { $SET->new->wait(1) }, "$SET->wait: the set has no subscribers", 'none were added');
    croaks_like(sub { $set->add($subs->[0]) }, "$SET->add: argument 1 is a subscriber that was destroyed", 'a destroyed one');

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
    is($out, "end\ngone\n", 'at the end of a program');
    is($status, 0, 'nothing crashes');
};

subtest 'forks' => sub {
    for my $count (2, 130) {
        my ($rings, $subs) = rings(variant('Int'), $count);
        my $set = $SET->new(@$subs);
        my $fh  = $set->fh;
        my $kid = spawn(sub {
            my ($peer) = @_;
            thread_count() == 1 or die 'a thread in the child';
            my $own = $set->fh;
            $own != $fh or die 'the same handle';
            thread_count(1 + watchers($count)) == 1 + watchers($count) or die 'not its own threads';
            $peer->tell('ready');
            until_readable($own);
            my @ready = $set->wait;
            @ready == 1 && $ready[0]->poll == 9 or die 'another message';
            readable($own) and die 'readable after all';
            $peer->tell('read');
            undef $_ for $set, $own, $fh;
            thread_count(1) == 1 or die 'a thread is left';
        });
        is($kid->hear, 'ready', "a child has a handle of its own ($count rings)");
        $rings->[1]->publish(9);
        is($kid->hear, 'read', 'and gets its messages');
        until_readable($fh);
        ok(same([$set->wait(0)], [$subs->[1]]), 'the parent has them, too');
        reap('the child', $kid);
        $subs->[1]->drain;
        reap('one that only waits', spawn(sub { $rings->[0]->publish(4); ($set->wait)[0]->poll == 4 or die }));
        until_readable($fh);
        is(($set->wait)[0]->poll, 4, 'takes nothing from the parent');
        ok(!readable($fh), 'whose handle is right');
        reap('one that drops it', spawn(sub { undef $set; undef $fh; @$subs = () }));
        $rings->[0]->publish(5);
        until_readable($fh);
        is(($set->wait)[0]->poll, 5, 'harms nobody');
    }
};

subtest 'closed descriptors' => sub {
    my ($rings, $subs) = rings(variant('Int'), 2);
    my $set = $SET->new(@$subs);
    my $fh  = $set->fh;
    $rings->[0]->publish(1);
    until_readable($fh);
    POSIX::close($_) for grep { (fd_target($_) // '') =~ /eventfd/ } entries('/proc/self/fd');
    my @files = map { open my $in, '<', '/dev/null' or die "open: $!"; $in } 1 .. 20;
    my $next = $set->fh;
    isnt($next, $fh, 'another handle');
    ok(until_readable($next), 'which is right at once');
    $subs->[0]->drain;
    ok(!readable($next), 'and later');
    $rings->[1]->publish(2);
    until_readable($next);
    is(($set->wait(0))[0]->poll, 2, 'and goes on');
    undef $set;
    is(scalar(grep { !-c $_ } @files), 0, "others' descriptors are left alone");
};

subtest 'rings that are gone' => sub {
    for my $count (2, 130) {
        my $class = variant('Int')->class;
        my @rings = map { $class->new(fresh_path(), 8) } 1 .. $count;
        my @subs  = map { $_->subscribe } @rings;
        my $set   = $SET->new(@subs);
        $rings[0]->unlink;
        is_deeply([$set->wait(0.01)], [], 'one of them: nothing comes from there');
        $rings[-1]->publish(1);
        ok(same([$set->wait], [$subs[-1]]), 'but from others');
        $subs[-1]->drain;
        my $kid = spawn(sub {
            my ($peer) = @_;
            $peer->tell('waits');
            $peer->tell(scalar $set->wait);
        });
        $kid->hear;
        until_asleep($kid->pid);
        for my $ring (@rings[1 .. $count - 1]) { unlink $ring->path or die "unlink: $!" }
        is($kid->hear, 0, "all $count: the wait ends");
        reap('it', $kid);
    }
};

subtest 'read-only rings, and of several variants' => sub {
    my @paths = map { fresh_path() } 1, 2;
    my $int = variant('Int')->class->new($paths[0], 8);
    my $str = variant('Str')->class->new($paths[1], 8);
    my @subs = (variant('Int')->class->new_readonly($paths[0])->subscribe, $str->subscribe, $int->subscribe);
    my $set = $SET->new(@subs);
    my $kid = spawn(sub { my ($peer) = @_; $peer->hear; $int->publish(3); $peer->hear; $str->publish('x') });
    $kid->tell('int');
    # Both become readable in their own time.
    for my $which ([2, 'the one that can be woken'], [0, 'and the one that cannot']) {
        my ($i, $name) = @$which;
        1 until grep { refaddr $_ == refaddr $subs[$i] } $set->wait;
        pass($name);
    }
    $_->drain for @subs;
    $kid->tell('str');
    is(($set->wait)[0]->poll, 'x', 'a string');
    reap('publisher', $kid);
    my $naps = $SET->new($subs[0]);
    my $fh   = $naps->fh;
    is_deeply([$naps->wait(0.02)], [], 'nothing new');
    $int->publish(4);
    until_readable($fh);
    is(($naps->wait)[0]->poll, 4, 'a set of those alone');
};

subtest 'a ring that is replaced' => sub {
    my $class = variant('Int')->class;
    my $path  = fresh_path();
    my $ring  = $class->new($path, 8);
    my $sub   = $ring->subscribe;
    my $set   = $SET->new($sub, variant('Str')->ring(8)->subscribe);
    my $fh    = $set->fh;
    $ring->unlink;
    my $new = $class->new($path, 8);
    $new->publish(1);
    ok(!readable($fh), 'is not seen');
    $sub->reopen;
    ok(readable($fh), 'until its subscriber is reopened');
    is(($set->wait)[0]->poll, 1, 'then it has its messages');
    $new->publish(2);
    until_readable($fh);
    is(($set->wait)[0]->poll, 2, 'those to come, too');
};

subtest 'five hundred rings' => sub {
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
        is_deeply(\@got, [map { [$_, $_] } @order], "$how: ten messages in turn on random ones, none is missed") or diag "seed $seed";
        # For a message the caller and two threads, a few times each; and each thread looks up once a second.
        my $seconds = 2 + time - $start;
        cmp_ok($sleeps, '<', 10 * 20 + $seconds * (watchers(500) + 1), "and nobody is busy: $sleeps sleeps");
        reap('publisher', $kid);
    }
    my ($sleeps, $cpu) = (sleeps(), (POSIX::times())[1] + (POSIX::times())[2]);
    is_deeply([$set->wait(1.5)], [], 'a wait in which nothing comes');
    $_ = $_->[1] - $_->[0] for my @spent = ([$sleeps, sleeps()], [$cpu, (POSIX::times())[1] + (POSIX::times())[2]]);
    cmp_ok($spent[0], '<=', 3 * (watchers(500) + 1), "$spent[0] sleeps");
    cmp_ok($spent[1], '<=', 0.25 * POSIX::sysconf(POSIX::_SC_CLK_TCK()), "$spent[1] ticks of a processor");
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
        is($subs->[$i]->poll, $i, 'and its message');
        reap('publisher', $kid);
    };
    $wakes->("$_: who has a message") for 1 .. 3;
    is_deeply([thread_count(), open_fds()], \@before, 'neither a thread nor a descriptor more');
    my $fh = $set->fh;
    is(thread_count($before[0] + 1), $before[0] + 1, 'a thread once it is asked for its handle');
    ok(!readable($fh), 'which is quiet');
    $wakes->('the thread watches for wait, too');
    ok(!readable($fh), 'and for the handle');
    $set->remove(@$subs);
    is(thread_count($before[0]), $before[0], 'it ends with the last subscriber');
    $set->add(@$subs);
    $wakes->('and there is one for those that are added after that');

    # So a forked child has nothing that it could use or keep.
    my $waited = $SET->new(@$subs);
    is_deeply([$waited->wait(0.01)], [], 'another set');
    reap('a child that waits with it', spawn(sub {
        $rings->[7]->publish(7);
        same([$waited->wait], [$subs->[7]]) or die 'another';
        $subs->[7]->poll == 7 or die 'another message';
        $rings->[8]->publish(8);
        same([$waited->wait], [$subs->[8]]) or die 'another';
        thread_count() == 1 or die 'a thread';
    }));
    my @got;
    while (@got < 2) { push @got, map { $_->poll } $waited->wait }
    is_deeply([sort @got], [7, 8], 'the parent has its messages, too');

    reap('a child that is forbidden io_uring_enter afterwards', spawn(sub {
        for my $set ($SET->new(@$subs[0 .. 199])) {
            $set->wait(0.01);
            my $why = without_entering();
            die $why if $why;
            for my $i (3, 150, 150) {
                $rings->[$i]->publish($i);
                same([$set->wait], [$subs->[$i]]) or die 'another';
                $subs->[$i]->poll == $i or die 'another message';
            }
            $set->wait(0.01) and die 'a message that there is not';
            thread_count() > 1 or die 'no thread has taken over';
        }
    }));
};

subtest 'wrong calls' => sub {
    my ($rings, $subs) = rings(variant('Int'), 1);
    my $set = $SET->new;
    my %bad = ('a ring' => $rings->[0], 'undef' => undef, 'text' => 'x', 'a hash' => {}, 'a set' => $set,
        'a fake' => (bless [], 'Data::PubSub::Shared::Int::Sub'));
    for my $name (sort keys %bad) {
        croaks_like(sub { $set->$_($subs->[0], $bad{$name}) }, "$SET->$_: expected subscribers, argument 2 is none", "$_ $name")
            for qw(add remove);
        croaks_like(sub { $SET->new($bad{$name}) }, "$SET->new: expected subscribers, argument 1 is none", "new of $name");
    }
    is(scalar $set->subscribers, 0, 'nothing was added');
    $set->add($subs->[0]);
    croaks_like(sub { $set->wait('soon') }, "$SET->wait: timeout must be a number of seconds, not \"soon\"", 'a bad time');
    croaks_like(sub { $set->wait(1, 2) },  qr/Usage: \Q$SET\E::wait\(self, timeout = forever\)/, 'too many arguments');
    for my $method (qw(add remove subscribers wait fh)) {
        my $code = $SET->can($method);
        croaks_like(sub { $code->($_) }, "$SET->$method: Expected a $SET object", "$method of no set") for undef, {}, $subs->[0], $SET;
    }
    my $gone = $SET->new($subs->[0]);
    $gone->DESTROY;
    croaks_like(sub { $gone->$_ }, "$SET->$_: Attempted to use a destroyed $SET object", "$_ of a destroyed one")
        for qw(add remove subscribers wait fh);
    { package Mine; our @ISA = $SET }
    isa_ok(Mine->new($subs->[0]), 'Mine');
    isa_ok($set->new, $SET);
    sub Tie::TIESCALAR { return bless $_[1], 'Tie' }
    sub Tie::FETCH     { return $_[0]->() }
    tie my $trap, 'Tie', sub { $set->DESTROY; return $subs->[0] };
    croaks_like(sub { $set->add($trap) }, "$SET->add: $SET object destroyed during the call", 'an argument that destroys the set');
};

done_testing;
