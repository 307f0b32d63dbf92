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

# A bus, and a listener that records each message as "channel=payload".
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
    is_deeply(\@got, [], 'notify calls no listener before pump');
    is($bus->pump, 1, 'pump returns the number of messages');
    is_deeply(\@got, ['news=one'], 'pump calls the listener');
    $bus->listen(news => noting(\my @second, 'news'));
    $bus->listen('news.*' => noting(\my @prefixed));
    $bus->listen('*' => noting(\my @all));
    $bus->notify($_ => "to $_") for qw(news news.local newsroom other);
    $bus->notify('news');
    is($bus->pump, 5, 'pump counts only messages on channels that have listeners');
    is_deeply(\@got, ['news=one', 'news=to news', 'news='], 'the first listener gets the messages of its channel');
    is_deeply(\@second, ['news=to news', 'news='], 'the second listener of the channel gets them, too');
    is_deeply(\@prefixed, ['news.local=to news.local'],
        "the listener of 'news.*' gets messages of channels that begin with 'news.'");
    is_deeply(\@all, ['news=to news', 'news.local=to news.local', 'newsroom=to newsroom', 'other=to other', 'news='],
        "the listener of '*' gets the messages of all channels");
    $bus->unlisten(news => $code)->unlisten('*')->unlisten('unknown');
    $bus->notify(news => 'three');
    is($bus->pump, 1, 'pump counts the message after some listeners have left');
    is("@got[2 .. $#got]", 'news=', 'a removed listener gets no further message');
    is($second[-1], 'news=three', 'the other listener of the channel still gets messages');
    $bus->unlisten('news')->unlisten('news.*');
    $bus->notify(news => 'four');
    is($bus->pump, 0, 'pump counts nothing once a channel has no listeners');
    $bus->listen(news => noting(\my @later, 'news'));
    is($bus->pump, 0, 'a new listener does not get earlier messages');
    $bus->notify(news => 'five');
    $bus->pump;
    is_deeply(\@later, ['news=five'], 'a new listener gets later messages');
};

subtest 'messages on channels without listeners' => sub {
    my $bus  = bus();
    my $ring = $bus->ring;
    my @got;
    my $code = $bus->listen(news => noting(\@got));
    $bus->pump;
    my $sub = $bus->{sub};
    $bus->notify($_ => 'x') for qw(other newsletter news other.news);
    $ring->publish('news');
    $bus->pump;
    is_deeply(\@got, ['x=x', 'x='], 'the listener gets messages of its channel, with and without a payload');
    is($sub->filtered, 2, 'messages that begin with other names are skipped in the ring');
    $bus->listen('other*' => noting(\@got));
    $bus->unlisten(news => $code);
    $bus->notify($_ => 'y') for qw(other news other.news);
    $bus->pump;
    is_deeply([splice @got, 2], ['other=y', 'other.news=y'], 'the new set of listeners gets its messages');
    is($sub->filtered, 3, 'the same subscriber skips messages after the listeners changed');
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
    is_deeply(\@got, [map { "news=$_" } 7 .. 10], 'publishers do not wait for listeners of a bus');
    is($lost, 6, 'the bus reports how many messages were lost');
    my $sub = $ring->subscribe;
    $bus->notify(news => $_) for 1 .. 4;
    ok(!$ring->try_publish('news 5'), 'try_publish fails while a lossless subscriber has not read');
    my $kid = spawn(sub { $bus->notify(news => 5) });
    until_asleep($kid->pid);
    is(scalar $sub->poll, 'news 1', 'the lossless subscriber gets its first message');
    reap('the publisher that waited for the subscriber exits with 0', $kid);
    is_deeply([map { $sub->poll_wait(10) } 1 .. 4], [map { "news $_" } 2 .. 5], 'the lossless subscriber loses nothing');
};

