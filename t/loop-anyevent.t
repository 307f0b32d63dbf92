# The handle of a subscriber in AnyEvent, with each of its loops that is installed.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

eval { require AnyEvent; require AnyEvent::Loop; 1 } or plan skip_all => 'AnyEvent is not installed';
require PubSubTest::Loop;
require PubSubTest::Program;
PubSubTest::Loop->import;

# A process can use only one loop.
my $model = $ENV{PERL_ANYEVENT_MODEL};
if (!defined $model) {
    for my $name (qw(Perl EV)) {
        next if $name eq 'EV' && !eval { require EV; 1 };
        local $ENV{PERL_ANYEVENT_MODEL} = $name;
        my ($out, $status) = PubSubTest::Program::run_file($0);
        is($status, 0, "the tests over $name exit with 0") or diag($out);
        like($out, qr/^1\.\.\d/m, "the tests over $name run to the end");
    }
    example_ok('loop-anyevent');
    done_testing();
    exit;
}

my $end;
loop_ok(
    "AnyEvent, $model",
    watch   => sub { my ($fh, $code) = @_; return [AnyEvent->io(fh => $fh, poll => 'r', cb => $code)] },
    every   => sub { my ($s, $code) = @_; return [AnyEvent->timer(after => $s, interval => $s, cb => $code)] },
    unwatch => sub { @{ $_[0] } = () },
    run     => sub { $end = AnyEvent->condvar; $end->recv },
    stop    => sub { $end->send },
);
no warnings 'once';
like($AnyEvent::MODEL, qr/\Q$model\E/, 'AnyEvent uses the requested loop');

done_testing;
