# Descriptors, mappings and memory do not grow with the number of objects created and destroyed.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

# Runs the code many times; after a warm-up, nothing may grow with the number of rounds.
sub flat {
    my ($name, $rounds, $code) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $code->() for 1 .. 200;
    my @before = (open_fds(), shared_maps());
    my $rss    = rss_kb();
    $code->() for 1 .. $rounds;
    my @after = (open_fds(), shared_maps());
    my $grown = rss_kb() - $rss;
    is_deeply(\@after, \@before, "$name: no descriptor or mapping leaks");
    cmp_ok($grown, '<', 1024, "$name: memory does not grow in $rounds rounds") or diag("grown by $grown kB");
    return;
}

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;
    my $path  = fresh_path();
    my $dir   = fresh_dir();
    my $ring  = $class->new($path, 16);
    my $sub   = $ring->subscribe;
    my $memfd = $class->new_memfd('t', 16);
    my $text  = spew(fresh_path(), 'x' x 100_000);
    my $value = $v->value(1);

    flat('anonymous rings', 3000, sub { $v->ring(16) });
    flat('files created and removed', 500, sub { $class->new("$dir/x", 16)->unlink });
    flat('files opened', 2000, sub { $class->new($path) });
    flat('memfds', 1000, sub { $class->new_memfd('t', 16) });
    flat('rings opened by descriptor', 2000, sub { $class->new_from_fd($memfd->memfd) });
    flat('subscribers', 10_000, sub { $ring->subscribe; $ring->subscribe_all });
    flat('eventfds', 3000, sub {
        my $r = $v->ring(2);
        $r->eventfd;
        my $s = $r->subscribe;
        $r->eventfd_set(-1);
        $r->eventfd;
        undef $r;
        $s->notify;
    });
    flat('explicit DESTROY', 3000, sub {
        my $r = $v->ring(2);
        my $s = $r->subscribe;
        $r->eventfd;
        $r->DESTROY;
        $s->DESTROY;
        eval { $r->publish($value) };
        eval { $s->poll };
    });
    flat('constructors that croak', 2000, sub {
        eval { $class->new($text, 16) };
        eval { $class->new("$dir/none/x", 16) };
        eval { $class->new($dir, 16) };
        eval { $class->new($path, 'abc') };
        eval { $class->new_from_fd(0) };
        eval { $class->new_memfd('t', 0) };
    });
    flat('methods that croak', 10_000, sub {
        eval { $ring->publish };
        eval { $sub->drain(-1) };
        eval { $sub->cursor('abc') };
        eval { $sub->poll_wait('abc') };
        eval { $class->can('publish')->([], 1) };
        eval { $ring->publish('x' x 300) } if $v->is_str;
        eval { $ring->publish_multi('x', 'x' x 300) } if $v->is_str;
    });
    flat('callbacks that die', 10_000, sub {
        $ring->publish($value);
        eval { $sub->poll_cb(sub { die "x\n" }) };
    });
    flat('messages', 20_000, sub {
        $ring->publish_multi(($value) x 8);
        my $x = $sub->poll;
        my @x = $sub->poll_multi(2);
        $sub->poll_cb(sub { });
        $ring->publish($value);
        @x = $sub->drain;
        my $s = $ring->stats;
        $ring->clear;
    });
    my $publish = $v->keyword('publish');
    my $poll    = $v->keyword('poll');
    my $lag     = $v->keyword('lag');
    my $words = eval "use $class; sub { $publish \$ring, \$value; $lag \$sub; my \$x = $poll \$sub }" or die $@;
    flat('keywords', 50_000, $words);
});

done_testing;
