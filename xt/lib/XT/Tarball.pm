package XT::Tarball;

# The tarball of this checkout, made aside by a real `make dist`, and commands that run in what is unpacked from it:
# without network where the system lets us, and never with crates from elsewhere.

use strict;
use warnings;

use Cwd 'realpath';
use Exporter 'import';
use File::Temp 'tempdir';
use FindBin;
use Test::More;

our @EXPORT = qw(installed tarball unpacked run_in offline);

my $ROOT   = realpath("$FindBin::Bin/..");
my $FOLDER = tempdir(CLEANUP => 1);

# Nothing of the checkout is to be found by what runs in the tarball.
delete @ENV{qw(MAKEFLAGS MAKELEVEL MFLAGS PERL5OPT PERL_MM_OPT PERL_MB_OPT CARGO_TARGET_DIR RUSTFLAGS)};
$ENV{PERL5LIB} = join ':', grep { index(realpath($_) // $_, "$ROOT/") != 0 } split /:/, $ENV{PERL5LIB} // '';

# A test may stand in a folder that is about to be removed.
END { chdir '/' }

# A build on a loaded machine takes its time, but not this much.
alarm 1200;

sub installed {
    my ($command) = @_;
    return scalar grep { -x "$_/$command" } split /:/, $ENV{PATH};
}

# Runs a command in a folder: (whether it succeeded, what it said).
sub run_in {
    my ($folder, @command) = @_;
    my $pid = open my $out, '-|' // die "fork: $!";
    if (!$pid) {
        open STDERR, '>&', \*STDOUT or die "dup: $!";
        open STDIN, '<', '/dev/null' or die "/dev/null: $!";
        chdir $folder or die "$folder: $!";
        exec @command or die "$command[0]: $!\n";
    }
    my $said = do { local $/; <$out> } // '';
    return (close $out ? 1 : 0, $said);
}

# What to put before a command for it to have no network.
sub offline {
    for my $unshare ([qw(unshare -n)], [qw(unshare -r -n)]) {
        return @$unshare if installed('unshare') && (run_in('/', @$unshare, 'true'))[0];
    }
    return qw(env CARGO_NET_OFFLINE=true);
}

# Makes the tarball from the files that git knows, as they are now. Skips all tests if that cannot be.
sub tarball {
    -e "$ROOT/.git" or plan skip_all => 'for checkouts: there is no git here';
    for my $command (qw(git make tar gzip cc)) {
        installed($command) or plan skip_all => "$command is not installed";
    }
    my $copy = "$FOLDER/checkout";
    mkdir $copy or die "$copy: $!";
    my ($ok, $said) = run_in($ROOT, 'sh', '-c', <<'SH', 'sh', $copy);
git ls-files -z | xargs -0 cp --parents -p -t "$1" && cd "$1" && git init -q && git add -A
SH
    $ok or die $said;
    ($ok, $said) = run_in($copy, $^X, 'Makefile.PL');
    -e "$copy/Makefile" or plan skip_all => 'Makefile.PL wrote no Makefile: ' . $said;
    ($ok, $said) = run_in($copy, qw(make dist));
    if (!$ok && $said =~ /cargo vendor failed/ && !(run_in($copy, $ENV{CARGO} || 'cargo', qw(fetch --locked)))[0]) {
        plan skip_all => 'no network, and the crates are not at hand';
    }
    ok($ok, 'make dist') or diag $said;
    my ($tarball) = glob "$copy/Data-PubSub-Shared-*.tar.gz" or BAIL_OUT('make dist made no tarball');
    return $tarball;
}

# Unpacks it into a new folder, and says where. CARGO_HOME is empty from here on.
sub unpacked {
    my ($tarball) = @_;
    $ENV{CARGO_HOME} = tempdir(CLEANUP => 1);
    my $folder = tempdir(CLEANUP => 1);
    my ($ok, $said) = run_in($folder, qw(tar -xzf), $tarball);
    $ok or die $said;
    my ($name) = $tarball =~ m{([^/]+)\.tar\.gz$};
    return "$folder/$name";
}

1;
