#!/usr/bin/env perl
# The programs of the tutorial run unchanged and print the output that it shows; all code on the page is part of a program.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use Data::PubSub::Shared;
use PubSubTest;
use PubSubTest::Page;

my @programs = programs('Tutorial.pod');
cmp_ok(scalar @programs, '>=', 8, 'the page has programs');
run_program($_) for @programs;

my ($table, @other) = grep { !$_->{name} } verbatim('Tutorial.pod');
is(scalar @other, 0, 'all code on the page but the table of calls is tested') or diag map { $_->{text} } @other;

# The calls in the table exist.
my %can;
for my $line (split /\n/, $table->{text}) {
    my $calls = length $line > 47 ? substr $line, 47 : next;
    $calls =~ s/\(.*?\)|with a handler|the keywords: .*|Data::.*//g;
    $can{$_} = 1 for grep { $_ ne 'Call' && $_ ne 'or' } $calls =~ /(\w+)/g;
}
cmp_ok(scalar keys %can, '>=', 15, 'the table names calls');
for my $call (sort keys %can) {
    ok((grep { $_->can($call) } 'Data::PubSub::Shared::Int', 'Data::PubSub::Shared::Int::Sub'), "$call exists");
}

done_testing;
