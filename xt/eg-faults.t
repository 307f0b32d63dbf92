# eg/broadcast.pl with a publisher that is delayed repeatedly between claiming a position and filling it: the workers
# abandon the position, the publisher claims another one, and all workers get all lines.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Build 'fault';
use PubSubTest;
use PubSubTest::Program;
use POSIX ();
use Test::More;

my $program = "$FindBin::Bin/../eg/broadcast.pl";

# Longer than the claim timeout.
$ENV{PUBSUB_FAULT} = 'after-claim=delay:4000';

# Runs the example; $code gets the handle of its standard error and the pids of the workers. (wait status, output)
sub broadcast {
    my ($code, @arguments) = @_;
    my $file = spew(fresh_dir() . '/lines', join '', map {"$_\n"} 1 .. 300);
    pipe my $err, my $its_err or die "pipe: $!";
    my (undef, $out) = read_perl(sub { open STDERR, '>&', $its_err or die "err: $!" },
        $program, '--progress', @arguments, $file);
    close $its_err;
    my @workers = (readline($err) // '') =~ /(\d+)/g;
    $code->($err, @workers);
    1 while readline $err;
    local $/;
    my $printed = readline $out;
    close $out;
    return ($?, $printed);
}

for my $size (4, 64) {
    subtest "a ring of $size" => sub {
        my ($status, $out) = broadcast(sub { }, '--workers', 2, '--ring-size', $size);
        is($status, 0, "a ring of $size: broadcast exits with 0") or diag $out;
        like($out, qr/claimed again: [1-9]/, "a ring of $size: positions were abandoned");
        like($out, qr/^Every worker got every line, in order$/m, "a ring of $size: no line is lost");
    };
}

subtest 'a worker that is stopped' => sub {
    my ($status, $out) = broadcast(sub {
        my ($err, $slow) = @_;
        kill STOP => $slow;
        # What it has printed already may be in the buffer of the handle, and it prints no more while it waits: sysread could wait
        # forever.
        { local $/ = ' behind'; readline $err }
        kill CONT => $slow;
    }, '--workers', 2, '--ring-size', 16);
    is($status, 0, 'a worker is stopped: broadcast exits with 0') or diag $out;
    like($out, qr/^Every worker got every line, in order$/m, 'a worker is stopped: no line is lost');
};

done_testing;
