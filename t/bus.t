# Channels on a ring, without an event loop: `pump`.

use strict;
use warnings;
use Config;
use FindBin;
use lib "$FindBin::Bin/lib";
use POSIX ();
use Test::More;
use PubSubTest;

use Data::PubSub::Shared::Bus;

my $BUS = 'Data::PubSub::Shared::Bus';

{ package Text; use overload '""' => sub {'text'} }

# A bus, and a listener that notes what comes as "channel=payload".
sub bus { return $BUS->new(fresh_path(), loop => 'none', @_) }

sub noting {
    my ($got, $channel) = @_;
    return sub {
        my ($bus, $payload, @name) = @_;
        push @$got, join '=', @name ? "@name" : $channel // 'x', $payload;
        return;
    };
}

subtest 'listen, notify, unlisten' => sub {
    my $bus = bus();
    my $code = noting(\my @got, 'news');
    is($bus->listen(news => $code), $code, 'listen returns the callback');
    is($bus->notify(news => 'one'), $bus, 'notify returns the bus');
    is_deeply(\@got, [], 'nobody is called before pump');
    is($bus->pump, 1, 'pump says how many messages there were');
    is_deeply(\@got, ['news=one'], 'and calls');
    $bus->listen(news => noting(\my @second, 'news'));
    $bus->listen('news.*' => noting(\my @prefixed));
    $bus->listen('*' => noting(\my @all));
    $bus->notify($_ => "to $_") for qw(news news.local newsroom other);
    $bus->notify('news');
    is($bus->pump, 5, 'messages for some of them');
    is_deeply(\@got, ['news=one', 'news=to news', 'news='], 'the first listener');
    is_deeply(\@second, ['news=to news', 'news='], 'the second');
    is_deeply(\@prefixed, ['news.local=to news.local'], 'one of all that begin so');
    is_deeply(\@all, ['news=to news', 'news.local=to news.local', 'newsroom=to newsroom', 'other=to other', 'news='], 'one of all');
    $bus->unlisten(news => $code)->unlisten('*')->unlisten('nobody');
    $bus->notify(news => 'three');
    is($bus->pump, 1, 'less listen');
    is("@got[2 .. $#got]", 'news=', 'not the one who has left');
    is($second[-1], 'news=three', 'but the other');
    $bus->unlisten('news')->unlisten('news.*');
    $bus->notify(news => 'four');
    is($bus->pump, 0, 'nobody listens');
    $bus->listen(news => noting(\my @later, 'news'));
    is($bus->pump, 0, 'who listens later gets what comes later');
    $bus->notify(news => 'five');
    $bus->pump;
    is_deeply(\@later, ['news=five'], 'which it does');
};

subtest 'what nobody here listens to' => sub {
    my $bus  = bus();
    my $ring = $bus->ring;
    my @got;
    my $code = $bus->listen(news => noting(\@got));
    $bus->pump;
    my $sub = $bus->{sub};
    $bus->notify($_ => 'x') for qw(other newsletter news other.news);
    $ring->publish('news');
    $bus->pump;
    is_deeply(\@got, ['x=x', 'x='], 'the channel of that name, with a payload or without');
    is($sub->filtered, 2, 'is passed in the ring');
    $bus->listen('other*' => noting(\@got));
    $bus->unlisten(news => $code);
    $bus->notify($_ => 'y') for qw(other news other.news);
    $bus->pump;
    is_deeply([splice @got, 2], ['other=y', 'other.news=y'], 'also where the listeners have changed');
    is($sub->filtered, 3, 'for the same subscriber');
};

subtest 'on a lossless ring' => sub {
    my $path = fresh_path();
    my $ring = Data::PubSub::Shared::Str->new($path, 4, 100, lossless => 1);
    my $bus  = $BUS->new($path, loop => 'none');
    my (@got, $lost);
    $bus->listen(news => noting(\@got, 'news'));
    $bus->on(lost => sub { $lost += $_[1] });
    $bus->pump;
    $bus->notify(news => $_) for 1 .. 10;
    $bus->pump;
    is_deeply(\@got, [map { "news=$_" } 7 .. 10], 'nobody waits for the listeners');
    is($lost, 6, 'who are told what they lost');
    my $sub = $ring->subscribe;
    $bus->notify(news => $_) for 1 .. 4;
    ok(!$ring->try_publish('news 5'), 'there is no room');
    my $kid = spawn(sub { $bus->notify(news => 5) });
    until_asleep($kid->pid);
    is(scalar $sub->poll, 'news 1', 'until who keeps the messages reads');
    reap('for whom others wait', $kid);
    is_deeply([map { $sub->poll_wait(10) } 1 .. 4], [map { "news $_" } 2 .. 5], 'and loses nothing');
};

