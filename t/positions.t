# Rings that have run for a very long time: positions and laps near 2**31, 2**32 and 2**63. No call hangs,
# no old value is delivered, and all messages are accounted for.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

use constant { WRITE_POS => 128, BASE => 256 };

# The slots of a ring at that position: each has the tag of its last message, (lap + 1) << 1, beside
# its value. One message to a new ring shows which of the two words is the tag.
sub aged_slots {
    my ($v, $position, $capacity) = @_;
    return '' if $v->is_str;
    my ($size, $word) = $v->slot == 16 ? (8, 'Q') : (4, 'L');
    my $path = fresh_path();
    my $ring = $v->class->new($path, 2);
    my $head = $ring->stats->{mmap_size} - 2 * $v->slot;
    $ring->publish(77);
    my $mark = $v->is_int ? 77 : unpack 'Q', pack 'd', 77;
    my @first = unpack "${word}2", peek($path, $head, $v->slot);
    my ($tag_at) = grep { $first[$_] == 2 && $first[1 - $_] == $mark } 0, 1;
    defined $tag_at or die "slots are not laid out as expected: @first";
    my @slots;
    for my $back (1 .. $capacity) {
        my $at   = $position - $back;
        my @pair = (0, 0);
        $pair[$tag_at] = (($at >> log($capacity) / log 2) + 1) << 1;
        $pair[$tag_at] &= 0xffffffff if $size == 4;
        $pair[1 - $tag_at] = 666;
        $slots[$at % $capacity] = pack "${word}2", @pair;
    }
    return join '', @slots;
}

sub aged_ring {
    my ($v, $capacity, $position, $base) = @_;
    my $path  = fresh_path();
    my $stats = $v->class->new($path, $capacity)->stats;
    my $head  = $stats->{mmap_size} - $capacity * $v->slot - ($stats->{arena_cap} || 0);
    poke($path, WRITE_POS, pack 'Q', $position);
    poke($path, BASE,      pack 'Q', $base);
    poke($path, $head,     aged_slots($v, $position, $capacity));
    return $v->class->new($path);
}

my %laps = (
    '2**30 laps' => 2**30, '2**31 laps' => 2**31, '2**32 laps' => 2**32, '2**33 laps' => 2**33,
    '2**31 - 1 laps' => 2**31 - 1, 'one lap' => 1,
);
my @starts;
for my $capacity (2, 8) {
    push @starts, ["$_, capacity $capacity", $capacity, $laps{$_} * $capacity - 3] for sort keys %laps;
    push @starts, ["position 2**$_, capacity $capacity", $capacity, (1 << $_) - 5] for 31, 32, 62, 63;
    push @starts, ["the last positions, capacity $capacity", $capacity, ~0 - 500];
}

each_variant(sub {
    my ($v) = @_;
    for my $start (@starts) {
        my ($name, $capacity, $position) = @$start;
        next if $position < $capacity;
        for my $base ($position < 2**60 ? 0 : (), $position - 1, $position) {
            survives("$name, base " . ($base ? '-' . ($position - $base) : 0), sub {
                my ($note) = @_;
                my $ring = aged_ring($v, $capacity, $position, $base);
                my $sub  = $ring->subscribe;
                my $seen = $ring->write_pos;
                $seen == $position - $base or die "write_pos: $seen";
                my $check = sub { $_[1] eq $_[2] or die "$_[0]: got '$_[1]', expected '$_[2]'" };
                for my $n (1 .. 5 * $capacity) {
                    $note->("publish $n");
                    $ring->publish($v->value($n));
                    $note->("poll $n");
                    $check->("poll $n", $sub->poll // 'undef', $v->value($n));
                }
                $note->('batches');
                for my $n (1 .. 10) {
                    my @batch = $v->values($n, $n + $capacity - 1);
                    $ring->publish_multi(@batch);
                    $check->("drain $n", join(' ', $sub->drain), "@batch");
                }
                $check->('overflow_count', $sub->overflow_count, 0);
                $note->('overflow');
                $ring->publish_multi($v->values(1, 3 * $capacity + 1));
                $check->('lag', $sub->lag, 3 * $capacity + 1);
                my @last = $v->values(2 * $capacity + 2, 3 * $capacity + 1);
                $check->('after overflow', join(' ', $sub->drain), "@last");
                $check->('lost', $sub->overflow_count, 2 * $capacity + 1);
                $check->('passed', $sub->cursor - $seen, 18 * $capacity + 1);
                $check->('held', join(' ', $ring->subscribe_all->drain), "@last");
                $sub->cursor($sub->cursor - 1);
                $check->('sought', $sub->poll, $last[-1]);
                $note->('clear');
                $ring->clear;
                $ring->publish($v->value(9));
                $check->('after clear', $sub->poll, $v->value(9));
                $check->('cursor', $sub->cursor, 1);
            });
        }
    }
});

# No real ring is in this state (its slots would have tags of the previous lap), but a damaged file may be.
subtest 'the write position is changed, the slots are not' => sub {
    each_variant(sub {
        my ($v) = @_;
        for my $power (20, 31, 32, 33, 34, 40, 62) {
            survives("write_pos 2**$power + 24", sub {
                my ($note) = @_;
                my $path = fresh_path();
                $v->class->new($path, 8);
                poke($path, WRITE_POS, pack 'Q', (1 << $power) + 24);
                my $ring = $v->class->new($path);
                my $all  = $ring->subscribe_all;
                my $sub  = $ring->subscribe;
                $note->('poll');
                defined $all->poll_wait(0) and die 'poll_wait returned a message';
                for my $n (1 .. 20) {
                    $note->("publish $n");
                    $ring->publish($v->value($n));
                    ($sub->poll // 'undef') eq $v->value($n) or die "poll $n";
                }
                $note->('drain');
                my @got = $all->drain;
                "@got" eq join ' ', $v->values(13, 20) or die "drain: @got";
            });
        }
    });
};

done_testing;
