# `pubsub-shared check`: sound rings pass in every state, damaged rings do not, and no ring is changed.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP qw(decode_json);
use Test::More;

use PubSubTest;
use PubSubTest::Cli;

my $CAPACITY = 8;

# The report of `check --json`.
sub check {
    my ($path) = @_;
    my $before = slurp($path);
    my ($status, $out, $err) = cli(qw(check --json), $path);
    my ($report) = @{ decode_json($out) };
    ok(slurp($path) eq $before, 'check does not change the file');
    is($err, '', 'check prints no errors');
    is($status, $report->{fine} ? 0 : 1, 'the exit status agrees with the report');
    is(!!$report->{fine}, !@{ $report->{problems} }, 'a ring is fine if it has no problems');
    return $report;
}

sub fine {
    my ($path, $notes, $name) = @_;
    subtest $name => sub {
        my $report = check($path);
        is_deeply($report->{problems}, [], 'check finds no problem');
        my @notes = @{ $report->{notes} };
        is(scalar @notes, scalar @$notes, 'check prints the expected number of notes') or diag explain \@notes;
        like($notes[$_], $notes->[$_], "note $_ has the expected text") for 0 .. $#$notes;
    };
    return;
}

sub damaged {
    my ($path, $problem, $name) = @_;
    subtest $name => sub {
        my ($first) = @{ check($path)->{problems} };
        like($first, $problem, 'check finds the damage');
    };
    return;
}

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;
    my $path  = fresh_path();
    my $ring  = $class->new($path, $CAPACITY, $v->is_str ? 20 : ());
    my ($spares, $publishers) = (4096 + 128 * $ring->stats->{readers}, $ring->stats->{publishers} // 0);
    my $slots  = $spares + 128 * $publishers;
    my $arena  = ($slots + $CAPACITY * $v->slot + 63) & ~63;
    my $blocks = $CAPACITY + $publishers;
    fine($path, [], 'a new ring is fine');
    for my $n (1, 6, 1, 1, 30) {
        $ring->publish_multi($v->values(1, $n));
        fine($path, [], 'a ring is fine at position ' . $ring->write_pos);
    }
    $ring->clear;
    fine($path, [], 'a cleared ring is fine');
    $ring->publish_multi($v->values(1, 3));
    fine($path, [], 'a ring is fine after messages that follow clear');
    my $sound = slurp($path);
    my $end   = unpack 'Q', substr $sound, 128, 8;
    undef $ring;

    # Writes bytes into a copy of the sound file; returns its path.
    my $broken = sub {
        my (@bytes) = @_;
        my $copy = fresh_path();
        my $text = $sound;
        while (my ($at, $new) = splice @bytes, 0, 2) { substr $text, $at, length $new, $new }
        return spew($copy, $text);
    };
    my $slot = sub { $slots + $_[0] % $CAPACITY * $v->slot };
    damaged($broken->(0,   'Q'),                    qr/not a ring file/,             'damage: magic number');
    damaged($broken->(8,   pack 'L', 1),            qr/layout version 1, and this library reads 3/,     'damage: layout version');
    damaged($broken->(12,  pack 'L', 9),            qr/unknown variant 9/,           'damage: variant');
    damaged($broken->(16,  pack 'Q', 9),            qr/capacity 9/,                  'damage: capacity that is not a power of two');
    damaged($broken->(16,  pack 'Q', 16),           qr/slots_at is|arena_at is|arena_len is|total is/, 'damage: another capacity');
    damaged($broken->(24,  pack 'Q', 2**40),        qr/message size/,                'damage: message size');
    damaged($broken->(32,  pack 'Q', 2**17),        qr/131072 publishers/,           'damage: number of publishers');
    damaged($broken->(40,  pack 'Q', 1),            qr/slots_at is 1,/,              'damage: offset of the slots');
    damaged($broken->(64,  pack 'Q', 1),            qr/total is 1,/,                 'damage: total size');
    damaged($broken->(100, 'x'),                    qr/byte 100 of the header/,      'damage: reserved bytes of the header');
    damaged($broken->(128, pack 'Q', ~0),           qr/write position/,              'damage: write position');
    damaged($broken->(256, pack 'Q', $end + 1),     qr/last clear/,                  'damage: base (position of the last clear)');
    damaged($broken->(388, pack 'L', ~0 & 0xffff_ffff), qr/sleep/,                   'damage: count of sleepers');
    damaged(spew(fresh_path(), "$sound!"),          qr/wrong size/,      'damage: the file is one byte too long');
    damaged(spew(fresh_path(), substr $sound, 0, -1), qr/wrong size/,    'damage: the file is one byte too short');
    damaged(spew(fresh_path(), substr $sound, 0, 99), qr/too small/,                 'damage: the file is shorter than a header');
    damaged(spew(fresh_path(), ''),                 qr/too small/,                   'damage: the file is empty');
    # A slot's tag and value as they are stored in memory; the tag of the last lap.
    my $wide = $v->slot == 16;
    my $stamped = sub { my ($tag, $value) = @_; return $wide ? pack 'QQ', $tag, $value : pack 'LL', $tag, $value };
    my $value_at = sub { return unpack 'x4 L', substr $sound, $slot->($_[0]), 8 };
    my $lap  = int(($end - 1) / $CAPACITY);
    my $tag  = ($lap + 1) * 2;
    my $last = $slot->($end - 1);
    my $is   = $v->is_str ? $value_at->($end - 1) : 0;
    damaged($broken->($last, $stamped->($tag + 2, $is)), qr/has not begun/, 'damage: a tag of a lap that has not begun');
    damaged($broken->($slot->($end), $stamped->(1, $v->is_str ? $value_at->($end) : 0)), qr/of no lap/,
        'damage: a tag that no lap has');
    fine($broken->($last, $stamped->(2, $is)), [qr/^claimed, but not filled: 1 of/],
        'a claim that its publisher never filled is only noted');
    fine($broken->($last, $stamped->($tag + 1, $is)), [], 'an abandoned position is fine');
    fine($broken->(128, pack 'Q', $end + 2), [qr/^claimed, but not filled: 2 of/],
        'two claims of killed publishers are only noted');
    damaged($broken->($last, $stamped->($tag, 0x8000)), qr/16 bits/, 'damage: a value wider than 16 bits') if $v->name eq 'Int16';
    if ($v->is_str) {
        # A slot's value is the number of its block, xored with the number of the slot.
        my $index = ($end - 1) % $CAPACITY;
        my $block = $is ^ $index;
        my $names = sub { return $stamped->($tag, $_[0] ^ $index) };
        damaged($broken->($last, $names->($blocks)), qr/names block $blocks, and there are $blocks/,
            'damage: a slot names a block beyond the last');
        my $other = $value_at->($end - 2) ^ $index - 1;
        damaged($broken->($last, $names->($other)), qr/names block $other, which another slot or spare names, too/,
            'damage: two slots name one block');
        my $message = $arena + $block * 32;
        damaged($broken->($message, pack 'Q', 21), qr/message of 21 bytes in block $block/,
            'damage: a message longer than the message size');
        fine($broken->($message, pack 'Q', 1 << 32 | 20), [], 'a message of the maximum length, of characters, is fine');

        # The first spare that is still in its initial state has its own block.
        my ($spare) = grep { unpack('Q', substr $sound, $spares + 128 * $_, 8) == 0 } 0 .. $publishers - 1;
        my $entry = sub { my ($word, @more) = @_; return ($spares + 128 * $spare, pack 'Q*', $word, @more) };
        damaged($broken->($entry->(3)), qr/spare $spare is neither idle nor busy/, 'damage: a spare in an unknown state');
        damaged($broken->($entry->(0xffff << 32)), qr/spare $spare names block/, 'damage: a spare names a block beyond the last');
        damaged($broken->($entry->(2)), qr/^blocks that no slot and no spare names: 1, of which 0/,
            'damage: a block that neither a slot nor a spare names');
        fine($broken->($entry->(2), 528, pack 'Q', 1), [qr/^spare blocks that leaked.*: 1\z/], 'a counted leak is only noted');
        damaged($broken->(536, pack 'Q', 2), qr/unregistered/, 'damage: an unknown registration mark');
        my $noted = qr/^a publisher died in the middle of a publish; the next one takes over/;
        my $busy = 9 << 2 | 1;
        fine($broken->($entry->($busy)), [$noted], 'a publisher that was killed in a publish is only noted');
        my $mine = $CAPACITY + $spare;
        fine($broken->($entry->($busy, $end, $block), $last, $names->($mine)), [$noted],
            'a publisher that was killed after its exchange is only noted');
        fine($broken->($entry->($busy, $end + 1, $value_at->($end) ^ $end % $CAPACITY), 128, pack 'Q', $end + 1),
            [qr/^claimed/, $noted], 'a publisher that was killed before its exchange is only noted');
    }
    else {
        damaged($broken->($_, pack 'Q', 1), qr/rings of integers have no blocks/,
            "damage: word $_ of a ring without blocks") for 512, 528;
        damaged($broken->(536, pack 'Q', 2), qr/unregistered/, 'damage: an unknown registration mark');
    }

    my $empty = fresh_path();
    $class->new($empty, $CAPACITY);
    poke($empty, $slots, pack $wide ? 'Q' : 'L', 4 | 1 << 20);
    damaged($empty, qr/slot 0/, 'damage: a value in a slot that was never written');
});

