package XT::Build;

# Builds of the module with other options, each in its own directory below target/xt: a copy of the
# sources that is kept up to date; the tree itself is never changed.

use strict;
use warnings;

use Cwd ();
use Fcntl qw(:flock);
use File::Basename qw(dirname);
use File::Compare ();
use File::Copy    ();
use File::Find    ();
use File::Path qw(make_path);
use FindBin;

my $ROOT = Cwd::abs_path("$FindBin::Bin/..");

sub root { return $ROOT }

# use XT::Build 'fault';   this program and its children use the build with fault points
sub import {
    my ($class, $which) = @_;
    return if !$which;
    my $build = $class->can($which)->($class);
    if (!$build->{dir}) {
        print "1..0 # SKIP $build->{why}\n";
        exit 0;
    }
    unshift @INC, @{ $build->{inc} };
    return;
}

# The core with its fault points.
sub fault { return $_[0]->build('fault', make => ["CARGO_FEATURES=--features fault"]) }

# The core that this tree has built; undef if there is none.
sub core {
    my $core = core_below($ROOT) // return;
    return -e $core ? $core : undef;
}

# Where the Makefile in that directory expects the core.
sub core_below {
    my ($dir) = @_;
    open my $makefile, '<', "$dir/Makefile" or return;
    my ($target) = map { /^CARGO_TARGET = (\S+)/ } readline $makefile;
    return defined $target ? "$dir/target/$target/release/libdata_pubsub_shared.a" : undef;
}

# Builds the XS part with other options, and links it with the core that this tree has built.
sub glue {
    my ($class, $name, %how) = @_;
    my $core = core() or return { why => 'the project is not built' };
    return $class->build($name, %how, core => $how{core} // $core, make => ['CARGO=true', @{ $how{make} || [] }]);
}

# Returns { dir, inc } of an up-to-date build, or { why } if it fails. perl: the perl to use; make: arguments of make;
# core: a library to link instead of running cargo.
sub build {
    my ($class, $name, %how) = @_;
    my $dir = "$ROOT/target/xt/$name";
    make_path($dir);
    open my $lock, '>', "$dir/.lock" or return { why => "cannot write to $dir: $!" };
    flock $lock, LOCK_EX or die "flock: $!";
    copy_sources($dir);
    my @make = ('make', '-s', @{ $how{make} || [] });
    my $log  = '';
    if (!-e "$dir/Makefile" || -M "$dir/Makefile" > -M "$dir/Makefile.PL") {
        $log = run($dir, $how{perl} // $^X, 'Makefile.PL');
    }
    copy_file($how{core}, core_below($dir)) if $how{core} && -e "$dir/Makefile";
    $log .= run($dir, @make) if -e "$dir/Makefile";
    my ($object) = glob "$dir/blib/arch/auto/Data/PubSub/Shared/Shared.so";
    return { why => "the build '$name' failed: " . ($log =~ s/\n/ | /gr) } if $? || !$object || !-e $object;
    return { dir => $dir, inc => ["$dir/blib/lib", "$dir/blib/arch"], object => $object };
}

# The output of a command in that directory; $? is its status.
sub run {
    my ($dir, @command) = @_;
    my $pid = open(my $out, '-|') // die "fork: $!";
    if (!$pid) {
        chdir $dir or die "chdir $dir: $!";
        open STDERR, '>&', \*STDOUT;
        open STDIN, '<', '/dev/null';
        delete @ENV{qw(MAKEFLAGS MAKELEVEL PERL5OPT)};
        { no warnings 'exec'; exec @command }
        print "$command[0]: $!";
        POSIX::_exit(127);
    }
    local $/;
    my $log = <$out> // '';
    close $out;
    return $log;
}

# Copies all files but those that were built, and those that a build does not need.
sub copy_sources {
    my ($dir) = @_;
    my $skip = qr{\A(?:target|blib|t|xt|eg|bench|bridge|python|tests|examples|vendor|\.git|\.ci|Makefile|XSParseKeyword\.h|MYMETA\..*|pm_to_blib)\z};
    my $wanted = sub {
        my $file = $File::Find::name =~ s{\A\Q$ROOT\E/}{}r;
        if ($file =~ $skip) { $File::Find::prune = 1 }
        elsif (-f && $file !~ m{\.(?:o|bs)\z|\Axs/Shared\.c\z}) { copy_file("$ROOT/$file", "$dir/$file") }
    };
    File::Find::find({ wanted => $wanted, no_chdir => 1 }, $ROOT);
    return;
}

# Copies only files that differ, so that make sees which are new.
sub copy_file {
    my ($from, $to) = @_;
    return if -e $to && File::Compare::compare($from, $to) == 0;
    make_path(dirname($to));
    File::Copy::copy($from, $to) or die "copy $from to $to: $!";
    return;
}

1;
