# A bridge whose state file has no room: it waits, says so, and goes on when there is room, with nothing lost and nothing twice.

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

# In a mount namespace of its own: one small disk for both states.
my $kid = spawn(sub {
    my ($peer) = @_;
    alarm 100;
    mkdir "$folder/disk";
    if (small_disk("$folder/disk", 'size=256k')) {
        $peer->tell('cannot');
        return;
    }
    my %ring = map { $_ => variant('Str')->class->new("$folder/$_", 4096, 64) } qw(out in);
    my $half = sub {
        my ($half, $ring, @more) = @_;
        return bridge($half, '--server', $redis->where, '--stream', 's', '--ring', "$folder/$ring", '--state', "$folder/disk/$ring",
            '--status', "$folder/$ring.status", @more)->connected;
    };
    my ($up, $down) = ($half->('up', 'out'), $half->('down', 'in', '--from', 'start'));
    my $sub = $ring{in}->subscribe;
    $ring{out}->publish('first');
    $peer->tell(messages_in($sub, 1));

    my $full = sub {
        open my $ballast, '>', "$folder/disk/ballast" or die "ballast: $!";
        1 while syswrite $ballast, 'x' x 4096;
    };
    $full->();
    my $number = 0;
    until ($up->said =~ /No space left on device/ && $down->said =~ /No space left on device/) {
        $ring{out}->publish('m' . ++$number);
        select undef, undef, undef, 0.01;
    }
    $peer->tell('both say so');
    $ring{out}->publish('m' . ++$number) for 1 .. 50;
    unlink "$folder/disk/ballast" or die "unlink: $!";
    my @got = messages_in($sub, $number);
    $peer->tell(join(' ', @got) eq join(' ', map {"m$_"} 1 .. $number) ? 'each once' : "@got");

    # Killed in the middle.
    $full->();
    my $before = $number;
    my $said   = length $down->said;
    until (substr($down->said, $said) =~ /No space left on device/) {
        $ring{out}->publish('m' . ++$number);
        select undef, undef, undef, 0.01;
    }
    $_->murder for $up, $down;
    unlink "$folder/disk/ballast" or die "unlink: $!";
    ($up, $down) = ($half->('up', 'out'), $half->('down', 'in'));
    @got = messages_in($sub, $number - $before);
    $peer->tell(join(' ', @got) eq join(' ', map {"m$_"} $before + 1 .. $number) ? 'each once' : "@got");
    $peer->tell(join ' ', $up->term, $down->term, $sub->lag);
    $peer->tell(join ' ', map { values %{ read_status("$folder/$_.status")->{lost} } } qw(out in));
});
my $can = $kid->hear;
if ($can eq 'cannot') {
    $kid->end;
    plan skip_all => 'cannot mount a tmpfs here';
}
is($can, 'first', 'it works');
is($kid->hear, 'both say so', 'no room');
is($kid->hear, 'each once', 'when there is room, all comes');
is($kid->hear, 'each once', 'also if they were killed meanwhile');
is($kid->hear, '0 0 0', 'the end');
is($kid->hear, '', 'nothing was lost');
is($kid->end, 0, 'the child ends');

done_testing;
