package XT::Cargo;

# Cargo, as the tests of the core run it: at the top of the checkout.

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use POSIX ();
use Test::More;

our @EXPORT = qw(cargo needs_cargo);

chdir "$FindBin::Bin/.." or die "cannot go to the top: $!";
chomp(my $cargo = qx{sed -n 's/^CARGO = //p' Makefile 2>/dev/null});
$cargo ||= $ENV{CARGO} || 'cargo';

# Runs it: (its exit status, all that it said). `every` is given each line as it comes.
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

# Skips all tests without cargo 1.$minor, or where the crates cannot be had. `manifest`: which package, if not the core.
sub needs_cargo {
    my ($minor, @manifest) = @_;
    my ($status, $says) = cargo(sub { }, '--version');
    plan skip_all => "cargo does not run: $says" if $status;
    my ($has) = $says =~ /^cargo 1\.([0-9]+)/;
    plan skip_all => "this takes cargo 1.$minor, and here is $says" if ($has // 0) < $minor;
    ($status, $says) = cargo(sub { }, qw(fetch --locked), @manifest);
    die $says if $says =~ /--locked/;
    plan skip_all => 'the crates cannot be had: ' . ($says =~ /^(error.*)/m)[0] if $status;
    return;
}

1;
