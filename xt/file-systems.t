# Rings on many file systems, also full ones: FUSE, btrfs, ext4 on a loop device, overlayfs, a small tmpfs, hugetlbfs;
# files that were restored with holes; a control group with little memory. Each is mounted in a namespace of a child, and
# is unmounted with it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use PubSubTest;
use Test::More;

plan skip_all => 'needs the right to mount' if $> || system('unshare --mount true 2>/dev/null') != 0;
$ENV{PATH} .= ':/usr/sbin:/sbin';

sub have { return grep { -x "$_/$_[0]" } split /:/, $ENV{PATH} }
sub quiet { return system("$_[0] >/dev/null 2>&1") == 0 }

# Has a child mount something at a fresh directory and run the body there.
sub mounted {
    my ($name, $mount, $body) = @_;
    my $dir = fresh_dir();
    subtest $name => sub {
        my $kid = spawn(sub {
            my ($peer) = @_;
            syscall(sysnum('unshare'), 0x20000) == 0 && quiet('mount --make-rprivate /') or return $peer->tell('no namespace');
            my $why = $mount->($dir);
            $peer->tell($why // 'mounted');
            return if $why;
            my $lived = eval { $body->($dir); 1 };
            my $error = $@;
            quiet("umount -R $dir || umount -l $dir");
            die $error if !$lived;
        });
        my $why = $kid->hear // 'the child ended';
        if ($why ne 'mounted') { $kid->end; plan skip_all => $why }
        reap($name, $kid);
    };
    return;
}

# Mounts an image file with that file system.
sub image {
    my ($size, $make, $options) = @_;
    return sub {
        my ($dir) = @_;
        my ($mkfs) = split ' ', $make;
        return "needs $mkfs" if !have($mkfs);
        my $image = fresh_path();
        spew($image, '');
        truncate $image, $size or die "truncate: $!";
        quiet("$make $image") or return "$mkfs fails";
        return quiet("mount -o loop$options $image $dir") ? undef : 'needs a loop device and this file system';
    };
}

sub check { $_[0] or die "$_[1]\n"; return }

# Checks that the directory holds only these files.
sub only {
    my ($dir, @expected) = @_;
    my @left = grep { $_ ne 'lost+found' } entries($dir);
    return check("@left" eq "@expected", "the directory holds @left instead of @expected");
}

# Checks that the code croaks with such an error.
sub croaks {
    my ($code, $pattern) = @_;
    my $lived = eval { $code->(); 1 };
    die $lived ? "no error like $pattern\n" : "wrong error: $@" if $lived || $@ !~ $pattern;
    return;
}

# Uses all free space, to the last block.
sub fill_up {
    my ($dir) = @_;
    my $at = 0;
    for my $size (map { 1 << $_ } 23, 20, 16, 12) { $at += $size while quiet("fallocate -o $at -l $size $dir/ballast") }
    return;
}

my ($int, $str) = map { variant($_) } qw(Int Str);
my $SLOTS = 1 << 17;    # 2 MiB

# Publishes several laps of the whole ring, and writes each to the disk.
sub laps {
    my ($v, $ring, $count) = @_;
    my @values = $v->values(1, 4096);
    for my $lap (1 .. $count) {
        $ring->publish_multi(@values) for 1 .. $ring->capacity / 4096;
        $ring->sync;
    }
    my $sub = $ring->subscribe_all;
    my $n   = () = $sub->drain;
    check($n == $ring->capacity, "$n messages after $count laps");
    return;
}

# A copy as rsync -S and cp --sparse=always make it: zeros become holes.
sub with_holes {
    my ($to) = @_;
    my $from = fresh_path();
    my $ring = $int->class->new($from, $SLOTS);
    $ring->publish($_) for 1 .. 10;
    $ring->sync;
    system('cp', '--sparse=always', $from, $to) == 0 or die "cp: $?";
    check((stat $to)[12] * 512 < -s $to, 'the copy has no holes');
    return;
}

sub restored_files {
    my ($dir) = @_;
    with_holes("$dir/ring");
    my $ring = $int->class->new("$dir/ring");
    check((stat "$dir/ring")[12] * 512 >= -s "$dir/ring", 'the holes are not filled');
    check("@{[$ring->subscribe_all->drain]}" eq "@{[1 .. 10]}", 'the messages are not there');
    fill_up($dir);
    laps($int, $ring, 2);
    unlink "$dir/ballast", "$dir/ring";
    undef $ring;

    with_holes("$dir/ring");
    fill_up($dir);
    my ($blocks, $bytes) = ((stat "$dir/ring")[12], slurp("$dir/ring"));
    croaks(
        sub { $int->class->new("$dir/ring") },
        qr/->new: \Q$dir\E\/ring: the ring needs 2109440 bytes, and \d+ are free: No space left on device/
    );
    check($bytes eq slurp("$dir/ring"), 'the file was changed');
    my $read = sub {
        my $only = $int->class->new_readonly("$dir/ring");
        check("@{[$only->subscribe_all->drain]}" eq "@{[1 .. 10]}", 'a reader does not see the messages');
        my $sub = $only->subscribe_all;
        for my $at (map { $_ * 256 } 0 .. $SLOTS / 256 - 1) { $sub->cursor($at); $sub->poll }
    };
    my $reader = spawn($read);
    my $end    = $reader->end;
    check($end == 0 || $end == 256, "a reader ends with $end");
    unlink "$dir/ballast";
    $read->();
    return;
}

mounted('FUSE' => sub {
    my ($dir) = @_;
    return 'needs bindfs' if !have('bindfs');
    quiet('mknod /dev/fuse c 10 229') if !-e '/dev/fuse';
    return quiet('bindfs ' . fresh_dir() . " $dir") ? undef : 'needs FUSE';
}, sub {
    my ($dir) = @_;
    for my $v (variants()) {
        my $path = "$dir/" . $v->name;
        my $ring = $v->class->new($path, 1024);
        my $sub  = $ring->subscribe;
        my $kid  = spawn(sub { my $its = $v->class->new($path); $its->publish($v->value($_)) for 1 .. 500 });
        $kid->end;
        my @got = $sub->drain;
        check("@got" eq "@{[$v->values(1, 500)]}", $v->name . ': ' . @got . ' of 500 arrive at the creator');
        $ring->publish($v->value(7));
        check(($v->class->new_readonly($path)->subscribe_all->drain)[-1] eq $v->value(7), 'a reader does not see the message');
        check($ring->unlink && !-e $path, 'unlink failed');
        spew($path, '');
        $ring = $v->class->new($path, 8);
        $ring->publish($v->value(3));
        check($v->class->new($path)->subscribe_all->poll eq $v->value(3), 'an empty file was not filled in');
        unlink $path;
    }
    # FUSE has no unnamed files: checks the file that a killed creator leaves, and a creator whose handler exits.
    only($dir);
    if (have('strace')) {
        my @perl = ($^X, (map {"-I$_"} grep { !ref } @INC), '-MData::PubSub::Shared', '-e');
        my $make = 'Data::PubSub::Shared::Int->new($ARGV[0], 1 << 21)';
        my @refuse = qw(strace -qq -o /dev/null -e);
        system(@refuse, 'inject=linkat:signal=KILL', @perl, $make, "$dir/ring");
        my @left = entries($dir);
        check("@left" =~ /\A\.pubsub-\S+\z/ ? 1 : 0, "a killed creator leaves @left");
        system(@refuse, 'inject=fallocate:error=EINTR:signal=USR1', @perl, "\$SIG{USR1} = sub { exit }; $make", "$dir/ring");
        only($dir);
        $int->class->new("$dir/ring", 8);
        only($dir, 'ring');
    }
});

mounted('btrfs' => image(64 << 20, 'mkfs.btrfs -q -M', ''), sub {
    my ($dir) = @_;
    for my $before (undef, '') {
        spew("$dir/ring", $before) if defined $before;
        my $ring = $int->class->new("$dir/ring", $SLOTS);
        laps($int, $ring, 1);
        fill_up($dir);
        laps($int, $ring, 3);
        $ring->unlink;
        unlink "$dir/ballast";
    }
});

mounted('btrfs that compresses' => image(64 << 20, 'mkfs.btrfs -q -M', ',compress-force=zstd'), sub {
    my ($dir) = @_;
    my $made = fresh_path();
    laps($int, $int->class->new($made, $SLOTS), 1);
    system('cp', $made, "$dir/ring");
    quiet("sync -f $dir");
    fill_up($dir);
    my $n = () = $int->class->new("$dir/ring")->subscribe_all->drain;
    check($n == $SLOTS, "$n messages");
});

mounted('restored files on ext4' => image(64 << 20, 'mkfs.ext4 -q', ''), \&restored_files);
mounted('restored files on XFS'  => image(320 << 20, 'mkfs.xfs -q', ''), \&restored_files) if have('mkfs.xfs');
mounted('restored files on btrfs' => image(64 << 20, 'mkfs.btrfs -q -M', ''), sub {
    my ($dir) = @_;
    with_holes("$dir/ring");
    my $ring = $int->class->new("$dir/ring");
    check("@{[$ring->subscribe_all->drain]}" eq "@{[1 .. 10]}", 'the messages are not there');
    laps($int, $ring, 2);
});
mounted('restored files on tmpfs' => sub {
    return quiet("mount -t tmpfs -o size=8m none $_[0]") ? undef : 'no tmpfs';
}, \&restored_files);

mounted('a full ext4' => image(16 << 20, 'mkfs.ext4 -q', ''), sub {
    my ($dir) = @_;
    for my $v ($int, $str) {
        croaks(
            sub { $v->class->new("$dir/ring", 1 << 21) },
            qr/->new: \Q$dir\E\/ring: the ring needs \d+ bytes, and \d+ are free: No space left on device/
        );
    }
    only($dir);
    my $ring = $int->class->new("$dir/ring", $SLOTS);
    fill_up($dir);
    laps($int, $ring, 2);
});

mounted('overlayfs' => sub {
    my ($dir) = @_;
    my @layers = map { fresh_dir() } 1 .. 3;
    my $made = $int->class->new("$layers[0]/lower", 1024);
    $made->publish(5);
    return quiet("mount -t overlay -o lowerdir=$layers[0],upperdir=$layers[1],workdir=$layers[2] none $dir") ? undef : 'no overlayfs';
}, sub {
    my ($dir) = @_;
    my $low = $int->class->new("$dir/lower");
    check($low->subscribe_all->poll == 5, 'the message of the lower layer is missing');
    for my $path ("$dir/lower", "$dir/new") {
        my $ring = $int->class->new($path, 1024);
        my $sub  = $ring->subscribe;
        spawn(sub { my $its = $int->class->new($path); $its->publish($_) for 1 .. 500 })->end;
        my $n = () = $sub->drain;
        check($n == 500, "$path: $n of 500 arrive");
        check($ring->unlink && !-e $path, "$path: unlink failed");
    }
});

mounted('hugetlbfs' => sub {
    return quiet("mount -t hugetlbfs none $_[0]") ? undef : 'no hugetlbfs';
}, sub {
    my ($dir) = @_;
    croaks(sub { $int->class->new("$dir/ring", 1024) }, qr/->new: \Q$dir\E\/ring: hugetlbfs cannot hold ring files; a tmpfs /);
    only($dir);
});

mounted('a small tmpfs' => sub {
    return quiet("mount -t tmpfs -o size=64m none $_[0]") ? undef : 'no tmpfs';
}, sub {
    my ($dir) = @_;
    my $need = qr/the ring needs 134230016 bytes, and 67108864 are free: No space left on device/;
    croaks(sub { $int->class->new("$dir/ring", 1 << 23) }, $need);
    only($dir);
    spew("$dir/empty", '');
    croaks(sub { $int->class->new("$dir/empty", 1 << 23) }, $need);
    check(-s "$dir/empty" == 0, 'the empty file is not empty anymore');
});

# The limit is less than the ring needs: if the module did not check it, the kernel would kill the process.
my $LIMIT = 96 << 20;

# Puts this process into a control group with that limit; returns its directory, or undef if that fails.
sub small_group {
    my $groups = slurp('/proc/self/cgroup');
    for my $way (
        ['/sys/fs/cgroup',        qr/^0::(.*)$/m,                            'memory.max'],
        ['/sys/fs/cgroup/memory', qr/^\d+:(?:\w+,)*memory(?:,\w+)*:(.*)$/m, 'memory.limit_in_bytes'],
    ) {
        my ($root, $named, $limit) = @$way;
        my $group = $root . ($groups =~ $named ? $1 : '') . "/pubsub-test-$$";
        mkdir $group or next;
        return $group if -e "$group/$limit" && eval { spew("$group/$limit", $LIMIT); spew("$group/cgroup.procs", $$) };
        rmdir $group;
    }
    return;
}

subtest 'a control group with little memory' => sub {
    my ($swap) = slurp('/proc/meminfo') =~ /^SwapTotal:\s+(\d+)/m;
    plan skip_all => 'there is swap space' if $swap;
    plan skip_all => 'no tmpfs at /dev/shm' if !-d '/dev/shm' || (stat '/dev/shm')[0] == (stat '/dev')[0];
    my $path = "/dev/shm/pubsub-test-$$.ring";
    my $kid  = spawn(sub {
        my ($peer) = @_;
        my $group = small_group();
        $peer->tell($group // 'cannot');
        return if !$group;
        my $need = qr/the ring needs \d+ bytes, and the memory limit of this control group is $LIMIT: Cannot allocate memory/;
        croaks(sub { $int->class->new($path, 1 << 23) },       $need);
        croaks(sub { $int->class->new(undef, 1 << 23) },       $need);
        croaks(sub { $int->class->new_memfd('x', 1 << 23) },   $need);
        check(!-e $path, 'a file is left');
        $int->class->new($path, 1 << 18)->unlink;
    });
    my $group = $kid->hear;
    my $end   = $kid->end;
    plan skip_all => 'no control group with a limit can be created here' if $group eq 'cannot';
    is($end, 0, 'the process gets an error and is not killed');
    rmdir $group;
    unlink $path;
};

done_testing;
