package XT::Roots;

# Other releases of Debian and other architectures, each in a directory made by debootstrap for chroot. They are kept, so
# later runs are quick: XT_ROOTS is the directory that holds them (default: target/roots). XT_MIRROR is a mirror of Debian,
# XT_UBUNTU one of Ubuntu. XT_KEYWORD is a tarball of XS::Parse::Keyword, for perls without it; the default is the source of
# Debian's package. Perls that no release has are built in such a root from a source package.

use strict;
use warnings;

use Cwd ();
use Exporter 'import';
use Fcntl qw(F_SETFD LOCK_EX);
use File::Basename qw(dirname);
use File::Path qw(make_path);
use FindBin;

use XT::Build;

our @EXPORT = qw(why_no_roots rows);

my $TOP   = Cwd::abs_path("$FindBin::Bin/..");
my $ROOTS = $ENV{XT_ROOTS} || "$TOP/target/roots";

my $MIRROR = $ENV{XT_MIRROR} || debian();

# The rows of the matrix: release, architecture, and a CPU if it is emulated or the name of a perl that is built.
# `bare` is the promise of README.md: a new root, in which ./run must install all that it needs.
my @ROWS = (
    (map { [$_, qw(amd64 bare)] } qw(bullseye bookworm trixie sid)),
    [qw(bullseye amd64)], [qw(bookworm amd64)], [qw(trixie amd64)], [qw(sid amd64)],
    [qw(bookworm amd64 unthreaded)], [qw(bookworm amd64 debugging-longdouble)], [qw(bookworm amd64 threads-5.22)],
    [qw(trixie arm64 cortex-a72)], [qw(trixie arm64 max)], [qw(sid ppc64el power9)], [qw(sid s390x max)],
    [qw(trixie riscv64 rv64)],
);

my %EMULATOR = (arm64 => 'qemu-aarch64', ppc64el => 'qemu-ppc64le', riscv64 => 'qemu-riscv64', s390x => 'qemu-s390x');

# These architectures can exchange 16 bytes only with a lock.
my %REFUSED = (riscv64 => 1);

# Perls that are built: their source package, its checksum, and the options of Configure.
my %BOOKWORM = (
    source => 'MIRROR bookworm main',
    sha256 => '0f386dccbee8e26286404b2cca144e1005be65477979beb9b1ba272d4819bcf0',
);
my %PERL = (
    'unthreaded'           => { %BOOKWORM, configure => '' },
    'debugging-longdouble' => { %BOOKWORM, configure => '-DDEBUGGING -Duselongdouble' },
    'threads-5.22'         => {
        source    => 'UBUNTU xenial main',
        sha256    => '9e87317d693ce828095204be0d09af8d60b8785533fadea1a82b6f0e071e5c79',
        configure => '-Dusethreads -Ud_crypt_r',    # its crypt needs an older libc
    },
);

# Packages that tests in t/ can use; the larger ones that ./run test installs are for xt/.
my @OPTIONAL = qw(
    libtest-pod-perl libtest-pod-coverage-perl libtest-leaktrace-perl libev-perl libanyevent-perl libio-async-perl libmojolicious-perl
    strace python3
);

# Tests under emulation: those of the rings themselves and of publishers of strings. The user mode of qemu 7.2 copies memory
# with MADV_DONTFORK into children (so a killed publisher counts as alive as long as its children, and a unit test that
# expects the opposite fails), sometimes hangs in a fork of a program with several threads, and is too slow
# for storms.
my @EMULATED = qw(
    00-load clear constructor cursor memfd overflow poll poll-cb positions publish-int publish-multi publish-str
    readonly stats subscribe unlink cli-check publishers fork inspect
);

