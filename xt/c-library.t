#!/usr/bin/env perl
# `make install-c`: programs compile with the shared and the static library, and exchange messages with Perl; the
# shared library exports exactly the functions of the header, under the version of its ABI.

use strict;
use warnings;

use Config;
use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";

use PubSubTest;
use Test::More;
use XT::Build;

XT::Build->core or plan skip_all => 'the project is not built';
watchdog(600);

my $root = XT::Build->root;
my $tmp  = tempdir(CLEANUP => 1);
my $to   = "$tmp/a directory";
delete @ENV{qw(MAKEFLAGS DESTDIR CC LDFLAGS LD_LIBRARY_PATH)};

sub installed_command {
    my ($command) = @_;
    return scalar grep { -x "$_/$command" } split /:/, $ENV{PATH};
}

sub works {
    my ($name, @command) = @_;
    my $said = XT::Build::run($root, @command);
    return ok($? == 0, $name) ? ($said, 1)[1] : (diag($said), 0)[1];
}

sub said { my (@command) = @_; return XT::Build::run($root, @command) }

plan skip_all => "needs GNU make" if said('make', '--version') !~ /GNU/;
works('make install-c succeeds', 'make', '-s', 'install-c', "prefix=/usr/of ours", "DESTDIR=$to") or BAIL_OUT('not installed');
my $prefix = "$to/usr/of ours";
my ($abi)     = slurp("$root/include/pubsub.h") =~ /^#define PS_ABI (\d+)$/m;
my ($version) = slurp("$root/Cargo.toml") =~ /^version = "(.+)"/m;
is(readlink "$prefix/lib/libpubsub-shared.so", "libpubsub-shared.so.$abi", 'the linker name is a link to the ABI version');
is(readlink "$prefix/lib/libpubsub-shared.so.$abi", "libpubsub-shared.so.$version", 'the ABI version is a link to the library');

subtest 'exports of the shared library' => sub {
    installed_command($_) or plan skip_all => "$_ is not installed" for qw(nm readelf);
    my $library = "$prefix/lib/libpubsub-shared.so";
    my $header  = slurp("$prefix/include/pubsub-shared/pubsub.h");
    $header =~ s{/\*.*?\*/}{}gs;
    my %declared = map { $_ => 1 } $header =~ /\b(ps_\w+)\([^*]/g;
    my %exported = map { /\bT (\S+)\@\@PUBSUB_$abi$/ ? ($1 => 1) : () } split /\n/, said(qw(nm -D --defined-only), $library);
    cmp_ok(scalar keys %declared, '>', 60, 'the header declares functions');
    is_deeply([sort keys %exported], [sort keys %declared],
        'the library exports the declared functions with the version of the ABI');
    my @others = grep { !/ A PUBSUB_$abi$/ && !/\bT ps_/ } split /\n/, said(qw(nm -D --defined-only), $library);
    is_deeply(\@others, [], 'the library exports nothing else');
    my $dynamic = said(qw(readelf -d), $library);
    like($dynamic, qr/SONAME.*\[libpubsub-shared\.so\.$abi\]/, 'the soname has the number of the ABI');
    my @needed = grep { !/^(?:lib(?:c|gcc_s|m|dl|pthread)\.|ld-)/ } $dynamic =~ /NEEDED.*\[(.*)\]/g;
    is_deeply(\@needed, [], 'the library needs only libraries that all hosts have');
};

# Without DESTDIR, with the paths that pkg-config gives.
my $home = "$tmp/home";
works('make install-c without DESTDIR succeeds', 'make', '-s', 'install-c', "prefix=$home") or BAIL_OUT('not installed');
local @ENV{qw(PKG_CONFIG_PATH LD_LIBRARY_PATH)} = ("$home/lib/pkgconfig", "$home/lib");
my ($cflags, @libs) = ("-I$home/include/pubsub-shared", "-L$home/lib", '-lpubsub-shared');
SKIP: {
    installed_command('pkg-config') or skip 'pkg-config is not installed', 3;
    is(said(qw(pkg-config --modversion pubsub-shared)), "$version\n", 'pkg-config gives the version');
    is(said(qw(pkg-config --cflags pubsub-shared)) =~ s/\s+\z//r, $cflags, 'pkg-config gives the include directory');
    is(said(qw(pkg-config --libs pubsub-shared)) =~ s/\s+\z//r, "@libs", 'pkg-config gives the libraries');
}
my @static = ("$home/lib/libpubsub-shared.a", qw(-lpthread -ldl -lm));
my @cc     = ($Config{cc}, qw(-Wall -Wextra -Werror), $cflags);

# The program in the man page.
my ($example) = slurp("$home/share/man/man3/libpubsub-shared.3") =~ /^\.EX\n(.+?)^\.EE$/ms;
my $dir = fresh_dir();
$example =~ s/\\e/\\/g;
$example =~ s{/dev/shm/ticks\.ring}{$dir/ticks};
$example =~ s/ps_subscribe\(.*?\);\K/\n    setvbuf(stdout, NULL, _IONBF, 0);/;
spew("$tmp/example.c", $example);
for my $way (['shared', @libs], ['static', @static]) {
    my ($how, @link) = @$way;
    works("the example of the man page compiles, $how", @cc, "$tmp/example.c", '-o', "$tmp/example-$how", @link) or next;
    my $pid = open my $c, '-|', "$tmp/example-$how" or die "example: $!";
    is(readline $c, "42\n", "the $how example receives its own message");
    Data::PubSub::Shared::Int->new("$dir/ticks", 0)->publish(-7);
    is(readline $c, "-7\n", "the $how example receives a message from Perl");
    kill KILL => $pid;
    close $c;
}

my $messages = "$root/tests/messages.c";
SKIP: {
    -e $messages or skip 'tests/ exists only in checkouts', 4;
    works('a larger program compiles', @cc, '-std=c99', $messages, '-o', "$tmp/messages", @libs);
    mkdir "$tmp/rings" or die "$tmp/rings: $!";
    works('the larger program exits with 0', "$tmp/messages", "$tmp/rings");
    installed_command('c++') or skip 'c++ is not installed', 2;
    spew("$tmp/plain.cc", qq(#include <pubsub.h>\nint main() { return ps_abi() != PS_ABI; }\n));
    works('C++ compiles the header', qw(c++ -std=c++11 -Wall -Wextra -Werror), $cflags, "$tmp/plain.cc", '-o', "$tmp/plain", @libs);
    works('the C++ program runs', "$tmp/plain");
}

spew("$tmp/packed.c", "#include <pubsub.h>\n");
my $packed = said(@cc, qw(-std=c11 -fpack-struct=1 -fsyntax-only), "$tmp/packed.c");
like($packed, qr/has another size than in the library/, 'a compiler that packs structures gets an error');

works('make uninstall-c succeeds', 'make', '-s', 'uninstall-c', "prefix=$home");
is(said('find', $home, '!', '-type', 'd'), '', 'make uninstall-c removes all files');

done_testing;
