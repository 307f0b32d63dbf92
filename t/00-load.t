# The distribution loads; all classes have the version of the distribution and the documented methods.

use strict;
use warnings;
use Test::More;

require_ok('Data::PubSub::Shared');

my @ring = qw(
    new new_memfd new_from_fd memfd publish publish_multi publish_notify subscribe subscribe_all
    capacity path stats sync clear unlink write_pos eventfd eventfd_set fileno notify
    eventfd_consume DESTROY CLONE_SKIP
);
my @sub = qw(
    poll poll_multi drain poll_wait poll_wait_multi poll_cb drain_notify lag overflow_count
    has_overflow cursor write_pos reset reset_oldest capacity eventfd_set fileno eventfd_consume
    notify DESTROY CLONE_SKIP
);

like($Data::PubSub::Shared::VERSION, qr/\A\d+\.\d+\z/, 'the version is a number');

for my $class (map {"Data::PubSub::Shared::$_"} qw(Int Int32 Int16 Str Num)) {
    require_ok($class);
    is($class->VERSION, Data::PubSub::Shared->VERSION, "$class has the version of the distribution");
    can_ok($class, @ring);
    can_ok("${class}::Sub", @sub);
    ok($class->CLONE_SKIP,         "$class objects are not cloned into new threads");
    ok("${class}::Sub"->CLONE_SKIP, "${class}::Sub objects are not cloned into new threads");
    is($class->can('poll'), undef, "$class has no poll");
    is("${class}::Sub"->can('publish'), undef, "${class}::Sub has no publish");
}
can_ok('Data::PubSub::Shared::Str', 'msg_size');

done_testing;
