# Files that are truncated, extended, replaced, punched or overwritten while rings use them, and file systems without
# space. Opening refuses what is not a ring any more; processes that have the ring open continue as far as the system
# allows.

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

# fallocate(2) with FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE; false if it is not supported.
sub punch {
    my ($path, $from, $length) = @_;
    my %number = (x86_64 => 285, aarch64 => 47);
    my ($architecture) = grep { $Config{archname} =~ /\A$_/ } sort keys %number;
    return 0 if !$architecture;
    open my $file, '+<', $path or die "open $path: $!";
    return syscall($number{$architecture}, fileno $file, 3, $from, $length) == 0;
}

sub refused {
    my ($v, $path, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $bytes = slurp($path);
    my $open  = open_fds();
    croaks_like(sub { $v->class->new($path, 16) }, '->new: .*(?:invalid or incompatible|too small)', "$name: new croaks");
    ok(slurp($path) eq $bytes, "$name: the file is unchanged");
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

    subtest 'truncated and extended' => sub {
        my ($path, $ring) = new_ring($v);
        my $size = -s $path;
        undef $ring;
        my $good = slurp($path);
        for my $length (1, 79, 80, 4095, 4096, 4097, $size / 2, $size - 1, $size + 1, $size + 4096, 2 * $size, 1 << 40) {
            truncate $path, $length or die "truncate: $!";
            if ($length < 1 << 30) { refused($v, $path, "$length of $size bytes") }
            else {
                croaks_like(sub { $v->class->new($path) }, 'invalid or incompatible', "new of a sparse file of $length bytes croaks");
            }
            spew($path, $good);
        }
        truncate $path, 0;
        croaks_like(sub { $v->class->new($path) }, '->new: ', 'new of an emptied file croaks without a capacity');
        is($v->class->new($path, 16)->subscribe_all->poll, undef, 'new of an emptied file with a capacity creates a ring');
    };

    subtest 'truncated while in use' => sub {
        my ($path) = new_ring($v);
        my $kid = spawn(sub {
            my $ring = $v->class->new($path);
            truncate $path, HEADER or die "truncate: $!";
            $ring->publish_multi($v->values(1, 5000));
        });
        is($kid->end & 127, POSIX::SIGBUS(), 'a process that accesses the missing part gets SIGBUS, as documented');
        refused($v, $path, 'truncated');
    };

    subtest 'extended while in use' => sub {
        my ($path, $ring) = new_ring($v);
        truncate $path, 2 * -s $path or die "truncate: $!";
        my $sub = $ring->subscribe;
        $ring->publish_multi($v->values(1, 4096));
        is_deeply([$sub->drain], [$v->values(1, 4096)], 'a ring that is open still works');
        refused($v, $path, 'extended');
    };

    subtest 'replaced' => sub {
        my ($path, $old) = new_ring($v);
        my $sub = $old->subscribe_all;
        unlink $path;
        my $new = $v->class->new($path, 8);
        is($new->subscribe_all->poll, undef, 'the new ring is empty');
        $new->publish($v->value(5));
        $old->publish($v->value(6));
        is(($sub->drain)[-1], $v->value(6), 'the old ring still works without a name');
        is_deeply([$new->subscribe_all->drain], [$v->value(5)], 'both rings are separate');
        spew("$path.text", 'x' x 70_000);
        rename "$path.text", $path;
        refused($v, $path, 'replaced by a text');
        $new->publish($v->value(7));
        is_deeply([$new->subscribe_all->drain], [$v->values(5, 5), $v->value(7)], 'a ring that is open still works');
        unlink $path;
        mkdir $path;
        croaks_like(sub { $v->class->new($path, 16) }, '->new: ', 'new of a directory at the path croaks');
        croaks_like(sub { $new->unlink }, 'is no ring file now', 'unlink croaks instead of removing the directory');
    };

    subtest 'punched' => sub {
        my ($path, $ring) = new_ring($v);
        plan skip_all => 'this file system cannot punch holes' if !punch($path, HEADER, 4096);
        my $size = -s $path;
        $ring->publish_multi($v->values(1, 8000));
        my $sub = $ring->subscribe_all;
        punch($path, HEADER, $size - HEADER) or die "punch: $!";
        my @got = $sub->drain;
        $sub->poll_wait(0.02);
        cmp_ok(@got + $sub->overflow_count, '<=', $sub->cursor, 'messages that were punched out are not invented');
        is_deeply([grep { !/\A(?:message )?\d+\z/ } @got], [], 'all delivered messages are valid');
        my $new = $v->class->new($path)->subscribe;
        $ring->publish_multi($v->values(1, 4000));
        is_deeply([$new->drain], [$v->values(1, 4000)], 'new messages are delivered');
        punch($path, 0, HEADER) or die "punch: $!";
        refused($v, $path, 'without a header');
    };
});

# A storm on a file system that is full repeatedly: each call gives an error or a ring, never SIGBUS, and no file is left.
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
                if (!$ring) { $@ =~ /No space left on device/ or die $@; $full++; -e $path and die 'a file is left'; return }
                $made++;
                $ring->publish_multi(($v->value(7)) x $ring->capacity) if $ring->capacity <= 8192;
                $ring->unlink;
            });
            $made && $full or die "made $made, full $full";
        });
    } 1 .. 4;
    reap('each new returns a ring or croaks', @kids);
    is_deeply([entries($root)], [], 'no file is left');
    system "umount -l $root";
};

done_testing;
