# What does not come through a bridge is counted, and what comes twice is dropped.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP ();
use Test::More;
use PubSubTest;
use PubSubTest::Redis;
BEGIN { PubSubTest::Redis::needed() }
use PubSubTest::Bridge;

my $redis  = PubSubTest::Redis->start;
my $folder = fresh_dir();

sub arguments {
    my ($half, $stream, $ring, @more) = @_;
    return ($half, '--server', $redis->where, '--stream', $stream, '--host', 'h', '--ring', "$folder/$ring",
        '--state', "$folder/$ring.state", '--status', "$folder/$ring.status", @more);
}

sub ring { my ($variant, $name, @size) = @_; return variant($variant)->class->new("$folder/$name", @size) }

# Something that another program might append.
sub append { my ($stream, @fields) = @_; return $redis->call(xadd => $stream, '*', @fields) }

sub notes { return [map { my $note = JSON::PP::decode_json($_); delete @$note{qw(time)}; $note } $_[0]->drain] }

sub status { return read_status("$folder/$_[0].status") }

subtest 'numbers that come again, or do not come' => sub {
    my $in   = ring('Str', 'doubles', 256, 64);
    my $sub  = $in->subscribe;
    my $gaps = ring('Str', 'doubles.gaps', 256, 256)->subscribe;
    my $down = bridge(arguments('down', 'doubles', 'doubles', '--from', 'start', '--gaps', "$folder/doubles.gaps"));
    my @expected;
    my $comes = sub {
        my ($fields, @messages) = @_;
        append('doubles', @$fields);
        push @expected, @messages;
    };
    $comes->(['o', 'x/a#1', 's', 1, 'm', 'one'], 'one');
    $comes->(['o', 'x/a#1', 's', 1, 'm', 'one']);
    $comes->(['o', 'x/a#1', 's', 2, 'm', 'two'], 'two');
    $comes->(['o', 'x/a#1', 's', 1, 'm', 'one']);
    $comes->(['o', 'x/b#1', 's', 1, 'm', 'other'], 'other');
    $comes->(['o', 'x/a#1', 's', 1, 'M', pack '(N/a*)*', qw(one two three four)], 'three', 'four');
    $comes->(['s', 5, 'm', 'five', 'o', 'x/a#1'], 'five');
    $comes->(['o', 'x/a#1', 's', 5, 'm', 'five']);
    $comes->(['o', 'x/a#1', 's', 3, 'm', 'three']);
    $comes->(['also', 'this', 's', 6, 'o', 'x/a#1', 'u', "\xe2\x98\xba"], "\x{263a}");
    $comes->(['o', 'x/a#1', 's', 6, 'u', 'again']);
    $comes->(['o', 'x/a#1', 's', 7, 'I', '10 20 30'], 10, 20, 30);
    $comes->(['o', 'x/a#1', 's', 8, 'I', '20 30 40'], 40);
    # Numbers that are missing, and a gap that says what it stands for.
    $comes->(['o', 'x/a#1', 's', 14, 'm', 'fourteen'], 'fourteen');
    $comes->(['o', 'x/a#1', 's', 15, 'g', 'overrun 5']);
    $comes->(['o', 'x/a#1', 's', 15, 'g', 'overrun 5']);
    $comes->(['o', 'x/a#1', 's', 17, 'g', 'overrun 5']);
    $comes->(['o', 'x/a#1', 's', 22, 'm', 'twenty-two'], 'twenty-two');
    $comes->(['o', 'x/a#1', 's', 15, 'm', 'fifteen']);
    # A later epoch goes on, and ends the one before.
    $comes->(['o', 'x/a#3', 's', 23, 'm', 'a new epoch'], 'a new epoch');
    $comes->(['o', 'x/a#2', 's', 24, 'm', 'late']);
    $comes->(['o', 'x/a#1', 's', 24, 'm', 'later']);
    $comes->(['o', 'x/a#3', 's', 24, 'm', 'goes on'], 'goes on');
    # An origin whose beginning nobody has seen; one with an odd name.
    $comes->(['o', 'x/c#1', 's', 4, 'm', 'from the middle'], 'from the middle');
    $comes->(["o", "we ird#7/x#12", 's', 1, 'm', 'odd'], 'odd');
    is_deeply([messages_in($sub, scalar @expected)], \@expected, 'each once');

    # What is no entry of a bridge is left out, and its number is missed.
    for my $bad (
        [['some', 'thing'],                                    qr/no entry of a bridge/],
        [['o', 'x/a#3', 'm', 'no number'],                     qr/no entry of a bridge/],
        [['o', 'x/a#3', 's', 25],                              qr/no entry of a bridge/],
        [['o', 'x/a#3', 's', 25, 'long', 'name'],              qr/an entry of unknown kind 'long'/],
        [['long', 'name', 'o', 'x/a#3', 's', 25],              qr/no entry of a bridge/],
        [['o', 'x/a#3', 's', '0', 'm', 'x'],                   qr/no sequence number/],
        [['o', 'x/a#3', 's', '-1', 'm', 'x'],                  qr/no sequence number/],
        [['o', 'x/a#3', 's', 'abc', 'm', 'x'],                 qr/no sequence number/],
        [['o', 'x/a#3', 's', '25 ', 'm', 'x'],                 qr/no sequence number/],
        [['o', 'x/a', 's', 25, 'm', 'x'],                      qr/no origin/],
        [['o', '', 's', 25, 'm', 'x'],                         qr/no origin/],
        [['o', 'x/a#b', 's', 25, 'm', 'x'],                    qr/no origin/],
        [['o', 'x/a#3', 's', 25, 'z', 'x'],                    qr/an entry of unknown kind 'z'/],
        [['o', 'x/a#3', 's', 25, 'M', "\0\0\0\5abc"],          qr/an entry of kind 'M' that holds no message/],
        [['o', 'x/a#3', 's', 25, 'I', ''],                     qr/an entry of kind 'I' that holds no message/],
        [['o', 'x/a#3', 's', 25, 'g', 'many'],                 qr/a gap that says 'many'/],
        )
    {
        my ($fields, $why) = @$bad;
        my $id = append('doubles', @$fields);
        $down->until_said(qr/entry $id is left out: $why/);
    }
    append('doubles', 'o', 'x/a#3', 's', 26, 'm', 'twenty-six');
    is_deeply([messages_in($sub, 1)], ['twenty-six'], 'then it goes on');
    is($down->term, 0, 'the end');
    my $status = status('doubles');
    is($status->{duplicates}, 20, 'duplicates');
    is($status->{malformed}, 16, 'malformed ones');
    is_deeply($status->{lost}, { backend => 4, overrun => 7, trimmed => 3 }, 'losses');
    is_deeply(notes($gaps), [
        { number => 1, stream => 'doubles', origin => 'x/a', reason => 'backend',  count => 3 },
        { number => 2, stream => 'doubles', origin => 'x/a', reason => 'overrun', count => 5 },
        { number => 3, stream => 'doubles', origin => 'x/a', reason => 'overrun', count => 2 },
        { number => 4, stream => 'doubles', origin => 'x/c', reason => 'trimmed', count => 3 },
        { number => 5, stream => 'doubles', origin => 'x/a', reason => 'backend',  count => 1 },
    ], 'notes');
    unlike($down->said, qr/uninitialized|isn't numeric/, 'without warnings');

    # The next process has nothing to say.
    $down = bridge(arguments('down', 'doubles', 'doubles', '--gaps', "$folder/doubles.gaps"))->connected;
    append('doubles', 'o', 'x/a#3', 's', 26, 'm', 'twenty-six');
    append('doubles', 'o', 'x/a#3', 's', 27, 'm', 'twenty-seven');
    is_deeply([messages_in($sub, 1)], ['twenty-seven'], 'knows what it had');
    $down->term;
    is_deeply(notes($gaps), [], 'no note comes twice');
    is(status('doubles')->{duplicates}, 21, 'it goes on counting');
};

subtest 'a ring that was overrun' => sub {
    my $out  = ring('Int', 'overrun', 16);
    my $in   = ring('Int', 'overrun.in', 256);
    my $sub  = $in->subscribe;
    my $gaps = ring('Str', 'overrun.gaps', 16, 256)->subscribe;
    my $up   = bridge(arguments('up', 'overrun', 'overrun'));
    my $down = bridge(arguments('down', 'overrun', 'overrun.in', '--from', 'start', '--gaps', "$folder/overrun.gaps"));
    $out->publish(1);
    is_deeply([messages_in($sub, 1)], [1], 'begins');
    my $origin = JSON::PP::decode_json(slurp("$folder/overrun.status"))->{origin};

    # While nobody was there.
    $up->term;
    $out->publish($_) for 2 .. 41;
    $up = bridge(arguments('up', 'overrun', 'overrun'));
    is_deeply([messages_in($sub, 16)], [26 .. 41], 'what the ring still held');
    $up->until_said(qr/^pubsub-bridge up overrun: lost 24 messages: their ring was overrun while the bridge was not running$/m);

    # While it could not send.
    $redis->stop;
    $out->publish($_) for 42 .. 141;
    $redis->cont;
    my @got = messages_in($sub, 16);
    push @got, messages_in($sub, 1) while $got[-1] != 141;
    is_deeply([@got[-16 .. -1]], [126 .. 141], 'the end comes through');
    my $lost = 100 - @got;
    $down->until_said(qr/lost \d+ messages: their ring was overrun before they could be sent/);
    is_deeply([$up->term, $down->term], [0, 0], 'the end');
    is_deeply(status($_)->{lost}, { restart => 24, overrun => $lost }, "$_ counts") for qw(overrun overrun.in);
    my $notes = notes($gaps);
    my $sum = 0;
    $sum += $_->{count} for @$notes[1 .. $#$notes];
    is_deeply($notes->[0], { number => 1, stream => 'overrun', origin => $origin, reason => 'restart', count => 24 }, 'a note');
    is($sum, $lost, 'and others');
    is($sub->lag, 0, 'nothing more');
};

subtest 'a stream that was trimmed' => sub {
    my $out   = ring('Int', 'trim', 4096);
    my $quiet = ring('Int', 'trim.quiet', 64);
    my $in    = ring('Int', 'trim.in', 4096);
    my $other = ring('Int', 'trim.other', 4096)->subscribe;
    my $sub   = $in->subscribe;
    my $up    = bridge(arguments('up', 'trim', 'trim', '--maxlen', 100, '--batch', 50));
    my $up2   = bridge(arguments('up', 'trim', 'trim.quiet'));
    my $all   = bridge(arguments('down', 'trim', 'trim.other', '--from', 'start'));
    my $down  = bridge(arguments('down', 'trim', 'trim.in',    '--from', 'start'));
    $out->publish(1);
    $quiet->publish(-1);
    is_deeply([sort { $a <=> $b } messages_in($sub, 2)], [-1, 1], 'begins');
    messages_in($other, 2);

    # Away, while two origins sent, of which one sends no more.
    $down->term;
    $quiet->publish_multi(-9 .. -2);
    messages_in($other, 8);
    for my $round (0 .. 19) { $out->publish_multi($round * 50 + 2 .. $round * 50 + 51); messages_in($other, 50) }
    my $held = stream_of($redis, 'trim');
    cmp_ok($held, '<', 300, 'the stream was trimmed');
    $down = bridge(arguments('down', 'trim', 'trim.in'));
    my @got = messages_in($sub, $held);
    is_deeply(\@got, [1002 - $held .. 1001], 'what it still has');
    $down->until_said(qr/lost \d+ messages: the stream was trimmed/);
    $down->term;
    is_deeply(status('trim.in')->{lost}, { trimmed => 8 + 1000 - $held }, 'the others are counted, also those of the quiet one');

    # All of it is gone, and nobody sends.
    $quiet->publish_multi(-20 .. -16);
    messages_in($other, 5);
    $redis->call(xtrim => 'trim', 'MAXLEN', 0);
    $down = bridge(arguments('down', 'trim', 'trim.in'));
    $down->until_said(qr/lost 5 messages: the stream was trimmed/);

    # Between two reads.
    until_true(sub { read_status("$folder/trim.in.status")->{pid} == $down->pid });
    $down->signal('STOP');
    $out->publish(1999);    # the answer to a read that waits is on its way to it
    messages_in($other, 1);
    $quiet->publish_multi(-30 .. -24);
    messages_in($other, 7);
    $redis->call(xtrim => 'trim', 'MAXLEN', 0);
    $out->publish(2000);
    $down->signal('CONT');
    @got = messages_in($sub, 1);
    push @got, messages_in($sub, 1) if $got[0] == 1999;
    is($got[-1], 2000, 'goes on');
    my $between = 9 - @got;
    until_true(sub { (status('trim.in')->{lost}{trimmed} // 0) == 8 + 1000 - $held + 5 + $between });
    is_deeply([map { $_->term } $down, $all, $up, $up2], [0, 0, 0, 0], 'the end');
    is(status('trim.in')->{lost}{trimmed}, 8 + 1000 - $held + 5 + $between, 'all counted');
    is_deeply(status('trim.other')->{lost}, {}, 'and nothing where nothing was lost');
};

subtest 'messages that do not fit' => sub {
    my %in = (
        Int16 => [ring('Int16', 'fits.16', 64),    [qw(-32768 32767 0)]],
        Int32 => [ring('Int32', 'fits.32', 64),    [qw(-32768 32767 0 32768 -32769 -2147483648 2147483647)]],
        Int   => [ring('Int',   'fits.64', 64),    [qw(-32768 32767 0 32768 -32769 -2147483648 2147483647 2147483648
            9223372036854775807 -9223372036854775808)]],
    );
    my @no = ('', 'x', '1x', ' 1', '01', '+1', '1.0', '1e3', '-0', "1\n", 'nan', 'inf', '0x10', '9223372036854775808',
        '1' x 30, "\x{661}");
    my @yes = @{ $in{Int}[1] };
    my @expected = map { $_ } @yes, @no;
    my $file_of = sub { return 'fits.' . ($_[0] =~ /(\d+)/ ? $1 : 64) };
    my %down = map { $_ => bridge(arguments('down', 'fits', $file_of->($_), '--from', 'start')) } keys %in;
    my $short = ring('Str', 'fits.short', 64, 3)->subscribe;
    $down{short} = bridge(arguments('down', 'fits', 'fits.short', '--from', 'start'));
    my $number = 1;
    for my $message (@expected) {
        my $bytes = $message;
        my $is_text = utf8::is_utf8($bytes);
        utf8::encode($bytes) if $is_text;
        append('fits', 'o', 'x/a#1', 's', $number++, ($is_text ? 'u' : 'm'), $bytes);
    }
    append('fits', 'o', 'x/a#1', 's', $number++, 'm', 7);
    for my $name (sort keys %in) {
        my ($ring, $right) = @{ $in{$name} };
        is_deeply([messages_in($ring->subscribe_all, @$right + 1)], [@$right, 7], "$name: what fits");
        $down{$name}->term;
        is_deeply(status($file_of->($name))->{lost}, { rejected => @expected - @$right }, "$name: the others");
    }
    my @short = grep { my $bytes = $_; utf8::encode($bytes) if utf8::is_utf8($bytes); length $bytes <= 3 } @expected, 7;
    is_deeply([messages_in($short, scalar @short)], \@short, 'strings: what fits');
    $down{short}->term;
    is_deeply(status('fits.short')->{lost}, { rejected => @expected + 1 - @short }, 'strings: the others');
    like($down{short}->said, qr/they do not fit into the ring/, 'it says so');
};

subtest 'what the backend has lost' => sub {
    my $own  = PubSubTest::Redis->start;
    my $args = sub { my @arguments = arguments(@_); $arguments[2] = $own->where; return @arguments };
    my $out  = ring('Int', 'lost', 256);
    my $in   = ring('Int', 'lost.in', 256)->subscribe;
    my $here = ring('Int', 'lost.here', 256)->subscribe;
    my $up   = bridge($args->('up', 'lost', 'lost'));
    my $down = bridge($args->('down', 'lost', 'lost.in', '--from', 'start'));
    my $live = bridge($args->('down', 'lost', 'lost.here', '--from', 'start'));
    $out->publish_multi(1 .. 10);
    messages_in($in, 10);
    $down->term;
    my ($file) = glob "$own->{folder}/{appendonlydir/*.incr.aof,*.aof}";    # Redis 7, and before
    my $length = -s $file;
    $out->publish_multi(11 .. 20);
    messages_in($here, 20);
    # It forgets the last ten, which it had acknowledged.
    until_true(sub { (read_status("$folder/lost.status") // {})->{forwarded} == 20 });
    $own->kill_it;
    truncate $file, $length or die "truncate: $!";
    $own->run;
    $down = bridge($args->('down', 'lost', 'lost.in'));
    $out->publish_multi(21 .. 25);
    is_deeply([messages_in($in, 5)], [21 .. 25], 'those who had not read them miss them');
    is_deeply([messages_in($here, 5)], [21 .. 25], 'those who had read them go on');
    $up->murder;
    $up = bridge($args->('up', 'lost', 'lost'));
    $out->publish(26);
    is_deeply([messages_in($in, 1)], [26], 'also with another process');
    is_deeply([map { $_->term } $down, $live, $up], [0, 0, 0], 'the end');
    is_deeply(status('lost.in')->{lost}, { backend => 10 }, 'and count them');
    is_deeply(status('lost.here')->{lost}, {}, 'or not');

    # Everything.
    $own->call('flushall');
    $up = bridge($args->('up', 'lost', 'lost'));
    $up->until_said(qr/the backend/);
    $live = bridge($args->('down', 'lost', 'lost.here'));
    $out->publish_multi(31 .. 33);
    is_deeply([messages_in($here, 4)], [26, 31 .. 33], 'it goes on after all was lost');
    is_deeply([map { $_->term } $live, $up], [0, 0], 'the end');
    is_deeply(status('lost.here')->{lost}, {}, 'without a loss where all had come');
};

done_testing;
