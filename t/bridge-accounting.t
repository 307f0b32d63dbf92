# Losses have a reason, and what is cleared loses nothing else: at the end, and where the disk is full at the start.

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
    my ($name, @more) = @_;
    return bridge('up', '--server', $redis->where, '--stream', $name, '--ring', "$folder/$name", '--state', "$folder/$name.state",
        '--status', "$folder/$name.status", @more);
}

sub integers { return [map { $_->[1]{i} } stream_of($redis, $_[0])] }

subtest 'TERM after OUT was cleared' => sub {
    my $ring = variant('Int')->class->new("$folder/cleared", 2048);
    my $up   = up('cleared')->connected;
    $ring->publish_multi(1 .. 492);
    until_true(sub { @{ integers('cleared') } == 492 });
    # It has taken nothing behind the clear yet when it is asked to end.
    $up->signal('STOP');
    until_true(sub { slurp('/proc/' . $up->pid . '/stat') =~ /\) T / });
    $ring->clear;
    $ring->publish_multi(1001 .. 2000);
    $up->signal('TERM');
    is($up->signal('CONT')->end, 0, 'the end');
    $up = up('cleared')->connected;
    $ring->publish(9999);
    until_true(sub { my $found = integers('cleared'); $found->[-1] == 9999 });
    $up->term;
    is_deeply(integers('cleared'), [1 .. 492, 1001 .. 2000, 9999], 'each message once');
    is_deeply(read_status("$folder/cleared.status")->{lost}, {}, 'no loss');
};

subtest 'a disk that is full at the start' => sub {
    my $kid = spawn(sub {
        my ($peer) = @_;
        mkdir "$folder/disk";
        if (small_disk("$folder/disk", 'size=256k')) {
            $peer->tell('cannot');
            return;
        }
        my $ring  = variant('Int')->class->new("$folder/full", 64);
        my $start = sub {
            return bridge('up', '--server', $redis->where, '--stream', 'full', '--ring', "$folder/full", '--state', "$folder/disk/state",
                '--status', "$folder/full.status");
        };
        my $up = $start->()->connected;
        $ring->publish_multi(1 .. 10);
        until_true(sub { @{ integers('full') } == 10 });
        $up->term;
        $ring->publish_multi($_ * 50 + 1 .. $_ * 50 + 50) for 1 .. 4;    # more than it holds
        open my $ballast, '>', "$folder/disk/ballast" or die "ballast: $!";
        1 while syswrite $ballast, 'x' x 4096;
        # And what is left of the last page of the state file.
        {
            my $state = Data::PubSub::Shared::Bridge::State->new("$folder/disk/state");
            1 while eval { $state->put($state->latest); 1 };
        }
        $up = $start->()->until_said(qr/No space left on device/);
        $ring->publish_multi(301 .. 310);
        until_true(sub { (integers('full')->[-1] // 0) == 310 });
        unlink "$folder/disk/ballast" or die "unlink: $!";
        close $ballast;
        $ring->publish(311);
        until_true(sub { integers('full')->[-1] == 311 });
        $peer->tell($up->term);
        my $status = read_status("$folder/full.status");
        my $found  = grep { defined } @{ integers('full') };
        $peer->tell(join ' ', sort keys %{ $status->{lost} });
        my $sum = 0;
        $sum += $_ for values %{ $status->{lost} };
        $peer->tell($sum + $found);
        $peer->tell($up->said =~ /uninitialized/ ? 'warnings' : 'no warnings');
    });
    my $can = $kid->hear;
    if ($can eq 'cannot') {
        $kid->end;
        plan skip_all => 'cannot mount a tmpfs here';
    }
    is($can, 0, 'it ends');
    like($kid->hear, qr/\A(?:overrun )?restart\z/, 'the losses have a reason');
    is($kid->hear, 221, 'and all messages are accounted for');
    is($kid->hear, 'no warnings', 'without a warning');
    is($kid->end, 0, 'the child ends');
};

done_testing;