subtest 'payloads' => sub {
    my $bus = bus();
    my @sent = ('', ' ', "a\0b\nc", "caf\xe9", "\x{263a}", "\xff\xfe", 0, 'x y  z ', do { my $s = "\xe9"; utf8::upgrade($s); $s });
    for my $channel ('plain', "caf\xe9", "\x{65e5}") {
        my @got;
        $bus->listen($channel => sub { my (undef, $payload) = @_; push @got, $payload; is(scalar @_, 2,
            'a listener of one channel is not given its name') });
        $bus->notify($channel => $_) for @sent;
        $bus->pump;
        is_deeply(\@got, \@sent, 'each payload arrives as it was sent');
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
    is_deeply(\@got, [$data, $data, 'a string', undef, 17, '{"not":"decoded"}'],
        'JSON channels carry data; other channels carry text');
    @got = ();
    my @errors;
    $bus->on(error => sub { my ($bus, $error, $channel) = @_; push @errors, "$channel: $error" });
    $bus->ring->publish_multi('data {', "data [\"\x{263a}\"]", "data [\"\xe2\x98\xba\"]", 'data');
    $bus->pump;
    is_deeply(\@got, [["\x{263a}"], ["\x{263a}"]], 'JSON that other programs publish is decoded, from characters or bytes');
    is(scalar @errors, 2, 'each message with malformed JSON is an error');
    like($errors[0], qr/\Adata: ./, 'the error event names the channel');
};

subtest 'past returns messages that are still in the ring' => sub {
    my $bus = bus(capacity => 8);
    is_deeply([$bus->past('a')], [], 'past is empty on a new ring');
    $bus->notify(a => $_) for 1 .. 3;
    is_deeply([$bus->past('a')], [1, 2, 3], 'without a listener, past returns all messages');
    $bus->listen(a => noting(\my @got, 'a'));
    $bus->json('data.*');
    $bus->notify(a => $_) for 4, 5;
    $bus->notify('data.x' => { n => 6 });
    is_deeply([$bus->past('a')], [1, 2, 3], 'past leaves out messages that a listener has yet to get');
    $bus->pump;
    is_deeply([$bus->past('a', 2)], [4, 5], 'past returns the last two messages if two are asked for');
    is_deeply([$bus->past('data.*')], [{ n => 6 }], 'past decodes the data of a JSON channel');
    is_deeply([$bus->past('*', 2)], ['5', '{"n":6}'], "past of '*' returns messages of all channels as text");
    $bus->notify(a => $_) for 7 .. 12;
    $bus->pump;
    is_deeply([$bus->past('a')], [5, 7 .. 12], 'past returns the messages that the ring still holds');
    is_deeply([$bus->past('a', 0)], [], 'past returns nothing if 0 are asked for');
};

subtest 'listeners that die, leave, pump or destroy the bus' => sub {
    my $bus = bus();
    my @got;
    my (@errors, @warned);
    my $noting = noting(\@got, 'a');
    $bus->listen(a => sub { die "oops\n" });
    $bus->listen(a => $noting);
    local $SIG{__WARN__} = sub { push @warned, @_ };
    $bus->notify(a => 1);
    is($bus->pump, 1, 'pump counts a message whose listener dies');
    is_deeply(\@got, ['a=1'], 'the next listener gets the message although the first died');
    is_deeply(\@warned, ["$BUS: channel 'a': oops\n"], 'without an error handler, the exception becomes a warning');
    my $handler = $bus->on(error => sub { push @errors, "$_[1]" });
    $bus->notify(a => 2);
    $bus->pump;
    is_deeply(\@errors, ["oops\n"], 'with an error handler, the exception becomes an event');
    is(scalar @warned, 1, 'with an error handler, there is no warning');
    $bus->unsubscribe(error => $handler);
    $bus->unlisten('a');

    @got = ();
    $bus->listen(b => sub {
        my ($bus, $payload) = @_;
        $bus->unlisten('b');
        $bus->listen(c => noting(\@got, 'c'));
        $bus->notify(c => $payload);
    });
    $bus->notify(b => $_) for 1, 2;
    1 while $bus->pump;
    is_deeply(\@got, ['c=1'], 'a listener may leave, add a listener and notify');
    @got = ();
    $bus->listen(d => sub {
        my ($bus, $payload) = @_;
        push @got, "<$payload";
        $bus->pump if $payload == 1;
        push @got, "$payload>";
    });
    $bus->notify(d => $_) for 1, 2;
    $bus->pump;
    is_deeply(\@got, ['<1', '<2', '2>', '1>'], 'a listener may call pump');
    $bus->listen(e => sub { undef $bus });
    $bus->notify(e => 1);
    is($bus->pump, 1, 'pump returns after a listener destroyed the bus');
};

subtest 'listeners and handlers that call last, or change their arguments' => sub {
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
    is($bus->pump, 4, 'pump delivers all messages although a listener calls last');
    is("@got", 'lost 2 x=3 x=4 x=5 x=6', 'the other listeners and handlers get unchanged arguments');
};

subtest 'a signal handler ends a wait' => sub {
    for my $how (qw(unlisten DESTROY)) {
        my $bus = bus();
        $bus->listen(x => noting(\my @got));
        local $SIG{USR1} = sub { $bus->$how('x'); $bus->ring->publish('x too late') };
        my $parent = $$;
        my $kid = spawn(sub { until_asleep($parent); kill USR1 => $parent });
        is($bus->pump(undef), 1, "$how: a message after the signal ends the wait");
        is_deeply(\@got, $how eq 'unlisten' ? [] : ['x=too late'], "$how: a listener gets the message only if it still listens");
        reap("$how: the process that sent the signal exits with 0", $kid);
    }
};

subtest 'pump waits for messages' => sub {
    my $bus = bus();
    $bus->listen(x => noting(\my @got));
    is($bus->pump(0), 0, 'pump(0) does not wait');
    is($bus->pump(0.01), 0, 'pump(0.01) times out');
    my $kid = spawn(sub { my ($peer) = @_; $peer->hear; $bus->notify(x => $_) for 1 .. 3 });
    $kid->tell('go');
    my $count = 0;
    $count += $bus->pump(undef) while $count < 3;
    is_deeply(\@got, ['x=1', 'x=2', 'x=3'], 'pump(undef) waits for the messages of another process');
    reap('the other process exits with 0', $kid);
    local $SIG{ALRM} = sub { die "alarm\n" };
    POSIX::alarm(1);
    is(eval { $bus->pump(undef); 1 } ? 'returned' : $@, "alarm\n", 'an exception of a signal handler ends pump');
    watchdog();
    $bus->notify(x => 4);
    is($bus->pump, 1, 'pump works after the exception');
};

subtest 'forked children use the bus' => sub {
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
        unlike($seen, qr/before/, "child $id does not get messages from before the fork");
    }
    reap('the children exit with 0', @kids);
    is($bus->pump, 5, 'pump of the parent counts the messages of all processes');
    is_deeply([sort @got], [sort 'x=before', (map {"x=kid $_"} 1 .. 3), 'x=end'], 'the parent gets each message once');
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
    is($out, '1 2 3', 'each thread listens with a subscriber of its own');
    is($status, 0, 'a program with threads exits with 0');
}

