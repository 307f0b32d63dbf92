# Lossless rings: publishers wait for readers, for as long as these live, and nothing is overwritten that one of them has
# not read.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use POSIX qw(WUNTRACED);
use PubSubTest;

# Signals of this test come from children, never from a clock.
my $number = 0;

# A child that subscribes with these options and then reads as many as it is told to, once it was told.
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
    is($said, 'ready', 'a reader') if $said ne 'ready';
    return $kid;
}

# A child that does $code, most likely asleep in it when this returns, and then says what that returned or died of.
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

# A child that sends us a signal once we sleep, again and again until it is told to stop.
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

# All ways to publish: name => code that publishes $count values from number $from on. The keyword is one where $count is 1.
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

    subtest 'a property of the ring' => sub {
        my $path = fresh_path();
        my $ring = $v->class->new($path, 4, lossless => 1, keep => 1.5);
        is_deeply([@{ $ring->stats }{qw(lossless keep)}], [1, 1.5], 'stats');
        is_deeply([@{ $v->class->new($path)->stats }{qw(lossless keep)}], [1, 1.5], 'of whoever opens it');
        is_deeply([@{ $v->ring(4)->stats }{qw(lossless keep)}], [0, undef], 'others are not');
        my @warned;
        local $SIG{__WARN__} = sub { push @warned, @_ };
        $v->class->new(my $other = fresh_path(), 4);
        $v->class->new($other, 4, lossless => 1);
        like("@warned", qr/lossless was asked for, the ring is not/, 'a warning where it is not');
        croaks_like(sub { $v->class->new($other, 4, lossless => 1, strict => 1) }, qr/lossless was asked for, the ring is not/, 'or an error');
        croaks_like(sub { $v->class->new($path, 4, lossless => 1, keep => 2, strict => 1) }, qr/keep 2 was asked for, the ring has 1.5/, 'of another keep');
        croaks_like(sub { $v->class->new(undef, 4, keep => 1) }, qr/keep is for lossless rings/, 'keep without lossless');
        croaks_like(sub { $new->(4, keep => -1) }, qr/keep must be a number of seconds from 0 to 4294967, not -1/, 'a negative keep');
        croaks_like(sub { $new->(4, readers => 0) }, qr/a lossless ring needs a table of readers: readers must not be 0/, 'no table');
        is($v->class->new_memfd('t', 4, lossless => 1)->stats->{lossless}, 1, 'in a memfd');
    };

    subtest 'nobody reads' => sub {
        my $ring = $new->(4);
        ok($ring->publish($_), 'published') for $v->values(1, 9);
        is_deeply([$ring->subscribe_all->drain], [$v->values(6, 9)], 'as in any other ring');
        ok($ring->wait_for_readers, 'nobody to wait for');
        is_deeply([$ring->waiting_for], [], 'nobody is waited for');
    };

    subtest 'room, and none' => sub {
        my $ring = $new->(4);
        my $kid  = reader($ring);
        ok($ring->try_publish($_), 'room') for $v->values(1, 4);
        my ($slow, @more) = $ring->waiting_for;
        is_deeply([@$slow{qw(pid lag alive)}, @more], [$kid->pid, 4, 1], 'the reader of the oldest is waited for');
        ok(!$ring->try_publish($v->value(5)), 'try_publish: no room');
        ok(!$ring->publish_wait($v->value(5), $_), "publish_wait($_): none so soon") for 0, 0.01;
        is($ring->write_pos, 4, 'nothing was published');
        is(asked($kid, 1), $v->value(1), 'it reads one');
        ok($ring->publish_wait($v->value(5)), 'room for one');
        ok(!$ring->try_publish($v->value(6)), 'and no more');
        is(asked($kid, 4), join('|', $v->values(2, 5)), 'it reads all');
        is_deeply([$ring->waiting_for], [], 'nobody is waited for');
        my ($it) = $ring->readers;
        is_deeply([@$it{qw(position delivered lost)}], [5, 5, 0], 'none lost');
        croaks_like(sub { $ring->publish_wait($v->value(1), 'x') }, qr/timeout must be a number of seconds, not "x"/, 'no timeout');
        finished($kid);
    };

    my %ways = ways($v, $new->(4));
    for my $way (sort keys %ways) {
        subtest "$way waits, and goes on" => sub {
            my ($ring, $reader) = $full->();
            my $more = $way eq 'publish_packed' ? 9 : 3;
            my $kid = waiting(sub { +{ ways($v, $ring) }->{$way}->(5, $more) });
            is($ring->write_pos, 4, 'it waits');
            is(asked($reader, 4), join('|', $v->values(1, 4)), 'nothing was overwritten');
            is(asked($reader, $more), join('|', $v->values(5, 4 + $more)), 'it goes on');
            ok(said($kid), 'and returns');
            finished($reader);
        };
    }

    subtest 'a batch' => sub {
        my $ring = $new->(4);
        my $kid  = reader($ring);
        is($ring->publish_multi($v->values(1, 4)), 4, 'of the whole ring');
        my $batch = waiting(sub { $ring->publish_multi($v->values(5, 8)) });
        is(asked($kid, 3), join('|', $v->values(1, 3)), 'three are read');
        is($ring->write_pos, 4, 'it waits until there is room for all');
        is(asked($kid, 5), join('|', $v->values(4, 8)), 'and goes in as one');
        is(said($batch), 4, 'done');
        croaks_like(sub { $ring->publish_multi($v->values(1, 5)) },
            qr/->publish_multi: 5 messages at once never fit a lossless ring of capacity 4/, 'larger than the ring');
        is($ring->write_pos, 8, 'nothing of it was published');
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
        is($_->hear, 3 * $all . ' 0 0', 'everything, in order, nothing lost') for @readers;
        reap('all end', @publishers, @readers);
    };

    subtest 'signals' => sub {
        local $SIG{USR1} = sub { $number++ };
        my ($ring, $reader) = $full->();
        my %ways  = ways($v, $ring);
        for my $way (sort keys %ways) {
            local $SIG{USR1} = sub { die "enough\n" };
            my $kid = signaller('USR1');
            my $end = eval { $ways{$way}->(1, 2) } // $@;
            # Before anything sleeps: another signal may be on its way. Assigned: `local` would set the default action for a
            # moment.
            $SIG{USR1} = 'IGNORE';
            $kid->tell('stop');
            $kid->end;
            is($end, "enough\n", "$way: a handler that dies ends it");
        }
        is($ring->write_pos, 4, 'nothing was published');

        $number = 0;
        local $SIG{USR1} = sub { $reader->tell(1) if ++$number == 5 };
        my $kid = signaller('USR1');
        ok($ring->publish($v->value(5)), 'handlers that return: it waits on, until there is room');
        $SIG{USR1} = 'IGNORE';
        $kid->tell('stop');
        $kid->end;
        is($reader->hear, $v->value(1), 'which one of them made');
        cmp_ok($number, '>=', 5, 'all ran');

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

    subtest 'wait_for_readers' => sub {
        my $ring = $new->(4);
        my @kids = map { reader($ring) } 1, 2;
        my $lazy = reader($ring, lossy => 1);
        ok($ring->wait_for_readers, 'nothing is there');
        $ring->publish_multi($v->values(1, 3));
        ok(!$ring->wait_for_readers($_), "after $_ s nobody has read it") for 0, 0.01;
        my $wait = waiting(sub { $ring->wait_for_readers });
        asked($kids[0], 3);
        ok(!$ring->wait_for_readers(0), 'one has');
        asked($kids[1], 3);
        is(said($wait), 1, 'both have: the wait ends, whatever the lossy one did');
        ok($ring->wait_for_readers(0), 'now it is so');
        $ring->publish($v->value(4));
        $wait = waiting(sub { $ring->wait_for_readers });
        $ring->publish($v->value(5));
        asked($kids[0], 1);
        asked($kids[1], 1);
        is(said($wait), 1, 'what comes later is not waited for');
        finished($_) for @kids, $lazy;
    };

    subtest 'lossy readers are skipped' => sub {
        my $ring = $new->(4);
        my $lazy = $ring->subscribe(lossy => 1);
        $ring->publish($_) for $v->values(1, 9);
        is_deeply([$ring->waiting_for], [], 'not waited for');
        is_deeply([$lazy->drain], [$v->values(6, 9)], 'it gets what is left');
        is($lazy->overflow_count, 5, 'and counts what it lost');
        my $far = $v->class->new_memfd('t', 4, lossless => 1);
        open my $fd, '<', '/proc/self/fd/' . $far->memfd or die "open: $!";
        my $sub = $v->class->new_from_fd(fileno $fd)->subscribe_all;
        $far->publish($_) for $v->values(1, 9);
        is_deeply([$sub->drain], [$v->values(6, 9)], 'nor are those of read-only handles');
    };

    subtest 'dead, stopped, released' => sub {
        my ($ring, $reader) = $full->();
        my $wait = waiting(sub { $ring->publish($v->value(5)) });
        finished($reader, 'KILL');
        is(said($wait), 1, 'killed: whoever waits for it goes on');
        is_deeply([$ring->readers], [], 'its entry is free');

        ($ring, $reader) = $full->();
        $wait = waiting(sub { $ring->publish($v->value(5)) });
        finished($reader);
        is(said($wait), 1, 'gone: likewise');

        ($ring, $reader) = $full->();
        $reader->kill('STOP');
        waitpid $reader->pid, WUNTRACED;
        $wait = waiting(sub { $ring->publish($v->value(5)) });
        is($ring->publish_wait($v->value(6), 0.05), '', 'stopped: holds publishers');
        is(($ring->waiting_for)[0]{pid}, $reader->pid, 'and is named');
        $reader->kill('CONT');
        is(asked($reader, 5), join('|', $v->values(1, 5)), 'continued: gets everything');
        is(said($wait), 1, 'and the publisher goes on');
        finished($reader);

        $ring = $new->(4);
        my $sub = $ring->subscribe;
        $ring->publish_multi($v->values(1, 4));
        ok(!$ring->try_publish($v->value(5)), 'full');
        $sub->release;
        ok($ring->publish($v->value(5)), 'released: not waited for');
        is_deeply([$sub->drain, $sub->overflow_count], [$v->values(2, 5), 1], 'and it may lose messages');
    };

    subtest 'names' => sub {
        my $path = fresh_path();
        my $ring = $v->class->new($path, 4, lossless => 1);
        my $kid  = reader($ring, name => 'audit');
        $ring->publish_multi($v->values(1, 4));
        finished($kid, 'KILL');
        ok($ring->publish($v->value(5)), 'without keep nobody waits for one that is away');
        my $sub = $ring->subscribe(name => 'audit');
        is_deeply([$sub->drain, $sub->overflow_count], [$v->values(2, 5), 1], 'which counts what it lost');

        $ring = $v->class->new(fresh_path(), 4, lossless => 1, keep => 3600);
        $kid  = reader($ring, name => 'audit');
        $ring->publish_multi($v->values(1, 4));
        is(asked($kid, 1), $v->value(1), 'it reads one');
        finished($kid, 'KILL');
        ok($ring->publish_wait($v->value(5), 0.1), 'with keep, there is room for one');
        ok(!$ring->publish_wait($v->value(6), 0.1), 'and no more');
        my ($away, @others) = $ring->waiting_for;
        is_deeply([@$away{qw(name alive lag)}, @others], ['audit', 0, 4], 'for it publishers wait');
        my $wait = waiting(sub { $ring->publish($v->value(6)) });
        $sub = $ring->subscribe(name => 'audit');
        is_deeply([map { $sub->poll_wait } 1 .. 5], [$v->values(2, 6)], 'it comes back and gets everything');
        is(said($wait), 1, 'and the publisher goes on');
        is($sub->overflow_count, 0, 'nothing was lost');
        undef $sub;
        $ring->publish_multi($v->values(7, 10));
        ok(!$ring->try_publish($v->value(11)), 'away again');
        $wait = waiting(sub { $ring->publish($v->value(11)) });
        $ring->forget('audit');
        is(said($wait), 1, 'forgotten: not waited for');

        $ring = $v->class->new(undef, 4, lossless => 1, keep => 0.001);
        $sub  = $ring->subscribe(name => 'audit');
        $ring->publish_multi($v->values(1, 4));
        undef $sub;
        ok($ring->publish($v->value(5)), 'when the time is over it is passed');
        $sub = $ring->subscribe(name => 'audit');
        is_deeply([$sub->drain, $sub->overflow_count], [$v->values(2, 5), 1], 'and has lost one');
    };

    subtest 'oneself' => sub {
        my $ring = $new->(4);
        my $sub  = $ring->subscribe;
        $ring->publish_multi($v->values(1, 4));
        my $why  = qr/would wait forever for this process's own subscriber, which is read in this thread/;
        my %ways = ways($v, $ring);
        for my $way (sort keys %ways) {
            my $call = $way eq 'keyword' ? $v->keyword('publish') . ':' : "->$way:";
            croaks_like(sub { $ways{$way}->(5, 1) }, qr/\Q$call\E .*$why/, "$way croaks");
        }
        croaks_like(sub { $ring->wait_for_readers }, qr/->wait_for_readers: .*$why/, 'wait_for_readers, too');
        ok(!$ring->publish_wait($v->value(5), 0.01), 'publish_wait with a timeout waits for it');
        ok(!$ring->try_publish($v->value(5)), 'try_publish does not');
        is($ring->write_pos, 4, 'nothing was published');
        is_deeply([$sub->drain], [$v->values(1, 4)], 'it is all there');
        ok($ring->publish($v->value(5)), 'read, and there is room');
        my $other = waiting(sub { $ring->publish_multi($v->values(6, 9)) });
        is_deeply([map { $sub->poll_wait } 1 .. 5], [$v->values(5, 9)], 'other processes wait for it');
        is(said($other), 4, 'and go on');
    };

    subtest 'clear and seeks' => sub {
        my ($ring, $reader) = $full->();
        my $wait = waiting(sub { $ring->publish($v->value(5)) });
        $ring->clear;
        is(said($wait), 1, 'clear makes room for whoever waits');
        is(asked($reader, 1), $v->value(5), 'the reader goes on behind it');
        finished($reader);

        $ring = $new->(4);
        my $sub = $ring->subscribe;
        $ring->publish_multi($v->values(1, 4));
        $sub->drain;
        $sub->reset_oldest;
        ok(!$ring->try_publish($v->value(5)), 'who goes back is waited for');
        is_deeply([$sub->drain], [$v->values(1, 4)], 'reads it again');
        ok($ring->try_publish($v->value(5)), 'room');
        is($sub->cursor(1), 1, 'back to what is held');
        ok(!$ring->try_publish($v->value(6)), 'no room');
        $sub->reset;
        ok($ring->try_publish($_), 'what is skipped is room') for $v->values(6, 9);
        is_deeply([$sub->drain, $sub->overflow_count], [$v->values(6, 9), 0], 'nothing was lost');
        $sub->cursor(0);
        ok(!$ring->try_publish($v->value(10)), 'back to what was overwritten: to the oldest');
        is_deeply([$sub->drain, $sub->overflow_count], [$v->values(6, 9), 5], 'which counts the gap');
        my $old = $ring->subscribe_all;
        ok(!$ring->try_publish($v->value(10)), 'subscribe_all holds the oldest');
        is_deeply([$old->drain], [$v->values(6, 9)], 'and gets them all');

        # Publishers get leave for an eighth of the ring at a time.
        $ring = $new->(16);
        $sub  = $ring->subscribe;
        $ring->publish_multi($v->values(1, 16));
        $sub->drain;
        $ring->publish($v->value(17));
        $sub->cursor(1);
        ok($ring->try_publish($v->value(18)), 'going back takes back no room that publishers were given');
        ok(!$ring->try_publish($v->value(19)), 'which ends soon');
        is_deeply([$sub->drain, $sub->overflow_count], [$v->values(3, 18), 1], 'what they overwrite of that is counted as lost');
    };

    subtest 'a full table' => sub {
        my $ring = $new->(4, readers => 1);
        my $sub  = $ring->subscribe;
        croaks_like(sub { $ring->$_ }, qr/->$_: the table of readers is full \(1\)/, "$_ croaks") for qw(subscribe subscribe_all);
        my $lazy = $ring->subscribe(lossy => 1);
        is($ring->stats->{unlisted}, 3, 'a lossy one does without');
        undef $sub;
        lives(sub { $sub = $ring->subscribe }, 'room again');
    };
});

