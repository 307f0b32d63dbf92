# The handle of a subscriber without an event loop module: select, IO::Select, IO::Poll.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Poll qw(POLLIN);
use IO::Select;
use Test::More;
use Time::HiRes 'time';
use PubSubTest::Loop;

# The rest of a loop around a call that returns the readable handles, after at most that many seconds.
my (%watched, %timer, $stopped);
sub run_with {
    my ($wait) = @_;
    $stopped = 0;
    until ($stopped) {
        for my $fh ($wait->(0.002)) {
            my $code = $watched{ fileno $fh } or next;    # an earlier callback has removed it
            $code->{code}->();
        }
        $_->() for values %timer;
    }
    return;
}

my %common = (
    every => sub {
        my ($seconds, $code) = @_;
        my $next = time + $seconds;
        $timer{$code} = sub { return if time < $next; $next += $seconds; $code->() };
        return sub { delete $timer{$code} };
    },
    unwatch => sub { $_[0]->() },
    stop    => sub { $stopped = 1 },
);

sub watch_with {
    my ($add, $remove) = @_;
    return sub {
        my ($fh, $code) = @_;
        my $fd = fileno $fh;
        $watched{$fd} = { fh => $fh, code => $code };
        $add->($fh);
        return sub { $remove->($fh); delete $watched{$fd} };
    };
}

loop_ok(
    'select',
    %common,
    watch => watch_with(sub { }, sub { }),
    run   => sub {
        run_with(sub {
            my ($seconds) = @_;
            my $bits = '';
            vec($bits, $_, 1) = 1 for keys %watched;
            return if select($bits, undef, undef, $seconds) <= 0;
            return map { $_->{fh} } @watched{ grep { vec $bits, $_, 1 } keys %watched };
        });
    },
);

my $select = IO::Select->new;
loop_ok(
    'IO::Select',
    %common,
    watch => watch_with(sub { $select->add($_[0]) }, sub { $select->remove($_[0]) }),
    run   => sub { run_with(sub { $select->can_read($_[0]) }) },
);

my $poll = IO::Poll->new;
loop_ok(
    'IO::Poll',
    %common,
    watch => watch_with(sub { $poll->mask($_[0] => POLLIN) }, sub { $poll->remove($_[0]) }),
    run   => sub { run_with(sub { $poll->poll($_[0]) > 0 ? $poll->handles(POLLIN) : () }) },
);

example_ok('loop-select');

done_testing;
