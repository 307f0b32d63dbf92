#!/usr/bin/env perl
# The page Data::PubSub::Shared documents all public methods of all ring and subscriber classes, and no others, in the
# section for that kind of object. The pages of the variants link to these sections and document the keywords.
# For authors: needs Pod::Coverage.

use strict;
use warnings;

use FindBin;
use Test::More;

eval { require Pod::Coverage; 1 } or plan skip_all => 'Pod::Coverage is not installed';

require_ok('Data::PubSub::Shared');

# Called by perl and `use` only. DESTROY, which Pod::Coverage would leave out, is public here.
my @PRIVATE = (qr/^_/, qr/^\(/, qr/^(?:un)?import$/, qr/^CLONE_SKIP$/, qr/^bootstrap$/);

my $PAGE = "$FindBin::Bin/../lib/Data/PubSub/Shared.pm";
my %SECTIONS = (
    ring => ['CONSTRUCTORS', 'RING METHODS', 'METHODS OF BOTH'],
    sub  => ['SUBSCRIBER METHODS', 'METHODS OF BOTH'],
);

sub text_of {
    my ($path) = @_;
    open my $in, '<', $path or die "$path: $!";
    return do { local $/; <$in> };
}

# Section => the methods that it documents.
my %documented;
for my $section (split /^(?==head1 )/m, text_of($PAGE)) {
    my ($title) = $section =~ /^=head1 (.+)/ or next;
    $documented{$title} = { map { $_ => 1 } $section =~ /^=head2 (\w+)$/mg };
}

my %met;
for my $variant (qw(Int Int32 Int16 Str Num)) {
    my $page = "$FindBin::Bin/../lib/Data/PubSub/Shared/$variant.pm";
    my $text = text_of($page);
    # Pod::Coverage requires the module that it examines; the subscriber classes have no file of their own.
    $INC{"Data/PubSub/Shared/$variant/Sub.pm"} = $page;
    for my $kind (qw(ring sub)) {
        my $class = "Data::PubSub::Shared::$variant" . ($kind eq 'sub' ? '::Sub' : '');
        my $coverage = Pod::Coverage->new(package => $class, pod_from => $PAGE, private => \@PRIVATE);
        is $coverage->coverage, 1, "$class is documented"
            or diag $coverage->why_unrated // join ' ', 'without documentation:', sort $coverage->naked;
        my @methods = $coverage->covered;
        cmp_ok scalar(@methods), '>', 10, "$class has its methods";
        $met{$_}{$kind} = 1 for @methods;
        is_deeply [grep { my $method = $_; !grep { $documented{$_}{$method} } @{ $SECTIONS{$kind} } } sort @methods], [],
            "$class: all methods are documented in a section for this kind";
        like $text, qr{L<\Q$_\E\|Data::PubSub::Shared/\Q$_\E>}, "the page of $variant links to $_" for @{ $SECTIONS{$kind} };
    }
    like $text, qr/^=item \Qps_${\ lc $variant}_$_\E /m, "the keyword for $_ of $variant is documented"
        for qw(publish poll lag);
}

for my $kind (qw(ring sub)) {
    is_deeply [grep { !$met{$_}{$kind} } map { sort keys %{ $documented{$_} } } grep { $_ ne 'METHODS OF BOTH' } @{ $SECTIONS{$kind} }],
        [], "a $kind has all methods that are documented for it";
}
is_deeply [grep { !$met{$_} } sort keys %{ $documented{'METHODS OF BOTH'} }], [],
    'methods documented for both exist in at least one';

for my $class (qw(Data::PubSub::Shared::Set Data::PubSub::Shared::Bus Mojolicious::Plugin::SharedBus)) {
    next if $class =~ /Mojolicious/ && !eval { require Mojolicious; 1 };
    my $coverage = Pod::Coverage->new(package => $class, private => [@PRIVATE, $class =~ /Bus/ ? qr/^DESTROY$/ : ()]);
    is $coverage->coverage, 1, "$class is documented"
        or diag $coverage->why_unrated // join ' ', 'without documentation:', sort $coverage->naked;
}

# The parent of all classes has stub constructors that say where the real ones are.
my $root = Pod::Coverage->new(
    package => 'Data::PubSub::Shared',
    pod_from => $PAGE,
    private => \@PRIVATE,
);
is $root->coverage, 1, 'Data::PubSub::Shared is documented'
    or diag $root->why_unrated // join ' ', 'without documentation:', sort $root->naked;

done_testing();