subtest 'payloads' => sub {
    my $bus = bus();
    my @sent = ('', ' ', "a\0b\nc", "caf\xe9", "\x{263a}", "\xff\xfe", 0, 'x y  z ', do { my $s = "\xe9"; utf8::upgrade($s); $s });
    for my $channel ('plain', "caf\xe9", "\x{65e5}") {
        my @got;
        $bus->listen($channel => sub { my (undef, $payload) = @_; push @got, $payload; is(scalar @_, 2, 'no name') });
        $bus->notify($channel => $_) for @sent;
        $bus->pump;
        is_deeply(\@got, \@sent, 'as they were sent');
    }
};

subtest 'JSON' => sub {
    my $bus = bus();
    my @got;
    $bus->json('data');
    $bus->json('some.*');
    $bus->listen($_ => sub { push @got, $_[1] }) for qw(data some.thing text);
    my $data = { list => [1, undef, { deep => "caf\xe9 \x{263a}" }], number => 1.5 };
    $bus->notify($_ => $data) for qw(data some.thing);
    $bus->notify(data => $_) for 'a string', undef, 17;
    $bus->notify(text => '{"not":"decoded"}');
    $bus->pump;
    is_deeply(\@got, [$data, $data, 'a string', undef, 17, '{"not":"decoded"}'], 'data, and text');
    @got = ();
    my @errors;
    $bus->on(error => sub { my ($bus, $error, $channel) = @_; push @errors, "$channel: $error" });
    $bus->ring->publish_multi('data {', "data [\"\x{263a}\"]", "data [\"\xe2\x98\xba\"]", 'data');
    $bus->pump;
    is_deeply(\@got, [["\x{263a}"], ["\x{263a}"]], 'what other programs publish, as characters or bytes');
    is(scalar @errors, 2, 'what is no JSON is an error');
    like($errors[0], qr/\Adata: ./, 'of that channel');
};

subtest 'the past' => sub {
    my $bus = bus(capacity => 8);
    is_deeply([$bus->past('a')], [], 'none yet');
    $bus->notify(a => $_) for 1 .. 3;
    is_deeply([$bus->past('a')], [1, 2, 3], 'all that was said, where nobody listens');
    $bus->listen(a => noting(\my @got, 'a'));
    $bus->json('data.*');
    $bus->notify(a => $_) for 4, 5;
    $bus->notify('data.x' => { n => 6 });
    is_deeply([$bus->past('a')], [1, 2, 3], 'not what the listeners are about to get');
    $bus->pump;
    is_deeply([$bus->past('a', 2)], [4, 5], 'the last two');
    is_deeply([$bus->past('data.*')], [{ n => 6 }], 'data');
    is_deeply([$bus->past('*', 2)], ['5', '{"n":6}'], 'of all channels, as text');
    $bus->notify(a => $_) for 7 .. 12;
    $bus->pump;
    is_deeply([$bus->past('a')], [5, 7 .. 12], 'as far as the ring goes back');
    is_deeply([$bus->past('a', 0)], [], 'none were asked for');
};

