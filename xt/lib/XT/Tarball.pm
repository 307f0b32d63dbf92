package XT::Tarball;

# The tarball of this checkout, made by `make dist` in a copy, and commands that run in the unpacked tarball: without
# network if the system allows that, and never with crates from outside of it.

use strict;
use warnings;

use Cwd 'realpath';
use Exporter 'import';
use File::Temp 'tempdir';
use FindBin;
use Test::More;

our @EXPORT = qw(installed tarball unpacked run_in offline);

my $ROOT   = realpath("$FindBin::Bin/..");
my $DIR    = tempdir(CLEANUP => 1);

# Commands that run in the tarball must not find anything of the checkout.
delete @ENV{qw(MAKEFLAGS MAKELEVEL MFLAGS PERL5OPT PERL_MM_OPT PERL_MB_OPT CARGO_TARGET_DIR RUSTFLAGS)};
$ENV{PERL5LIB} = join ':', grep { index(realpath($_) // $_, "$ROOT/") != 0 } split /:/, $ENV{PERL5LIB} // '';

# A test may have changed to a directory that is about to be removed.
END { chdir '/' }

# Seconds. A build on a loaded host takes long, but not that long.
alarm 1200;

sub installed {
    my ($command) = @_;
    return scalar grep { -x "$_/$command" } split /:/, $ENV{PATH};
}

# Runs a command in a directory: (true if it succeeded, its output).
sub run_in {
    my ($dir, @command) = @_;
    my $pid = open my $out, '-|' // die "fork: $!";
    if (!$pid) {
        open STDERR, '>&', \*STDOUT or die "dup: $!";
        open STDIN, '<', '/dev/null' or die "/dev/null: $!";
        chdir $dir or die "$dir: $!";
        exec @command or die "$command[0]: $!\n";
    }
    my $said = do { local $/; <$out> } // '';
    return (close $out ? 1 : 0, $said);
}

# A prefix for commands that are to run without network.
sub offline {
    for my $unshare ([qw(unshare -n)], [qw(unshare -r -n)]) {
        return @$unshare if installed('unshare') && (run_in('/', @$unshare, 'true'))[0];
    }
    return qw(env CARGO_NET_OFFLINE=true);
}

# Makes the tarball from the current content of the files that git knows. Skips all tests if that is impossible.
sub tarball {
    -e "$ROOT/.git" or plan skip_all => 'this is not a git checkout';
    for my $command (qw(git make tar gzip cc)) {
        installed($command) or plan skip_all => "$command is not installed";
    }
    my $copy = "$DIR/checkout";
    mkdir $copy or die "$copy: $!";
    my ($ok, $said) = run_in($ROOT, 'sh', '-c', <<'SH', 'sh', $copy);
git ls-files -z | xargs -0 cp --parents -p -t "$1" && cd "$1" && git init -q && git add -A
SH
    $ok or die $said;
    ($ok, $said) = run_in($copy, $^X, 'Makefile.PL');
    -e "$copy/Makefile" or plan skip_all => 'Makefile.PL wrote no Makefile: ' . $said;
    ($ok, $said) = run_in($copy, qw(make dist));
    if (!$ok && $said =~ /cargo vendor failed/ && !(run_in($copy, $ENV{CARGO} || 'cargo', qw(fetch --locked)))[0]) {
        plan skip_all => 'no network, and the crates are not in the cache';
    }
    ok($ok, 'make dist') or diag $said;
    my ($tarball) = glob "$copy/Data-PubSub-Shared-*.tar.gz" or BAIL_OUT('make dist made no tarball');
    return $tarball;
}

# Unpacks the tarball into a new directory, and returns its path. Sets CARGO_HOME to an empty directory.
sub unpacked {
    my ($tarball) = @_;
    $ENV{CARGO_HOME} = tempdir(CLEANUP => 1);
    my $dir = tempdir(CLEANUP => 1);
    my ($ok, $said) = run_in($dir, qw(tar -xzf), $tarball);
    $ok or die $said;
    my ($name) = $tarball =~ m{([^/]+)\.tar\.gz$};
    return "$dir/$name";
}

1;
