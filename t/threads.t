# ithreads: objects work only in the thread that created them; each thread can open the ring itself.

use strict;
use warnings;
use Config;
use FindBin;
use lib "$FindBin::Bin/lib";

BEGIN {
    if (!$Config{useithreads}) {
        print "1..0 # SKIP this perl has no threads\n";
        exit 0;
    }
}
use threads;
use Test::More;
use Scalar::Util qw(blessed);
use PubSubTest;

each_variant(sub {
    my ($v)  = @_;
    my $path = fresh_path();
    my $ring = $v->class->new($path, 64);
    my $sub  = $ring->subscribe;
    my $fd   = $ring->eventfd;
    my $open = open_fds();
    my $maps = shared_maps();

    my ($blessed, @errors) = threads->create({ context => 'list' }, sub {
        my @found = (blessed $ring) || (blessed $sub) ? 'blessed' : 'plain';
        for my $call (
            sub { $v->class->can('publish')->($ring, $v->value(1)) },
            sub { $v->sub_class->can('poll')->($sub) },
            sub { $ring->publish($v->value(1)) },
            sub { $sub->poll },
        ) {
            push @found, eval { $call->(); 1 } ? 'no error' : "$@";
        }
        return @found;
    })->join;
    is($blessed, 'plain', 'in a new thread, the objects of its parent are not objects');
    like($errors[0], qr/Expected a \Q${\ $v->class }\E object/, 'a method of a ring croaks on such a value');
    like($errors[1], qr/Expected a \Q${\ $v->sub_class }\E object/, 'a method of a subscriber croaks on such a value');
    isnt($errors[$_], 'no error', 'a method call on such a value croaks') for 2, 3;
    ok(defined fd_target($fd), 'the end of the thread does not close the eventfd of the parent');
    $ring->publish($v->value(2));
    is($sub->poll, $v->value(2), 'the objects of the parent still work');

    my @got = threads->create({ context => 'list' }, sub {
        my $mine   = $v->class->new($path);
        my $reader = $mine->subscribe_all;
        $mine->publish($v->value(3));
        $mine->eventfd;
        return $reader->drain;
    })->join;
    is_deeply(\@got, [$v->values(2, 3)], 'a thread opens the ring by its path');
    is($sub->poll, $v->value(3), 'the parent gets the message of the thread');

    my @threads = map {
        my $id = $_;
        threads->create(sub {
            my $mine = $v->class->new($path);
            $mine->publish($v->value($id * 1000 + $_)) for 1 .. 15;
        });
    } 1 .. 4;
    $_->join for @threads;
    my %next = map { $_ => 1 } 1 .. 4;
    my $wrong = 0;
    for my $message ($sub->drain) {
        my ($number) = $message =~ /(\d+)/;
        $wrong++ if $next{ int($number / 1000) }++ != $number % 1000;
    }
    is($wrong, 0, 'four threads publish, each in order');
    is_deeply([values %next], [(16) x 4], 'no message is lost');

    my $waiter = threads->create(sub {
        my $mine = $v->class->new($path)->subscribe_all;
        $mine->cursor($mine->write_pos);
        my $first = $mine->poll_wait;
        return $first;
    });
    $ring->publish($v->value(5)), select undef, undef, undef, 0.001 while $waiter->is_running;
    is($waiter->join, $v->value(5), 'a thread that waits is woken by another thread');

    my $keyword = $v->keyword('poll');
    my $publish = $v->keyword('publish');
    my $code    = eval "use @{[$v->class]}; sub { $publish \$_[0], \$_[2]; $keyword \$_[1] }" or die $@;
    my $through = threads->create(sub {
        my $mine = $v->class->new($path);
        return join '|', map { $code->($mine, $mine->subscribe, $v->value($_)) } 1 .. 3;
    })->join;
    is($through, join('|', $v->values(1, 3)), 'keywords compiled before a thread was created work in it');
    $sub->reset;
    is($code->($ring, $sub, $v->value(8)), $v->value(8), 'the same keywords work in the parent');

    is(open_fds(), $open, 'threads leave no descriptor');
    is(shared_maps(), $maps, 'threads leave no mapping');
});

done_testing;