subtest 'listeners that do something' => sub {
    my $bus = bus();
    my @got;
    my (@errors, @warned);
    my $noting = noting(\@got, 'a');
    $bus->listen(a => sub { die "oops\n" });
    $bus->listen(a => $noting);
    local $SIG{__WARN__} = sub { push @warned, @_ };
    $bus->notify(a => 1);
    is($bus->pump, 1, 'one dies');
    is_deeply(\@got, ['a=1'], 'the other one gets it all the same');
    is_deeply(\@warned, ["$BUS: channel 'a': oops\n"], 'a warning');
    my $handler = $bus->on(error => sub { push @errors, "$_[1]" });
    $bus->notify(a => 2);
    $bus->pump;
    is_deeply(\@errors, ["oops\n"], 'or an event');
    is(scalar @warned, 1, 'and no warning');
    $bus->unsubscribe(error => $handler);
    $bus->unlisten('a');

    @got = ();
    $bus->listen(b => sub { my ($bus, $payload) = @_; $bus->unlisten('b'); $bus->listen(c => noting(\@got, 'c')); $bus->notify(c => $payload) });
    $bus->notify(b => $_) for 1, 2;
    1 while $bus->pump;
    is_deeply(\@got, ['c=1'], 'leaves, listens to another, and notifies');
    @got = ();
    $bus->listen(d => sub { my ($bus, $payload) = @_; push @got, "<$payload"; $bus->pump if $payload == 1; push @got, "$payload>" });
    $bus->notify(d => $_) for 1, 2;
    $bus->pump;
    is_deeply(\@got, ['<1', '<2', '2>', '1>'], 'pumps');
    $bus->listen(e => sub { undef $bus });
    $bus->notify(e => 1);
    is($bus->pump, 1, 'drops the bus');
};

subtest 'listeners and handlers that leave a loop, or change what they got' => sub {
    no warnings 'exiting';
    my $bus = bus(capacity => 4);
    $bus->listen(x => sub { last });
    $bus->listen(x => sub { @_[0, 1] = (undef, 'changed') });
    $bus->listen(x => noting(\my @got));
    $bus->on(lost => sub { last });
    $bus->on(lost => sub { @_[0, 1] = () });
    $bus->on(lost => sub { push @got, "lost $_[1]" });
    $bus->pump;
    $bus->notify(x => $_) for 1 .. 6;
    is($bus->pump, 4, 'all messages are delivered');
    is("@got", 'lost 2 x=3 x=4 x=5 x=6', 'to all listeners, as they were');
};

subtest 'signal handlers that end what waits' => sub {
    for my $how (qw(unlisten DESTROY)) {
        my $bus = bus();
        $bus->listen(x => noting(\my @got));
        local $SIG{USR1} = sub { $bus->$how('x'); $bus->ring->publish('x too late') };
        my $parent = $$;
        my $kid = spawn(sub { until_asleep($parent); kill USR1 => $parent });
        is($bus->pump(undef), 1, "$how: the wait ends");
        is_deeply(\@got, $how eq 'unlisten' ? [] : ['x=too late'], 'who still listens hears of it');
        reap('who sent the signal', $kid);
    }
};

subtest 'waits' => sub {
    my $bus = bus();
    $bus->listen(x => noting(\my @got));
    is($bus->pump(0), 0, 'not at all');
    is($bus->pump(0.01), 0, 'for a moment');
    my $kid = spawn(sub { my ($peer) = @_; $peer->hear; $bus->notify(x => $_) for 1 .. 3 });
    $kid->tell('go');
    my $count = 0;
    $count += $bus->pump(undef) while $count < 3;
    is_deeply(\@got, ['x=1', 'x=2', 'x=3'], 'until messages come');
    reap('the other process', $kid);
    local $SIG{ALRM} = sub { die "alarm\n" };
    POSIX::alarm(1);
    is(eval { $bus->pump(undef); 1 } ? 'returned' : $@, "alarm\n", 'a signal handler may die');
    watchdog();
    $bus->notify(x => 4);
    is($bus->pump, 1, 'and it goes on');
};

subtest 'forks' => sub {
    my $bus = bus();
    $bus->listen(x => noting(\my @got));
    $bus->notify(x => 'before');
    my @kids = map {
        my $id = $_;
        spawn(sub {
            my ($peer) = @_;
            @got = ();
            $bus->notify(x => "kid $id");
            $peer->tell('there');
            $peer->hear;
            $bus->pump(undef) until @got && $got[-1] eq 'x=end';
            $peer->tell(join ' ', @got);
        });
    } 1 .. 3;
    $_->hear for @kids;
    $bus->notify(x => 'end');
    $_->tell('go') for @kids;
    for my $id (1 .. 3) {
        my $seen = $kids[$id - 1]->hear;
        like($seen, qr/\A(?=.*x=kid $id\b).* x=end\z/, "child $id hears itself and what comes after its first use: $seen");
        unlike($seen, qr/before/, 'not what came before the fork');
    }
    reap('they end well', @kids);
    is($bus->pump, 5, 'the parent has all');
    is_deeply([sort @got], [sort 'x=before', (map {"x=kid $_"} 1 .. 3), 'x=end'], 'once');
};

