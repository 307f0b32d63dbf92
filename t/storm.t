# Many processes open one path at the same time: they get one ring, never an incomplete one.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

my $PROCESSES = 8;
my $ROUNDS    = 60;

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;
    my $dir   = fresh_dir();

    for my $start ('nothing', 'an empty file') {
        my @kids = map {
            my $id = $_;
            spawn(sub {
                my ($peer) = @_;
                while (defined(my $path = $peer->hear)) {
                    last if $path eq 'end';
                    no warnings 'Data::PubSub::Shared';    # the ring has only one of the two capacities
                    my $ring = $class->new($path, 16 << $id % 2);
                    $ring->publish($v->value($id));
                    $peer->tell(join ' ', (stat $path)[1], $ring->capacity);
                }
            });
        } 1 .. $PROCESSES;
        my ($wrong, $lost) = (0, 0);
        for my $round (1 .. $ROUNDS) {
            my $path = "$dir/$round";
            spew($path, '') if $start ne 'nothing';
            $_->tell($path) for @kids;
            my %seen = map { ($_->hear // 'gone') => 1 } @kids;
            $wrong++ if keys %seen != 1;
            my @got  = sort $class->new($path)->subscribe_all->drain;
            $lost++ if "@got" ne join ' ', $v->values(1, $PROCESSES);
            last if $wrong || $lost;
            $class->unlink($path);
        }
        $_->tell('end') for @kids;
        reap("$start: all processes exit with 0", @kids);
        is($wrong, 0, "$start: all processes have the same file and capacity");
        is($lost, 0, "$start: all processes publish to it");
    }
    is_deeply([entries($dir)], [], 'no file is left');

    # Creates, uses and removes rings repeatedly.
    my $path = "$dir/shared";
    my @kids = map {
        my $id = $_;
        spawn(sub {
            my ($peer) = @_;
            $peer->hear;
            for my $round (1 .. 150) {
                my $ring = $class->new($path, 4);
                my $sub  = $ring->subscribe_all;
                $ring->publish($v->value($id));
                $sub->poll_wait;
                $class->unlink($path) if $round % 3 == 0;
            }
        });
    } 1 .. 4;
    $_->tell('go') for @kids;
    reap('processes that create and remove rings at the same time exit with 0', @kids);
    $class->unlink($path);
    is_deeply([entries($dir)], [], 'no file is left');

    # The same, with processes that are killed at any moment: the path can always be opened.
    my $failed = 0;
    for my $round (1 .. 30) {
        my $victim = spawn(sub {
            my ($peer) = @_;
            $peer->tell('ready');
            while (1) { $class->new($path, 64); $class->unlink($path) }
        });
        $victim->hear;
        $class->new("$dir/other", 4) for 1 .. $round % 10;
        $victim->kill('KILL');
        $victim->end;
        my $ring = eval { $class->new($path, 64) } or $failed++;
        $failed++ if $ring && !eval { $ring->publish($v->value(1)) };
        $class->unlink($path) if $round % 2;
    }
    is($failed, 0, 'killed creators leave a path that can be opened');
});

done_testing;
