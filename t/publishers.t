# Spare blocks of string rings: their number, and how publishers share them.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

my $class = 'Data::PubSub::Shared::Str';
require Data::PubSub::Shared;

subtest 'the option publishers, and options by name' => sub {
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
        is($class->new(undef, @$arguments)->stats->{publishers}, $publishers, "number of publishers: $what");
    }
    is($class->new_memfd('t', 16, publishers => 5)->stats->{publishers}, 5, 'new_memfd has the option publishers');
    is($class->new(undef, 16, msg_size => 10)->stats->{msg_size}, 10, 'msg_size can be given by name');
    is($class->new(undef, 16, 20, msg_size => 10)->stats->{msg_size}, 10, 'an option by name overrides the positional argument');
    croaks_like(sub { $class->new($path, 16, publishers => $_) }, "$must \"?\Q$_\E", "publishers $_ croaks") for 0, -1, 65537, 'x';
    croaks_like(sub { $class->new($path, 16, publisher => 1) },
        'new: unknown option "publisher"; known: keep, lossless, mode, msg_size, prefault, publishers, readers, refs, stamped, strict', 'an unknown option croaks');
    croaks_like(sub { Data::PubSub::Shared::Int->new($path, 16, publishers => 1) },
        'new: unknown option "publishers"; known: keep, lossless, mode, prefault, readers, strict',
            'rings of integers have no option publishers');
    ok(!-e $path, 'calls that croak leave no file');

    $class->new($path, 16, mode => 0640, publishers => 7);
    is((stat $path)[2] & 07777, 0640, 'mode can be given by name');
    no warnings 'Data::PubSub::Shared';
    is($class->new($path, 16, publishers => 9)->stats->{publishers}, 7, 'an existing ring keeps its number of publishers');
};

subtest 'more processes than spares' => sub {
    my $ring = $class->new(fresh_path(), 4096, publishers => 2);
    my $sub  = $ring->subscribe;
    my @kids = map {
        my $id = $_;
        spawn(sub { $ring->publish("$id $_") for 1 .. 300 });
    } 1 .. 8;
    reap('a publisher exits with 0', $_) for @kids;
    my (%last, @strange);
    for my $message ($sub->drain) {
        my ($id, $n) = split ' ', $message;
        push @strange, $message if $n != ($last{$id} // 0) + 1;
        $last{$id} = $n;
    }
    is_deeply(\@strange, [], 'the messages of each publisher are in order, none twice');
    is_deeply(\%last, { map { $_ => 300 } 1 .. 8 }, 'all messages arrive');
    is($ring->stats->{leaked}, 0, 'no spare block has leaked');
};

subtest 'children of an anonymous ring' => sub {
    my $ring = $class->new(undef, 64, publishers => 1);
    my $sub  = $ring->subscribe;
    ok($ring->publish('parent'), 'the parent publishes');
    reap('a child that publishes exits with 0', spawn(sub { $ring->publish('child') }));
    ok($ring->publish('parent again'), 'the parent publishes again');
    is_deeply([$sub->drain], ['parent', 'child', 'parent again'], 'all messages arrive');
};

subtest 'a batch longer than the ring' => sub {
    my $ring = $class->new(undef, 4, publishers => 2);
    my $sub  = $ring->subscribe;
    is($ring->publish_multi(1 .. 11), 11, 'publish_multi publishes all messages');
    is_deeply([$sub->drain], [8 .. 11], 'drain returns the messages that are left');
    is($sub->overflow_count, 7, 'overflow_count counts the others');
};

done_testing;