subtest 'lost messages are reported' => sub {
    my $bus = bus(capacity => 8);
    my @lost;
    $bus->on(lost => sub { my ($bus, $count) = @_; push @lost, $count });
    $bus->listen(x => noting(\my @got));
    $bus->notify(x => $_) for 1 .. 20;
    is($bus->pump, 8, 'a listener that was lapped gets the messages that are left');
    is_deeply([@got, @lost], [(map {"x=$_"} 13 .. 20), 12], 'the lost event gives the number of lost messages');
};

subtest 'long payloads' => sub {
    my $bus  = bus(msg_size => 20);
    my $text = "$BUS->notify: message for channel 'news' too long (21 > 20 bytes, with the channel's name)";
    ok($bus->notify(news => 'x' x 15), 'notify accepts the longest message that fits');
    croaks_like(sub { $bus->notify(news => 'x' x 16) }, quotemeta $text, 'notify croaks on a message that is one byte too long');
    my $drops = bus(msg_size => 20, long => 'drop');
    my @warned;
    local $SIG{__WARN__} = sub { push @warned, @_ };
    $drops->listen(news => noting(\my @got, 'news'));
    is($drops->notify(news => $_), $drops, "with long => 'drop', notify returns the bus") for 'x' x 16, 'y';
    $drops->pump;
    is_deeply(\@got, ['news=y'], 'a message that is too long is dropped as a whole');
    is($drops->dropped, 1, 'dropped counts it');
    like("@warned", qr/\A\Q$text\E: dropped at \Q$0\E line/, 'the first dropped message is warned about');
};

