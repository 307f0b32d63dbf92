# The command line of pubsub-shared: --help in any place, and status 2 for wrong usage.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use PubSubTest;
use PubSubTest::Cli;

my $path = fresh_path();
my $ring = variant('Str')->class->new($path, 16, 20);
my @commands = qw(ls stat top tail pub create clear unlink check bench help);

subtest '--help anywhere' => sub {
    for my $command (@commands) {
        my ($status, $help, $err) = cli('help', $command);
        is_deeply([$status, $err], [0, ''], "help $command exits with 0 and no errors");
        like($help, qr/^\s+pubsub-shared $command\b/m, "help $command shows its usage");
        for my $line (['--help'], [$path, '--help'], ['--help', '--nonsense'], ['--nonsense', '--help'], [$path, 'x', '--help', 'y']) {
            is_deeply([cli($command, @$line)], [0, $help, ''], "'$command @$line' prints the same help");
        }
        is_deeply([cli($command, '-h')], [0, $help, ''], "'$command -h' prints the same help");
        is_deeply([cli('--help', $command)], [0, $help, ''], "'--help $command' prints the same help");
    }
    is($ring->write_pos, 0, 'no value was published');
    ok(-e $path, 'no ring was removed');
};

subtest '--help after -- is a value' => sub {
    is((cli('pub', $path, '--', '--help', '-h', '--'))[0], 0, 'pub RING -- --help exits with 0');
    is((cli('pub', '--', $path, '--help'))[0], 0, 'pub -- RING --help exits with 0');
    is((cli('pub', $path, '-x', '--', 'y'))[0], 0, 'pub RING -x -- y exits with 0');
    is_deeply([$ring->subscribe_all->drain], ['--help', '-h', '--', '--help', '-x', '--', 'y'],
        'all of these are published as values');
};

subtest 'wrong usage' => sub {
    my %wrong = (
        'missing command'                   => [[]],
        "unknown command 'bogus'"           => [['bogus'], [qw(help bogus)], [qw(--help bogus)]],
        "unknown option '-x'"               => [['-x']],
        "unexpected argument 'x'"           => [[qw(help stat x)], [qw(bench x)]],
        'unknown option: nonsense'          => [map { [$_, '--nonsense'] } @commands],
        'missing RING'                      => [map { [$_] } qw(stat top tail pub clear unlink check)],
        'expected exactly one RING'         => [[qw(create -t Int -c 8)]],
        'expected --raw or --json, not both'  => [['tail', '--raw', '--json', $path]],
        'expected --json or --table, not both' => [['stat', '--table', '--json', $path]],
        'expected --skip or --strict, not both' => [['pub', '--strict', '--skip', $path]],
        '--variant is required'             => [['create', "$path.x", qw(-c 8)]],
        '--capacity is required'            => [['create', "$path.x", qw(-t int)]],
    );
    for my $text (sort keys %wrong) {
        for my $line (@{ $wrong{$text} }) {
            my ($status, $out, $err) = cli(@$line);
            is_deeply([$status, $out], [2, ''], "'@$line' exits with 2 and prints nothing");
            like($err, qr/\Apubsub-shared: \Q$text\E\nTry: pubsub-shared .*--help\n\z/, "'@$line' prints the error: $text");
        }
    }
};

subtest 'suffixes' => sub {
    $ring->clear;
    $ring->publish_multi(1 .. 3);
    for my $suffix (qw(k K m M g G)) {
        is((cli('tail', '-n', "1$suffix", $path))[1], "1\n2\n3\n", "tail -n 1$suffix prints all messages");
        is((cli('tail', '-n', "+1$suffix", $path))[1], '', "tail -n +1$suffix prints nothing");
    }
    is((cli(qw(top -1 -d 0.05 -b 1k), $path))[0], 0, 'top -b 1k exits with 0');
    is((cli('create', "$path.new", qw(-t int16 -c 1K)))[0], 0, 'create -c 1K exits with 0');
    is(variant('Int16')->class->new("$path.new")->capacity, 1024, '1K is 1024');
};

done_testing;
