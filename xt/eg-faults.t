# eg/broadcast.pl where its publisher is held up, again and again, between claiming a position and filling it: the workers
# abandon the position, it claims another one, and all workers get every line all the same.

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

# Longer than subscribers wait for a claimed position.
$ENV{PUBSUB_FAULT} = 'after-claim=delay:4000';

# Runs it; $code gets the handle of its standard error and the pids of the workers. (wait status, output)
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
        is($status, 0, 'exit status') or diag $out;
        like($out, qr/claimed again: [1-9]/, 'positions were abandoned');
        like($out, qr/^Every worker got every line, in order$/m, 'none was lost');
    };
}

subtest 'a worker that is stopped' => sub {
    my ($status, $out) = broadcast(sub {
        my ($err, $slow) = @_;
        kill STOP => $slow;
        # What it has said already may be in the handle's buffer, and it says no more while it waits: so sysread could wait for ever.
        { local $/ = ' behind'; readline $err }
        kill CONT => $slow;
    }, '--workers', 2, '--ring-size', 16);
    is($status, 0, 'exit status') or diag $out;
    like($out, qr/^Every worker got every line, in order$/m, 'none was lost');
};

done_testing;
