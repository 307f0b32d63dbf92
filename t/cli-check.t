# `pubsub-shared check`: sound rings pass in every state, damaged ones do not, and none is touched.

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
    ok(slurp($path) eq $before, 'the file is as it was');
    is($err, '', 'no errors');
    is($status, $report->{fine} ? 0 : 1, 'the exit status agrees');
    is(!!$report->{fine}, !@{ $report->{problems} }, 'fine without problems');
    return $report;
}

sub fine {
    my ($path, $notes, $name) = @_;
    subtest $name => sub {
        my $report = check($path);
        is_deeply($report->{problems}, [], 'no problem');
        my @notes = @{ $report->{notes} };
        is(scalar @notes, scalar @$notes, 'notes') or diag explain \@notes;
        like($notes[$_], $notes->[$_], "note $_") for 0 .. $#$notes;
    };
    return;
}

sub damaged {
    my ($path, $problem, $name) = @_;
    subtest $name => sub {
        my ($first) = @{ check($path)->{problems} };
        like($first, $problem, 'the problem');
    };
    return;
}

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;
    my $path  = fresh_path();
    my $ring  = $class->new($path, $CAPACITY, $v->is_str ? 20 : ());
    my $slots = 4096;
    my $arena = $slots + $CAPACITY * $v->slot;
    fine($path, [], 'new');
    for my $n (1, 6, 1, 1, 30) {
        $ring->publish_multi($v->values(1, $n));
        fine($path, [], 'after ' . $ring->write_pos);
    }
    $ring->clear;
    fine($path, [], 'cleared');
    $ring->publish_multi($v->values(1, 3));
    fine($path, [], 'three more');
    my $sound = slurp($path);
    my $end   = unpack 'Q', substr $sound, 128, 8;
    undef $ring;

    # Writes bytes into a copy of the sound file.
    my $broken = sub {
        my (@bytes) = @_;
        my $copy = fresh_path();
        my $text = $sound;
        while (my ($at, $new) = splice @bytes, 0, 2) { substr $text, $at, length $new, $new }
        return spew($copy, $text);
    };
    my $slot = sub { $slots + $_[0] % $CAPACITY * $v->slot };
    damaged($broken->(0,   'Q'),                    qr/no magic number/,             'magic number');
    damaged($broken->(8,   pack 'L', 2),            qr/layout version 2, not 1/,     'version');
    damaged($broken->(12,  pack 'L', 9),            qr/unknown variant 9/,           'variant');
    damaged($broken->(16,  pack 'Q', 9),            qr/capacity 9/,                  'capacity');
    damaged($broken->(16,  pack 'Q', 16),           qr/arena_at is|arena_len is|total is/, 'another capacity');
    damaged($broken->(24,  pack 'Q', 2**40),        qr/message size/,                'message size');
    damaged($broken->(56,  pack 'Q', 1),            qr/total is 1 /,                 'total size');
    damaged($broken->(100, 'x'),                    qr/byte 100 of the header/,      'unused bytes');
    damaged($broken->(128, pack 'Q', ~0),           qr/write position/,              'write position');
    damaged($broken->(256, pack 'Q', $end + 1),     qr/last clear/,                  'base');
    damaged($broken->(388, pack 'L', ~0 & 0xffff_ffff), qr/sleep/,                   'sleepers');
    damaged(spew(fresh_path(), "$sound!"),          qr/bytes, and should have/,      'too long');
    damaged(spew(fresh_path(), substr $sound, 0, -1), qr/bytes, and should have/,    'too short');
    damaged(spew(fresh_path(), substr $sound, 0, 99), qr/too small/,                 'no header');
    damaged(spew(fresh_path(), ''),                 qr/too small/,                   'empty');
    fine($broken->(64, 'x' x 16), [qr/not opened since/], 'of an earlier start of the machine');

    my $later = $end + 9000 * $CAPACITY;
    my $last  = $slot->($end - 1);
    if ($v->is_str) {
        my $torn = qr/^half overwritten .*: 1 of/;
        damaged($broken->($last, pack 'Q', $later), qr/sequence \d+/, 'a sequence far ahead');
        damaged($broken->($last, pack 'Q', 5), qr/sequence 5/, 'an old sequence');
        damaged($broken->($last + 8, pack 'Q', 21), qr/message of 21 /, 'too long a message');
        damaged($broken->($last + 8, pack 'Q', 999 << 32), qr/at byte 7992 of/, 'beyond the arena');
        damaged($broken->($slot->($end - 2) + 8, pack 'Q', 17 << 32 | 3), qr/behind the last/, 'out of line');
        damaged($broken->(528, pack 'Q', 7), qr/byte 528 of the header/, 'reserved word');
        fine($broken->($slot->($end), pack 'Q', $end + 1), [$torn], 'a dead publisher, next slot');
        fine($broken->($slot->($end - 8), pack 'Q', 0), [$torn], 'a dead publisher, mid-slot');

        my $gone = spawn(sub { });
        $gone->end;
        fine($broken->(512, pack 'L', $gone->pid), [qr/does not exist/], 'a holder that does not exist');
        fine($broken->(512, pack 'L', 0x40000000), [qr/died with the lock/], 'a holder that died');
        fine($broken->(512, pack 'L', $$), [], 'a holder that lives');
        fine($broken->(512, pack('Lx4Q', $$, 1)), [qr/of a container, this one or another/], 'a holder elsewhere');
        fine($broken->(512, pack('L', $$), 64, 'x' x 16), [qr/not opened/, qr/before the restart/],
            'a holder before the restart');
    }
    else {
        my $word = $v->slot == 16 ? 'Q' : 'L';
        damaged($broken->($last, pack $word, $later), qr/has not begun/, 'a tag ahead');
        damaged($broken->($slot->($end), pack $word, 1), qr/of no lap/, 'a tag that none is');
        damaged($broken->(512, pack 'L', 5), qr/lock word/, 'a lock');
        damaged($broken->($last + 4, pack 'L', 0x8000), qr/16 bits/, 'too wide')
            if $v->name eq 'Int16';
        fine($broken->($last, pack $word, 2), [qr/^claimed, but not filled: 1 of/], 'a dead claim');
        fine($broken->(128, pack 'Q', $end + 2), [qr/^claimed, but not filled: 2 of/], 'claims of the dead');
    }

    my $empty = fresh_path();
    $class->new($empty, $CAPACITY);
    poke($empty, $slots, pack 'Q', 4 | 1 << 20);
    damaged($empty, qr/slot 0/, 'a slot that nobody wrote');
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
            is($status, 0, "capacity $capacity, round $round") or diag $out;
            is($err, '', 'no errors');
        }
        $_->kill('KILL') for @kids;
        $_->end          for @kids;
        my ($status, $out) = cli('check', map { $_->[1] } @rings);
        is($status, 0, "capacity $capacity, all publishers killed") or diag $out;
    }
};

