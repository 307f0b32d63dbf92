package PubSubTest;

# What all tests share: one body that runs over all variants, children that meet their parent at a
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

# Seconds. Long enough for a loaded host; no test is expected to take this long.
my $PATIENCE = $ENV{PUBSUB_TEST_WATCHDOG} || 120;

watchdog();
take_signals();

# Ends a hanging test with SIGALRM, whose default action needs no help from a stuck perl. Children
# have less time than their parent, so that the parent can report which child hung.
sub watchdog {
    my ($seconds) = @_;
    $SIG{ALRM} = 'DEFAULT';
    alarm($seconds || $PATIENCE);
    return;
}

# Signals that tests send must arrive even if our parent ignores or blocks them: a shell starts its background jobs
# with SIGINT ignored, and children inherit that.
sub take_signals {
    my @names = qw(INT QUIT TERM PIPE CHLD USR1 USR2);
    $SIG{$_} = 'DEFAULT' for @names;
    POSIX::sigprocmask(POSIX::SIG_UNBLOCK(), POSIX::SigSet->new(map { POSIX->can("SIG$_")->() } @names));
    return;
}

# A watchdog for tests that need `alarm` themselves: another process watches this one.
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

# Made before any child is started. Temporary files of child programs go there, too.
my $dir    = File::Temp::tempdir('pubsub-test-XXXXXXXX', TMPDIR => 1);
my $serial = 0;
our $tidy = tidy_up_behind($dir);
$ENV{TMPDIR} = $dir;

# Removes a directory once this process and its children have ended, however they end. A shell that is not our child
# does it: it waits until the pipe that this returns is closed in all of them. A program that a test has started may still be
# writing there, so it tries several times.
sub tidy_up_behind {
    my ($directory) = @_;
    pipe my $end, my $leash or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        POSIX::_exit(0) if fork;
        POSIX::setsid();
        open STDIN,  '<&', $end        or POSIX::_exit(126);
        open STDOUT, '>',  '/dev/null' or POSIX::_exit(126);
        open STDERR, '>&', \*STDOUT    or POSIX::_exit(126);
        { no warnings 'exec'; exec 'sh', '-c', 'trap "" HUP INT TERM; read nothing; for try in 1 2 3 4 5; do rm -rf -- "$0" && exit; sleep 1; done', $directory }
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

# A directory that other users may enter. Skips the subtest if they may not: the temporary directory may be private.
sub public_dir {
    my ($fresh, $private) = (fresh_dir(), private_above());
    plan skip_all => "others may not enter $private" if defined $private;
    chmod 0755, $dir, $fresh or die "chmod $fresh: $!";
    return $fresh;
}

# The directory above ours that other users may not enter, if there is one.
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

# Overwrites bytes of a file in place; every process that has it mapped sees the change at once.
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

# Dies with a message that matches and ends, as all messages of the module do, in a file and line outside of the module.
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

# Runs code in a child, which calls $note->(...) before each step; if anything kills the
# child, one test fails, and its diagnostics name the last step.
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

# The answer of a child that takes commands in lines.
sub asked { my ($kid, $what) = @_; $kid->tell($what); return $kid->hear }

# Tells a child to end, or kills it; returns its wait status.
sub finished {
    my ($kid, $signal) = @_;
    $signal ? $kid->kill($signal) : $kid->tell('end');
    return $kid->end;
}

# Returns once the process sleeps (anywhere): makes the blocking path likely, proves nothing.
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

# (uid, gid) of the unprivileged user nobody; empty unless we are root and there is such a user.
sub nobody {
    return if $>;
    my (undef, undef, $uid, $gid) = getpwnam 'nobody';
    return $uid ? ($uid, $gid) : ();
}

# Gives up the rights of root for good, and removes directories from @INC that this user may not enter, as in the home
# directory of root: perl stops searching at the first of them.
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
    my ($architecture) = grep { $Config{archname} =~ /\A\Q$_\E/ } sort keys %SYSNUM;
    return $architecture && $SYSNUM{$architecture}{$name};
}

# Mounts a small tmpfs at $dir, in a mount namespace of this process. Returns the reason if that fails, otherwise nothing.
sub small_disk {
    my ($dir, $options) = @_;
    my $unshare = sysnum('unshare');
    return 'needs the right to mount'      if $> || !$unshare || syscall($unshare, 0x20000) != 0;    # CLONE_NEWNS
    return 'mounts cannot be made private' if system('mount --make-rprivate / 2>/dev/null') != 0;
    return 'no tmpfs'                      if system("mount -t tmpfs -o $options none $dir 2>/dev/null") != 0;
    return;
}

#--- State of this process

# Whether a handle, or a descriptor given by number, is readable now.
sub readable { return select_read($_[0], 0) }

# Returns once it is readable; if it never is, the watchdog ends the test.
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

# The number of threads. A joined thread may be listed for a moment longer, so this waits until there are at most $expected.
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
