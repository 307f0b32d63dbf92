package PubSubTest;

# What the tests share: one body run over all four variants, children that meet their parent at a
# socket instead of a clock, a watchdog, and a look at the descriptors and mappings of this process.

use strict;
use warnings;

use Config;
use Exporter 'import';
use File::Basename ();
use File::Temp ();
use POSIX      ();
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC);
use Test::More;

use Data::PubSub::Shared ();
use PubSubTest::Peer;
use PubSubTest::Variant;

our @EXPORT = qw(
    variants each_variant variant
    fresh_dir public_dir fresh_path slurp spew poke peek entries
    croaks_like lives survives
    spawn reap asked finished until_asleep watchdog watchdog_process
    readable until_readable thread_count open_fds fd_target fd_is_cloexec shared_maps rss_kb
    run_perl sysnum nobody become small_disk
);

# Long enough for a loaded machine; nothing is ever expected to take this long.
my $PATIENCE = $ENV{PUBSUB_TEST_WATCHDOG} || 120;

watchdog();
take_signals();

# Ends a hanging test with SIGALRM, whose default action needs no help from a stuck perl. Children
# have less time than their parent, so that it can tell where one was.
sub watchdog {
    my ($seconds) = @_;
    $SIG{ALRM} = 'DEFAULT';
    alarm($seconds || $PATIENCE);
    return;
}

# Signals that tests send arrive, whatever whoever started us ignores or blocks: a shell has its jobs in the background
# ignore SIGINT, and children inherit that.
sub take_signals {
    my @names = qw(INT QUIT TERM PIPE CHLD USR1 USR2);
    $SIG{$_} = 'DEFAULT' for @names;
    POSIX::sigprocmask(POSIX::SIG_UNBLOCK(), POSIX::SigSet->new(map { POSIX->can("SIG$_")->() } @names));
    return;
}

# The same for tests that need `alarm` themselves: another process looks on.
sub watchdog_process {
    alarm 0;
    my $watched = $$;
    pipe my $read, my $write or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        POSIX::_exit(0) if fork;
        close $write;
        POSIX::close(1);
        vec(my $bits = '', fileno $read, 1) = 1;
        if (!select $bits, undef, undef, $PATIENCE) {
            print STDERR "# watchdog: process $watched hangs\n";
            kill KILL => $watched;
        }
        POSIX::_exit(0);
    }
    waitpid $pid, 0;
    our $leash = $write;    # closed when this process and its children have ended
    return;
}

sub variants { return PubSubTest::Variant->all }

sub variant {
    my ($name) = @_;
    my ($found) = grep { $_->name eq $name } variants();
    return $found;
}

sub each_variant {
    my ($code) = @_;
    for my $variant (variants()) {
        subtest $variant->name => sub { $code->($variant) };
    }
    return;
}

#--- Files

# Made before any child. What programs make for themselves goes there, too.
my $dir    = File::Temp::tempdir('pubsub-test-XXXXXXXX', TMPDIR => 1);
my $serial = 0;
our $tidy = tidy_up_behind($dir);
$ENV{TMPDIR} = $dir;

# Has a folder removed when this process and its children have ended, in whatever way: by a process that is no child of
# ours and no perl, and waits for the end of what this returns. A program that we have started may still be writing there.
sub tidy_up_behind {
    my ($folder) = @_;
    pipe my $end, my $leash or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        POSIX::_exit(0) if fork;
        POSIX::setsid();
        open STDIN,  '<&', $end        or POSIX::_exit(126);
        open STDOUT, '>',  '/dev/null' or POSIX::_exit(126);
        open STDERR, '>&', \*STDOUT    or POSIX::_exit(126);
        { no warnings 'exec'; exec 'sh', '-c', 'trap "" HUP INT TERM; read nothing; for try in 1 2 3 4 5; do rm -rf -- "$0" && exit; sleep 1; done', $folder }
        POSIX::_exit(127);
    }
    waitpid $pid, 0;
    return $leash;
}