# --- Where one variant will do

my $int = variant('Int');

subtest 'a forked child' => sub {
    my $ring = $int->class->new(undef, 4, lossless => 1);
    my $sub  = $ring->subscribe;
    my $kid  = spawn(sub {
        my ($peer) = @_;
        $peer->tell($sub->poll // 'none');
        $peer->hear;
        $peer->tell(join ' ', map { $sub->poll_wait } 1 .. 6);
    });
    is($kid->hear, 'none', 'it has looked once');
    my $wait = waiting(sub { $ring->publish($_) for 1 .. 6; 1 });
    is_deeply([map { $sub->poll_wait } 1 .. 4], [1 .. 4], 'the parent has read');
    is_deeply([map { $_->{pid} } $ring->waiting_for], [$kid->pid], 'the child is waited for');
    $kid->tell('go');
    is_deeply([map { $sub->poll_wait } 1, 2], [5, 6], 'it reads, and there is room');
    is($kid->hear, '1 2 3 4 5 6', 'it has everything');
    is(said($wait), 1, 'the publisher, too');
    reap('it', $kid);
};

subtest 'where nobody can know who is dead' => sub {
    my $path = fresh_path();
    my $ring = $int->class->new($path, 4, lossless => 1);
    unlink $path or die "unlink: $!";
    croaks_like(sub { $ring->subscribe }, qr/->subscribe: publishers of this lossless ring could not tell whether this reader lives: its file was removed/,
        'the file is gone');
    lives(sub { $ring->subscribe(lossy => 1) }, 'whoever is not waited for does not matter');

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
            'a file system without such locks');
        is($kid->hear, '', 'leaves nothing behind');
        is($kid->hear, 'one 1', 'other rings work there');
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
        is(asked($reader, 4), join('|', $v->values(1, 4)), 'what was there');
        $ring->publish($v->value(5));
        is(asked($reader, 1), $v->value(5), 'and what comes next');
        is($ring->write_pos, 5, 'no more');
        finished($reader);
    });
};

done_testing;
