# Damaged files: an error or a working ring, never a crash, a hang or an access outside of the mapping.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

my $CAPACITY = 8;

# Calls all methods that follow offsets in the file, whatever they return.
sub exercise {
    my ($v, $ring) = @_;
    my $sub = $ring->subscribe_all;
    my $new = $ring->subscribe;
    $ring->publish($v->value(7));
    $ring->publish_multi($v->values(1, 3));
    $_->poll, $_->lag, $_->drain($CAPACITY), $_->poll_wait(0), $_->reset_oldest, $_->drain for $sub, $new;
    $ring->stats;
    $ring->clear;
    return;
}

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;
    my @size  = $v->is_str ? (16) : ();
    my $path  = fresh_path();
    my $ring  = $class->new($path, $CAPACITY, @size);
    my $stats = $ring->stats;
    my $slots = $CAPACITY * $v->slot;
    my $head       = 4096;
    my $publishers = $stats->{publishers} || 0;
    my $slots_at   = $head + 128 * $publishers;
    my $fresh = slurp($path);
    $ring->publish_multi($v->values(1, 5));
    my $used = slurp($path);
    undef $ring;

    survives("every byte of the header flipped ($head bytes)", sub {
        my ($note) = @_;
        for my $at (0 .. $head - 1) {
            # Pages of zeros are alike: one byte in sixteen is enough.
            next if $at >= 1024 && $at % 16;
            $note->("header byte $at");
            for my $flip (0xff, 0x01, 0x80) {
                my $bytes = $used;
                substr($bytes, $at, 1) ^= chr $flip;
                poke($path, 0, $bytes);    # in place: creating thousands of files takes a minute on a busy disk
                eval { exercise($v, $class->new($path, $CAPACITY)); 1 }
                    or $@ =~ / at .+ line \d+/
                    or die "unexpected error: $@";
            }
        }
    });

    survives('every byte of the slots flipped while in use', sub {
        my ($note) = @_;
        for my $at ($slots_at .. $slots_at + $slots - 1) {
            $note->("slot byte $at");
            for my $flip (0xff, 0x01, 0x80) {
                poke($path, 0, $used);
                my $live = $class->new($path);
                my $sub  = $live->subscribe_all;
                poke($path, $at, substr($used, $at, 1) ^ chr $flip);
                $sub->drain;
                $sub->reset_oldest;
                $sub->poll;
                $live->publish($v->value($_)), $sub->poll for 1 .. 2 * $CAPACITY;
                exercise($v, $live);
            }
        }
    });

    survives('every byte of spares flipped while in use', sub {
        my ($note) = @_;
        # The first spares, because a publisher that finds one of them damaged takes another; and the last spare.
        for my $at (map { my $spare = $_; map { $head + $spare * 128 + $_ } 0 .. 23 } $publishers ? (0, 1, $publishers - 1) : ()) {
            $note->("spare byte $at");
            for my $flip (0xff, 0x01, 0x80) {
                poke($path, 0, $used);
                my $live = $class->new($path);
                my $sub  = $live->subscribe_all;
                $live->publish($v->value(1));
                poke($path, $at, substr($used, $at, 1) ^ chr $flip);
                $live->publish_multi($v->values(1, $_)) for 1 .. $CAPACITY;
                exercise($v, $class->new($path));
                $sub->drain;
            }
        }
    });

    subtest 'damaged geometry' => sub {
        my $bad = 0;
        for my $at (0 .. 31) {
            my $bytes = $used;
            substr($bytes, $at, 1) ^= "\xff";
            spew($path, $bytes);
            next if eval { $class->new($path); 1 };
            $bad++;
            like($@, qr/invalid or incompatible/, "byte $at: new croaks");
            ok(slurp($path) eq $bytes, "byte $at: the file is unchanged");
        }
        cmp_ok($bad, '>=', 8, 'damage of at least eight bytes is detected');
    };

    subtest 'files of a wrong length' => sub {
        for my $length (1, 8, 100) {
            spew($path, substr $used, 0, $length);
            croaks_like(sub { $class->new($path, $CAPACITY) }, 'too small', "new of $length bytes croaks");
        }
        my $all = length $used;
        for my $length ($head, $head + 1, $all - 4096 > $head ? $all - 4096 : (), $all - 1) {
            spew($path, substr $used, 0, $length);
            croaks_like(sub { $class->new($path, $CAPACITY) }, 'invalid or incompatible',
                "new of a file that is cut to $length of $all bytes croaks");
            is(-s $path, $length, 'the cut file is not extended');
        }
        for my $more (1, 4096, $all) {
            spew($path, $used . "\0" x $more);
            croaks_like(sub { $class->new($path, $CAPACITY) }, 'invalid or incompatible',
                "new of a file with $more extra bytes croaks");
        }
        spew($path, $used);
        is_deeply([$class->new($path)->subscribe_all->drain], [$v->values(1, 5)], 'the unchanged file is a working ring');
    };
});

done_testing;