subtest 'rings in use' => sub {
    for my $capacity (2, 5000) {
        my @rings = map { [$_, fresh_path()] } variants();
        my @kids  = map {
            my ($v, $path) = @$_;
            my $ring = $v->class->new($path, $capacity);
            map {
                my $n = $_;
                spawn(sub {
                    my ($peer) = @_;
                    my $mine = $v->class->new($path);
                    my @values = $v->values($n, 9);
                    $mine->publish_multi(@values);
                    $peer->tell('busy');
                    while (getppid != 1) { $mine->publish_multi(@values[0 .. rand @values]) }
                });
            } 1, 2;
        } @rings;
        $_->hear for @kids;
        for my $round (1 .. 3) {
            my ($status, $out, $err) = cli('check', map { $_->[1] } @rings);
            is($status, 0, "capacity $capacity, round $round: check exits with 0 while publishers are busy") or diag $out;
            is($err, '', 'check prints no errors');
        }
        $_->kill('KILL') for @kids;
        $_->end          for @kids;
        my ($status, $out) = cli('check', map { $_->[1] } @rings);
        is($status, 0, "capacity $capacity: check exits with 0 after all publishers were killed") or diag $out;
    }
};

subtest 'a ring of two million slots' => sub {
    my $path = fresh_path();
    my $ring = variant('Int16')->class->new($path, 2**21);
    $ring->publish_multi(1 .. 8000) for 1 .. 10;
    my ($status, $out) = cli('check', $path);
    is($status, 0, 'check exits with 0');
    my ($checked) = $out =~ /\((?:Int16), (\d+) of 2097152 slots\)/;
    ok($checked && $checked < 1_100_000, 'check examines only part of the slots') or diag $out;
    poke($path, 4096 + 64 * 128 + 80_000 * 8, pack 'L', 77);
    is((cli('check', $path))[0], 1, 'check always examines the slots around the write position');
    like((cli('check', '--all', $path))[1], qr/damaged \(Int16, 2097152 slots\)\n  problem: slot 80000 /,
        'check --all examines all slots');
};

subtest 'check of several rings' => sub {
    my ($good, $bad) = (fresh_path(), fresh_path());
    variant('Int')->class->new($_, 8) for $good, $bad;
    poke($bad, 8, pack 'L', 120);
    my ($status, $out) = cli('check', $good, '/nowhere/at/all', $bad);
    is($status, 1, 'check exits with 1 if one of the rings is damaged');
    is_deeply([split /\n/, $out],
        [
            "$good: fine (Int, 8 slots)",
            '/nowhere/at/all: No such file or directory',
            "$bad: layout version 120, and this library reads 3",
        ],
        'check prints a line for each ring');
    is_deeply([cli(qw(check --quiet), $good, $bad)], [1, '', ''], 'check --quiet prints nothing and exits with 1');
    is_deeply([cli(qw(check -q), $good)], [0, '', ''], 'check -q of a sound ring prints nothing and exits with 0');
};

done_testing;
