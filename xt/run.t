# ./run on hosts without the required packages: on Debian it asks apt-get only for packages that can be installed;
# on other systems it says what to install. The package managers here are scripts that record their arguments.

use strict;
use warnings;

use File::Path qw(make_path);
use File::Temp qw(tempdir);
use FindBin;
use Test::More;

my $tmp = tempdir(CLEANUP => 1);

sub spew {
    my ($path, $text) = @_;
    open my $file, '>', $path or die "$path: $!";
    print {$file} $text and close $file or die "$path: $!";
    return;
}

# A directory with these programs: names of installed programs, or name => script.
my $directories = 0;
sub programs {
    my ($ours, @theirs) = @_;
    my $dir = "$tmp/" . $directories++;
    make_path($dir);
    for my $name (@theirs) {
        my ($path) = grep {-x} map {"$_/$name"} split(/:/, $ENV{PATH}), '/usr/bin', '/bin';
        symlink $path // die("no $name"), "$dir/$name" or die "$name: $!";
    }
    for my $name (keys %$ours) {
        spew("$dir/$name", "#!/bin/sh\n$ours->{$name}");
        chmod 0755, "$dir/$name" or die "$name: $!";
    }
    return $dir;
}

# The output of ./run build with this PATH.
sub run_with {
    my ($path) = @_;
    my $pid = open(my $out, '-|') // die "fork: $!";
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        open STDIN, '<', '/dev/null';
        %ENV = (PATH => $path, HOME => $tmp, ASKED => "$tmp/asked");
        exec "$FindBin::Bin/../run", 'build' or die "run: $!";
    }
    my $said = do { local $/; <$out> };
    close $out;
    isnt($?, 0, './run build fails');
    return $said;
}

my @shell = qw(bash env sed dirname cat);
my $build = 'gcc libc6-dev make perl libcrypt-dev libxs-parse-keyword-perl';

subtest 'without a known package manager' => sub {
    like(run_with(programs({}, @shell)), qr/^run: there is no apt-get; .*: \Q$build\E/m,
        './run names the required packages of Debian');
    open my $file, '<', "$FindBin::Bin/../README.md" or die "README.md: $!";
    my $readme = do { local $/; <$file> };
    for my $manager (qw(dnf apk)) {
        my $said = run_with(programs({ $manager => 'exit 1' }, @shell));
        like($said, qr/^run: please install, as root: $manager \w+ gcc .*perl-dev\w* .*Keyword/m,
            "./run prints a command for $manager");
        my ($command) = $said =~ /($manager .+?)(?:, and .*)?$/m;
        like($readme, qr/^    \Q$command\E/m, "README.md has the same command for $manager");
    }
};

# Programs of a Debian on which these packages have no candidate.
sub debian {
    my (@without) = @_;
    unlink "$tmp/asked";
    my $without = join '|', @without, 'none';
    return (
        'apt-get'   => qq{echo "\$*" >>"\$ASKED"\ncase "\$*" in *cargo*) exit 1 ;; esac\n},
        'apt-cache' => qq{case \$2 in $without) echo "  Candidate: (none)" ;; *) echo "  Candidate: 1.0" ;; esac\n},
        'sudo'      => qq(test "\$1" != -n || shift\nexec "\$@"\n),
    );
}

sub asked {
    open my $file, '<', "$tmp/asked" or return '';
    return do { local $/; <$file> };
}

subtest 'a release without XS::Parse::Keyword' => sub {
    like(run_with(programs({ debian('libxs-parse-keyword-perl') }, @shell)),
        qr/^run: this release has no package of XS::Parse::Keyword; .*cpan XS::Parse::Keyword/m,
            './run says that the package is missing, and how to install the module');
    like(asked(), qr/install .*\bgcc libc6-dev make perl\b/, './run installs the other packages');
    unlike(asked(), qr/libxs-parse-keyword-perl/, './run does not ask for the missing package');
};

subtest 'packages that do not provide what is needed' => sub {
    like(run_with(programs({ debian() }, @shell)), qr/^run: this perl .*still lacks .*: \Q$build\E/m,
        './run lists what is still missing');
};

subtest 'the package of cargo' => sub {
    plan skip_all => 'this host has /usr/bin/cargo' if -x '/usr/bin/cargo';
    my @real = (@shell, qw(cc as ld make perl));
    plan skip_all => 'this host lacks a compiler or make' if grep { my $p = $_; !grep { -x "$_/$p" } split /:/, $ENV{PATH} } @real;
    for my $release (['cargo-web is virtual' => 'cargo', 'cargo-web'], ['cargo-web can be installed' => 'cargo-web']) {
        my ($name, $cargo, @without) = @$release;
        my $said = run_with(programs({ debian(@without) }, @real));
        like($said, qr/^run: apt-get failed/m, "$name: ./run reports the failure of apt-get");
        like(asked(), qr/install .* \Q$cargo\E$/m, "$name: ./run asks for $cargo") or diag $said;
    }
};

done_testing;
