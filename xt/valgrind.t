# The module under valgrind: no invalid access, no use of uninitialised values, no leak.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Build;
use XT::Suite;
use Test::More;

plan skip_all => 'valgrind is not installed' if !command_works('valgrind', '--version');
my ($version) = qx{valgrind --version} =~ /^valgrind-3\.([0-9]+)/;
plan skip_all => "valgrind 3.$version does not know memory seals" if ($version // 17) < 17;
plan skip_all => 'the project is not built'
    if !-e XT::Build->root . '/blib/arch/auto/Data/PubSub/Shared/Shared.so';

# Perl itself leaks what it needs until its end; blocks of the module are recognised by the name of
# its object in their stacks.
watched(
    command => [
        'valgrind', '-q', '--error-exitcode=99', '--leak-check=full', '--show-leak-kinds=definite,indirect',
        '--errors-for-leak-kinds=none', '--num-callers=40', "--suppressions=$FindBin::Bin/valgrind.supp", $^X,
    ],
    variants => [qw(Int Str)],    # the others run the same code, and this is slow
    env => { PERL_DESTRUCT_LEVEL => 2 },
    bad => qr/Shared\.so|Invalid (?:read|write)|ninitialised/,
);

done_testing;
