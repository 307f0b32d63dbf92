# All public modules have the version of the distribution, for `use` and for programs that only parse the file.

use strict;
use warnings;
use ExtUtils::MakeMaker ();
use FindBin;
use Test::More;

my $version = MM->parse_version("$FindBin::Bin/../lib/Data/PubSub/Shared.pm");

for my $module ('Data::PubSub::Shared', map {"Data::PubSub::Shared::$_"} qw(Int Int32 Int16 Str Num Set Bus)) {
    my $path = "$FindBin::Bin/../lib/" . $module =~ s{::}{/}gr . '.pm';
    is(MM->parse_version($path), $version, "$module: the file has the version");
    is(eval "use $module $version (); $module->VERSION", $version, "$module: use with the version succeeds") or diag($@);
    is(eval "use $module 999 (); 1", undef, "$module: use with a later version fails");
    like($@, qr/\A$module version 999 required--this is only version \Q$version\E/, "$module: the error gives both versions");
}

done_testing;
