package XT::Cargo;

# Runs cargo in the top directory of the checkout, for the tests of the core.

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use POSIX ();
use Test::More;

our @EXPORT = qw(cargo needs_cargo);

chdir "$FindBin::Bin/.." or die "cannot change to the top directory: $!";
chomp(my $cargo = qx{sed -n 's/^CARGO = //p' Makefile 2>/dev/null});
$cargo ||= $ENV{CARGO} || 'cargo';

# Runs cargo: (exit status, output). `every` is called with each line of output.
sub cargo {
    my ($every, @arguments) = @_;
    my $pid = open(my $out, '-|') // die "fork: $!";
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        { no warnings 'exec'; exec $cargo, @arguments }
        print "$cargo: $!";
        POSIX::_exit(127);
    }
    my $all = '';
    while (my $line = <$out>) {
        $all .= $line;
        $every->($line);
    }
    close $out;
    return ($?, $all);
}

# Skips all tests without cargo 1.$minor or without the crates. `manifest`: the package, if not the core.
sub needs_cargo {
    my ($minor, @manifest) = @_;
    my ($status, $says) = cargo(sub { }, '--version');
    plan skip_all => "cargo does not run: $says" if $status;
    my ($has) = $says =~ /^cargo 1\.([0-9]+)/;
    plan skip_all => "cargo 1.$minor or later is needed, this is $says" if ($has // 0) < $minor;
    ($status, $says) = cargo(sub { }, qw(fetch --locked), @manifest);
    die $says if $says =~ /--locked/;
    plan skip_all => 'the crates cannot be fetched: ' . ($says =~ /^(error.*)/m)[0] if $status;
    return;
}

1;