sub fresh_dir {
    my $fresh = "$dir/$$-" . $serial++;
    mkdir $fresh or die "mkdir $fresh: $!";
    return $fresh;
}

# One that other users may enter. Skips the subtest where they may not: somebody's temporary files may be in a private place.
sub public_dir {
    my ($fresh, $private) = (fresh_dir(), private_above());
    plan skip_all => "others may not enter $private" if defined $private;
    chmod 0755, $dir, $fresh or die "chmod $fresh: $!";
    return $fresh;
}

# The directory that keeps others out of those of the tests.
sub private_above {
    for (my $above = $dir; $above ne '/';) {
        $above = File::Basename::dirname($above);
        return $above if !((stat $above)[2] & 0001);
    }
    return;
}

sub fresh_path { return fresh_dir() . '/ring' }

sub entries {
    my ($where) = @_;
    opendir my $handle, $where or die "opendir $where: $!";
    return sort grep { !/\A\.\.?\z/ } readdir $handle;
}

sub slurp {
    my ($path) = @_;
    open my $handle, '<:raw', $path or die "open $path: $!";
    local $/;
    return scalar <$handle>;
}

sub spew {
    my ($path, $bytes) = @_;
    open my $handle, '>:raw', $path or die "open $path: $!";
    print {$handle} $bytes;
    close $handle or die "close $path: $!";
    return $path;
}

# Overwrites bytes of a file in place, seen at once by whoever has it mapped.
sub poke {
    my ($path, $offset, $bytes) = @_;
    open my $handle, '+<:raw', $path or die "open $path: $!";
    sysseek $handle, $offset, 0 or die "seek $path: $!";
    syswrite($handle, $bytes) == length $bytes or die "write $path: $!";
    return;
}

sub peek {
    my ($path, $offset, $length) = @_;
    return substr slurp($path), $offset, $length;
}

#--- Errors

# Dies with a message that matches and ends, as every message of ours does, in file and line, not those of our own module.
sub croaks_like {
    my ($code, $pattern, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $lived = eval { $code->(); 1 };
    my $error = $@;
    return fail($name) || diag('it did not croak') if $lived;
    return like($error, qr/$pattern.* at (?!\S*\blib\/Data\/).+ line \d+\.?$/s, $name);
}

sub lives {
    my ($code, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $lived = eval { $code->(); 1 };
    return ok($lived, $name) || diag($@);
}

# Runs code in a child that says, by $note->(...), what it is about to try; whatever kills the
# child fails one test, which names the last thing tried.
sub survives {
    my ($name, $code) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $kid = spawn(sub {
        my ($peer) = @_;
        $code->(sub { $peer->tell(join ' ', @_) });
    });
    my $last = 'start';
    while (defined(my $line = $kid->hear)) { $last = $line }
    my $status = $kid->end;
    my $signal = $status & 127;
    return ok($status == 0, $name)
        || diag(($signal ? "killed by signal $signal" : 'exit ' . ($status >> 8)) . " at: $last");
}

#--- Processes

# Forks; the child runs $code->($peer) under its own watchdog and leaves with 0 if it returned.
sub spawn {
    my ($code) = @_;
    socketpair my $mine, my $its, AF_UNIX, SOCK_STREAM, PF_UNSPEC or die "socketpair: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        close $mine;
        watchdog($PATIENCE / 2);
        my $lived = eval { $code->(PubSubTest::Peer->new($its)); 1 };
        print STDERR "# child $$: $@" unless $lived;
        POSIX::_exit($lived ? 0 : 1);
    }
    close $its;
    return PubSubTest::Peer->new($mine, $pid);
}

sub reap {
    my ($name, @kids) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is_deeply([map { $_->end } @kids], [map {0} @kids], $name);
}

# What a child that takes orders in lines answers.
sub asked { my ($kid, $what) = @_; $kid->tell($what); return $kid->hear }

# It is told to end, or killed; its wait status.
sub finished {
    my ($kid, $signal) = @_;
    $signal ? $kid->kill($signal) : $kid->tell('end');
    return $kid->end;
}

# Returns once the process sleeps (in whatever): makes the blocking path likely, proves nothing.
sub until_asleep {
    my ($pid) = @_;
    until ((slurp("/proc/$pid/stat") =~ /\) (\w)/)[0] =~ /[SZ]/) { select undef, undef, undef, 0.001 }
    return;
}

