# A state file that was copied to another host: the two rings do not shut each other out, and nothing is sent again.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;
use PubSubTest::Redis;
BEGIN { PubSubTest::Redis::needed() }
use PubSubTest::Bridge;

my $redis  = PubSubTest::Redis->start;
my $folder = fresh_dir();

sub up {
    my ($name) = @_;
    return bridge('up', '--server', $redis->where, '--stream', 'clone', '--host', 'h', '--ring', "$folder/$name/ring",
        '--state', "$folder/$name/state");
}

sub has { my ($count) = @_; return until_true(sub { stream_of($redis, 'clone') >= $count }) }

sub origin_of { my ($number) = @_; return (map { $_->[1]{o} =~ s/#.*//r } grep { ($_->[1]{i} // -1) == $number } stream_of($redis, 'clone'))[0] }

mkdir "$folder/$_" or die "mkdir: $!" for qw(a b);
my %ring = map { $_ => variant('Int')->class->new("$folder/$_/ring", 256) } qw(a b);
my $up = up('a')->connected;
$ring{a}->publish_multi(1 .. 100);
has(100);
is($up->term, 0, 'a host sends');

# Its image is started as another host, which has a ring of its own. Then both run, and are started again as they end.
spew("$folder/b/state", slurp("$folder/a/state"));
$ring{b}->publish_multi(501 .. 600);
my %said = (a => '', b => '');
my %process = map { $_ => up($_) } qw(b a);
my %next = (a => 101, b => 601);
my $supervise = sub {
    for my $name (qw(a b)) {
        next if !defined $process{$name}{pid} || waitpid($process{$name}{pid}, POSIX::WNOHANG()) == 0;
        delete $process{$name}{pid};
        $said{$name} .= $process{$name}->said;
        $process{$name} = up($name);
    }
};
for my $round (1 .. 10) {
    for my $name (qw(a b)) {
        $ring{$name}->publish_multi($next{$name} .. $next{$name} + 9);
        $next{$name} += 10;
        until_true(sub { $supervise->(); defined origin_of($next{$name} - 1) });
    }
}
$_->term for values %process;
$said{$_} .= $process{$_}->said for qw(a b);

my @numbers = sort { $a <=> $b } map { $_->[1]{i} } grep { defined $_->[1]{i} } stream_of($redis, 'clone');
is_deeply(\@numbers, [1 .. 200, 501 .. 700], 'each message once');
isnt(origin_of(200), origin_of(700), 'the two have names of their own');
like($said{a} . $said{b}, qr/^pubsub-bridge up clone: another ring \(\S+\) sends as '\S+': the state file \S+ was copied; this one is '\S+' from now on$/m,
    'which is said');
cmp_ok(scalar(() = "$said{a}$said{b}" =~ /was copied/g), '<=', 1, 'once');

# A ring that is created again is no copy.
my $before = origin_of(200);
for my $round (1 .. 12) {
    $ring{a}->unlink;
    $ring{a} = variant('Int')->class->new("$folder/a/ring", 256);
    $ring{a}->publish(1000 + $round);
    my $again = up('a');
    until_true(sub { defined origin_of(1000 + $round) });
    $round % 2 ? $again->term : $again->murder;
}
is(origin_of(1012), $before, 'one that is made anew, again and again, keeps the name');

done_testing;