# The oldest supported Rust is in the package cargo of bookworm; `run` would install cargo-web.
my %STEP = (
    test  => './run test',
    refusal => q(./run build >.said && echo 'error: it was built' && exit 1; cat .said;)
        . q( grep -q 'cannot be built for [a-z0-9]*: .* exchanges 16 bytes without a lock' .said; test ! -e Makefile),
    build => 'if grep -q bookworm /etc/os-release; then apt-get update -qq; apt-get install -y -qq cargo; fi; ./run build',
    load  => q{perl -Mblib -MData::PubSub::Shared -e 'print "$Data::PubSub::Shared::VERSION on perl $^V\n"'},
    prove => 'prove -l -j2 t',
    user  => 'exec setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent prove -l -j2 t',
    cargo => '"$(sed -n "s/^CARGO = //p" Makefile)" test --locked --offline --lib --target-dir target/tests',
);

# The reason why roots cannot be made on this host; undef if they can.
sub why_no_roots {
    return 'needs root' if $>;
    for my $command (qw(debootstrap chroot unshare git)) {
        return "$command is not installed" if !grep { -x "$_/$command" } split(/:/, $ENV{PATH}), '/usr/sbin', '/sbin';
    }
    return;
}

# The default mirrors of Debian and Ubuntu, as debootstrap has them.
sub debian { return qx{sed -n 's/^DEF_MIRROR=//p' "\$(command -v debootstrap || echo /dev/null)"} =~ s/["\n]//gr }

sub ubuntu {
    return qx{ARCH=amd64 SUITE=xenial; default_mirror() { echo "\$1"; exit; }; . /usr/share/debootstrap/scripts/xenial} =~ s/\n//r;
}

# All rows, or those with these names (a release, or a release with its architecture and CPU).
sub rows {
    my (@names) = @_;
    my @rows = map {
        my ($suite, $arch, $which) = @$_;
        my $kind = $EMULATOR{$arch} ? 'cpu' : $which && $which eq 'bare' ? 'bare' : 'perl';
        bless { suite => $suite, arch => $arch, name => join('-', @$_), $which ? ($kind => $which) : () }, __PACKAGE__;
    } @ROWS;
    return @rows if !@names;
    return map {
        my $name = $_;
        my @these = grep { $_->{name} eq $name || $_->{name} eq "$name-amd64" } @rows;
        die "no row $name; there are: @{[ map { $_->{name} } @rows ]}\n" if !@these;
        @these;
    } @names;
}

sub name       { return $_[0]{name} }
sub arch       { return $_[0]{arch} }
sub is_refused { return $REFUSED{ $_[0]{arch} } }

sub steps {
    my ($self) = @_;
    return 'test'    if $self->{bare};
    return 'refusal' if $self->is_refused;
    return (qw(build load prove cargo), $self->{cpu} ? () : 'user');    # t/ again as an unprivileged user
}

sub root { return join '-', "$ROOTS/$_[0]{suite}", $_[0]{arch}, $_[0]{bare} // () }

# The sources and their build, a directory for each perl; it is mounted as /src.
sub sources { return $_[0]->root . ($_[0]{perl} ? "/sources-$_[0]{perl}" : '/src') }

# The reason why this row cannot run on this host; undef if it can.
sub why_not {
    my ($self) = @_;
    my $emulator = $EMULATOR{ $self->{arch} } // return;
    my $handler  = "/proc/sys/fs/binfmt_misc/$emulator";
    return "the kernel does not start $emulator for programs of $self->{arch} (Debian: qemu-user-static)" if !-e $handler;
    return if $self->{arch} ne 'ppc64el';
    # Before 8.1, lqarx made no reservation, so stqcx. never succeeded, and an exchange of 16 bytes was retried forever.
    my ($program) = slurp($handler) =~ /^interpreter (.+)$/m;
    my ($version) = qx{'$program' --version} =~ /version (\d+\.\d+)/;
    return if ($version // 0) >= 8.1;
    return "qemu 8.1 or later is needed, and $program is " . ($version // 'of an unknown version');
}

# Makes the root unless it exists, and copies the current sources into it. Dies with the reason if that fails.
sub prepare {
    my ($self) = @_;
    my $root = $self->root;
    make_path($ROOTS);
    # Another run may be using it. The lock lasts as long as this object,
    open $self->{lock}, '>', "$root.lock" or die "$root.lock: $!\n";
    flock $self->{lock}, LOCK_EX or die "flock: $!\n";
    fcntl $self->{lock}, F_SETFD, 0 or die "fcntl: $!\n";    # and as long as its children if this process is killed
    command("rm -rf $root", "$root.log") if $self->{bare};
    if (!-d $root) {
        command("rm -rf $root.new", "$root.log");
        command("debootstrap --variant=minbase --arch=$self->{arch} $self->{suite} $root.new $MIRROR", "$root.log");
        # Accept a mirror whose signature has expired; and do not sync files: a root need not survive a crash of the host.
        spew("$root.new/etc/apt/apt.conf.d/90roots", qq(Acquire::Check-Valid-Until "false";\n));
        spew("$root.new/etc/dpkg/dpkg.cfg.d/roots", "force-unsafe-io\n");
        rename "$root.new", $root or die "$root: $!\n";
    }
    make_path("$root/src");
    copy_sources($self->sources);
    if   ($self->{bare}) { make_checkout($root, $self->{suite}) }
    else                 { copy_crates($self->sources) }
    return;
}

# Makes a checkout in a Debian as its installer leaves it: with security updates (except for bullseye, whose list names files
# that no longer exist). cargo and pip fetch from the network and use the certificates of this host.
sub make_checkout {
    my ($root, $suite) = @_;
    my $ca = '/etc/ssl/certs/ca-certificates.crt';
    command("cd $root/src && git init -q && xargs -0 git add -f <.files", "$root.log");
    command("cp $ca $root/root/ca.crt", "$root.log") if -e $ca;
    spew("$root/etc/apt/sources.list.d/security.list", "deb $MIRROR-security $suite-security main\n")
        if $suite !~ /^(?:bullseye|sid)$/;
    return;
}

# All crates, those of the tests included, so that builds in a root need no network.
sub vendored {
    my $vendor = "$ROOTS/vendor";
    return $vendor if -e "$vendor.lock" && slurp("$vendor.lock") eq slurp("$TOP/Cargo.lock");
    my $cargo = -e "$TOP/Makefile" && slurp("$TOP/Makefile") =~ /^CARGO = (.+)/m ? $1 : $ENV{CARGO} || 'cargo';
    command("cd '$TOP' && rm -rf $vendor && '$cargo' vendor --quiet --locked $vendor && cp Cargo.lock $vendor.lock", "$vendor.log");
    return $vendor;
}

# Copies the files that git knows. Only files that differ are copied, with the current time, which compilers go by.
sub copy_sources {
    my ($to) = @_;
    make_path($to);
    command("cd '$TOP' && git ls-files -z >$to/.files.new", "$to.log");
    my %now = map { $_ => 1 } split /\0/, slurp("$to/.files.new");
    for my $file (sort keys %now) {
        XT::Build::copy_file("$TOP/$file", "$to/$file");
        chmod 0755, "$to/$file" if -x "$TOP/$file";
    }
    for my $file (-e "$to/.files" ? split /\0/, slurp("$to/.files") : ()) {
        unlink "$to/$file" if !$now{$file};
    }
    rename "$to/.files.new", "$to/.files" or die "$to/.files: $!\n";
    command("cp '$ENV{XT_KEYWORD}' $to/.keyword.orig.tar.gz", "$to.log") if $ENV{XT_KEYWORD};
    return;
}

sub copy_crates {
    my ($to) = @_;
    my $vendor = vendored();
    command("rm -rf $to/vendor && cp -rp $vendor $to/vendor", "$to.log");
    make_path("$to/.cargo");
    spew("$to/.cargo/config.toml", qq([source.crates-io]\nreplace-with = "vendor"\n[source.vendor]\ndirectory = "vendor"\n));
    return;
}

# Runs one of %STEP: (true if it succeeded, the line of the output with the error, path of the log).
sub step {
    my ($self, $step) = @_;
    my $log    = "$ROOTS/$self->{name}.$step.log";
    my $script = $STEP{$step};
    $script = join '', $self->made_ready, $script if $step eq 'build' || $step eq 'test';
    $script .= ' -- --skip not_with_its_children' if $step eq 'cargo' && $self->{cpu};
    $script =~ s/\bt$/join ' ', map {"t\/$_.t"} @EMULATED/e if $step eq 'prove' && $self->{cpu};
    my $ok = eval { $self->inside($script, $log); 1 };
    return (1, '', $log) if $ok;
    my ($first) = grep {/^E: |error[:\[]|not ok|Failed|cannot|refused|No such|signal:? [0-9]|run:|panicked|timed out/i && !/\bok$|^W: |result: ok/} split /\n/, slurp($log);
    return (0, $first // 'no output', $log);
}

# The script that runs before the first step.
sub made_ready {
    my ($self) = @_;
    return join '', "rm -f /etc/apt/sources.list.d/keyword.list\n", $self->optional, $self->perl_from_source, $self->keyword_from_source;
}

# Under emulation, the tests that need these packages do not run.
sub optional {
    my ($self) = @_;
    return '' if $self->{cpu} || $self->{bare};
    return <<"SH";
if test "\$(cat /root/.optional 2>/dev/null)" != '@OPTIONAL'; then
    apt-get update -qq
    for package in @OPTIONAL; do
        if apt-cache policy \$package | grep -q '^  Candidate: [^(]'; then here="\$here \$package"; fi
    done
    apt-get install -y -qq --no-install-recommends \$here
    echo '@OPTIONAL' >/root/.optional
fi
SH
}

# Builds a perl below /opt. Its Configure may take gcc 10 and later for gcc 1.
sub perl_from_source {
    my ($self) = @_;
    my $name = $self->{perl} // return '';
    my %perl = %{ $PERL{$name} };
    return <<"SH";
if ! test -x /opt/$name/bin/perl; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends gcc libc6-dev libcrypt-dev make perl xz-utils
    mkdir /tmp/perl
    cd /tmp/perl
    # A separate list, and a checksum instead of a key: this root may not have the key of the signature.
    mkdir -p lists/partial none
    echo 'deb-src [trusted=yes] $perl{source}' >perl.list
    apt="-qq -o Dir::Etc::sourcelist=/tmp/perl/perl.list -o Dir::Etc::sourceparts=/tmp/perl/none -o Dir::State::lists=/tmp/perl/lists"
    apt-get \$apt update
    apt-get \$apt source --download-only --tar-only --only-source perl
    echo '$perl{sha256}  perl.tar.xz' >perl.sum
    mv perl_*.orig.tar.xz perl.tar.xz
    sha256sum --quiet -c perl.sum
    tar -xf perl.tar.xz --strip-components=1
    sed -i 's/\\<1\\*)/1.*)/' Configure cflags.SH
    sh Configure -des -Dprefix=/opt/$name -Dcc=gcc -Dman1dir=none -Dman3dir=none $perl{configure}
    make -j2
    make install
    cd /src
fi
SH
}

# Releases without XS::Parse::Keyword, and perls that were built, use the source of a package.
sub keyword_from_source {
    return <<'SH';
if ! perl -MXS::Parse::Keyword -e 1 2>/dev/null; then
    apt-get update -qq
    if test "$(command -v perl)" != /usr/bin/perl || ! apt-cache policy libxs-parse-keyword-perl | grep -q '^  Candidate: [^(]'; then
        apt-get install -y -qq --no-install-recommends gcc libc6-dev libcrypt-dev make perl libmodule-build-perl \
            libfile-sharedir-perl
        trust='[trusted=yes]'
        if grep -q bookworm /etc/os-release; then trust=; fi
        for kind in deb deb-src; do echo "$kind $trust MIRROR bookworm main"; done >/etc/apt/sources.list.d/keyword.list
        apt-get update -qq
        mkdir /tmp/keyword && cd /tmp/keyword
        test -e /src/.keyword.orig.tar.gz || apt-get source -qq --download-only libxs-parse-keyword-perl
        apt-get download -qq libextutils-cchecker-perl/bookworm && dpkg -i libextutils-cchecker-perl_*.deb
        rm /etc/apt/sources.list.d/keyword.list && apt-get update -qq
        tar --strip-components=1 -xf "$(ls /src/.keyword.orig.tar.gz *.orig.tar.* 2>/dev/null | head -n 1)"
        perl Build.PL
        ./Build
        ./Build install
        cd /src
    fi
fi
SH
}

# Runs a script in the root with its own mounts and processes; writes the output to the log.
sub inside {
    my ($self, $script, $log) = @_;
    my $root = $self->root;
    my %environment = (
        PATH => join(':', $self->{perl} ? "/opt/$self->{perl}/bin" : (), qw(/usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin)),
        HOME => '/root', LC_ALL => 'C.UTF-8',
        DEBIAN_FRONTEND => 'noninteractive',
        $self->{bare} ? () : (CARGO_NET_OFFLINE => 'true'),
        -e "$root/root/ca.crt" ? (CARGO_HTTP_CAINFO => '/root/ca.crt', PIP_CERT => '/root/ca.crt') : (),
        # Modules of Debian packages in pure Perl work with any perl.
        $self->{perl} ? (PERL5LIB => '/usr/share/perl5') : (),
        # cargo must have few threads when it forks.
        $self->{cpu} ? (QEMU_CPU => $self->{cpu}, PUBSUB_TEST_WATCHDOG => 1200, CARGO_BUILD_JOBS => 1) : (),
    );
    my $set = join ' ', map {"$_='$environment{$_}'"} sort keys %environment;
    $script =~ s/\bMIRROR\b/$MIRROR/g;
    $script =~ s/\bUBUNTU\b/$ENV{XT_UBUNTU} || ubuntu()/ge;
    my $sources = $self->sources;
    spew("$sources/.step", "set -e\ncd /src\n$script\n");
    command(<<"SH", $log);
exec unshare --mount --pid --fork --kill-child sh -e -c '
    mount --bind $root $root    # a mount point, so that mounts below it stay its own
    mount -t proc proc $root/proc
    mount --rbind /dev $root/dev
    mount -t tmpfs -o mode=1777 tmpfs $root/dev/shm
    mount -t tmpfs -o mode=1777 tmpfs $root/tmp
    test $sources = $root/src || mount --bind $sources $root/src
    # This shell is process 1, so it waits for orphans, too.
    timeout -k 10 7200 chroot $root env -i $set sh /src/.step || exit
'
SH
    return;
}

# Runs a shell command; dies with the last line of its log if it fails.
sub command {
    my ($command, $log) = @_;
    make_path(dirname($log));
    local $ENV{PATH} = "$ENV{PATH}:/usr/sbin:/sbin";
    my $pid = fork // die "fork: $!\n";
    if (!$pid) {
        open STDIN,  '<',  '/dev/null' or die "/dev/null: $!";
        open STDOUT, '>',  $log        or die "$log: $!";
        open STDERR, '>&', \*STDOUT    or die "dup: $!";
        delete @ENV{qw(MAKEFLAGS MAKELEVEL MFLAGS PERL5OPT PERL5LIB)};
        exec 'sh', '-c', $command or die "sh: $!";
    }
    waitpid $pid, 0;
    return if $? == 0;
    my @said = split /\n/, slurp($log);
    die +($said[-1] // $command), " (log: $log)\n";
}

sub spew {
    my ($path, $text) = @_;
    open my $file, '>', $path or die "$path: $!\n";
    print {$file} $text and close $file or die "$path: $!\n";
    return;
}

sub slurp {
    my ($path) = @_;
    open my $file, '<', $path or die "$path: $!\n";
    return do { local $/; <$file> } // '';
}

1;