SKIP: {
    skip 'this perl has no threads', 1 if !$Config{useithreads};
    my ($out, $status) = run_perl(<<'END', fresh_path());
        use threads;
        use Data::PubSub::Shared::Bus;
        my $bus = Data::PubSub::Shared::Bus->new($ARGV[0], loop => 'none');
        my @got;
        $bus->listen(x => sub { push @got, $_[1] });
        my @threads = map { my $id = $_; threads->create({ context => 'list' }, sub {
            @got = ();
            $bus->notify(x => $id);
            $bus->pump(undef) until grep { $_ == $id } @got;
            return "@got";
        }) } 1 .. 3;
        $_->join for @threads;
        $bus->pump;
        print join ' ', sort @got;
END
    is($out, '1 2 3', 'threads listen for themselves');
    is($status, 0, 'and end well');
}

subtest 'losses' => sub {
    my $bus = bus(capacity => 8);
    my @lost;
    $bus->on(lost => sub { my ($bus, $count) = @_; push @lost, $count });
    $bus->listen(x => noting(\my @got));
    $bus->notify(x => $_) for 1 .. 20;
    is($bus->pump, 8, 'a slow listener gets what is left');
    is_deeply([@got, @lost], [(map {"x=$_"} 13 .. 20), 12], 'and is told how many it lost');
};

subtest 'long payloads' => sub {
    my $bus  = bus(msg_size => 20);
    my $text = "$BUS->notify: message for channel 'news' too long (21 > 20 bytes, with the channel's name)";
    ok($bus->notify(news => 'x' x 15), 'as long as may be');
    croaks_like(sub { $bus->notify(news => 'x' x 16) }, quotemeta $text, 'one more');
    my $drops = bus(msg_size => 20, long => 'drop');
    my @warned;
    local $SIG{__WARN__} = sub { push @warned, @_ };
    $drops->listen(news => noting(\my @got, 'news'));
    is($drops->notify(news => $_), $drops, 'dropped') for 'x' x 16, 'y';
    $drops->pump;
    is_deeply(\@got, ['news=y'], 'never half of it');
    is($drops->dropped, 1, 'counted');
    like("@warned", qr/\A\Q$text\E: dropped at \Q$0\E line/, 'and warned of');
};

subtest 'a ring that is replaced' => sub {
    my $path = fresh_path();
    my $bus  = $BUS->new($path, loop => 'none');
    my $reconnected = 0;
    $bus->on(reconnect => sub { $reconnected++ });
    $bus->listen(x => noting(\my @got));
    $bus->ring->unlink;
    my $other = $BUS->new($path, loop => 'none');
    $other->notify(x => 'on the new one');
    my $look = sub { until ($_[0]->()) { $bus->pump; select undef, undef, undef, 0.05 } };
    $look->(sub { @got });
    is($reconnected, 1, 'is noticed');
    is_deeply(\@got, ['x=on the new one'], 'what was published there is delivered');
    $other->ring->unlink;
    select undef, undef, undef, 0.6;
    $bus->pump;
    ok(!-e $path, 'one that was removed is not made again to listen');
    $bus->notify(x => 'again');
    ok(-e $path, 'but to notify');
    $look->(sub { @got == 2 });
    is($got[-1], 'x=again', 'which is heard');
    is($reconnected, 2, 'reconnected again');
};

subtest 'a ring that is replaced by something else' => sub {
    my $path = fresh_path();
    my $bus  = $BUS->new($path, loop => 'none');
    my @errors;
    $bus->on(error => sub { push @errors, $_[1] =~ s/\Q$path\E/PATH/r, $_[2] });
    $bus->listen(x => noting(\my @got));
    $bus->ring->unlink;
    spew($path, 'text');
    croaks_like(sub { $bus->notify(x => 1) }, "\\A\Q$BUS\E->notify: .*too small for a ring file", 'notify says so');
    until (@errors) { $bus->pump; select undef, undef, undef, 0.05 }
    $bus->{look_at} = 0;
    $bus->pump;
    is_deeply(\@errors, ['PATH: too small for a ring file (4 bytes)', undef], 'where it is noticed, it is an event, once');
    unlink $path;
    $bus->notify(x => 'again');
    $bus->pump;
    is_deeply(\@got, ['x=again'], 'and the bus goes on when it is gone');
};

