# `pubsub-shared tail`: its JSON, its positions after lost messages, and its batches.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP ();
use POSIX ();
use Test::More;

use PubSubTest;
use PubSubTest::Cli;

sub objects { return map { JSON::PP::decode_json($_) } split /\n/, $_[0] }

subtest 'JSON of any text' => sub {
    my $ring = variant('Str')->class->new(my $path = fresh_path(), 1024, 2000);
    my @texts = (
        (map { chr } 0 .. 127), 'a"b\\c/d', join('', map { chr } 0 .. 127), "\\u0041", '', ' ',
        "caf\xe9 \x{263a}\x{1f600}\x{2028}", "\x{80}\x{9f}", 'x' x 2000,
    );
    utf8::upgrade($_) for @texts;
    my @bytes = map { utf8::encode(my $copy = $_); $copy } @texts;
    my @odd   = ("\xff", "a\xe9", "\xed\xa0", "\xc3", join '', map { chr } 128 .. 255);
    utf8::downgrade($_) for @odd;
    $ring->publish_multi(@texts, @bytes, @odd);
    my ($status, $out, $err) = cli(qw(tail --json -n 1k), $path);
    is_deeply([$status, $err], [0, ''], 'tail --json exits with 0 and no errors');
    unlike($out, qr/[\x00-\x09\x0b-\x1f\x7f]/, 'the output has no control characters but newlines');
    my @got = objects($out);
    is(@got, @texts + @bytes + @odd, 'tail --json prints an object for each message');
    is_deeply([map { $_->{position} } @got], [0 .. $#got], 'tail --json gives the positions');
    is_deeply([map { $_->{value} } splice @got, 0, @texts], \@texts, 'messages of characters are given unchanged');
    my @latin = splice @got, 0, @bytes;
    is_deeply([map { $_->{value} } @latin], \@texts, 'messages of UTF-8 bytes are given as characters');
    require MIME::Base64;
    is_deeply([map { MIME::Base64::decode_base64($_->{base64}) } @got], \@odd, 'messages of other bytes are given as base64');
};

subtest 'JSON of numbers' => sub {
    for my $v (grep { !$_->is_str } variants()) {
        my $ring = $v->class->new(my $path = fresh_path(), 16);
        $ring->publish_multi($v->values(1, 5));
        is_deeply([map { [@$_{qw(position value)}] } objects((cli(qw(tail --json), $path))[1])],
            [map { [$_ - 1, $v->value($_)] } 1 .. 5], $v->name . ': tail --json gives positions and values');
    }
};

subtest 'floating-point numbers' => sub {
    my $ring    = variant('Num')->class->new(my $path = fresh_path(), 16);
    my @numbers = PubSubTest::Variant::in_64_bits(0.1, 0.30000000000000004, 1e23, -0.0, 2**53, 5e-324, 9**9**9, -9**9**9);
    $ring->publish_multi(@numbers);
    my @lines = split /\n/, (cli('tail', $path))[1];
    is_deeply(\@lines, [qw(0.1 0.30000000000000004 1e+23 -0 9007199254740992 4.94065645841247e-324 Inf -Inf)],
        'tail prints the fewest digits that give the same number');
    my @values = map { $_->{value} } objects((cli(qw(tail --json), $path))[1]);
    is_deeply([splice @values, 6], ['Inf', '-Inf'], 'tail --json gives infinities as strings');
    @values = PubSubTest::Variant::in_64_bits(@values);
    is(scalar(grep { $values[$_] == $numbers[$_] } 0 .. 5), 6, 'tail --json gives numbers that read back unchanged');
    $ring->publish(unpack 'd', pack 'Q', 0x7ff8 << 48);
    like((cli(qw(tail -n 1), $path))[1], qr/\A-?NaN\n\z/, 'tail prints NaN');
    like((cli(qw(tail -n 1 --json), $path))[1], qr/"value":"-?NaN"/, 'tail --json gives NaN as a string');
};

# Loss reports are printed between the messages, as far as two streams allow.
subtest 'positions after lost messages' => sub {
    for my $v (variants()) {
        my $ring = $v->class->new(my $path = fresh_path(), 8);
        $ring->publish_multi($v->values(1, 20));
        my ($status, $out, $err) = cli(qw(tail --json -n +3), $path);
        is_deeply([map { $_->{position} } objects($out)], [12 .. 19],
            $v->name . ': tail --json -n +3 gives the positions of the messages that are left');
        like($err, qr/\Apubsub-shared: missed 9 messages: /, $v->name . ': tail counts the lost messages');
    }
};

# The reader is stopped while it is lapped: the messages that it prints and those that it reports as missed are all messages.
subtest 'a reader that is lapped' => sub {
    my $ring = variant('Str')->class->new(my $path = fresh_path(), 64, 20);
    $ring->publish('first');
    my $run = cli_start(qw(tail -n 1 -f --json), $path);
    is(readline $run->{out}, qq({"position":0,"value":"first"}\n), 'tail -f prints the first message');
    kill STOP => $run->{pid};
    select undef, undef, undef, 0.001 until slurp("/proc/$run->{pid}/stat") =~ /\) T/;
    $ring->publish($_) for 1 .. 100;
    $ring->publish('last');
    kill CONT => $run->{pid};
    my (@positions, $missed);
    while (defined(my $line = readline $run->{out})) {
        if ($line =~ /missed (\d+) messages/) { $missed += $1; next }
        my $data = JSON::PP::decode_json($line);
        push @positions, $data->{position};
        last if $data->{value} eq 'last';
    }
    kill TERM => $run->{pid};
    cli_end($run);
    is_deeply(\@positions, [@positions[0 .. 0], $positions[0] + 1 .. 101],
        'positions after the gap are consecutive up to the last message');
    is($missed + @positions, 101, 'printed and missed messages add up to all messages');
};

subtest 'tail reads in batches' => sub {
    # Counts calls instead of measuring time: tail must not call a read method or an encoder once per message.
    my $ring = variant('Str')->class->new(my $path = fresh_path(), 8192, 20);
    $ring->publish_multi(map {"message $_"} 1 .. 5000);
    my %calls;
    my $class = 'Data::PubSub::Shared::Str::Sub';
    no warnings 'redefine';
    no strict 'refs';
    for my $name ("${class}::poll", "${class}::poll_cb", "${class}::poll_wait", 'JSON::PP::encode') {
        my $original = \&$name;
        *$name = sub { $calls{$name}++; goto &$original };
    }
    for my $json ([], ['--json']) {
        my $pid = open(my $out, '-|') // die "fork: $!";
        if (!$pid) {
            %calls = ();
            Data::PubSub::Shared::CLI->run('tail', @$json, '-n', 5000, $path);
            syswrite STDOUT, "calls $_ $calls{$_}\n" for sort keys %calls;
            POSIX::_exit(0);
        }
        my @lines = readline $out;
        is(scalar(grep {/message/} @lines), 5000, "tail @$json prints all messages");
        my %seen = map { /^calls (\S+) (\d+)/ ? ($1 => $2) : () } @lines;
        cmp_ok($_, '<', 100, "tail @$json makes few calls") for values %seen;
        ok(scalar keys %seen, "tail @$json: the calls were counted");
    }
};

done_testing;
