# eventfd: descriptor numbers, ownership, counts and readiness.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

each_variant(sub {
    my ($v)  = @_;
    my $open = open_fds();
    my $ring = $v->ring(8);

    is($ring->fileno, -1, 'a new ring has no eventfd');
    my $before = $ring->subscribe;
    my $bare   = open_fds();
    my $fd     = $ring->eventfd;
    cmp_ok($fd, '>', 2, 'eventfd returns a descriptor number');
    like(fd_target($fd), qr/eventfd/, 'the descriptor is an eventfd');
    is(open_fds(), $bare + 1, 'eventfd opens one descriptor');
    ok(fd_is_cloexec($fd), 'the eventfd is close-on-exec');
    is((oct((slurp("/proc/self/fdinfo/$fd") =~ /^flags:\s*(\d+)/m)[0]) & 04000), 04000, 'the eventfd is non-blocking');
    is($ring->eventfd, $fd, 'eventfd returns the same number each time');
    is($ring->fileno, $fd, 'fileno of the ring returns the number');
    is($before->fileno, -1, 'a subscriber from before has no eventfd');
    my $sub = $ring->subscribe;
    is($sub->fileno, $fd, 'a later subscriber has the eventfd');
    is($ring->subscribe_all->fileno, $fd, 'subscribe_all gives the eventfd to its subscriber, too');

    ok(!readable($fd), 'the eventfd is not readable at first');
    is($ring->eventfd_consume, undef, 'eventfd_consume of the ring returns undef if the count is 0');
    is($sub->eventfd_consume, undef, 'eventfd_consume of the subscriber returns undef if the count is 0');
    ok($ring->notify, 'notify returns true');
    ok(readable($fd), 'the eventfd is readable after notify');
    is($ring->eventfd_consume, 1, 'eventfd_consume returns the count');
    ok(!readable($fd), 'the eventfd is not readable after eventfd_consume');
    $ring->notify for 1 .. 3;
    ok($sub->notify, 'notify of a subscriber returns true');
    is($sub->eventfd_consume, 4, 'eventfd_consume of the subscriber returns the count of all notifies');
    is($ring->eventfd_consume, undef, 'eventfd_consume of the ring then returns undef');

    ok($ring->publish($v->value(1)), 'publish returns true');
    is($ring->eventfd_consume, undef, 'publish does not notify');
    ok($ring->publish_notify($v->value(2)), 'publish_notify returns true');
    is($ring->eventfd_consume, 1, 'publish_notify notifies once');
    is_deeply([$sub->drain], [$v->values(1, 2)], 'publish and publish_notify both publish');

    $ring->publish_notify($v->value($_)) for 1 .. 5;
    is_deeply([$sub->drain_notify(2)], [$v->values(1, 2)], 'drain_notify(2) returns two messages');
    ok(!readable($fd), 'drain_notify consumes the whole count');
    is_deeply([$sub->drain_notify], [$v->values(3, 5)], 'drain_notify returns the other messages although the count is 0');
    is_deeply([$sub->drain_notify], [], 'drain_notify of an empty ring returns nothing');
    $ring->publish($v->value(6));
    is_deeply([$before->drain_notify(100)], [$v->values(1, 2), $v->values(1, 6)],
        'drain_notify without an eventfd returns the messages');
    is(scalar $sub->drain_notify, $v->value(6), 'drain_notify in scalar context returns the last message');

    ok(!$before->notify, 'notify of a subscriber without an eventfd returns false');
    is($before->eventfd_consume, undef, 'eventfd_consume of a subscriber without an eventfd returns undef');
    my $plain = $v->ring(8);
    ok(!$plain->notify, 'notify of a ring without an eventfd returns false');
    is($plain->eventfd_consume, undef, 'eventfd_consume of a ring without an eventfd returns undef');
    ok($plain->publish_notify($v->value(1)), 'publish_notify without an eventfd returns true');
    is($plain->subscribe_all->poll, $v->value(1), 'publish_notify without an eventfd publishes');

    subtest 'the last user of an eventfd closes it' => sub {
        undef $ring;
        ok(defined fd_target($fd), 'the eventfd stays open while a subscriber uses it');
        $sub->notify;
        is($sub->eventfd_consume, 1, 'the subscriber uses it without the ring');
        undef $sub;
        is(fd_target($fd), undef, 'the eventfd is closed with its last user');
    };
    undef $before;
    undef $plain;
    is(open_fds(), $open, 'no descriptor is left');
});

subtest 'eventfd_set' => sub {
    each_variant(sub {
        my ($v)    = @_;
        my $lender = $v->ring(8);
        my $lent   = $lender->eventfd;
        my $open   = open_fds();

        my $ring = $v->ring(8);
        my $own  = $ring->eventfd;
        my $user = $ring->subscribe;
        is_deeply([$ring->eventfd_set($lent)], [], 'eventfd_set returns nothing');
        is($ring->fileno, $lent, 'fileno returns the number that was set');
        is($ring->eventfd, $lent, 'eventfd returns the number that was set');
        is($user->fileno, $own, 'an earlier subscriber keeps the old eventfd');
        ok(defined fd_target($own), 'the old eventfd stays open for it');
        is($ring->subscribe->fileno, $lent, 'a new subscriber gets the number that was set');
        $ring->publish_notify($v->value(1));
        is($lender->eventfd_consume, 1, 'publish_notify writes to the eventfd that was set');
        undef $user;
        is(fd_target($own), undef, 'the old eventfd is closed with its last user');

        my $borrower = $ring->subscribe;
        $ring->eventfd_set(-1);
        is($ring->fileno, -1, 'eventfd_set(-1) removes the eventfd from the ring');
        ok(!$ring->notify, 'notify returns false without an eventfd');
        is($borrower->fileno, $lent, 'eventfd_set(-1) of the ring does not affect a subscriber');
        undef $ring;
        $borrower->notify;
        is($lender->eventfd_consume, 1, 'the subscriber still notifies through the eventfd');
        $borrower->eventfd_set(-1);
        is($borrower->fileno, -1, 'eventfd_set(-1) removes the eventfd from the subscriber');
        $borrower->eventfd_set($lent);
        is($borrower->fileno, $lent, 'eventfd_set of a subscriber sets an eventfd');
        undef $borrower;
        ok(defined fd_target($lent), 'an eventfd that was set is never closed');
        is(open_fds(), $open, 'no descriptor is left open');

        my $again = $v->ring(8);
        $open = open_fds();
        $again->eventfd;
        $again->eventfd_set(-1);
        is(open_fds(), $open, 'eventfd_set(-1) closes an eventfd that the ring has created');
        cmp_ok($again->eventfd, '>', 2, 'eventfd creates another one');
        $again->eventfd_set($again->fileno);
        ok(eval { $again->notify }, 'notify works after eventfd_set with the number of the own eventfd') or diag($@);
        $again->DESTROY;

        my $sub = $lender->subscribe;
        for my $object ($lender, $sub) {
            for my $case ([-2, '-2'], ['abc', '"abc"'], [1.5, '1\.5'], [undef, '.*'], [2**40, '1099511627776']) {
                my ($number, $shown) = @$case;
                croaks_like(sub { $object->eventfd_set($number) }, 'eventfd_set: ', "eventfd_set($shown) croaks");
                like($@, qr/file descriptor must be a non-negative integer, not $shown/, "eventfd_set($shown) says why")
                    unless defined $number && $number eq 2**40;
            }
            is($object->fileno, $lent, 'a call that croaks does not change the eventfd');
            croaks_like(sub { $object->eventfd_set }, 'Usage: ', 'eventfd_set croaks without an argument');
        }
    });
};

done_testing;