subtest 'many slots' => sub {
    my $path = fresh_path();
    my $ring = variant('Int16')->class->new($path, 2**21);
    $ring->publish_multi(1 .. 8000) for 1 .. 10;
    my ($status, $out) = cli('check', $path);
    is($status, 0, 'fine');
    my ($checked) = $out =~ /\((?:Int16), (\d+) of 2097152 slots\)/;
    ok($checked && $checked < 1_100_000, 'a part of them was looked at') or diag $out;
    poke($path, 4096 + 80_000 * 8, pack 'L', 77);
    is((cli('check', $path))[0], 1, 'where things happen now is always looked at');
    like((cli('check', '--all', $path))[1], qr/damaged \(Int16, 2097152 slots\)\n  problem: slot 80000 /, '--all');
};

subtest 'several' => sub {
    my ($good, $bad) = (fresh_path(), fresh_path());
    variant('Int')->class->new($_, 8) for $good, $bad;
    poke($bad, 8, 'x');
    my ($status, $out) = cli('check', $good, '/nowhere/at/all', $bad);
    is($status, 1, 'one is bad');
    is_deeply([split /\n/, $out],
        [
            "$good: fine (Int, 8 slots)",
            '/nowhere/at/all: No such file or directory',
            "$bad: layout version 120, not 1",
        ],
        'each is told');
    is_deeply([cli(qw(check --quiet), $good, $bad)], [1, '', ''], '--quiet');
    is_deeply([cli(qw(check -q), $good)], [0, '', ''], '--quiet and fine');
};

done_testing;
