# Rings whose bytes are damaged at random, at rest and in use: an error or a working ring, never
# a crash or a hang; and once the damage has stopped, new messages are delivered again.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Board;
use PubSubTest;
use Test::More;

use constant { CAPACITY => 16, LOCK => 512, HEADER => 4096 };

# Lengths of the fields of the identity; see the description of the header in src/layout.rs.
my @FIELDS = (8, 4, 4, (8) x 6, 8, 8);

# Numbers that are difficult for arithmetic, and random ones.
sub number {
    my ($length) = @_;
    my @edges = (0, 1, 2, 3, 7, 8, 15, 16, 17, 255, 4095, 4096, 4097);
    my $bits  = random(8 * $length);
    my $value = (
        sub { $edges[random(scalar @edges)] },
        sub { (1 << $bits) + random(3) - 1 },
        sub { ~0 >> 64 - $bits - 1 },
        sub { ~0 - random(5000) },
        sub { unpack 'Q', random_bytes(8) },
    )[random(5)]->();
    return substr pack('Q', $value), 0, $length;
}

# Damages a header in one of several ways.
sub damage {
    my ($bytes, $length) = @_;
    for (1 .. 1 + random(3)) {
        my $way = random(6);
        if ($way == 0) { substr $bytes, 0, $length, random_bytes($length) }
        elsif ($way == 1) { substr($bytes, random($length), 1) ^= chr(1 << random(8)) }
        elsif ($way == 2) {
            my $field = random(scalar @FIELDS);
            my $at    = 0;
            $at += $FIELDS[$_] for 0 .. $field - 1;
            substr $bytes, $at, $FIELDS[$field], number($FIELDS[$field]);
        }
        elsif ($way == 3) { substr $bytes, 8 * random($length / 8), 8, number(8) }
        elsif ($way == 4) { substr $bytes, 128, $length - 128, random_bytes($length - 128) }
        else              { substr $bytes, 0, 80, random_bytes(80) }
    }
    return $bytes;
}

# Calls all methods that follow offsets in the file.
sub exercise {
    my ($v, $ring) = @_;
    my @subs = ($ring->subscribe_all, $ring->subscribe);
    $ring->publish($v->value(7));
    $ring->publish_multi($v->values(1, 3));
    for my $sub (@subs) {
        $sub->poll;
        $sub->drain(CAPACITY);
        $sub->poll_wait(0);
        $sub->reset_oldest;
        $sub->drain;
        $sub->cursor($_), $sub->poll for 0, 5, 1 << 40;
        $sub->lag, $sub->overflow_count, $sub->has_overflow;
    }
    $ring->stats;
    $ring->clear;
    return;
}

# A ring whose damage made it lossless croaks, because it would wait for the subscribers of this process.
sub exercise_any {
    my ($v, $ring) = @_;
    return if eval { exercise($v, $ring); 1 };
    $ring->stats->{lossless} && $@ =~ /would wait forever for this process's own subscriber/ or die $@;
    return;
}

sub good_bytes {
    my ($v) = @_;
    my $path = fresh_path();
    my $ring = $v->class->new($path, CAPACITY, $v->is_str ? 24 : ());
    $ring->publish_multi($v->values(1, 30));
    return slurp($path);
}

each_variant(sub {
    my ($v)  = @_;
    my $good = good_bytes($v);
    my $path = fresh_path();

    my ($opened, $refused) = (0, 0);
    survives('random headers', sub {
        my ($note) = @_;
        alarm 0;
        my $count = for_seconds(0.4, sub {
            $note->("$opened opened, $refused refused");
            for (1 .. 50) {
                my $bytes = damage($good, 640);
                # A process that seems to hold the lock could be alive, and would be waited for.
                substr $bytes, LOCK, 4, "\0\0\0\0";
                spew($path, $bytes);
                my $ring = eval { $v->class->new($path, CAPACITY) };
                if ($ring) { $opened++; exercise_any($v, $ring) }
                else       { $refused++; $@ =~ /->new: .*at .+ line/ or die "unexpected error: $@" }
            }
        });
        print "# $opened opened, $refused refused\n";
    });

    # Two processes publish and two read while another writes any bytes anywhere, except in the word of the lock and
    # beyond the end of the file.
    spew($path, $good);
    my $board = XT::Board->new(8);
    my $ring  = $v->class->new($path);
    my @kids  = map {
        my $id = $_;
        spawn(sub {
            XT::dies_with_parent();
            alarm 0;
            $board->attach;
            my $sub = $ring->subscribe;
            until ($board->get(7)) {
                if ($id < 2) {
                    # All blocks that it could use may have been damaged.
                    eval {
                        $ring->publish($v->value(random(1000)));
                        $ring->publish_multi($v->values(1, 1 + random(40)));
                        1;
                    } or $@ =~ /: the ring is damaged: it has no spare block left; / or die $@;
                    $ring->clear if !random(100);
                }
                else {
                    $sub->poll_wait(0.01);
                    $sub->drain;
                    $sub->poll_wait_multi(10, 0.01);
                    $sub->reset_oldest if !random(20);
                }
                $board->set($id, $board->get($id) + 1);
            }
        });
    } 0 .. 3;
    my $length = length $good;
    my $pokes  = for_seconds(0.4, sub {
        my $at = random(3) ? HEADER + random($length - HEADER) : 128 + random(512);
        $at &= ~7 if random(2);
        my $bytes = random(2) ? number(8) : random_bytes(1 + random(16));
        $bytes = substr $bytes, 0, $length - $at;
        poke($path, $at, $bytes) if $at + length $bytes <= LOCK || $at >= LOCK + 4;
    });
    my @before = $board->get(0, 4);
    select undef, undef, undef, 0.005 while grep { $board->get($_) == $before[$_] } 0 .. 3;
    pass("all four processes continue after $pokes writes");
    $board->set(7, 1);
    reap('all four processes exit with 0 on command', @kids);

    my $sub = $ring->subscribe;
    my @got;
    for my $n (1 .. 5 * CAPACITY) {
        $ring->publish($v->value($n));
        push @got, $sub->poll;
    }
    is_deeply(\@got, [$v->values(1, 5 * CAPACITY)], 'after the damage, all messages are delivered');
    $ring->publish_multi($v->values(1, 3 * CAPACITY));
    is_deeply(
        [$ring->subscribe_all->drain], [$v->values(2 * CAPACITY + 1, 3 * CAPACITY)],
        'after the damage, the ring holds as many messages as its capacity'
    );
});

done_testing;
