# What ./run does where something is missing: on a Debian it asks for packages that can be installed and for no others;
# elsewhere it says what to install. The package managers here are stand-ins that write down what they are asked for.

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

# A folder with these programs: names of the system's, or name => script.
my $folders = 0;
sub programs {
    my ($ours, @theirs) = @_;
    my $folder = "$tmp/" . $folders++;
    make_path($folder);
    for my $name (@theirs) {
        my ($path) = grep {-x} map {"$_/$name"} split(/:/, $ENV{PATH}), '/usr/bin', '/bin';
        symlink $path // die("no $name"), "$folder/$name" or die "$name: $!";
    }
    for my $name (keys %$ours) {
        spew("$folder/$name", "#!/bin/sh\n$ours->{$name}");
        chmod 0755, "$folder/$name" or die "$name: $!";
    }
    return $folder;
}

# ./run build with this PATH: what it said.
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
    isnt($?, 0, 'it fails');
    return $said;
}

my @shell = qw(bash env sed dirname cat);
my $build = 'gcc libc6-dev make perl libcrypt-dev libxs-parse-keyword-perl';

subtest 'without a package manager that it knows' => sub {
    like(run_with(programs({}, @shell)), qr/^run: there is no apt-get; .*: \Q$build\E/m, 'what is needed, by Debian\'s names');
    open my $file, '<', "$FindBin::Bin/../README.md" or die "README.md: $!";
    my $readme = do { local $/; <$file> };
    for my $manager (qw(dnf apk)) {
        my $said = run_with(programs({ $manager => 'exit 1' }, @shell));
        like($said, qr/^run: please install, as root: $manager \w+ gcc .*perl-dev\w* .*Keyword/m, $manager);
        my ($command) = $said =~ /($manager .+?)(?:, and .*)?$/m;
        like($readme, qr/^    \Q$command\E/m, 'as README.md says, too');
    }
};

# Debian, where these packages have no candidate.
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
        qr/^run: this release has no package of XS::Parse::Keyword; .*cpan XS::Parse::Keyword/m, 'it says where to find it');
    like(asked(), qr/install .*\bgcc libc6-dev make perl\b/, 'the others are asked for');
    unlike(asked(), qr/libxs-parse-keyword-perl/, 'it is not');
};

subtest 'a release whose packages do not help' => sub {
    like(run_with(programs({ debian() }, @shell)), qr/^run: this perl .*still lacks .*: \Q$build\E/m, 'it says what lacks');
};

subtest 'which cargo' => sub {
    plan skip_all => 'this machine has /usr/bin/cargo' if -x '/usr/bin/cargo';
    my @real = (@shell, qw(cc as ld make perl));
    plan skip_all => 'this machine cannot build' if grep { my $p = $_; !grep { -x "$_/$p" } split /:/, $ENV{PATH} } @real;
    for my $release (['cargo-web is virtual' => 'cargo', 'cargo-web'], ['cargo-web is there' => 'cargo-web']) {
        my ($name, $cargo, @without) = @$release;
        my $said = run_with(programs({ debian(@without) }, @real));
        like($said, qr/^run: apt-get failed/m, $name);
        like(asked(), qr/install .* \Q$cargo\E$/m, "$cargo is asked for") or diag $said;
    }
};

done_testing;
