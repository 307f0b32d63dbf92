# `pubsub-shared create` and the disk space that a ring needs.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use PubSubTest;
use PubSubTest::Cli;

use Data::PubSub::Shared::CLI::Space;

my $parse = \&Data::PubSub::Shared::CLI::Space::parse;
my $title = "Filesystem     Type  1024-blocks      Used Available Capacity Mounted on\n";
is_deeply([$parse->("${title}tmpfs          tmpfs      65536     0     65536       0% /dev/shm\n")], [2**26, 'tmpfs'],
    'parse reads free space and type from the output of df');
is_deeply([$parse->("${title}//host/a b 7   cifs         100   101        -1     101% /mnt/x y\n")], [0, 'cifs'],
    'parse accepts names with blanks and a negative number');
is_deeply([$parse->("${title}none           ramfs          0     0         0       -  /x\n")], [],
    'parse returns nothing for a file system without a limit');
is_deeply([$parse->('')], [], 'parse returns nothing for empty output');

subtest 'the free space of this host' => sub {
    my ($free, $where) = Data::PubSub::Shared::CLI::Space::free_for(fresh_path());
    defined $free or plan skip_all => 'df prints nothing here';
    cmp_ok($free, '>', 0, 'free_for returns the free space');
    like($where, qr/\A(?:in memory|on its file system)\z/, 'free_for says where the space is');
    is_deeply([Data::PubSub::Shared::CLI::Space::free_for('/no/such/directory/ring')], [],
        'free_for returns nothing for a missing directory');
};

subtest 'a small disk' => sub {
    my $dir = fresh_dir();
    my $kid = spawn(sub {
        my ($peer) = @_;
        my $why = small_disk($dir, 'size=1m');
        return $peer->tell("skip $why") if $why;
        my $ask = sub { my ($status, $out, $err) = cli('create', "$dir/ring", @_); $peer->tell("$status|$out|$err" =~ s/\n//gr) };
        $ask->(qw(-t int -c 32k));
        $peer->tell(-e "$dir/ring" ? 'there' : 'gone');
        $ask->(qw(-t int -c 32k --force));
        unlink "$dir/ring" or die "unlink: $!";
        $ask->(qw(-t int -c 16k));
        unlink "$dir/ring" or die "unlink: $!";
        $ask->(qw(-t int -c 64k -f));
    });
    my $heard = $kid->hear;
    plan skip_all => $1 if $heard =~ /\Askip (.*)/;
    is($heard, "1||pubsub-shared: $dir/ring: a ring of 524 KiB would take more than half of the 1 MiB that are free "
        . 'on its file system; --force creates it anyway',
            'create refuses a ring that takes more than half of the free space');
    is($kid->hear, 'gone', 'the refused create leaves no file');
    is($kid->hear, "0|$dir/ring: Int, 32768 messages, 524 KiB|", 'create --force makes that ring');
    is($kid->hear, "0|$dir/ring: Int, 16384 messages, 268 KiB|", 'create makes a ring that takes less than half of the free space');
    like($kid->hear, qr/\A1\|\|.*No space left/, 'create --force fails if the ring does not fit');
    is($kid->end, 0, 'the child exits with 0');
};

done_testing;
