package PubSubTest::Program;

# Runs programs in a new perl with our @INC.

use strict;
use warnings;

use Exporter 'import';
use POSIX ();

our @EXPORT = qw(exec_perl read_perl run_file);

# Replaces this process by that perl.
sub exec_perl {
    my (@arguments) = @_;
    no warnings 'exec';
    exec $^X, (map {"-I$_"} grep { !ref } @INC), @arguments;
    POSIX::_exit(127);
}

# Starts a perl, after $prepare->() in the child: (process id, handle that reads its output). The watchdog of this test
# ends it, if necessary.
sub read_perl {
    my ($prepare, @arguments) = @_;
    my $left = alarm 0;
    alarm $left;
    my $pid = open(my $out, '-|') // die "fork: $!";
    if (!$pid) {
        alarm $left;
        $prepare->();
        exec_perl(@arguments);
    }
    return ($pid, $out);
}

# Runs a file to its end: (output and errors, wait status).
sub run_file {
    my ($file, @arguments) = @_;
    my (undef, $out) = read_perl(sub { open STDERR, '>&', \*STDOUT }, $file, @arguments);
    my $output = do { local $/; <$out> };
    close $out;
    return ($output, $?);
}

1;