# A new perl with our @INC: (output and errors, wait status).
sub run_perl {
    my ($program, @arguments) = @_;
    my $pid = open(my $out, '-|') // die "fork: $!";
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        { no warnings 'exec'; exec $^X, (map {"-I$_"} grep { !ref } @INC), '-e', $program, @arguments }
        POSIX::_exit(127);
    }
    local $/;
    my $output = <$out>;
    close $out;
    return ($output, $?);
}

# (uid, gid) of somebody without rights, where we are root and may become that.
sub nobody {
    return if $>;
    my (undef, undef, $uid, $gid) = getpwnam 'nobody';
    return $uid ? ($uid, $gid) : ();
}

# Gives up the rights of root, for good. What is loaded from now on comes from where this user may read: perl gives up at
# the first directory of @INC that it may not enter, which may be one in root's own home.
sub become {
    my ($uid, $gid) = @_;
    $( = $gid;
    $) = "$gid $gid";    # drops the other groups
    POSIX::setuid($uid) or die "setuid: $!";
    @INC = grep { ref || opendir my $dir, $_ } @INC;
    return;
}

my %SYSNUM = (
    x86_64  => { sendmsg => 46,  recvmsg => 47,  unshare => 272, eventfd2 => 290, prctl => 157 },
    aarch64 => { sendmsg => 211, recvmsg => 212, unshare => 97,  eventfd2 => 19,  prctl => 167 },
);

sub sysnum {
    my ($name) = @_;
    my ($machine) = grep { $Config{archname} =~ /\A\Q$_\E/ } sort keys %SYSNUM;
    return $machine && $SYSNUM{$machine}{$name};
}

# A small tmpfs at $dir, in a mount namespace of this process's own, which ends with it. Why that cannot be; nothing where it is.
sub small_disk {
    my ($dir, $options) = @_;
    my $unshare = sysnum('unshare');
    return 'needs the right to mount'      if $> || !$unshare || syscall($unshare, 0x20000) != 0;    # CLONE_NEWNS
    return 'mounts cannot be made private' if system('mount --make-rprivate / 2>/dev/null') != 0;
    return 'no tmpfs'                      if system("mount -t tmpfs -o $options none $dir 2>/dev/null") != 0;
    return;
}

#--- What this process holds

# Whether a handle, or a descriptor by its number, is readable now.
sub readable { return select_read($_[0], 0) }

# Returns once it is; the watchdog ends a test where that never comes.
sub until_readable { return select_read($_[0], undef) }

sub select_read {
    my ($fh, $seconds) = @_;
    vec(my $bits = '', ref $fh ? fileno $fh : $fh, 1) = 1;
    my $ready;
    do { $ready = select my $copy = $bits, undef, undef, $seconds } while $ready < 0;
    return $ready ? 1 : 0;
}

sub open_fds {
    my @open = entries('/proc/self/fd');
    return @open - 1;    # less the one that looked
}

sub fd_target { return readlink "/proc/self/fd/$_[0]" }

sub fd_is_cloexec {
    my ($flags) = slurp("/proc/self/fdinfo/$_[0]") =~ /^flags:\s*(\d+)/m;
    return oct($flags) & 02000000 ? 1 : 0;
}

sub shared_maps { return scalar grep {/ rw-s /} split /\n/, slurp('/proc/self/maps') }

# How many threads there are; a joined one may be listed for a moment still, so waits for as many as expected.
sub thread_count {
    my ($expected) = @_;
    my $count;
    for (1 .. 5000) {
        $count = () = entries('/proc/self/task');
        last if !defined $expected || $count <= $expected;
        select undef, undef, undef, 0.001;
    }
    return $count;
}

sub rss_kb { return slurp('/proc/self/status') =~ /^VmRSS:\s*(\d+)/m ? $1 : 0 }

1;
