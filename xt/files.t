# Files that are cut, grown, replaced, punched or filled with something else behind a ring's back, and
# file systems without room. Attaching refuses what is no ring any more; those who are attached go on
# where the system lets them.

use strict;
use warnings;
use Config;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use PubSubTest;
use POSIX ();
use Test::More;

use constant HEADER => 4096;

# fallocate(2) with FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE; false where it cannot.
sub punch {
    my ($path, $from, $length) = @_;
    my %number = (x86_64 => 285, aarch64 => 47);
    my ($machine) = grep { $Config{archname} =~ /\A$_/ } sort keys %number;
    return 0 if !$machine;
    open my $file, '+<', $path or die "open $path: $!";
    return syscall($number{$machine}, fileno $file, 3, $from, $length) == 0;
}

sub refused {
    my ($v, $path, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $bytes = slurp($path);
    my $open  = open_fds();
    croaks_like(sub { $v->class->new($path, 16) }, '->new: .*(?:invalid or incompatible|too small)', "$name: refused");
    ok(slurp($path) eq $bytes, "$name: and left as it was");
    is(open_fds(), $open, "$name: no descriptor is left");
    return;
}

sub new_ring {
    my ($v) = @_;
    my $path = fresh_path();
    my $ring = $v->class->new($path, 4096);
    $ring->publish_multi($v->values(1, 100));
    return ($path, $ring);
}

each_variant(sub {
    my ($v) = @_;

    subtest 'cut and grown' => sub {
        my ($path, $ring) = new_ring($v);
        my $size = -s $path;
        undef $ring;
        my $good = slurp($path);
        for my $length (1, 79, 80, 4095, 4096, 4097, $size / 2, $size - 1, $size + 1, $size + 4096, 2 * $size, 1 << 40) {
            truncate $path, $length or die "truncate: $!";
            if ($length < 1 << 30) { refused($v, $path, "$length of $size bytes") }
            else { croaks_like(sub { $v->class->new($path) }, 'invalid or incompatible', "$length bytes, sparse") }
            spew($path, $good);
        }
        truncate $path, 0;
        croaks_like(sub { $v->class->new($path) }, '->new: ', 'emptied: not without a capacity');
        is($v->class->new($path, 16)->subscribe_all->poll, undef, 'emptied: a new ring');
    };

    subtest 'cut while in use' => sub {
        my ($path) = new_ring($v);
        my $kid = spawn(sub {
            my $ring = $v->class->new($path);
            truncate $path, HEADER or die "truncate: $!";
            $ring->publish_multi($v->values(1, 5000));
        });
        is($kid->end & 127, POSIX::SIGBUS(), 'whoever touches what is gone gets SIGBUS, as the manual says');
        refused($v, $path, 'cut');
    };

    subtest 'grown while in use' => sub {
        my ($path, $ring) = new_ring($v);
        truncate $path, 2 * -s $path or die "truncate: $!";
        my $sub = $ring->subscribe;
        $ring->publish_multi($v->values(1, 4096));
        is_deeply([$sub->drain], [$v->values(1, 4096)], 'who is attached goes on');
        refused($v, $path, 'grown');
    };

    subtest 'replaced' => sub {
        my ($path, $old) = new_ring($v);
        my $sub = $old->subscribe_all;
        unlink $path;
        my $new = $v->class->new($path, 8);
        is($new->subscribe_all->poll, undef, 'a new ring is empty');
        $new->publish($v->value(5));
        $old->publish($v->value(6));
        is(($sub->drain)[-1], $v->value(6), 'the old one goes on without a name');
        is_deeply([$new->subscribe_all->drain], [$v->value(5)], 'and both are apart');
        spew("$path.text", 'x' x 70_000);
        rename "$path.text", $path;
        refused($v, $path, 'replaced by a text');
        $new->publish($v->value(7));
        is_deeply([$new->subscribe_all->drain], [$v->values(5, 5), $v->value(7)], 'who is attached goes on');
        unlink $path;
        mkdir $path;
        croaks_like(sub { $v->class->new($path, 16) }, '->new: ', 'replaced by a directory: refused');
        croaks_like(sub { $new->unlink }, 'is no ring file now', 'which unlink does not remove');
    };

    subtest 'punched' => sub {
        my ($path, $ring) = new_ring($v);
        plan skip_all => 'no holes can be punched here' if !punch($path, HEADER, 4096);
        my $size = -s $path;
        $ring->publish_multi($v->values(1, 8000));
        my $sub = $ring->subscribe_all;
        punch($path, HEADER, $size - HEADER) or die "punch: $!";
        my @got = $sub->drain;
        $sub->poll_wait(0.02);
        cmp_ok(@got + $sub->overflow_count, '<=', $sub->cursor, 'messages that were punched out are not made up');
        is_deeply([grep { !/\A(?:message )?\d+\z/ } @got], [], 'and none is nonsense');
        my $new = $v->class->new($path)->subscribe;
        $ring->publish_multi($v->values(1, 4000));
        is_deeply([$new->drain], [$v->values(1, 4000)], 'new ones come through');
        punch($path, 0, HEADER) or die "punch: $!";
        refused($v, $path, 'without a header');
    };
});

# A storm on a file system that is full time and again: an error or a ring, no SIGBUS, nothing left.
subtest 'full disk' => sub {
    my $root = fresh_dir();
    my $why  = small_disk($root, 'size=512k');
    plan skip_all => $why if defined $why;
    my @kids = map {
        my $id = $_;
        spawn(sub {
            XT::dies_with_parent();
            srand;
            my @variants = variants();
            my ($made, $full) = (0, 0);
            for_seconds(0.5, sub {
                my $v     = $variants[random(scalar @variants)];
                my $path  = "$root/$id-" . random(3);
                my $ring  = eval { $v->class->new($path, 1 << random(14)) };
                if (!$ring) { $@ =~ /No space left on device/ or die $@; $full++; -e $path and die 'left'; return }
                $made++;
                $ring->publish_multi(($v->value(7)) x $ring->capacity) if $ring->capacity <= 8192;
                $ring->unlink;
            });
            $made && $full or die "made $made, full $full";
        });
    } 1 .. 4;
    reap('an error or a ring', @kids);
    is_deeply([entries($root)], [], 'nothing is left');
    system "umount -l $root";
};

done_testing;
