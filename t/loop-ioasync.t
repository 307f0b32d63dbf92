# The handle of a subscriber in IO::Async, with each of its loops that is installed.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

eval { require IO::Async::Loop; require IO::Async::Timer::Periodic; require IO::Async::Handle; 1 }
    or plan skip_all => 'IO::Async is not installed';
require PubSubTest::Loop;
PubSubTest::Loop->import;

for my $kind (qw(Select Poll Epoll EV)) {
    my $class = "IO::Async::Loop::$kind";
    next if !eval "require $class; 1";
    my $loop   = $class->new;
    my %common = (
        every => sub {
            my ($seconds, $code) = @_;
            my $timer = IO::Async::Timer::Periodic->new(interval => $seconds, on_tick => $code);
            $loop->add($timer->start);
            return sub { $loop->remove($timer) };
        },
        unwatch => sub { $_[0]->() },
        run     => sub { $loop->run },
        stop    => sub { $loop->stop },
    );
    loop_ok(
        $class,
        watch => sub {
            my ($fh, $code) = @_;
            $loop->watch_io(handle => $fh, on_read_ready => $code);
            return sub { $loop->unwatch_io(handle => $fh, on_read_ready => 1) };
        },
        %common,
    );

    loop_ok(
        "$class, IO::Async::Handle",
        watch => sub {
            my ($fh, $code) = @_;
            my $handle = IO::Async::Handle->new(read_handle => $fh, on_read_ready => $code);
            $loop->add($handle);
            return sub { $loop->remove($handle) };
        },
        %common,
    ) if $kind eq 'Poll';
}

example_ok('loop-ioasync');

done_testing;
