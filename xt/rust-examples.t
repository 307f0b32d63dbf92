# All public functions of the crate have an example in their documentation, which cargo runs.
use strict;
use warnings;

use Test::More;
use File::Find qw(find);
use FindBin;

my $root = "$FindBin::Bin/..";
my @files;
find({ no_chdir => 1, wanted => sub { push @files, $_ if /\.rs\z/ } }, "$root/src");

# Leaves out functions for C, the models' replacements of system calls, and tests.
my @public = grep { !m{/src/(?:ffi|models)[./]|ffi_of_files|/tests?(?:file)?\.rs\z|/create\.rs\z} } sort @files;

my ($functions, @without) = (0);
for my $file (@public) {
    open my $in, '<', $file or die "$file: $!";
    my $documentation = '';
    while (my $line = <$in>) {
        last if $line =~ /^mod tests \{/;
        if ($line =~ m{^\s*///}) {
            $documentation .= $line;
        } elsif ($line =~ /^\s*pub (?:const |unsafe )*fn (\w+)/) {
            $functions++;
            push @without, substr($file, length("$root/")) . ": $1" if $documentation !~ m{^\s*/// ```$}m;
            $documentation = '';
        } elsif ($line !~ /^\s*#\[/) {
            $documentation = '';
        }
    }
}

cmp_ok $functions, '>', 100, 'public functions are found';
is_deeply \@without, [], 'all public functions have an example';

done_testing;
