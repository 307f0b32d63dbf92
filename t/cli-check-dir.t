# `pubsub-shared check DIRECTORY`: checks all rings in the directory, also rings with a damaged header and rings that
# the user may not read.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP qw(decode_json);
use Test::More;

use PubSubTest;
use PubSubTest::Cli;

# The report of check: file name => the first problem, or 'fine'.
sub report {
    my ($out) = @_;
    return { map { ($_->{path} =~ s{.*/}{}r => $_->{problems}[0] // 'fine') } @{ decode_json($out) } };
}

each_variant(sub {
    my ($v) = @_;
    my $dir = fresh_dir();
    $v->class->new("$dir/sound", 8);
    spew("$dir/other", 'x' x 10_000);
    spew("$dir/zeros", "\0" x 10_000);
    spew("$dir/empty", '');
    mkdir "$dir/directory" or die "mkdir: $!";
    symlink "$dir/sound",  "$dir/link" or die "symlink: $!";
    symlink "$dir/nowhere", "$dir/dangling" or die "symlink: $!";
    my ($status, $out, $err) = cli('check', '--json', $dir);
    is_deeply([$status, $err, report($out)], [0, '', { sound => 'fine' }], 'check ignores files that are not rings');

    my $sound = slurp("$dir/sound");
    spew("$dir/magic", 'X' . substr $sound, 1);
    spew("$dir/zero magic", "\0" x 8 . substr $sound, 8);
    spew("$dir/version", substr($sound, 0, 8) . pack('L', 7) . substr $sound, 12);
    my %expected = (sound => 'fine', map({ ($_ => 'not a ring file') } 'magic', 'zero magic'),
        version => 'layout version 7, and this library reads 3');
    ($status, $out, $err) = cli('check', '--json', $dir);
    is_deeply([$status, $err, report($out)], [1, '', \%expected], 'check reports rings with a damaged header');
    is((cli('check', '--quiet', $dir))[0], 1, 'check --quiet exits with 1 if a header is damaged');
    is_deeply([sort map { $_->{path} =~ s{.*/}{}r } @{ decode_json((cli(qw(stat -i 0 --json), $dir))[1]) }], ['sound', 'version'],
        'stat shows only files that look like rings');
});

subtest 'files that the user may not read' => sub {
    my @nobody = nobody() or plan skip_all => 'needs root';
    my $dir = public_dir();
    variant('Int')->class->new("$dir/open",   8, 0644);
    variant('Int')->class->new("$dir/closed", 8, 0600);
    mkdir "$dir/directory", 0700 or die "mkdir: $!";
    my ($status, $out, $err) = cli_as(\@nobody, 'check', '--json', $dir);
    is_deeply([$status, $err, report($out)], [1, '', { open => 'fine', closed => 'Permission denied' }],
        'check of a directory reports a ring that cannot be read');
    ($status, $out, $err) = cli_as(\@nobody, 'check', '--json', "$dir/directory", "$dir/none", "$dir/open");
    is_deeply([$status, $err, report($out)],
        [1, '', { open => 'fine', directory => 'Permission denied', none => 'No such file or directory' }],
        'check reports a directory that cannot be read, and checks the paths after it');
};

done_testing;