subtest 'the ring file is replaced' => sub {
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
    is($reconnected, 1, 'the bus reconnects to the new ring');
    is_deeply(\@got, ['x=on the new one'], 'a message from the new ring is delivered');
    $other->ring->unlink;
    select undef, undef, undef, 0.6;
    $bus->pump;
    ok(!-e $path, 'listening does not create a removed ring again');
    $bus->notify(x => 'again');
    ok(-e $path, 'notify creates a removed ring again');
    $look->(sub { @got == 2 });
    is($got[-1], 'x=again', 'the message in the created ring is delivered');
    is($reconnected, 2, 'the bus counts the second reconnect');
};

subtest 'errors after a read from a file handle, which perl then adds to the place of each' => sub {
    my $path = fresh_path();
    spew($path, 'text');
    open my $in, '<', $path or die "open: $!";
    readline $in;
    like(eval { $BUS->new($path); 1 } ? 'lives' : $@, qr/\A\Q$BUS\E->new: \Q$path\E: too small .* at \Q$0\E line/, 'new croaks at its caller');
    my $sub = variant('Int')->ring(8)->subscribe;
    like(eval { $sub->each(sub { }, 'soon'); 1 } ? 'lives' : $@, qr/->each: timeout must be .* at \Q$0\E line/, 'each croaks at its caller');
    my $bus = bus();
    my @errors;
    $bus->json('data')->on(error => sub { push @errors, $_[1] });
    $bus->listen(data => sub { });
    $bus->ring->publish('data {');
    $bus->pump;
    is(scalar @errors, 1, 'malformed JSON is an error');
    unlike($errors[0], qr/ line [0-9]/, 'the error has no place in the module');
};

subtest 'the ring file is replaced by another file' => sub {
    my $path = fresh_path();
    my $bus  = $BUS->new($path, loop => 'none');
    my @errors;
    $bus->on(error => sub { push @errors, $_[1] =~ s/\Q$path\E/PATH/r, $_[2] });
    $bus->listen(x => noting(\my @got));
    $bus->ring->unlink;
    spew($path, 'text');
    croaks_like(sub { $bus->notify(x => 1) }, "\\A\Q$BUS\E->notify: .*too small for a ring file",
        'notify croaks on the other file');
    until (@errors) { $bus->pump; select undef, undef, undef, 0.05 }
    $bus->{look_at} = 0;
    $bus->pump;
    is_deeply(\@errors, ['PATH: too small for a ring file (4 bytes)', undef],
        'pump reports the other file as an error event, once');
    unlink $path;
    $bus->notify(x => 'again');
    $bus->pump;
    is_deeply(\@got, ['x=again'], 'the bus works once the other file is removed');
};

subtest 'sizes and mode of the ring' => sub {
    my $path = fresh_path();
    my @warned;
    local $SIG{__WARN__} = sub { push @warned, @_ };
    $BUS->new($path, capacity => 64, msg_size => 100, mode => 0640);
    is(sprintf('%04o', (stat $path)[2] & 07777), '0640', 'the ring file gets the given mode');
    my $bus = $BUS->new($path);
    is_deeply([$bus->ring->capacity, $bus->ring->msg_size], [64, 100], 'an existing ring keeps its sizes');
    is_deeply(\@warned, [], 'opening an existing ring without sizes does not warn');
    $BUS->new($path, capacity => 128);
    like("@warned", qr/capacity 128 was asked for, the ring has 64/, 'opening an existing ring with another capacity warns');
    ok(!$BUS->new(undef)->ring->path, 'a bus without a path has an anonymous ring');
};

