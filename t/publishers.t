# Spare blocks of string rings: how many there are, and who gets them when their holders die, stop, or are many.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

my $class = 'Data::PubSub::Shared::Str';
require Data::PubSub::Shared;

subtest 'named options' => sub {
    my $path = fresh_path();
    my $must = 'publishers must be an integer from 1 to 65536, not';
    for my $case (
        ['as many as fit into 4 MiB', [16, 2**17],                             31],
        ['but no more than 64',       [16],                                    64],
        ['nor fewer than 16',         [16, 2**20],                             16],
        ['as many as asked for',      [16, publishers => 3],                   3],
        ['behind all others',         [16, 100, 0600, publishers => 1000],     1000],
        ['beside other options',      [16, mode => 0640, publishers => 2, msg_size => 10], 2],
        )
    {
        my ($what, $arguments, $publishers) = @$case;
        is($class->new(undef, @$arguments)->stats->{publishers}, $publishers, "publishers: $what");
    }
    is($class->new_memfd('t', 16, publishers => 5)->stats->{publishers}, 5, 'a memfd');
    is($class->new(undef, 16, msg_size => 10)->stats->{msg_size}, 10, 'msg_size by name');
    is($class->new(undef, 16, 20, msg_size => 10)->stats->{msg_size}, 10, 'the name comes last');
    croaks_like(sub { $class->new($path, 16, publishers => $_) }, "$must \"?\Q$_\E", "publishers $_") for 0, -1, 65537, 'x';
    croaks_like(sub { $class->new($path, 16, publisher => 1) },
        'new: unknown option "publisher"; known: keep, lossless, mode, msg_size, prefault, publishers, readers, refs, stamped, strict', 'unknown');
    croaks_like(sub { Data::PubSub::Shared::Int->new($path, 16, publishers => 1) },
        'new: unknown option "publishers"; known: keep, lossless, mode, prefault, readers, strict', 'integers need none');
    ok(!-e $path, 'no file was left');

    $class->new($path, 16, mode => 0640, publishers => 7);
    is((stat $path)[2] & 07777, 0640, 'mode by name');
    no warnings 'Data::PubSub::Shared';
    is($class->new($path, 16, publishers => 9)->stats->{publishers}, 7, 'a ring that exists keeps its own');
};

subtest 'more processes than spares' => sub {
    my $ring = $class->new(fresh_path(), 4096, publishers => 2);
    my $sub  = $ring->subscribe;
    my @kids = map {
        my $id = $_;
        spawn(sub { $ring->publish("$id $_") for 1 .. 300 });
    } 1 .. 8;
    reap('a publisher ends', $_) for @kids;
    my (%last, @strange);
    for my $message ($sub->drain) {
        my ($id, $n) = split ' ', $message;
        push @strange, $message if $n != ($last{$id} // 0) + 1;
        $last{$id} = $n;
    }
    is_deeply(\@strange, [], 'nothing is out of order, or comes twice');
    is_deeply(\%last, { map { $_ => 300 } 1 .. 8 }, 'each message of each came');
    is($ring->stats->{leaked}, 0, 'no spare is missing');
};

subtest 'children of an anonymous ring' => sub {
    my $ring = $class->new(undef, 64, publishers => 1);
    my $sub  = $ring->subscribe;
    ok($ring->publish('parent'), 'the parent publishes');
    reap('a child', spawn(sub { $ring->publish('child') }));
    ok($ring->publish('parent again'), 'and again');
    is_deeply([$sub->drain], ['parent', 'child', 'parent again'], 'everything came');
};

subtest 'a batch longer than the ring' => sub {
    my $ring = $class->new(undef, 4, publishers => 2);
    my $sub  = $ring->subscribe;
    is($ring->publish_multi(1 .. 11), 11, 'all are published');
    is_deeply([$sub->drain], [8 .. 11], 'the last are there');
    is($sub->overflow_count, 7, 'the others are counted');
};

done_testing;
