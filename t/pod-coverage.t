#!/usr/bin/env perl
# Every public method of every ring and subscriber class is documented on its variant's page, and so is each keyword;
# those of the bridge are on its page.
# For authors: needs Pod::Coverage.

use strict;
use warnings;

use FindBin;
use Test::More;

eval { require Pod::Coverage; 1 } or plan skip_all => 'Pod::Coverage is not here';

require_ok('Data::PubSub::Shared');

# Perl and `use` call these, nobody else. DESTROY, which Pod::Coverage would leave out, is public here.
my @PRIVATE = (qr/^_/, qr/^\(/, qr/^(?:un)?import$/, qr/^CLONE_SKIP$/, qr/^bootstrap$/);

for my $variant (qw(Int Int32 Int16 Str)) {
    my $page = "$FindBin::Bin/../lib/Data/PubSub/Shared/$variant.pm";
    # Pod::Coverage requires what it rates; the subscriber classes have no file of their own.
    $INC{"Data/PubSub/Shared/$variant/Sub.pm"} = $page;
    for my $class ("Data::PubSub::Shared::$variant", "Data::PubSub::Shared::${variant}::Sub") {
        my $coverage = Pod::Coverage->new(
            package => $class,
            pod_from => $page,
            private => \@PRIVATE,
        );
        is $coverage->coverage, 1, "$class is documented"
            or diag $coverage->why_unrated // join ' ', 'without documentation:', sort $coverage->naked;
        cmp_ok scalar($coverage->covered), '>', 10, "$class has its methods" if defined $coverage->coverage;
    }

    open my $in, '<', $page or die "$page: $!";
    my $text = do { local $/; <$in> };
    like $text, qr/^=item \Qps_${\ lc $variant}_$_\E /m, "the keyword for $_ of $variant is documented"
        for qw(publish poll lag);
}

# The parent of all the classes has the constructors, to say where they are.
my $root = Pod::Coverage->new(
    package => 'Data::PubSub::Shared',
    pod_from => "$FindBin::Bin/../lib/Data/PubSub/Shared.pm",
    private => \@PRIVATE,
);
is $root->coverage, 1, 'the methods of Data::PubSub::Shared itself are documented'
    or diag $root->why_unrated // join ' ', 'without documentation:', sort $root->naked;

# The bridge's constructors; what they return is of private classes, whose public methods are these.
my $bridge = Pod::Coverage->new(
    package => 'Data::PubSub::Shared::Bridge',
    pod_from => "$FindBin::Bin/../lib/Data/PubSub/Shared/Bridge.pm",
    private => \@PRIVATE,
);
is $bridge->coverage, 1, 'Data::PubSub::Shared::Bridge is documented'
    or diag $bridge->why_unrated // join ' ', 'without documentation:', sort $bridge->naked;
open my $in, '<', "$FindBin::Bin/../lib/Data/PubSub/Shared/Bridge.pm" or die $!;
my $text = do { local $/; <$in> };
for my $method (qw(run stop status)) {
    can_ok "Data::PubSub::Shared::Bridge::$_", $method for qw(Up Down);
    like $text, qr/^=head2 $method$/m, "$method is documented";
}

done_testing();
