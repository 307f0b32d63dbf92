# Builds of the module in many environments: environment variables and configuration of cargo, other compilers and flags,
# unusual directories, all ways to install; and the error on systems that are not supported.

use strict;
use warnings;

use Config;
use Cwd qw(realpath);
use File::Path qw(make_path remove_tree);
use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";

# Many builds on a busy host.
BEGIN { $ENV{PUBSUB_TEST_WATCHDOG} //= 1800 }
use PubSubTest qw(slurp);
use Test::More;
use XT::Build;

my $core = XT::Build->core or plan skip_all => 'the project is not built';
my ($cargo, $target) = slurp(XT::Build->root . '/Makefile') =~ /^CARGO = (.+)\nCARGO_TARGET = (.+)$/m;
my $tmp = tempdir(CLEANUP => 1);

delete @ENV{qw(
    CARGO CARGO_BUILD_TARGET CARGO_TARGET_DIR RUSTFLAGS CARGO_ENCODED_RUSTFLAGS PERL_MM_OPT PERL_MB_OPT PERL5LIB MAKEFLAGS
)};
$ENV{CARGO} = $cargo;

# A fresh copy of the sources in a directory with that name. `linked`: with the core that this tree has built.
my $copies = 0;
sub sources {
    my (%how) = @_;
    my $dir = join '/', $tmp, $copies++, $how{name} // 'build';
    make_path($dir);
    XT::Build::copy_sources($dir);
    XT::Build::copy_file($core, "$dir/target/$target/release/libdata_pubsub_shared.a") if $how{linked};
    return $dir;
}

# Runs a command there; prints its output if it fails.
sub works {
    my ($dir, $name, @command) = @_;
    my $said = XT::Build::run($dir, @command);
    return ok($? == 0, $name) || (diag($said), 0)[1];
}

# Makefile.PL and make, with arguments for each.
sub builds {
    my ($dir, $arguments, @make) = @_;
    return works($dir, 'perl Makefile.PL', $^X, 'Makefile.PL', @{ $arguments || [] })
        && works($dir, "make @make", 'make', '-s', @make);
}

# Checks a built or installed module: prints the path of the loaded Shared.so after a message through each kind of ring.
my $TRY = <<'PERL';
use Data::PubSub::Shared;
for my $class (map {"Data::PubSub::Shared::$_"} qw(Int Int32 Int16 Str Num)) {
    my $ring = $class->new(undef, 8);
    my $sub  = $ring->subscribe;
    $ring->publish_multi(7, 8, 9);
    my @got = $sub->drain;
    die "$class: @got" if "@got" ne '7 8 9';
}
print grep {/Shared\.so$/} @DynaLoader::dl_shared_objects, map { $_ // '' } $INC{'Data/PubSub/Shared.pm'};
PERL
sub tried {
    my ($dir, @inc) = @_;
    my $said = XT::Build::run($dir, $^X, (map {"-I$_"} @inc), '-e', $TRY);
    return $? == 0 && $said =~ m{^/.*Shared\.so} ? 1 : (diag($said), 0)[1];
}

sub runs { return ok(tried($_[0], map {"$_[0]/blib/$_"} qw(lib arch)), 'the built module works') }

sub installed_command {
    my ($command) = @_;
    return scalar grep { -x "$_/$command" } split /:/, $ENV{PATH};
}

# --- Environment and configuration of cargo

my %outside = (
    'RUSTFLAGS is empty'             => { RUSTFLAGS => '' },
    'RUSTFLAGS names a CPU'    => { RUSTFLAGS => '-C target-cpu=native' },
    'CARGO_BUILD_TARGET'             => { CARGO_BUILD_TARGET => 'wasm32-unknown-unknown' },
    'CARGO_TARGET_DIR'               => { CARGO_TARGET_DIR => "$tmp/elsewhere" },
    '[build] target in the configuration of the user' => { config => qq([build]\ntarget = "wasm32-unknown-unknown"\n) },
);
for my $name (sort keys %outside) {
    subtest $name => sub {
        my %environment = %{ $outside{$name} };
        my $dir    = sources();
        my $config = delete $environment{config};
        local @ENV{ keys %environment } = values %environment;
        if ($config) {
            make_path("$dir/../.cargo");
            open my $file, '>', "$dir/../.cargo/config.toml" or die "$dir: $!";
            print {$file} $config;
            close $file or die "$dir: $!";
        }
        builds($dir) and runs($dir);
    };
}

subtest 'the crate is a dependency of another crate' => sub {
    my $dir = "$tmp/dependent";
    make_path("$dir/src");
    my %files = (
        'Cargo.toml'  => qq([package]\nname = "dependent"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\n)
            . 'data-pubsub-shared = { path = "' . XT::Build->root . qq(" }\n),
        'Cargo.lock'  => slurp(XT::Build->root . '/Cargo.lock'),
        'src/main.rs' => <<'RUST',
use data_pubsub_shared::{Ring, Variant};

fn main() {
    let ring = Ring::anonymous(Variant::Int, 16, 0).unwrap();
    let mut sub = ring.subscribe(false);
    ring.publish_int(5).unwrap();
    println!("{:?}", sub.poll_int().unwrap());
}
RUST
    );
    for my $file (keys %files) {
        open my $out, '>', "$dir/$file" or die "$file: $!";
        print {$out} $files{$file};
        close $out or die "$file: $!";
    }
    my $answer = qr/^Some\(5\)\n\z/m;    # cargo may have printed something before
    for my $flags (undef, '', '-C target-cpu=native') {
        local $ENV{RUSTFLAGS} = $flags // '';
        delete $ENV{RUSTFLAGS} if !defined $flags;
        my $said = XT::Build::run($dir, $cargo, qw(run --quiet --offline));
        like($said, $answer, 'a dependent crate works with RUSTFLAGS ' . (defined $flags ? "'$flags'" : 'unset'));
    }

    # The target of the host itself, as an environment or a configuration may name it.
    my ($host) = XT::Build::run($dir, qw(rustc --version --verbose)) =~ /^host: (.+)$/m;
    {
        local $ENV{CARGO_BUILD_TARGET} = $host;
        like(XT::Build::run($dir, $cargo, qw(run --quiet --offline)), $answer, 'a dependent crate works with CARGO_BUILD_TARGET');
    }
    make_path("$dir/.cargo");
    open my $config, '>', "$dir/.cargo/config.toml" or die "config.toml: $!";
    print {$config} qq([build]\ntarget = "$host"\n);
    close $config or die "config.toml: $!";
    like(XT::Build::run($dir, $cargo, qw(run --quiet --offline)), $answer,
        'a dependent crate works with a target in a configuration');

    # Other architectures, if their standard library is installed.
    for my $other (['aarch64-unknown-linux-gnu', 0], ['s390x-unknown-linux-gnu', 0], ['riscv64gc-unknown-linux-gnu', 1]) {
        my ($triple, $refused) = @$other;
        SKIP: {
            chomp(my $library = XT::Build::run($dir, qw(rustc --print target-libdir --target), $triple));
            -d $library or skip "Rust's library for $triple is not installed", 1;
            my $said = XT::Build::run($dir, $cargo, qw(check --quiet --offline --target), $triple);
            my @errors = $said =~ /^error(?!: could not compile|: aborting).*$/mg;
            is(scalar @errors, $refused, "$triple: " . ($refused ? 'refused with one error' : 'compiles')) or diag $said;
            like("@errors", qr/cannot exchange 16 bytes without a lock: build for x86-64 or arm64/,
                "$triple: the error gives the reason") if $refused;
        }
    }
};

# --- The glue: other compilers, flags, directories

my @hardening = qw(-O2 -g -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE -Wformat -Werror=format-security);
my %glue = (
    'hardening' => { arguments => ["OPTIMIZE=@hardening"], make => ["LDDLFLAGS=$Config{lddlflags} -Wl,-z,relro,-z,now"] },
    'LTO'       => { arguments => ['OPTIMIZE=-O2 -flto'], make => ["LDDLFLAGS=$Config{lddlflags} -flto"] },
    'clang'     => { needs => 'clang', arguments => [qw(CC=clang LD=clang)] },
    'lld'       => { needs => 'ld.lld', make => ["LDDLFLAGS=$Config{lddlflags} -fuse-ld=lld"] },
    'gold'      => { needs => 'ld.gold', make => ["LDDLFLAGS=$Config{lddlflags} -fuse-ld=gold"] },
);
for my $name (sort keys %glue) {
    subtest $name => sub {
        my $how = $glue{$name};
        plan skip_all => "$how->{needs} is not installed" if $how->{needs} && !installed_command($how->{needs});
        my $dir = sources(linked => 1);
        builds($dir, $how->{arguments}, 'CARGO=true', @{ $how->{make} || [] }) and runs($dir);
    };
}

subtest 'a directory with spaces and special characters' => sub {
    my $dir = sources(name => q(a directory (of 'mine')));
    builds($dir) and runs($dir);
};

subtest 'make -j8, make clean and again, make realclean' => sub {
    my $dir = sources();
    builds($dir, [], '-j8') and runs($dir);
    works($dir, 'make clean', qw(make clean));
    builds($dir, [], '-j8') and runs($dir);
    works($dir, 'make realclean', qw(make realclean));
    my $fresh = sources();
    is(XT::Build::run('/', qw(diff -r -q), $fresh, $dir), '', 'make realclean leaves only the original files');
};

subtest 'read-only sources, linked into another directory' => sub {
    my $from = sources();
    my $to   = "$from/../linked";
    my $list = sub { XT::Build::run($from, qw(find . -printf), '%p %T@ %s\n') };
    works($from, 'chmod of the sources to read-only', qw(chmod -R a-w .));
    my $before = $list->();
    works($from, 'cp -rs of the sources', qw(cp -rs), realpath($from), $to);
    works($to, 'chmod of the directories to writable', qw(chmod -R u+w .)) if !-w "$to/src";
    XT::Build::copy_file($core, "$to/target/$target/release/libdata_pubsub_shared.a");
    builds($to, [], 'CARGO=true') and runs(realpath($to));
    is($list->(), $before, 'the sources are unchanged');
    works($from, 'chmod of the sources to writable, to remove them', qw(chmod -R u+w .));
};

my %install = (
    PREFIX       => [sub { ["PREFIX=$_[0]"] },                               sub { [] }],
    INSTALL_BASE => [sub { ["INSTALL_BASE=$_[0]"] },                         sub { [] }],
    DESTDIR      => [sub { ['INSTALLDIRS=vendor'] }, sub { ["DESTDIR=$_[0]"] }],
);
my $installing = sources(linked => 1);
for my $name (sort keys %install) {
    subtest "install: $name" => sub {
        my $to = "$tmp/to-$name";
        my ($arguments, $make) = map { $_->($to) } @{ $install{$name} };
        builds($installing, $arguments, 'CARGO=true') or return;
        is(XT::Build::run($installing, qw(find xs -name *.o ! -newer Makefile)), '', 'all is compiled again, as for another perl');
        works($installing, "make install @$make", qw(make -s install CARGO=true), @$make);
        my ($module, $object) = map { (XT::Build::run($to, 'find', $to, '-path', $_) =~ /(.+)\n/)[0] // '' }
            '*/Data/PubSub/Shared.pm', '*/auto/Data/PubSub/Shared/Shared.so';
        ok(tried('/', map {s{/(?:auto/)?Data/PubSub/.*}{}r} $module, $object), 'the installed module works');
        ok(scalar XT::Build::run($to, 'find', $to, '-name', 'pubsub-shared', '-perm', '-111'), 'the command is installed');
    };
}

subtest 'a home directory that others may not enter' => sub {
    plan skip_all => 'needs root' if $>;
    is((stat $tmp)[2] & 077, 0, 'the temporary directory is private');
    local $ENV{TMPDIR} = '/tmp';
    works($installing, 'cp of the tests', qw(cp -r), XT::Build->root . '/t', '.') or return;
    works($installing, 'tests that switch to another user pass', 'prove', '-b', map {"t/$_.t"} qw(start cli cli-check-dir constructor-attach constructor-path));
};

subtest 'LINKTYPE=static' => sub {
    my $dir = sources(linked => 1);
    builds($dir, ['LINKTYPE=static'], 'CARGO=true', 'LINKTYPE=static') or return;
    my $archive = "$dir/blib/arch/auto/Data/PubSub/Shared/Shared.a";
    ok(-e $archive, 'the archive is built');
    plan skip_all => 'libperl.a is not installed' if !-e "$Config{archlibexp}/CORE/libperl.a";
    works($dir, 'make of a perl that contains the module', qw(make -s perl CARGO=true LINKTYPE=static)) or return;
    my $said = XT::Build::run($dir, './perl', '-Iblib/lib', '-Iblib/arch', '-e', $TRY =~ s/^print.*//mr . 'print "fine\n"');
    is($said, "fine\n", 'that perl works');
};

# --- Systems on which the module cannot be built

# Runs Makefile.PL in that environment: (exit status, output, whether it wrote a Makefile).
sub configured {
    my ($environment, @perl) = @_;
    my $dir = sources();
    local @ENV{ keys %$environment } = values %$environment;
    my $said = XT::Build::run($dir, $^X, @perl ? @perl : 'Makefile.PL');
    return ($? >> 8, $said, -e "$dir/Makefile" ? 1 : 0);
}

subtest 'no cargo' => sub {
    my ($status, $said, $makefile) = configured({ CARGO => '/nonexistent', PATH => "$tmp/none", HOME => "$tmp/none" });
    is("$status $makefile", '0 0', 'without cargo, Makefile.PL writes no Makefile and exits with 0');
    like($said, qr/needs Rust's cargo, 1\.63 or later, and found none \(tried: .*\)\.\nInstall it/,
        'without cargo, Makefile.PL says what to install');
};

sub cargo_that_says {
    my ($version, $host) = @_;
    my $path = "$tmp/cargo-$version-$host";
    open my $file, '>', $path or die "$path: $!";
    print {$file} "#!/bin/sh\necho 'cargo $version'\necho 'release: $version'\necho 'host: $host'\n";
    close $file and chmod 0755, $path or die "$path: $!";
    return $path;
}

for my $refused (
    ['1.97.0', 'riscv64gc-unknown-linux-gnu',   qr/cannot be built for riscv64gc: .*exchanges 16 bytes without a lock/],
    ['1.97.0', 'loongarch64-unknown-linux-gnu', qr/cannot be built for loongarch64: /],
    ['1.97.0', 'i686-unknown-linux-gnu',        qr/cannot be built for i686: /],
    ['1.97.0', 'powerpc64-unknown-linux-gnu',   qr/cannot be built for powerpc64: /],
    ['1.83.0', 's390x-unknown-linux-gnu',       qr/needs Rust 1\.84 or later on s390x, and .* is 1\.83\./],
    ['1.94.0', 'powerpc64le-unknown-linux-gnu', qr/needs Rust 1\.95 or later on powerpc64le, and .* is 1\.94\./],
) {
    my ($version, $host, $sentence) = @$refused;
    my ($status, $said, $makefile) = configured({ CARGO => cargo_that_says($version, $host) });
    is("$status $makefile", '0 0', "$host with $version: Makefile.PL writes no Makefile and exits with 0");
    like($said, qr/\AData::PubSub::Shared $sentence.*\nNo Makefile was written\.\n\z/,
        "$host with $version: Makefile.PL prints the reason");
}
for my $taken (['1.84.0', 's390x-unknown-linux-gnu'], ['1.95.0', 'powerpc64le-unknown-linux-gnu'], ['1.63.0', 'aarch64-alpine-linux-musl']) {
    my ($status, $said, $makefile) = configured({ CARGO => cargo_that_says(@$taken) });
    is("$status $makefile", '0 1', "$taken->[1] with $taken->[0] is accepted") or diag $said;
}

for my $perl (
    ['another system' => 'BEGIN { $^O = "freebsd" }', qr/\AOS unsupported: .*Linux/],
    ['32 bits'        => 'my %c = %Config; untie %Config; %Config = (%c, ivsize => 4, ptrsize => 4);', qr/\AOS unsupported: .*64 bits/],
) {
    my ($name, $code, $sentence) = @$perl;
    my ($status, $said, $makefile) = configured({}, '-MConfig', '-e', "$code do './Makefile.PL' or die \$@");
    isnt("$status", '0', "$name: Makefile.PL exits with an error");
    like($said, qr/$sentence.*\n\z/, "$name: Makefile.PL prints the reason");
    is($makefile, 0, "$name: Makefile.PL writes no Makefile");
}

done_testing;
