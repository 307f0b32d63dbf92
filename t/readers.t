# The table of readers: who follows a ring, how far, and what they lost; names that keep their place; forks, full tables,
# read-only handles, other pid namespaces.

use strict;
use warnings;
use utf8;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

# A child that subscribes with these options and then does what it is told: `read N`, `sleep`, `fork`, `end`.
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
    is($said, 'ready', 'a reader') if !defined wantarray || $said ne 'ready';
    return $kid;
}

# The readers by name or, where they have none, by pid.
sub table { my ($ring) = @_; return { map { ($_->{name} // $_->{pid} => $_) } $ring->readers } }

sub names { return join ' ', sort map { $_->{name} // '-' } $_[0]->readers }

each_variant(sub {
    my ($v) = @_;

    subtest 'who is listed, and how far' => sub {
        my $ring = $v->ring(16, fresh_path());
        is_deeply([$ring->readers], [], 'nobody at first');
        my $sub = $ring->subscribe;
        my ($mine) = my @all = $ring->readers;
        is(scalar @all, 1, 'one');
        # A host's clock may be set at any moment, but not far.
        ok(abs($mine->{since} - time) < 3600, 'since');
        delete $mine->{since};
        is_deeply($mine, { name => undef, pid => $$, position => 0, lag => 0, lost => 0, delivered => 0, waits => 0, lossy => 0, alive => 1 },
            'what is said of it');
        $ring->publish_multi($v->values(1, 5));
        is(($ring->readers)[0]{lag}, 5, 'it lags');
        is($sub->poll, $v->value(1), 'it reads');
        $sub->drain;
        $sub->poll;
        is_deeply([@{ ($ring->readers)[0] }{qw(position lag delivered lost)}], [5, 0, 5, 0], 'all: that is known once it found the ring empty');
        $ring->publish_multi($v->values(1, 20));
        $sub->drain;
        $sub->poll;
        is_deeply([@{ ($ring->readers)[0] }{qw(position lag delivered lost)}], [25, 0, 21, 4], 'and what it lost');
        is($sub->overflow_count, 4, 'as it says itself');
        $ring->clear;
        is_deeply([@{ ($ring->readers)[0] }{qw(position lag)}], [0, 0], 'a clear sets positions back');
        my $second = $ring->subscribe_all(lossy => 1);
        is(join(' ', sort map { $_->{lossy} } $ring->readers), '0 1', 'lossy ones are listed, too');
        undef $second;
        is(scalar(my @left = $ring->readers), 1, 'whose subscriber goes, goes');
        my $kept = $sub;
        undef $ring;
        is($kept->poll, undef, 'a reader outlives its ring object');
    };

    subtest 'while it sleeps' => sub {
        my $ring = $v->ring(16);
        my $kid  = reader($v, $ring);
        is(table($ring)->{ $kid->pid }{waits}, 0, 'not yet');
        $kid->tell('sleep');
        # The table says so before the sleep.
        select undef, undef, undef, 0.001 until table($ring)->{ $kid->pid }{waits};
        $ring->publish($v->value(3));
        is($kid->hear, $v->value(3), 'woken');
        is(table($ring)->{ $kid->pid }{waits}, 0, 'awake');
        is(finished($kid), 0, 'ends');
        is_deeply([$ring->readers], [], 'nobody is left');
    };

    subtest 'a busy reader is never listed as further than it is, and at most an eighth behind' => sub {
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
        is($ahead, 0, 'never');
        cmp_ok($most, '<=', 8, 'an eighth');
    };

    for my $end ('', 'KILL') {
        subtest 'a name keeps its place, ' . ($end ? "after SIG$end" : 'after an exit') => sub {
            my $ring = $v->ring(16, fresh_path());
            my $kid  = reader($v, $ring, name => 'audit');
            $ring->publish_multi($v->values(1, 5));
            is(asked($kid, 'read 2'), join('|', $v->values(1, 2)), 'reads two');
            my %its = %{ table($ring)->{audit} };
            is_deeply([@its{qw(pid position lag delivered alive)}], [$kid->pid, 2, 3, 2, 1], 'known at once');
            croaks_like(sub { $ring->subscribe(name => 'audit') }, qr/->subscribe: reader "audit" lives in process ${\$kid->pid}/,
                'held by one at a time');
            croaks_like(sub { $ring->forget('audit') }, qr/->forget: reader "audit" lives in process ${\$kid->pid}/, 'and not forgotten');
            finished($kid, $end);
            %its = %{ table($ring)->{audit} };
            is_deeply([@its{qw(pid position lag delivered alive waits)}], [$kid->pid, 2, 3, 2, 0, 0], 'away');
            $ring->publish_multi($v->values(6, 7));
            my $sub = $ring->subscribe(name => 'audit');
            is($sub->name, 'audit', 'its name');
            is($sub->lag, 5, 'goes on there');
            is_deeply([$sub->drain], [$v->values(3, 7)], 'with all that it has not read');
            $sub->poll;
            %its = %{ table($ring)->{audit} };
            is_deeply([@its{qw(pid delivered lost alive)}], [$$, 7, 0, 1], 'the account goes on, too');
            undef $sub;

            $ring->publish_multi($v->values(1, 20));
            $sub = $ring->subscribe_all(name => 'audit');
            is_deeply([$sub->drain], [$v->values(5, 20)], 'what was overwritten meanwhile');
            is($sub->overflow_count, 4, 'is lost');
            is_deeply([@{ table($ring)->{audit} }{qw(delivered lost)}], [23, 4], 'and counted');
            is(names($ring), 'audit', 'one entry, all the time');
        };
    }

    subtest 'names' => sub {
        my $ring = $v->ring(16);
        my %sub  = map { ($_ => $ring->subscribe(name => $_)) } 'a', 'ä', "\x{263a}", 'x' x 47, ' ', '0';
        is($sub{$_}->name, $_, 'kept') for sort keys %sub;
        is(scalar keys %{ table($ring) }, 6, 'all are listed');
        is(names($ring), join(' ', sort keys %sub), 'as they are');
        my $undefined = $ring->subscribe(name => undef);
        is($undefined->name, undef, 'undef is no name');
        croaks_like(sub { $ring->subscribe(name => '') }, qr/name must be 1 to 47 bytes of UTF-8, not 0/, 'empty');
        croaks_like(sub { $ring->subscribe(name => 'x' x 48) }, qr/name must be 1 to 47 bytes of UTF-8, not 48/, 'too long');
        croaks_like(sub { $ring->subscribe(name => 'ä' x 24) }, qr/not 48/, 'in bytes');
        croaks_like(sub { $ring->subscribe(name => ['x']) }, qr/subscribe: name must be a string, not a reference/, 'a reference');
        croaks_like(sub { $ring->forget({}) }, qr/forget: name must be a string, not a reference/, 'a reference');
        croaks_like(sub { $ring->subscribe(name => "a\0b") }, qr/name contains a NUL byte/, 'a NUL');
        croaks_like(sub { $ring->subscribe(nme => 'a') }, qr/->subscribe: unknown option "nme"; known: lossy, name/, 'another option');
        croaks_like(sub { $ring->subscribe_all('name') }, qr/Usage: .*subscribe_all/, 'half of one');
        croaks_like(sub { $ring->forget(undef) }, qr/->forget: name is undefined/, 'undef');
        croaks_like(sub { $ring->forget('') }, qr/->forget: name must be/, 'nothing');
    };

    subtest 'release, forget' => sub {
        my $ring = $v->ring(16);
        my $sub  = $ring->subscribe(name => 'one');
        $ring->publish_multi($v->values(1, 4));
        $sub->poll;
        $sub->release;
        is($sub->name, undef, 'released: no name');
        is(table($ring)->{one}{alive}, 0, 'the name is free');
        is($sub->poll, $v->value(2), 'it reads on');
        my $other = $ring->subscribe(name => 'one');
        is($other->poll, $v->value(2), 'another one goes on where it left');
        lives(sub { $sub->release }, 'twice is fine');
        is(table($ring)->{one}{alive}, 1, 'and takes nothing from the other one');
        undef $other;
        ok($ring->forget('one'), 'forgotten');
        ok(!$ring->forget('one'), 'once');
        is_deeply([$ring->readers], [], 'nobody');
        is($ring->subscribe_all(name => 'one')->poll, $v->value(1), 'a new reader of that name');
    };

    subtest 'a full table' => sub {
        my $ring = $v->class->new(undef, 16, readers => 1);
        is($ring->stats->{readers}, 1, 'room for one');
        my $first = $ring->subscribe;
        my $more  = $ring->subscribe;
        is($ring->stats->{unlisted}, 1, 'the next is counted');
        croaks_like(sub { $ring->subscribe(name => 'a') }, qr/->subscribe: the table of readers is full \(1\)/, 'with a name: refused');
        $ring->publish($v->value(9));
        is($_->poll, $v->value(9), 'both read') for $first, $more;
        is(scalar(my @listed = $ring->readers), 1, 'one is listed');
        undef $first;
        my $kid = reader($v, $ring);
        is(($ring->readers)[0]{pid}, $kid->pid, 'another one has the room');
        finished($kid, 'KILL');
        my $last = $ring->subscribe(name => 'a');
        is(names($ring), 'a', 'and the next, when that was killed');
    };

    subtest 'no table' => sub {
        my $ring = $v->class->new(undef, 16, readers => 0);
        is($ring->stats->{readers}, 0, 'none');
        my $sub = $ring->subscribe;
        $ring->publish($v->value(9));
        is($sub->poll, $v->value(9), 'a reader reads');
        is_deeply([$ring->readers, $ring->waiting_for], [], 'nobody is listed');
        croaks_like(sub { $ring->subscribe(name => 'a') }, qr/->subscribe: this ring has no table of readers/, 'no names');
        ok(!$ring->forget('a'), 'nothing to forget');
        ok($ring->wait_for_readers, 'nor to wait for');
    };

    subtest 'a forked child is listed anew' => sub {
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
        is($kid->hear, 'parent', 'before its first use the entry is the parent\'s');
        $kid->tell('go');
        is($kid->hear, $v->value(2), 'it reads');
        my @both = sort { $a->[1] <=> $b->[1] } ['parent', $$, 1], ['-', $kid->pid, 2];
        is($kid->hear, join(' ', map {@$_} @both), 'it has an entry of its own, without the name');
        is($sub->poll, $v->value(2), 'the parent reads for itself');
        $kid->tell('go');
        is($kid->hear, $v->value(3), 'released: reads on');
        reap('the child', $kid);
        is(names($ring), 'parent', 'the parent has its entry');
        is($sub->name, 'parent', 'and its name');
        is($sub->poll, $v->value(3), 'and its place');
    };

    subtest 'a read-only handle' => sub {
        my $path = fresh_path();
        my $ring = $v->ring(16, $path);
        my $sub  = $ring->subscribe(name => 'one');
        my $far  = $v->class->new_readonly($path);
        my $all  = $far->subscribe_all;
        is(names($far), 'one', 'lists, and is not listed');
        is(($far->readers)[0]{alive}, 1, 'who lives');
        croaks_like(sub { $far->subscribe(name => 'far') }, qr/name "far": readers of a ring that is open for reading only are not listed/, 'no names');
        croaks_like(sub { $far->forget('one') }, qr/->forget: this ring is read-only/, 'nor to forget');
        croaks_like(sub { $far->wait_for_readers }, qr/->wait_for_readers: this ring is read-only/, 'nor to wait');
        lives(sub { $all->release }, 'nothing to release');
        my $kid = reader($v, $ring);
        finished($kid, 'KILL');
        is(table($far)->{ $kid->pid }{alive}, 0, 'a dead one is dead');
        is(scalar(my @listed = $far->readers), 2, 'and stays, for whoever may write');
        is(names($ring), 'one', 'who frees its entry');
    };

    subtest 'reopen' => sub {
        my $path = fresh_path();
        my $ring = $v->ring(16, $path);
        my $sub  = $ring->subscribe(name => 'one');
        $ring->publish_multi($v->values(1, 3));
        $sub->drain;
        $ring->unlink;
        my $next = $v->ring(16, $path);
        $next->publish_multi($v->values(4, 6));
        $sub->reopen;
        is_deeply([$sub->name, $sub->drain], ['one', $v->values(4, 6)], 'with its name');
        is(names($next), 'one', 'in the table of the next ring');
        is(table($ring)->{one}{alive}, 0, 'and away in that of the last');
    };
});

# --- Where one variant will do

my $int = variant('Int');

subtest 'wait_for_readers of a ring that is not lossless' => sub {
    my $ring = $int->ring(16);
    my $kid  = reader($int, $ring);
    my $lazy = $ring->subscribe(lossy => 1);
    ok($ring->wait_for_readers(0), 'nothing is published');
    $ring->publish_multi(1 .. 3);
    ok(!$ring->wait_for_readers(0), 'nobody has read it');
    my $waits = spawn(sub { $_[0]->tell('ready'); $_[0]->tell($ring->wait_for_readers) });
    $waits->hear;
    until_asleep($waits->pid);
    is(asked($kid, 'read 9'), '1|2|3', 'now it has');
    is(asked($kid, 'read 9'), '',      'all');
    is($waits->hear, 1, 'the wait ends, whatever a lossy reader does');
    reap('it', $waits);
    $ring->publish(4);
    finished($kid, 'KILL');
    ok($ring->wait_for_readers, 'the dead are not waited for');
    my $own = $ring->subscribe_all;
    croaks_like(sub { $ring->wait_for_readers }, qr/->wait_for_readers: would wait forever for this process's own subscriber/, 'oneself: refused');
    ok(!$ring->wait_for_readers(0.01), 'or until the time is up');
    croaks_like(sub { $ring->wait_for_readers('x') }, qr/timeout must be a number of seconds, not "x"/, 'no timeout');
};

subtest 'two that want one name at the same instant' => sub {
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
        is(scalar @got, 1, "round $round: one has it") or diag("@said");
        like($_, qr/reader "r$round" lives in process/, 'the others are told') for grep { $_ ne 'got it' } @said;
        $_->tell('end') for @kids;
        reap('all', @kids);
    }
};

subtest 'another pid namespace' => sub {
    my $unshare = sysnum('unshare');
    plan skip_all => 'needs root' if $> || !$unshare;
    # Runs $code in process 1 of a namespace of its own, and kills that when it is told to.
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
        # Without a path the process finds no file to lock.
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
        is($pid, 1, 'process 1');
        is($kid->hear, $locks ? 1 : 'undef', $locks ? 'sees that we live' : 'does not know');
        my %its = %{ table($ring)->{inside} };
        is_deeply([@its{qw(pid alive)}], [1, $locks ? 1 : undef], 'as we see it');
        croaks_like(sub { $ring->subscribe(name => 'inside') }, qr/reader "inside" lives in process 1\b/, 'its name is held');
        is(table($ring)->{outside}{alive}, 1, 'ours');
        $kid->tell('go');
        is($kid->hear, 'killed', 'killed');
        is(table($ring)->{inside}{alive}, $locks ? 0 : undef, $locks ? 'seen at once' : 'nobody can know');
        my $sub = eval { $ring->subscribe(name => 'inside') };
        is(!!$sub, !!$locks, $locks ? 'the name is free' : 'so the name is held');
        reap('it', $kid);
    }
};

subtest 'a scribbled table harms nobody' => sub {
    each_variant(sub {
        my ($v)  = @_;
        my $path = fresh_path();
        my $ring = $v->class->new($path, 16, readers => 8);
        survives('whatever is written there', sub {
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
        is($lag->(), 0, "who has read all with $name says so");
    }
});

done_testing;
