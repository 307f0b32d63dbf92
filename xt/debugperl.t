# The module under a perl with -DDEBUGGING: the normal build, since Debian's debugperl loads modules that
# were built for its perl, and a build of the XS part with assertions.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Build;
use XT::Suite;
use Test::More;

my $debugperl = $ENV{DEBUGPERL} // 'debugperl';
plan skip_all => "no $debugperl (package perl-debug in Debian)" if !command_works($debugperl, '-e', 1);

my $version = sub { XT::Build::run('/', $_[0], '-MConfig', '-e', 'print "$Config{version} $Config{archname}"') };
plan skip_all => "$debugperl is another perl than $^X" if $version->($debugperl) ne $version->($^X);

subtest 'the normal build' => sub {
    plan skip_all => 'the project is not built' if !-e XT::Build->root . '/blib/arch/auto/Data/PubSub/Shared/Shared.so';
    watched(command => [$debugperl], bad => qr/Assertion|panic|refcnt|Attempt to free/);
};

subtest 'the XS part with assertions' => sub {
    my $build = XT::Build->glue('debug', make => ['OPTIMIZE=-g -O1', 'DEFINE=-DDEBUGGING']);
    plan skip_all => $build->{why} if !$build->{dir};
    watched(command => [$debugperl], inc => $build->{inc}, bad => qr/Assertion|panic|refcnt|Attempt to free/);
};

done_testing;
