# The example of a reader in Python sees what programs here have published: every message once, and every gap.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;
use PubSubTest::Redis;
BEGIN { PubSubTest::Redis::needed() }
use JSON::PP ();
use PubSubTest::Bridge;

my $program = "$FindBin::Bin/../eg/bridge-consumer.py";
plan skip_all => 'the examples are not here' if !-e $program;
my ($python) = grep { system(qq{$_ -c 'import redis' >/dev/null 2>&1}) == 0 } qw(python3 /usr/bin/python3);
plan skip_all => 'python3 with its module redis is not installed' if !defined $python;

my $redis = PubSubTest::Redis->start;
$ENV{PYTHONDONTWRITEBYTECODE} = 1;

# Starts the reader: a handle that reads its lines.
sub reader {
    my (@arguments) = @_;
    my @command = ($python, $program, '--server', $redis->where, @arguments);
    my $pid = open(my $lines, '-|') // die "fork: $!";
    if (!$pid) {
        PubSubTest::Redis::dies_with_parent();
        open STDERR, '>&', \*STDOUT;
        no warnings 'exec';
        exec @command;
        POSIX::_exit(127);
    }
    return ($lines, $pid);
}

# What it prints of a stream, as { origin => [...] } without the random part of an origin, and without the
# numbers, which are looked at here.
sub seen {
    my (@arguments) = @_;
    my ($lines) = reader(@arguments, '--stop');
    my (%seen, %next);
    while (my $line = readline $lines) {
        my $event  = eval { JSON::PP::decode_json($line) } // return "no JSON: $line";
        my $origin = delete $event->{origin};
        if (defined(my $number = delete $event->{number})) {
            $next{$origin} //= $number;
            return "$origin: $number after $next{$origin}" if $number < $next{$origin};
            $next{$origin} = $number + 1;
        }
        push @{ $seen{ $origin =~ s/-[0-9a-f]{8}\z//r } }, $event;
    }
    close $lines;
    return $? ? "wait status $?" : \%seen;
}

# A message as the reader should print it.
sub event {
    my ($is_str, $message) = @_;
    return { integer => $message } if !$is_str;
    return utf8::is_utf8($message) ? { text => $message } : { bytes => unpack 'H*', $message };
}

# Publishes, and returns once all has come into the stream; what the reader should print.
sub publish {
    my ($up, @messages) = @_;
    $up->{ring}->publish_multi(@messages);
    $up->{expected} += @messages;
    until_true(sub { last_of($up) == $up->{expected} });
    return map { event($up->{v}->is_str, $_) } @messages;
}

# The last number that has come into the stream.
sub last_of {
    my ($up) = @_;
    my %last = @{ $redis->call(hgetall => "{$up->{stream}}:origins") };
    my ($known) = map { $last{$_} } grep {m{\Aa/$up->{name}-}} keys %last;
    return (split / /, $known)[1];
}

sub up {
    my ($stream, $name, $variant, $capacity, $pack) = @_;
    my $v      = variant($variant);
    my $folder = fresh_dir();
    my $ring   = $v->class->new("$folder/$name", $capacity);
    my $bridge = bridge('up', '--server', $redis->where, '--stream', $stream, '--host', 'a',
        '--ring', "$folder/$name", '--state', "$folder/state", '--pack', $pack)->connected;
    return { v => $v, ring => $ring, bridge => $bridge, stream => $stream, name => $name, expected => 0 };
}

subtest 'messages and gaps' => sub {
    my %up = map { my ($name, @how) = @$_; ($name => up('all', $name, @how)) }
        ['text', 'Str', 256, 1], ['pack', 'Str', 256, 20], ['one', 'Int', 256, 1], ['many', 'Int', 256, 20];
    my %expected;
    for my $name (sort keys %up) {
        my $up = $up{$name};
        push @{ $expected{"a/$name"} }, publish($up, $up->{v}->samples, $up->{v}->values(1, 60)) for 1 .. 2;
        push @{ $expected{"a/$name"} }, publish($up, "gr\x{fc}ezi \x{263a}", "gr\xfcezi", '') if $up->{v}->is_str;

        # Overrun while it stands still.
        my $pid = $up->{bridge}->signal('STOP')->pid;
        until_true(sub { slurp("/proc/$pid/stat") =~ /\) T / });
        my @many = $up->{v}->values(1000, 1000 + 256 + 99);
        $up->{ring}->publish_multi(splice @many, 0, 100);
        $up->{ring}->publish_multi(@many);
        $up->{bridge}->signal('CONT');
        $up->{expected} += 100 + @many;    # what was lost has numbers, too
        until_true(sub { last_of($up) == $up->{expected} });
        push @{ $expected{"a/$name"} }, { gap => 100, reason => 'overrun' },
            map { event($up->{v}->is_str, $_) } @many;
    }
    is_deeply(seen(qw(--stream all --from start)), \%expected, 'from the start');
    is_deeply(seen(qw(--stream all --from now)), {}, 'from now');

    my @entries = stream_of($redis, 'all');
    my ($middle) = map { $_->[0] } grep { exists $_->[1]{g} } @entries;
    my $late = seen(qw(--stream all --from), $middle);
    is(ref $late, 'HASH', 'from an entry') or diag $late;
    my ($first) = sort keys %expected;
    my @rest = @{ $expected{$first} };
    shift @rest until $rest[0]{gap};
    shift @rest;
    is_deeply($late, { %expected, $first => \@rest }, 'which is left out itself');

    # Doubles, and what is no entry of a bridge.
    for my $entry (@entries[0, 5, -1]) { $redis->call(xadd => 'all', '*', %{ $entry->[1] }) }
    is_deeply(seen(qw(--stream all --from start)), \%expected, 'doubles are dropped');
    is($_->{bridge}->term, 0, 'an up half ends') for values %up;
};

subtest 'what the stream has lost' => sub {
    my $up = up('holes', 'ring', 'Int', 64, 1);
    my @expected = publish($up, 1 .. 10);
    my @entries = map { $_->[0] } stream_of($redis, 'holes');
    $redis->call(xdel => 'holes', @entries[3, 4, 9]);
    splice @expected, 9, 1, { gap => 1, reason => 'missing' };
    splice @expected, 3, 2, { gap => 2, reason => 'missing' };
    is_deeply(seen(qw(--stream holes --from start)), { 'a/ring' => \@expected }, 'in the middle, and at the end');
    is($up->{bridge}->term, 0, 'the up half ends');
};

subtest 'entries of others' => sub {
    my @strange = (
        ['x', 1], ['o', 'a#1', 's', 1, 'M', "\0\0\0\5abc"], ['o', 'a', 's', 1, 'm', 'x'],
        ['o', 'a#1', 's', 1, 'z', 1],
    );
    $redis->call(xadd => 'strange', '*', @$_) for @strange, ['longer', 1, 'u', "\xff", 's', 1, 'o', 'a#1'];
    my ($lines) = reader(qw(--stream strange --from start --stop));
    my @lines = readline $lines;
    is(scalar(grep {/is left out/} @lines), scalar @strange, 'are left out');
    is_deeply([map { JSON::PP::decode_json($_) } grep {/^\{/} @lines],
        [{ origin => 'a', number => 1, bytes => 'ff' }], 'text that is none, fields in another order');
};

subtest 'epochs' => sub {
    my $many = sub { pack '(N/a*)*', @_ };
    my @entries = (
        [1, 1, 'm', 'one'], [1, 2, 'm', 'two'],
        [2, 2, 'm', 'two again'],    # the server had forgotten what stood there
        [1, 3, 'm', 'late'],
        [2, 3, 'M', $many->(qw(three four five))], [2, 4, 'M', $many->(qw(four five six seven))],
        [2, 10, 'g', 'overrun 5'], [2, 12, 'g', 'overrun 5'], [2, 12, 'g', 'overrun 5'], [2, 17, 'm', 'last'],
    );
    $redis->call(xadd => 'epochs', '*', 'o', "a#$_->[0]", 's', @$_[1 .. 3]) for @entries;
    my ($lines) = reader(qw(--stream epochs --from start --stop));
    my @seen = map { $_->{gap} ? "$_->{gap} $_->{reason}" : "$_->{number} " . pack 'H*', $_->{bytes} }
        map { JSON::PP::decode_json($_) } readline $lines;
    is_deeply(\@seen, [
        '1 one', '2 two', '2 two again', '3 three', '4 four', '5 five', '6 six', '7 seven',
        '2 missing', '5 overrun', '2 overrun', '17 last',
    ], 'a new one takes numbers back, an old one counts for nothing, and a part of an entry may be a double');
};

subtest 'waiting for more' => sub {
    my $up = up('live', 'ring', 'Int', 64, 1);
    publish($up, 1);
    my ($lines, $pid) = reader(qw(--stream live --from start));
    for my $integer (1 .. 3) {
        is(JSON::PP::decode_json(scalar readline $lines)->{integer}, $integer, "message $integer");
        publish($up, $integer + 1);
    }
    kill INT => $pid;
    ok(close $lines || $? >> 8 == 1, 'and ends when asked to');
    is($up->{bridge}->term, 0, 'the up half ends');
};

done_testing;