subtest 'sizes' => sub {
    my $path = fresh_path();
    my @warned;
    local $SIG{__WARN__} = sub { push @warned, @_ };
    $BUS->new($path, capacity => 64, msg_size => 100, mode => 0640);
    is(sprintf('%04o', (stat $path)[2] & 07777), '0640', 'mode');
    my $bus = $BUS->new($path);
    is_deeply([$bus->ring->capacity, $bus->ring->msg_size], [64, 100], 'one that is there keeps its own');
    is_deeply(\@warned, [], 'silently, where none were asked for');
    $BUS->new($path, capacity => 128);
    like("@warned", qr/capacity 128 was asked for, the ring has 64/, 'otherwise with a warning');
    ok(!$BUS->new(undef)->ring->path, 'a bus without a file');
};

subtest 'wrong calls' => sub {
    my $bus = bus();
    my $name = qr/channel must be a name without white space/;
    for my $bad ('', 'a b', "a\n", 'a*b', undef) {
        my $shown = $bad // 'undef';
        croaks_like(sub { $bus->$_($bad => sub { }) }, "\Q$BUS\E->$_: $name", "$_ '$shown'") for qw(listen unlisten json);
        croaks_like(sub { $bus->notify($bad => 1) }, "\Q$BUS\E->notify: $name", "notify '$shown'");
    }
    croaks_like(sub { $bus->notify('a*' => 1) },     "notify: $name and '\\*', not 'a\\*'", 'a pattern has no payload');
    croaks_like(sub { $bus->listen(x => 'code') },   "listen: callback must be a code reference, not 'code'", 'no callback');
    croaks_like(sub { $bus->on(connect => sub { }) }, 'on: event must be lost, reconnect or error, not \'connect\'', 'no such event');
    croaks_like(sub { $BUS->new(fresh_path(), size => 1) }, "new: unknown option 'size' \\(known: capacity, long, loop", 'no such option');
    croaks_like(sub { $BUS->new(fresh_path(), long => 'cut') }, "new: long must be 'croak' or 'drop', not 'cut'", 'long');
    croaks_like(sub { $BUS->new(fresh_path(), loop => 'Gtk') }, "loop must be an IO::Async::Loop, .* not 'Gtk'", 'no such loop');
    croaks_like(sub { $BUS->new('/nowhere/at/all') }, "\\A\Q$BUS\E->new: open.*: No such file or directory", 'no such directory');
    croaks_like(sub { $BUS->new(spew(fresh_path(), 'text')) }, 'too small|invalid or incompatible', 'a file that is no ring');
    croaks_like(sub { $BUS->new(fresh_path(), 'loop') }, 'new: options must be pairs', 'a name without a value');
    croaks_like(sub { $BUS->new(fresh_path(), capacity => 'x') }, "\\A\Q$BUS\E->new: capacity must be an integer", 'capacity');
    croaks_like(sub { $bus->unlisten(x => 'code') }, "unlisten: callback must be a code reference, not 'code'", 'unlisten what is no callback');
    croaks_like(sub { $bus->unsubscribe('lsot') }, "unsubscribe: event must be lost, reconnect or error, not 'lsot'", 'unsubscribe from no event');
    croaks_like(sub { $bus->unsubscribe(lost => 1) }, "unsubscribe: callback must be a code reference, not '1'", 'unsubscribe what is no callback');
    croaks_like(sub { $bus->past('x', 'all') }, "past: count must be a number, not 'all'", 'past');
    croaks_like(sub { $bus->notify(x => { a => 1 }) }, 'notify: payload must be a string, not a reference \\(HASH\\); data are for', 'data without json');
    ok($bus->notify(x => bless {}, 'Text'), 'an object that is a string');
    croaks_like(sub { $bus->json('data')->notify(data => sub { }) }, "notify: payload for channel 'data': .*CODE", 'what JSON has not');

    $bus->listen(x => noting(\my @got));
    $bus->pump;
    $bus->notify(x => 'here');
    croaks_like(sub { $bus->pump('soon') }, "\\A\Q$BUS\E->pump: timeout must be a number of seconds, not \"soon\"", 'a timeout, where there are messages, too');
    is($bus->pump(''), 1, 'a false condition is a timeout of 0');
    is($bus->pump(''), 0, 'also where there is nothing');
};

done_testing;
