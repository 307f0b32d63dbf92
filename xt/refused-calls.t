# Hosts that refuse a system call: sandboxes, old kernels, file systems without it. strace refuses the calls, and sends
# signals during them. Files that killed creators left.

use strict;
use warnings;
use Fcntl qw(:flock);
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use PubSubTest;
use Test::More;

plan skip_all => 'needs strace and the right to trace'
    if system('strace -o /dev/null -e inject=getpid:error=EPERM true >/dev/null 2>&1') != 0;

# Runs a program under strace with these options: (output, wait status, log of the traced calls).
sub refused {
    my ($options, $program, @arguments) = @_;
    my $log = fresh_path();
    my $pid = open(my $out, '-|') // die "fork: $!";
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        # Traces perl and its children.
        { no warnings 'exec'; exec 'strace', '-f', '-qq', '-o', $log, @$options, $^X, (map {"-I$_"} grep { !ref } @INC),
            '-MData::PubSub::Shared', '-e', $program, @arguments }
        POSIX::_exit(127);
    }
    local $/;
    my $output = <$out>;
    close $out;
    return ($output, $?, slurp($log));
}

# The first open of the directory itself is for an unnamed file.
sub no_tmpfile {
    my ($dir, $error) = @_;
    return ('-P', $dir, '-e', 'inject=openat:error=' . ($error // 'EOPNOTSUPP') . ':when=1');
}

my $USE = <<'PERL';
    my ($class, $path, $value) = @ARGV;
    my $ring = $class->new($path, 64);
    my $same = $class->new($path);
    my $sub  = $ring->subscribe;
    $same->publish($value);
    print $sub->poll, "\n";
PERL

# Checks that a ring works under these options; returns the log.
sub works {
    my ($v, $name, $dir, @options) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($output, $status, $log) = refused([@options], $USE, $v->class, "$dir/ring", $v->value(7));
    is($output, $v->value(7) . "\n", "$name: the ring works");
    is_deeply([entries($dir)], ['ring'], "$name: no other file is left");
    is(sprintf('%04o', (stat "$dir/ring")[2] & 07777), '0600', "$name: the ring has mode 0600");
    return $log;
}

my ($int, $str) = map { variant($_) } qw(Int Str);

for my $error (qw(EOPNOTSUPP EISDIR EINVAL ENOSYS EACCES)) {
    my $dir = fresh_dir();
    like(works($int, "no unnamed files ($error)", $dir, no_tmpfile($dir, $error)), qr/INJECTED/, "$error: the call was refused");
}
for my $error (qw(EPERM EACCES ENOSYS EOPNOTSUPP EMLINK EXDEV)) {
    like(works($str, "no links ($error)", fresh_dir(), '-e', "inject=linkat:error=$error"), qr/INJECTED/,
        "$error: the call was refused");
}
works($int, 'neither links nor rename', fresh_dir(), '-e', 'inject=linkat:error=EACCES', '-e', 'inject=renameat2:error=EINVAL');
works($int, 'no statx', fresh_dir(), '-e', 'inject=statx:error=ENOSYS');
works($int, 'no fallocate', fresh_dir(), '-e', "inject=fallocate:error=$_") for qw(EOPNOTSUPP ENOSYS);
works($int, 'no flock', fresh_dir(), '-e', 'inject=flock:error=ENOSYS');
works($str, "no locks ($_)", fresh_dir(), '-e', "inject=fcntl:error=$_") for qw(EACCES EAGAIN EINVAL ENOLCK ENOSYS);
works($str, 'no madvise', fresh_dir(), '-e', 'inject=madvise:error=EINVAL');

subtest 'neither links nor rename, and no space' => sub {
    my $dir = fresh_dir();
    my ($output) = refused(
        ['-e', 'inject=linkat:error=EACCES', '-e', 'inject=renameat2:error=EINVAL', '-e', 'inject=fallocate:error=ENOSPC:when=3+'],
        $USE, $int->class, "$dir/ring", 1
    );
    like($output, qr/No space left on device/, 'new croaks with No space left on device');
    is_deeply([entries($dir)], [], 'no file is left');
};

subtest 'no memfd_create' => sub {
    for my $v ($int, $str) {
        my ($output) = refused(['-e', 'inject=memfd_create:error=EPERM'], <<'PERL', $v->class, $v->value(3), $v->value(4));
            my ($class, @values) = @ARGV;
            my $ring = $class->new(undef, 64);
            my $sub  = $ring->subscribe;
            if (!fork) { $ring->publish($_) for @values; exit }
            print $sub->poll_wait, ' ' for @values;
            wait;
            $ring->clear;
            print $ring->stats->{mmap_size} > 1024 ? "fine\n" : "small\n";
            eval { $class->new_memfd('x', 64) };
            print $@;
PERL
        my $class = $v->class;
        like($output, qr/\A@{[$v->value(3)]} @{[$v->value(4)]} fine\n/, $v->name . ': parent and child share an anonymous ring');
        like($output, qr/^\Q$class\E->new_memfd: memfd_create: Operation not permitted/m, $v->name . ': new_memfd croaks');
    }
};

subtest 'killed creators' => sub {
    my $dir = fresh_dir();
    my $killed = spawn(sub {
        open my $at, '+>', "$dir/.pubsub-$$-0123456789abcdef" or die "open: $!";
        flock $at, LOCK_EX or die "flock: $!";
        kill KILL => $$;
    });
    $killed->end;
    my @others = map {
        my $name = $_;
        spawn(sub {
            my ($peer) = @_;
            open my $at, '+>', "$dir/$name" or die "open: $!";
            flock $at, LOCK_EX or die "flock: $!";
            $peer->tell('locked');
            $peer->hear;
        });
    } ".pubsub-1-0123456789abcdef", ".pubsub-$$-ffffffffffffffff";
    $_->hear for @others;
    spew("$dir/$_", 'x') for '.pubsub-1-0', '.pubsub-x-0123456789abcdef', '.pubsub-7-0123456789abcdef.bak', '.other';
    mkdir "$dir/.pubsub-7-0123456789abcdef";
    symlink '.other', "$dir/.pubsub-8-0123456789abcdef";
    my @stay = sort grep { !/\A\.pubsub-@{[$killed->pid]}-/ } entries($dir);
    my ($output) = refused([no_tmpfile($dir)], $USE, $int->class, "$dir/ring", 7);
    is($output, "7\n", 'the next creator gets a ring');
    is_deeply([entries($dir)], [sort @stay, 'ring'],
        'the file of a killed creator is removed; files of other processes and other files are not');
    $_->tell('end') for @others;
    reap('the other creators exit with 0', @others);

    if (my ($uid, $gid) = nobody()) {
        my $others = spew("$dir/.pubsub-9-0123456789abcdef", 'x');
        chown $uid, $gid, $others;
        unlink "$dir/ring";
        refused([no_tmpfile($dir)], $USE, $int->class, "$dir/ring", 7);
        ok(-e $others, "a file of another user is not removed");
        ok(!-e "$dir/.pubsub-1-0123456789abcdef", 'a file that its creator has unlocked is removed');
    }
};

subtest 'signals while the space is reserved' => sub {
    my $program = <<'PERL';
        my ($path, $how) = @ARGV;
        my $handled = 0;
        $SIG{USR1} = sub { $handled++; $path = 'changed'; die "enough\n" if $how eq 'dies' && $handled == 3 };
        my $ring = eval { Data::PubSub::Shared::Int->new($path, 1 << 22) };
        print $@, $ring ? $ring->capacity : 'none', ' ', $handled, "\n";
PERL
    for my $before (undef, '') {
        my $dir = fresh_dir();
        my $was = defined $before ? ', an empty file' : '';
        spew("$dir/ring", '') if defined $before;
        # Every second call fails without an effect, as on kernels before 6.11 when a signal arrives.
        my ($output, undef, $log) = refused(['-e', 'trace=fallocate', '-e', 'inject=fallocate:error=EINTR:signal=USR1:when=1+2'],
            $program, "$dir/ring", 'returns');
        like($output, qr/\A4194304 [1-9]\d*\n\z/, "handlers run, and the ring is created$was");
        my @pieces = $log =~ /fallocate\(\d+, 0, (\d+), \d+\) += 0/g;
        my %twice;
        is((grep { $twice{$_}++ } @pieces), 0, 'no part of the file is reserved twice');
        cmp_ok(scalar @pieces, '>=', 4, 'the file is reserved in several parts');
        ok((stat "$dir/ring")[12] * 512 >= -s "$dir/ring", 'the whole file is reserved');
        is_deeply([entries($dir)], ['ring'], 'no other file is left');

        unlink "$dir/ring";
        spew("$dir/ring", '') if defined $before;
        ($output) = refused(['-e', 'inject=fallocate:error=EINTR:signal=USR1'], $program, "$dir/ring", 'dies');
        is($output, "enough\nnone 3\n", "an exception of a handler ends new, however often it is interrupted$was");
        is_deeply([entries($dir)], [defined $before ? 'ring' : ()], 'no other file is left');
        is(Data::PubSub::Shared::Int->new("$dir/ring", 1 << 22)->publish(1), 1, 'the next new creates the ring');
    }
};

subtest 'another process opens the file while a handler runs' => sub {
    my $path = spew(fresh_path(), '');
    # A new program, which inherits nothing; it asks for another size, and must wait for the creation in progress.
    my ($output) = refused(['-e', 'inject=fallocate:error=EINTR:signal=USR1:when=2'], <<'PERL', $path, map {"-I$_"} grep { !ref } @INC);
        my ($path, @inc) = @ARGV;
        my $other;
        $SIG{USR1} = sub {
            open $other, '-|', $^X, @inc, '-MData::PubSub::Shared', '-e',
                'print "its ", Data::PubSub::Shared::Int->new($ARGV[0], 64)->capacity, "\n"', $path or die "fork: $!";
        };
        print 'ours ', Data::PubSub::Shared::Int->new($path, 1 << 22)->capacity, "\n", $other ? <$other> : "no signal\n";
PERL
    is($output, "ours 4194304\nits 4194304\n", 'the other process waits for the file and opens that ring');
};

done_testing;
