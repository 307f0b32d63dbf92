#!/usr/bin/env perl
# All programs and modules run with perl 5.22, the oldest supported version, and its core modules: they use no newer
# syntax and no newer exports.

use strict;
use warnings;

use File::Find qw(find);
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use PubSubTest;

# The exports of the module versions that came with perl 5.22.
my %exports = (
    'List::Util' => 'all any first max maxstr min minstr none notall pairfirst pairgrep pairkeys pairmap pairs pairvalues '
        . 'product reduce shuffle sum sum0',
    'Scalar::Util' => 'blessed dualvar isdual isvstring isweak looks_like_number openhandle readonly refaddr reftype '
        . 'set_prototype tainted unweaken weaken',
);

# Syntax of later perls. Signatures exist, but are experimental: only programs that need Mojolicious use them.
my %syntax = (
    'indented here-documents (5.26)'       => qr/<<~/,
    'postfix dereference (stable in 5.24)' => qr/->(?:\@|%|\$#?)\*/,
    '@{^CAPTURE} (5.26)'                   => qr/\{\^CAPTURE/,
    'chained comparisons (5.32)'           => qr/\d\s*<=?\s*\$\w+\s*<=?\s*\d/,
    'isa (5.32)'                           => qr/\$\w+\s+isa\s+[A-Z]/,
    'initialised state arrays (5.28)'      => qr/\bstate\s+[\@%]\w+\s*=/,
    'state lists (5.28)'                   => qr/\bstate\s+\(/,
    'builtin (5.36)'                       => qr/\bbuiltin::/,
    'signatures without Mojolicious'       => qr/use\s+(?:feature\b.*signatures|experimental\b.*signatures|v5\.3[6-9])/,
    'try (5.34)'                           => qr/use\s+feature\b.*\btry\b/,
    'Test2, in the core since 5.26'        => qr/\buse\s+Test2\b/,
);

my $root = "$FindBin::Bin/..";
my @files;
find({ no_chdir => 1, wanted => sub {
    return $File::Find::prune = 1 if m{/(?:\.git|blib|target|node_modules)\z};
    push @files, $_ if -f && m{(?:\.(?:pl|pm|t|PL)|/bin/[\w-]+)\z};
} }, grep {-e} map {"$root/$_"} qw(bin lib eg t xt bench maint Makefile.PL));
cmp_ok(scalar @files, '>', 20, 'there are files to check');

for my $file (sort @files) {
    next if $file =~ m{/old-perls\.t\z};
    my $text = slurp($file) =~ s/^__(?:END|DATA)__\n.*//smr;
    my @bad;
    while ($text =~ /^\s*use\s+((?:List|Scalar)::Util)\s+(?:qw\(([^)]*)\)|'(\w+)')/mg) {
        my ($module, $names) = ($1, $2 // $3);
        my %there = map { $_ => 1 } split ' ', $exports{$module};
        push @bad, map {"$module $_"} grep { !$there{$_} } split ' ', $names;
    }
    push @bad, "$1::Util::$2" while $text =~ /\b(List|Scalar)::Util::(\w+)/g and $exports{"$1::Util"} !~ /\b$2\b/;
    my $code = $text =~ s/^\s*#.*$//mgr;
    push @bad, grep { $code =~ $syntax{$_} } sort keys %syntax;
    is_deeply(\@bad, [], ($file =~ s{.*?/\.\./}{}r) . ' uses no newer syntax or exports');
}

done_testing;
