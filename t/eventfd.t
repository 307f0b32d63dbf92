# eventfd: numbers, ownership, counts and readiness.

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

    is($ring->fileno, -1, 'no eventfd at first');
    my $before = $ring->subscribe;
    my $bare   = open_fds();
    my $fd     = $ring->eventfd;
    cmp_ok($fd, '>', 2, 'eventfd');
    like(fd_target($fd), qr/eventfd/, 'is one');
    is(open_fds(), $bare + 1, 'and one only');
    ok(fd_is_cloexec($fd), 'close-on-exec');
    is((oct((slurp("/proc/self/fdinfo/$fd") =~ /^flags:\s*(\d+)/m)[0]) & 04000), 04000, 'non-blocking');
    is($ring->eventfd, $fd, 'once made, it stays');
    is($ring->fileno, $fd, 'fileno of the ring');
    is($before->fileno, -1, 'an earlier subscriber has none');
    my $sub = $ring->subscribe;
    is($sub->fileno, $fd, 'a later one has it');
    is($ring->subscribe_all->fileno, $fd, 'by subscribe_all too');

    ok(!readable($fd), 'not readable at first');
    is($ring->eventfd_consume, undef, 'nothing to take: undef');
    is($sub->eventfd_consume, undef, 'by the subscriber as well');
    ok($ring->notify, 'notify is true');
    ok(readable($fd), 'readable after a notify');
    is($ring->eventfd_consume, 1, 'the count taken');
    ok(!readable($fd), 'not readable after that');
    $ring->notify for 1 .. 3;
    ok($sub->notify, 'a subscriber can notify too');
    is($sub->eventfd_consume, 4, 'four, taken by the subscriber');
    is($ring->eventfd_consume, undef, 'and gone');

    ok($ring->publish($v->value(1)), 'publish');
    is($ring->eventfd_consume, undef, 'does not notify');
    ok($ring->publish_notify($v->value(2)), 'publish_notify is true');
    is($ring->eventfd_consume, 1, 'and does, once');
    is_deeply([$sub->drain], [$v->values(1, 2)], 'both publish');

    $ring->publish_notify($v->value($_)) for 1 .. 5;
    is_deeply([$sub->drain_notify(2)], [$v->values(1, 2)], 'drain_notify(2)');
    ok(!readable($fd), 'takes the whole count');
    is_deeply([$sub->drain_notify], [$v->values(3, 5)], 'drain_notify without a count in the eventfd');
    is_deeply([$sub->drain_notify], [], 'and with nothing at all');
    $ring->publish($v->value(6));
    is_deeply([$before->drain_notify(100)], [$v->values(1, 2), $v->values(1, 6)], 'drain_notify without an eventfd');
    is(scalar $sub->drain_notify, $v->value(6), 'drain_notify in scalar context');

    ok(!$before->notify, 'notify without an eventfd is false');
    is($before->eventfd_consume, undef, 'eventfd_consume without one: undef');
    my $plain = $v->ring(8);
    ok(!$plain->notify, 'the same on a ring');
    is($plain->eventfd_consume, undef, 'the same on a ring');
    ok($plain->publish_notify($v->value(1)), 'publish_notify without one publishes');
    is($plain->subscribe_all->poll, $v->value(1), 'indeed');

    subtest 'ownership' => sub {
        undef $ring;
        ok(defined fd_target($fd), 'the subscriber keeps it open');
        $sub->notify;
        is($sub->eventfd_consume, 1, 'and uses it');
        undef $sub;
        is(fd_target($fd), undef, 'its last user closes it');
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
        is_deeply([$ring->eventfd_set($lent)], [], 'returns nothing');
        is($ring->fileno, $lent, 'borrowed');
        is($ring->eventfd, $lent, 'eventfd is that one now');
        is($user->fileno, $own, 'who subscribed before keeps the other');
        ok(defined fd_target($own), 'which stays open for it');
        is($ring->subscribe->fileno, $lent, 'who subscribes now gets the new one');
        $ring->publish_notify($v->value(1));
        is($lender->eventfd_consume, 1, 'it is used');
        undef $user;
        is(fd_target($own), undef, 'our own is closed with its last user');

        my $borrower = $ring->subscribe;
        $ring->eventfd_set(-1);
        is($ring->fileno, -1, 'taken away');
        ok(!$ring->notify, 'nothing to notify');
        is($borrower->fileno, $lent, 'not from the subscriber');
        undef $ring;
        $borrower->notify;
        is($lender->eventfd_consume, 1, 'who goes on using it');
        $borrower->eventfd_set(-1);
        is($borrower->fileno, -1, 'taken away there too');
        $borrower->eventfd_set($lent);
        is($borrower->fileno, $lent, 'and given back');
        undef $borrower;
        ok(defined fd_target($lent), 'a borrowed one is never closed');
        is(open_fds(), $open, 'and nothing is left open');

        my $again = $v->ring(8);
        $open = open_fds();
        $again->eventfd;
        $again->eventfd_set(-1);
        is(open_fds(), $open, 'eventfd_set(-1) closes our own');
        cmp_ok($again->eventfd, '>', 2, 'eventfd makes another');
        $again->eventfd_set($again->fileno);
        ok(eval { $again->notify }, 'set to its own number, it still works') or diag($@);
        $again->DESTROY;

        my $sub = $lender->subscribe;
        for my $object ($lender, $sub) {
            for my $case ([-2, '-2'], ['abc', '"abc"'], [1.5, '1\.5'], [undef, '.*'], [2**40, '1099511627776']) {
                my ($number, $shown) = @$case;
                croaks_like(sub { $object->eventfd_set($number) }, 'eventfd_set: ', "eventfd_set($shown)");
                like($@, qr/file descriptor must be a non-negative integer, not $shown/, 'with its reason')
                    unless defined $number && $number eq 2**40;
            }
            is($object->fileno, $lent, 'keeps what it had');
            croaks_like(sub { $object->eventfd_set }, 'Usage: ', 'no argument');
        }
    });
};

done_testing;
