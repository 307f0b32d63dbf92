# Each public module has the version of the distribution, as `use` asks for it and as those read it who only look at the file.

use strict;
use warnings;
use ExtUtils::MakeMaker ();
use FindBin;
use Test::More;

my $version = MM->parse_version("$FindBin::Bin/../lib/Data/PubSub/Shared.pm");

for my $module ('Data::PubSub::Shared', map {"Data::PubSub::Shared::$_"} qw(Int Int32 Int16 Str Num Set Bus)) {
    my $path = "$FindBin::Bin/../lib/" . $module =~ s{::}{/}gr . '.pm';
    is(MM->parse_version($path), $version, "$module says it in its file");
    is(eval "use $module $version (); $module->VERSION", $version, 'use with that version') or diag($@);
    is(eval "use $module 999 (); 1", undef, 'and with a later one');
    like($@, qr/\A$module version 999 required--this is only version \Q$version\E/, 'which says why not');
}

done_testing;
