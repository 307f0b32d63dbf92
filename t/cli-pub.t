# `pubsub-shared pub` and messages that do not fit: a program that logs into it lives on.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use POSIX ();
use Test::More;
use Time::HiRes ();

use PubSubTest;
use PubSubTest::Cli;

my $long = 'x' x 21;

# A fresh ring of 20 bytes a message: (path, code that returns what was published since).
sub ring {
    my ($name) = @_;
    my $path = fresh_path();
    my $ring = variant($name // 'Str')->class->new($path, 1024, $name ? () : 20);
    my $sub  = $ring->subscribe;
    return ($path, sub { [$sub->drain] });
}

# Characters as the bytes of their UTF-8.
sub as_bytes { return [map { my $copy = $_; utf8::encode($copy) if utf8::is_utf8($copy); $copy } @{ $_[0] }] }

subtest 'lines that are too long' => sub {
    my ($path, $got) = ring();
    my $cut = "pubsub-shared: line 2: longer than 20 bytes; truncated, as all such lines\n";
    is_deeply([cli(\"a\n$long\nb\n", 'pub', $path)], [0, '', "${cut}pubsub-shared: 1 line of 3 truncated\n"], 'one');
    is_deeply($got->(), ['a', 'x' x 20, 'b'], 'its beginning is published');
    is_deeply([cli(\"a\n$long\nb\n${long}y\n$long", 'pub', '--truncate', $path)],
        [0, '', "${cut}pubsub-shared: 3 lines of 5 truncated\n"], 'several');
    is_deeply($got->(), ['a', 'x' x 20, 'b', ('x' x 20) x 2], 'said once, and counted');

    my $left_out = "pubsub-shared: line 2: message too long (21 > 20); left out, as all such lines\n";
    is_deeply([cli(\"a\n$long\nb\n$long\n", 'pub', '--skip', $path)],
        [0, '', "${left_out}pubsub-shared: 2 lines of 4 left out\n"], '--skip');
    is_deeply($got->(), ['a', 'b'], 'publishes the others');

    is_deeply([cli(\"a\n$long\nb\n", 'pub', '--strict', $path)],
        [1, '', "pubsub-shared: line 2: message too long (21 > 20)\n"], '--strict');
    is_deeply($got->(), ['a'], 'ends there');

    is((cli(\("y\n" . 'z' x 1_000_000 . "\nend\n"), 'pub', $path))[0], 0, 'a million bytes');
    is_deeply($got->(), ['y', 'z' x 20, 'end'], 'are one line');
    is((cli(\('z' x 1_000_000), 'pub', $path))[0], 0, 'without its end');
    is_deeply($got->(), ['z' x 20], 'too');
    is((cli(\('z' x 1_000_000 . "\nend\n"), 'pub', '--strict', $path))[0], 1, '--strict');
    is_deeply($got->(), [], 'too');
    is((cli(\("a\0" . 'z' x 30 . "\0b\nc"), 'pub', '-0', $path))[0], 0, '-0');
    is_deeply($got->(), ['a', 'z' x 20, "b\nc"], 'too');
};

subtest 'no character is cut in two' => sub {
    my ($path, $got) = ring();
    my @characters = ("\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80");
    for my $character (@characters) {
        for my $before (20 - length($character) .. 20) {
            my $line = 'x' x $before . $character;
            my $fits = length $line <= 20 ? $line : 'x' x $before;
            cli(\"$line\n", 'pub', $path);
            is_deeply(as_bytes($got->()), [$fits], "$before bytes, then one of " . length $character);
            cli(\"$line$character\n", 'pub', $path);
            is_deeply(as_bytes($got->()), [$fits], 'followed by another one');
        }
    }
    cli(\("x" x 17 . "\xe2\x82\xac" . ('y' x 100_000) . "\n"), 'pub', $path);
    is_deeply(as_bytes($got->()), ['x' x 17 . "\xe2\x82\xac"], 'one that fits exactly, of a line that comes in parts');
    cli(\("x" x 18 . "\xe2\x82\xac" . ('y' x 100_000) . "\n"), 'pub', $path);
    is_deeply(as_bytes($got->()), ['x' x 18], 'one that does not');
    cli(\("\xe9" x 30 . "\n"), 'pub', $path);
    is_deeply(as_bytes($got->()), ["\xe9" x 20], 'bytes that are no UTF-8');
};

subtest 'characters and bytes' => sub {
    my ($path, $got) = ring();
    my @valid = ("caf\xc3\xa9", "\xe2\x98\xba", "\xf0\x9f\x98\x80", "\xef\xbf\xbd");
    # Latin-1, cut, too long, a surrogate, beyond Unicode.
    my @other = ("caf\xe9", "\xe2\x98", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "plain", '');
    my @characters = map { my $text = $_; utf8::decode($text); $text } @valid;
    for my $input ([], [\(join("\n", @valid, @other) . "\n")]) {
        my @values = @$input ? () : (@valid, @other);
        is((cli(@$input, 'pub', $path, @values))[0], 0, @values ? 'arguments' : 'lines');
        my $messages = $got->();
        is_deeply($messages, [@characters, @other], 'what is UTF-8 is characters, all else bytes');
        is_deeply([map { utf8::is_utf8($_) ? 1 : 0 } @$messages], [(1) x @valid, (0) x @other], 'and flagged so');
        is((cli(@$input, 'pub', '--bytes', $path, @values))[0], 0, '--bytes');
        is_deeply($got->(), [@valid, @other], 'leaves all as they are');
    }
    cli('pub', '--truncate', $path, "\xc3\xa9" x 11);
    is_deeply($got->(), ["\xe9" x 10], 'a truncated text is one, too');
    my ($numbers) = ring('Int');
    like((cli('pub', '--bytes', $numbers, 1))[2], qr/\Apubsub-shared: --bytes is for Str\n/, '--bytes of integers');
};

# By the clock only in that it takes at least so long.
subtest '--rate' => sub {
    my ($path, $got) = ring();
    my $start = Time::HiRes::time();
    is((cli('pub', '--rate', 50, $path, 1 .. 6))[0], 0, '--rate');
    cmp_ok(Time::HiRes::time() - $start, '>=', 0.1, 'six messages need five pauses');
    is_deeply($got->(), [1 .. 6], 'all are published');
    is((cli(\"a\nb\nc\n", 'pub', '-r', '1e3', $path))[0], 2, 'a number of another form');
    is((cli(\"a\nb\nc\n", 'pub', '-r', '999.5', $path))[0], 0, 'lines');
    is_deeply($got->(), [qw(a b c)], 'all of them');
    like((cli('pub', '--rate', $_, $path, 1))[2], qr/--rate must be a number of messages per second, not '$_'/, "--rate $_") for 0, 'x', -1;
    is_deeply($got->(), [], 'and nothing published');
};

subtest 'integers' => sub {
    my ($path, $got) = ring('Int16');
    my $left_out = "pubsub-shared: line 2: not an integer: 'two'; left out, as all such lines\n";
    my $count    = "pubsub-shared: 3 lines of 5 left out\n";
    my $input    = "1\ntwo\n3\n40000\n" . '5' x 100_000;
    is_deeply([cli(\$input, 'pub', $path)], [1, '', $left_out . $count], 'some are none');
    is_deeply($got->(), [1, 3], 'the others are published');
    is_deeply([cli(\$input, 'pub', '--skip', $path)], [0, '', $left_out . $count], '--skip: as asked');
    is_deeply($got->(), [1, 3], 'the same');
    is((cli(\('0' x 4095 . "7\n"), 'pub', '--strict', $path))[0], 0, 'many zeros');
    is_deeply($got->(), [7], 'are a number');
    my ($status, undef, $err) = cli(\('0' x 100_000 . "7\n"), 'pub', '--strict', $path);
    is($status, 1, 'too many');
    is_deeply($got->(), [], 'are none');
    cmp_ok(length $err, '<', 200, 'and not repeated');
    is_deeply([cli('pub', '--truncate', $path, 1)],
        [2, '', "pubsub-shared: --truncate is for Str\nTry: pubsub-shared pub --help\n"], '--truncate');
};

subtest 'floating-point numbers' => sub {
    my ($path, $got) = ring('Num');
    my @good = ('1.5', ' -2e-3', '.25', '+7', '0x', '1e999', '-inf', 'NaN', '1_000', '', '0.1');
    my ($status, undef, $err) = cli(\(join "\n", @good), 'pub', $path);
    is_deeply([$status, $err], [1, "pubsub-shared: line 5: not a number: '0x'; left out, as all such lines\n"
        . "pubsub-shared: 4 lines of 11 left out\n"], 'some are none');
    is_deeply($got->(), [PubSubTest::Variant::in_64_bits(1.5, -0.002, 0.25, 7, -9**9**9, -sin(9**9**9), 0.1)], 'the others are published');
    like((cli('pub', $path, '1e999'))[2], qr/\Apubsub-shared: too large for a 64-bit number: '1e999'\n/, 'nor rounded to infinity');
    is_deeply($got->(), [], 'and nothing published');
};

subtest 'arguments' => sub {
    my ($path, $got) = ring();
    is((cli('pub', $path, 'a', $long))[0], 2, 'are refused');
    is_deeply($got->(), [], 'all of them');
    is((cli('pub', '--truncate', $path, 'a', $long))[0], 0, 'unless --truncate');
    is_deeply($got->(), ['a', 'x' x 20], 'truncates');
    is((cli('pub', '--skip', $path, 'a', $long))[0], 0, 'or --skip');
    is_deeply($got->(), ['a'], 'leaves out');
};

# As `prog | pubsub-shared pub RING`, whose standard error nobody reads any more.
subtest 'the program lives on' => sub {
    my ($path, $got) = ring();
    pipe my $out, my $in or die "pipe: $!";
    pipe my $nobody, my $err or die "pipe: $!";
    close $nobody;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        alarm 60;
        close $in;
        open STDIN,  '<&', $out or die "in: $!";
        open STDERR, '>&', $err or die "err: $!";
        $SIG{PIPE} = 'DEFAULT';
        exec @COMMAND, 'pub', $path or POSIX::_exit(127);
    }
    close $out;
    close $err;
    $in->autoflush(1);
    my $died = 0;
    local $SIG{PIPE} = sub { $died++ };
    print {$in} "$long\n" for 1 .. 1000;
    print {$in} "end\n";
    close $in;
    waitpid $pid, 0;
    is($?, 0, 'pub ends well');
    is($died, 0, 'the program gets no SIGPIPE');
    is(scalar @{ $got->() }, 1001, 'all lines arrive');
};

subtest 'Ctrl-C' => sub {
    my ($path) = ring();
    my $sub = variant('Str')->class->new($path)->subscribe;
    my $run = cli_start('pub', $path);
    print { $run->{in} } "$long\n";
    $sub->poll_wait(60);
    kill INT => $run->{pid};
    my ($status, $said) = cli_end($run);
    is($status, -2, 'ends it');
    like($said, qr/^pubsub-shared: 1 line of 1 truncated$/m, 'and what it did is counted');
};

done_testing;
