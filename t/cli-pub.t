# `pubsub-shared pub` and messages that do not fit: a program that pipes its log into it is never disturbed.

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

# A new ring with messages of up to 20 bytes: (path, code that returns the messages published since its last call).
sub ring {
    my ($name) = @_;
    my $path = fresh_path();
    my $ring = variant($name // 'Str')->class->new($path, 1024, $name ? () : 20);
    my $sub  = $ring->subscribe;
    return ($path, sub { [$sub->drain] });
}

# Each string as the bytes of its UTF-8.
sub as_bytes { return [map { my $copy = $_; utf8::encode($copy) if utf8::is_utf8($copy); $copy } @{ $_[0] }] }

subtest 'lines that are too long' => sub {
    my ($path, $got) = ring();
    my $cut = "pubsub-shared: line 2: longer than 20 bytes; truncated, as all such lines\n";
    is_deeply([cli(\"a\n$long\nb\n", 'pub', $path)], [0, '', "${cut}pubsub-shared: 1 line of 3 truncated\n"],
        'a long line is truncated with a warning');
    is_deeply($got->(), ['a', 'x' x 20, 'b'], 'the beginning of a long line is published');
    is_deeply([cli(\"a\n$long\nb\n${long}y\n$long", 'pub', '--truncate', $path)],
        [0, '', "${cut}pubsub-shared: 3 lines of 5 truncated\n"], 'several long lines give one warning and a count');
    is_deeply($got->(), ['a', 'x' x 20, 'b', ('x' x 20) x 2], 'each long line is truncated');

    my $left_out = "pubsub-shared: line 2: message too long (21 > 20); left out, as all such lines\n";
    is_deeply([cli(\"a\n$long\nb\n$long\n", 'pub', '--skip', $path)],
        [0, '', "${left_out}pubsub-shared: 2 lines of 4 left out\n"], 'pub --skip leaves long lines out');
    is_deeply($got->(), ['a', 'b'], 'pub --skip publishes the other lines');

    is_deeply([cli(\"a\n$long\nb\n", 'pub', '--strict', $path)],
        [1, '', "pubsub-shared: line 2: message too long (21 > 20)\n"], 'pub --strict exits with 1 at a long line');
    is_deeply($got->(), ['a'], 'pub --strict publishes the lines before the long line');

    is((cli(\("y\n" . 'z' x 1_000_000 . "\nend\n"), 'pub', $path))[0], 0, 'pub accepts a line of a million bytes');
    is_deeply($got->(), ['y', 'z' x 20, 'end'], 'a line of a million bytes is one truncated message');
    is((cli(\('z' x 1_000_000), 'pub', $path))[0], 0, 'pub accepts a line of a million bytes without a newline');
    is_deeply($got->(), ['z' x 20], 'a line of a million bytes without a newline is one truncated message');
    is((cli(\('z' x 1_000_000 . "\nend\n"), 'pub', '--strict', $path))[0], 1,
        'pub --strict exits with 1 at a line of a million bytes');
    is_deeply($got->(), [], 'pub --strict does not publish a line of a million bytes');
    is((cli(\("a\0" . 'z' x 30 . "\0b\nc"), 'pub', '-0', $path))[0], 0, 'pub -0 exits with 0 if an item is too long');
    is_deeply($got->(), ['a', 'z' x 20, "b\nc"], 'pub -0 truncates a long item');
};

subtest 'truncation never splits a character' => sub {
    my ($path, $got) = ring();
    my @characters = ("\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80");
    for my $character (@characters) {
        for my $before (20 - length($character) .. 20) {
            my $line = 'x' x $before . $character;
            my $fits = length $line <= 20 ? $line : 'x' x $before;
            cli(\"$line\n", 'pub', $path);
            is_deeply(as_bytes($got->()), [$fits],
                "a character of UTF-8 after $before bytes is kept or removed as a whole" . length $character);
            cli(\"$line$character\n", 'pub', $path);
            is_deeply(as_bytes($got->()), [$fits],
                "a character after $before bytes that is followed by another one is kept or removed as a whole");
        }
    }
    cli(\("x" x 17 . "\xe2\x82\xac" . ('y' x 100_000) . "\n"), 'pub', $path);
    is_deeply(as_bytes($got->()), ['x' x 17 . "\xe2\x82\xac"],
        'a character that fits exactly is kept, in a line that is read in parts');
    cli(\("x" x 18 . "\xe2\x82\xac" . ('y' x 100_000) . "\n"), 'pub', $path);
    is_deeply(as_bytes($got->()), ['x' x 18], 'a character that does not fit is removed, in a line that is read in parts');
    cli(\("\xe9" x 30 . "\n"), 'pub', $path);
    is_deeply(as_bytes($got->()), ["\xe9" x 20], 'bytes that are not UTF-8 are truncated to the byte');
};

subtest 'characters and bytes' => sub {
    my ($path, $got) = ring();
    my @valid = ("caf\xc3\xa9", "\xe2\x98\xba", "\xf0\x9f\x98\x80", "\xef\xbf\xbd");
    # Latin-1, incomplete, overlong, a surrogate, beyond Unicode.
    my @other = ("caf\xe9", "\xe2\x98", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "plain", '');
    my @characters = map { my $text = $_; utf8::decode($text); $text } @valid;
    for my $input ([], [\(join("\n", @valid, @other) . "\n")]) {
        my @values = @$input ? () : (@valid, @other);
        is((cli(@$input, 'pub', $path, @values))[0], 0, 'pub exits with 0 for ' . (@values ? 'arguments' : 'lines'));
        my $messages = $got->();
        is_deeply($messages, [@characters, @other], 'valid UTF-8 is published as characters, anything else as bytes');
        is_deeply([map { utf8::is_utf8($_) ? 1 : 0 } @$messages], [(1) x @valid, (0) x @other],
            'only messages of characters have the UTF-8 flag');
        is((cli(@$input, 'pub', '--bytes', $path, @values))[0], 0, 'pub --bytes exits with 0');
        is_deeply($got->(), [@valid, @other], 'pub --bytes publishes all values as bytes');
    }
    cli('pub', '--truncate', $path, "\xc3\xa9" x 11);
    is_deeply($got->(), ["\xe9" x 10], 'a truncated text is published as characters');
    my ($numbers) = ring('Int');
    like((cli('pub', '--bytes', $numbers, 1))[2], qr/\Apubsub-shared: --bytes is for Str\n/,
        'pub --bytes to an Int ring is an error');
};

# This test depends on the clock only in that it takes a minimum time.
subtest '--rate' => sub {
    my ($path, $got) = ring();
    my $start = Time::HiRes::time();
    is((cli('pub', '--rate', 50, $path, 1 .. 6))[0], 0, 'pub --rate exits with 0');
    cmp_ok(Time::HiRes::time() - $start, '>=', 0.1, 'six messages at 50 per second take five pauses');
    is_deeply($got->(), [1 .. 6], 'pub --rate publishes all values');
    is((cli(\"a\nb\nc\n", 'pub', '-r', '1e3', $path))[0], 2, 'pub -r 1e3 is an error');
    is((cli(\"a\nb\nc\n", 'pub', '-r', '999.5', $path))[0], 0, 'pub --rate accepts lines');
    is_deeply($got->(), [qw(a b c)], 'pub --rate publishes all lines');
    like((cli('pub', '--rate', $_, $path, 1))[2], qr/--rate must be a number of messages per second, not '$_'/,
        "pub --rate $_ is an error") for 0, 'x', -1;
    is_deeply($got->(), [], 'a bad rate publishes nothing');
};

subtest 'integers' => sub {
    my ($path, $got) = ring('Int16');
    my $left_out = "pubsub-shared: line 2: not an integer: 'two'; left out, as all such lines\n";
    my $count    = "pubsub-shared: 3 lines of 5 left out\n";
    my $input    = "1\ntwo\n3\n40000\n" . '5' x 100_000;
    is_deeply([cli(\$input, 'pub', $path)], [1, '', $left_out . $count], 'lines that are not integers are left out with a warning');
    is_deeply($got->(), [1, 3], 'the other lines are published');
    is_deeply([cli(\$input, 'pub', '--skip', $path)], [0, '', $left_out . $count], 'pub --skip exits with 0 if lines are left out');
    is_deeply($got->(), [1, 3], 'pub --skip publishes the other lines');
    is((cli(\('0' x 4095 . "7\n"), 'pub', '--strict', $path))[0], 0, 'pub --strict accepts a number with 4095 leading zeros');
    is_deeply($got->(), [7], 'the number with leading zeros is published');
    my ($status, undef, $err) = cli(\('0' x 100_000 . "7\n"), 'pub', '--strict', $path);
    is($status, 1, 'pub --strict exits with 1 at a number with 100000 leading zeros');
    is_deeply($got->(), [], 'that number is not published');
    cmp_ok(length $err, '<', 200, 'the error does not repeat the long number');
    is_deeply([cli('pub', '--truncate', $path, 1)],
        [2, '', "pubsub-shared: --truncate is for Str\nTry: pubsub-shared pub --help\n"],
            'pub --truncate to an Int16 ring is an error');
};

subtest 'floating-point numbers' => sub {
    my ($path, $got) = ring('Num');
    my @good = ('1.5', ' -2e-3', '.25', '+7', '0x', '1e999', '-inf', 'NaN', '1_000', '', '0.1');
    my ($status, undef, $err) = cli(\(join "\n", @good), 'pub', $path);
    is_deeply([$status, $err], [1, "pubsub-shared: line 5: not a number: '0x'; left out, as all such lines\n"
        . "pubsub-shared: 4 lines of 11 left out\n"], 'lines that are not numbers are left out with a warning');
    is_deeply($got->(), [PubSubTest::Variant::in_64_bits(1.5, -0.002, 0.25, 7, -9**9**9, -sin(9**9**9), 0.1)],
        'the other numbers are published');
    like((cli('pub', $path, '1e999'))[2], qr/\Apubsub-shared: too large for a 64-bit number: '1e999'\n/,
        'pub of 1e999 is an error');
    is_deeply($got->(), [], 'a number that is too large is not published');
};

subtest 'arguments that are too long' => sub {
    my ($path, $got) = ring();
    is((cli('pub', $path, 'a', $long))[0], 2, 'pub exits with 2 if an argument is too long');
    is_deeply($got->(), [], 'none of the arguments is published');
    is((cli('pub', '--truncate', $path, 'a', $long))[0], 0, 'pub --truncate exits with 0 if an argument is too long');
    is_deeply($got->(), ['a', 'x' x 20], 'pub --truncate truncates the argument');
    is((cli('pub', '--skip', $path, 'a', $long))[0], 0, 'pub --skip exits with 0 if an argument is too long');
    is_deeply($got->(), ['a'], 'pub --skip leaves the argument out');
};

# As `prog | pubsub-shared pub RING`, with a standard error whose reading end is closed.
subtest 'pub continues after its standard error is closed' => sub {
    my ($path, $got) = ring();
    pipe my $out, my $in or die "pipe: $!";
    pipe my $reading_end, my $err or die "pipe: $!";
    close $reading_end;
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
    is($?, 0, 'pub exits with 0');
    is($died, 0, 'the program that writes into pub gets no SIGPIPE');
    is(scalar @{ $got->() }, 1001, 'pub publishes all lines');
};

subtest 'SIGINT' => sub {
    my ($path) = ring();
    my $sub = variant('Str')->class->new($path)->subscribe;
    my $run = cli_start('pub', $path);
    print { $run->{in} } "$long\n";
    $sub->poll_wait(60);
    kill INT => $run->{pid};
    my ($status, $said) = cli_end($run);
    is($status, -2, 'SIGINT ends pub');
    like($said, qr/^pubsub-shared: 1 line of 1 truncated$/m, 'after SIGINT, pub prints how many lines it truncated');
};

done_testing;
