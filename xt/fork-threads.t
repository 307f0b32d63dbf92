# fork while another thread is inside a publish or a wait; threads that start and end under load.

use strict;
use warnings;
use Config;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";

BEGIN {
    if (!$Config{useithreads}) {
        print "1..0 # SKIP this perl has no threads\n";
        exit 0;
    }
}
use threads;
use threads::shared;
use XT;
use XT::Build 'fault';
use PubSubTest;
use Test::More;

# A thread that publishes strings holds a spare block most of the time.
BEGIN { $ENV{PUBSUB_FAULT} = 'spare-taken=delay:2000' }

my $stop :shared;

# A forked child publishes and reads, whatever the threads of its parent were doing.
sub child_works {
    my ($v, $ring, $sub, $n) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        alarm 60;
        $SIG{ALRM} = 'DEFAULT';
        my $mine = $ring->subscribe;
        $ring->publish($v->value(20_000 + $n));
        my $seen = 0;
        until ($seen) { $seen = grep { $_ eq $v->value(20_000 + $n) } $mine->poll_wait_multi(100) }
        $sub->drain;
        POSIX::_exit($mine->overflow_count ? 3 : 0);
    }
    waitpid $pid, 0;
    return $?;
}

each_variant(sub {
    my ($v) = @_;
    $stop = 0;
    my $path = fresh_path();
    my $ring = $v->class->new($path, 1 << 14);
    my $sub  = $ring->subscribe;
    my $publisher = threads->create(sub {
        my $mine = $v->class->new($path);
        my $n = 0;
        until ($stop) {
            $mine->publish($v->value($n++ % 20_000));
            select undef, undef, undef, 0.0005 if !$v->is_str;
        }
        return $n;
    });
    my $sleeper = threads->create(sub {
        my $mine = $v->class->new($path)->subscribe;
        my $n = 0;
        until ($stop) { $n++ if defined $mine->poll_wait(0.05) }
        return $n;
    });
    my %ends;
    my $of_children = 0;
    my $look  = sub { $of_children += grep { my ($n) = /(\d+)/; $n >= 20_000 } $sub->drain };
    my $forks = for_seconds(0.3, sub { $ends{ child_works($v, $ring, $sub, $_[0] % 12_000) }++; $look->() });
    $stop = 1;
    my ($published, $heard) = ($publisher->join, $sleeper->join);
    is_deeply([keys %ends], [0], "$forks children of a process with busy threads publish, read and exit with 0");
    cmp_ok($published, '>', 0, "the publishing thread published $published messages in the meantime");
    cmp_ok($heard,     '>', 0, "the waiting thread got $heard messages in the meantime");
    $look->();
    is($of_children, $forks, 'each child has published once');
    is($ring->stats->{recoveries}, 0, 'no spare was taken over');

    # Threads start and end.
    my $open  = open_fds();
    my $maps  = shared_maps();
    my $count = for_seconds(0.2, sub {
        my ($round) = @_;
        my @threads = map {
            my $id = $_;
            threads->create(sub {
                my $mine = $v->class->new($path);
                my $reader = $mine->subscribe;
                $mine->eventfd;
                $mine->publish_multi($v->values(1, 3));
                my @own = $reader->drain;
                return scalar @own;
            });
        } 1 .. 4;
        $_->join >= 3 or die 'a thread has missed its own messages' for @threads;
    });
    is(open_fds(),    $open, "after $count times four threads, no descriptor is left");
    is(shared_maps(), $maps, "after $count times four threads, no mapping is left");
});

done_testing;