subtest 'wrong calls croak' => sub {
    my $bus = bus();
    my $name = qr/channel must be a name without white space/;
    for my $bad ('', 'a b', "a\n", 'a*b', undef) {
        my $shown = $bad // 'undef';
        croaks_like(sub { $bus->$_($bad => sub { }) }, "\Q$BUS\E->$_: $name",
            "$_ croaks on channel '$shown'") for qw(listen unlisten json);
        croaks_like(sub { $bus->notify($bad => 1) }, "\Q$BUS\E->notify: $name", "notify croaks on channel '$shown'");
    }
    croaks_like(sub { $bus->notify('a*' => 1) },     "notify: $name and '\\*', not 'a\\*'", 'notify croaks on a pattern');
    croaks_like(sub { $bus->listen(x => 'code') },   "listen: callback must be a code reference, not 'code'",
        'listen croaks on a callback that is not code');
    croaks_like(sub { $bus->on(connect => sub { }) }, 'on: event must be lost, reconnect or error, not \'connect\'',
        'on croaks on an unknown event');
    croaks_like(sub { $BUS->new(fresh_path(), size => 1) }, "new: unknown option 'size' \\(known: capacity, long, loop",
        'new croaks on an unknown option');
    croaks_like(sub { $BUS->new(fresh_path(), long => 'cut') }, "new: long must be 'croak' or 'drop', not 'cut'",
        'new croaks on an unknown value of long');
    croaks_like(sub { $BUS->new(fresh_path(), loop => 'Gtk') }, "loop must be an IO::Async::Loop, .* not 'Gtk'",
        'new croaks on an unknown loop');
    croaks_like(sub { $BUS->new('/nowhere/at/all') }, "\\A\Q$BUS\E->new: open.*: No such file or directory",
        'new croaks on a missing directory');
    croaks_like(sub { $BUS->new(spew(fresh_path(), 'text')) }, 'too small|invalid or incompatible',
        'new croaks on a file that is not a ring');
    croaks_like(sub { $BUS->new(fresh_path(), 'loop') }, 'new: options must be pairs', 'new croaks on an option without a value');
    croaks_like(sub { $BUS->new(fresh_path(), capacity => 'x') }, "\\A\Q$BUS\E->new: capacity must be an integer",
        'new croaks on a capacity that is not a number');
    croaks_like(sub { $bus->unlisten(x => 'code') }, "unlisten: callback must be a code reference, not 'code'",
        'unlisten croaks on a callback that is not code');
    croaks_like(sub { $bus->unsubscribe('lsot') }, "unsubscribe: event must be lost, reconnect or error, not 'lsot'",
        'unsubscribe croaks on an unknown event');
    croaks_like(sub { $bus->unsubscribe(lost => 1) }, "unsubscribe: callback must be a code reference, not '1'",
        'unsubscribe croaks on a callback that is not code');
    croaks_like(sub { $bus->past('x', 'all') }, "past: count must be a number, not 'all'",
        'past croaks on a count that is not a number');
    croaks_like(sub { $bus->notify(x => { a => 1 }) }, 'notify: payload must be a string, not a reference \\(HASH\\); data are for',
        'notify croaks on data for a channel without json');
    ok($bus->notify(x => bless {}, 'Text'), 'notify accepts an object that overloads strings');
    croaks_like(sub { $bus->json('data')->notify(data => sub { }) }, "notify: payload for channel 'data': .*CODE",
        'notify croaks on data that JSON cannot express');

    $bus->listen(x => noting(\my @got));
    $bus->pump;
    $bus->notify(x => 'here');
    croaks_like(sub { $bus->pump('soon') }, "\\A\Q$BUS\E->pump: timeout must be a number of seconds, not \"soon\"",
        'pump croaks on a bad timeout although there are messages');
    is($bus->pump(''), 1, "pump('') counts the messages that are there");
    is($bus->pump(''), 0, "pump('') does not wait");
};

done_testing;
