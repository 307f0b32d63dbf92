# The handle of a subscriber in EV.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

eval { require EV; 1 } or plan skip_all => 'EV is not installed';
require PubSubTest::Loop;
PubSubTest::Loop->import;

# One loop for each backend of this system; epoll is the usual one.
my %kind = (select => EV::BACKEND_SELECT(), poll => EV::BACKEND_POLL(), epoll => EV::BACKEND_EPOLL());
for my $name (sort keys %kind) {
    next if !(EV::supported_backends() & $kind{$name});
    my $loop = EV::Loop->new($kind{$name}) or next;
    loop_ok(
        "EV, $name",
        watch   => sub { my ($fh, $code) = @_; return [$loop->io($fh, EV::READ(), $code)] },
        every   => sub { my ($seconds, $code) = @_; return [$loop->timer($seconds, $seconds, $code)] },
        unwatch => sub { @{ $_[0] } = () },
        run     => sub { $loop->run },
        stop    => sub { $loop->break },
    );
}

example_ok('loop-ev');

done_testing;
