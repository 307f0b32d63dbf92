#!/usr/bin/env perl
# The programs of the tutorial run as they stand, and print what it says; and every line of code on the page is one of theirs.

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
is(scalar @other, 0, 'nothing on the page is untested, but the table of calls') or diag map { $_->{text} } @other;

# What the table names exists.
my %can = map { $_ => 1 } grep { !/\A(?:Data::PubSub::Shared::Set|ps_int_\w+)\z/ }
    map { s/\(.*//r } map { split /, (?![^(]*\))| or | with a handler/ } $table->{text} =~ /^ {4}\S.{45}\s*(\S.*)$/mg;
delete @can{ grep { !/\A\w+\z/ } keys %can };
delete $can{Call};
cmp_ok(scalar keys %can, '>=', 15, 'the table names calls');
for my $call (sort keys %can) {
    ok((grep { $_->can($call) } 'Data::PubSub::Shared::Int', 'Data::PubSub::Shared::Int::Sub'), "$call exists");
}

done_testing;
