# Creates and destroys rings and subscribers, and makes calls that croak, a hundred thousand times each. Descriptors,
# mappings, memory and perl's scalars do not grow.
#
#   XT_ROUNDS   another number of rounds

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use PubSubTest;
use Test::More;

my $ROUNDS = $ENV{XT_ROUNDS} // 100_000;
my $counts_scalars = eval { require Test::LeakTrace; Test::LeakTrace->import('leaked_count'); 1 };

# $weight: the cost of one round in rounds of the cheapest kind; divides the number of rounds unless XT_ROUNDS is set.
sub flat {
    my ($name, $weight, $code) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $rounds = $ENV{XT_ROUNDS} || $weight == 1 ? $ROUNDS : int $ROUNDS / $weight;
    $code->() for 1 .. 300;
    my ($rss, $fds, $maps) = (rss_kb(), scalar open_fds(), shared_maps());
    $code->() for 1 .. $rounds;
    my @after = (scalar open_fds(), shared_maps());
    my $grown = rss_kb() - $rss;
    is_deeply(\@after, [$fds, $maps], "$name: no descriptor or mapping leaks in $rounds rounds");
    cmp_ok($grown, '<', 512, "$name: memory does not grow");
    return if !$counts_scalars;
    my $loop = sub { $code->() for 1 .. 20 };
    $loop->();
    is(&leaked_count($loop), 0, "$name: no scalar leaks");
    return;
}

for my $v (grep { $_->name eq 'Int' || $_->is_str } variants()) {
    subtest $v->name => sub {
        my $class = $v->class;
        my $path  = fresh_path();
        my $dir   = fresh_dir();
        my $ring  = $class->new($path, 16);
        my $sub   = $ring->subscribe;
        my $text  = spew(fresh_path(), 'x' x 100_000);
        my $value = $v->value(1);
        my $long  = 'x' x 300;

        flat('rings in memory',        2,  sub { $class->new(undef, 16) });
        flat('rings in files, opened', 4,  sub { $class->new($path) });
        flat('rings in files, created', 20, sub { $class->new("$dir/x", 16)->unlink });
        flat('memfds',                 8,  sub { $class->new_from_fd($class->new_memfd('t', 16)->memfd) });
        flat('subscribers',            1,  sub { $ring->subscribe });
        flat('subscribers with eventfds', 8, sub { my $r = $class->new(undef, 2); $r->eventfd; my $s = $r->subscribe; undef $r; $s->notify });
        flat('rings that are refused', 4,  sub { eval { $class->new($text, 16) }; eval { $class->new("$dir/none/x", 16) } });
        flat('arguments that are refused', 2, sub {
            eval { $class->new($path, 'abc') };
            eval { $class->new_from_fd(-1) };
            eval { $sub->drain(-1) };
            eval { $sub->cursor('abc') };
            eval { $sub->poll_wait('abc') };
            eval { $ring->publish };
        });
        flat('invocants that are not objects', 1, sub {
            eval { $class->can('publish')->([], 1) };
            eval { $v->sub_class->can('poll')->($ring) };
        });
        flat('destroyed objects', 2, sub {
            my $s = $ring->subscribe;
            $s->DESTROY;
            eval { $s->poll };
        });
        flat('callbacks that die', 1, sub { $ring->publish($value); eval { $sub->poll_cb(sub { die "x\n" }) } });
        flat('messages that are too long', 1, sub { eval { $ring->publish_multi($value, $long) } }) if $v->is_str;
        flat('messages', 1, sub {
            $ring->publish_multi($value, $value);
            $ring->publish($value);
            my $x = $sub->poll;
            my @x = $sub->drain;
        });
    };
}

done_testing;
