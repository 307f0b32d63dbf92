# Readers and publishers of a lossless ring are killed or stopped at each fault point of the table of readers.
# Publishers pass a killed reader at once; they wait for a stopped reader, which waiting_for returns, until it continues;
# a stopped publisher does not hold up others. Names can be taken over, and continue at the position of their last reader.
# At the end, this prints the longest delays of the others.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Build 'fault';
use XT::Remote;
use PubSubTest;
use Test::More;

use constant CAPACITY => 16;

# Fault points of readers. `named`: only for readers with a name; `kept`: a reader killed there keeps its name and position;
# `does`: the call that meets the fault, after the reader has subscribed.
my %READERS = (
    'seat-taken'   => {},
    'name-written' => { named => 1 },
    'named'        => { named => 1 },
    'joining'      => {},
    'leaving'      => { kept => 1, does => '$s->release' },
);
my %worst;

sub worst {
    my ($what, $seconds) = @_;
    $worst{$what} = $seconds if $seconds > ($worst{$what} // 0);
    return;
}

sub remote {
    my ($scene, $fault) = @_;
    my $remote = XT::Remote->start($fault ? (env => { PUBSUB_FAULT => $fault }) : ());
    is($remote->ask("our \$r = @{[$scene->{v}->class]}->new('$scene->{path}'); our \$s; 1"), 1, 'another process opens the ring');
    return $remote;
}

sub scene {
    my ($v, @options) = @_;
    my $path = fresh_path();
    my $ring = $v->class->new($path, CAPACITY, lossless => 1, readers => 4, @options);
    # Entries that were never used are not examined by publishers.
    $_->release for map { $ring->subscribe } 1, 2;
    return { v => $v, path => $path, ring => $ring, next => 0 };
}

# Publishes $count messages in this process; returns the seconds that took, undef if one waits for longer than $timeout.
sub publishes {
    my ($scene, $count, $timeout) = @_;
    my $start = now();
    for (1 .. $count) {
        $scene->{ring}->publish_wait($scene->{v}->value($scene->{next}), $timeout // 60) or return;
        $scene->{next}++;
    }
    return now() - $start;
}

sub names { return join ' ', sort map { $_->{name} // '-' } $_[0]{ring}->readers }

sub killed {
    my ($v, $point, $named) = @_;
    my $how   = $READERS{$point};
    my $scene = scene($v, keep => $how->{kept} ? 3600 : 0);
    my $name  = $named ? q(name => 'audit') : '';
    publishes($scene, 3);
    my $victim = remote($scene, "$point=kill");
    $victim->ask("\$s = \$r->subscribe($name); 1") if $how->{does};
    $victim->tell($how->{does} // "\$s = \$r->subscribe($name); 1");
    is($victim->end & 127, 9, 'the reader is killed at the point');
    if ($named && $how->{kept}) {
        ok(publishes($scene, CAPACITY), 'publishers get the room that the reader left');
        is(publishes($scene, 1, 0.1), undef, 'publishers wait for the killed reader with a name');
        my $next = $scene->{ring}->subscribe(name => 'audit');
        is_deeply([$next->drain], [$v->values(3, 2 + CAPACITY)], 'the next reader of the name gets all messages');
        is($next->overflow_count, 0, 'no message was lost');
        return;
    }
    my $took = publishes($scene, 3 * CAPACITY);
    ok($took, 'publishers pass the killed reader');
    worst('publishers after a reader was killed', $took // 0);
    is(names($scene), '', 'the entry of the killed reader is freed');
    my $next = $scene->{ring}->subscribe(name => 'audit');
    is($next->cursor, $scene->{ring}->write_pos, 'the name can be taken, and starts without a position');
    publishes($scene, 2);
    is_deeply([$next->drain], [$v->values($scene->{next} - 2, $scene->{next} - 1)],
        'the next reader of the name gets new messages');
    return;
}

sub stopped {
    my ($v, $point, $named) = @_;
    my $how   = $READERS{$point};
    my $scene = scene($v, keep => 3600);
    my $name  = $named ? q(name => 'audit') : '';
    publishes($scene, 3);
    my $victim = remote($scene, "$point=stop");
    $victim->ask("\$s = \$r->subscribe($name); 1") if $how->{does};
    $victim->tell($how->{does} // "\$s = \$r->subscribe($name); 1");
    ok($victim->stopped, 'the reader stops at the point');
    1 while $scene->{next} < 10 * CAPACITY && defined publishes($scene, 1, 0.05);
    cmp_ok($scene->{next}, '<=', 3 + CAPACITY, 'publishers wait for the stopped reader');
    my ($who) = $scene->{ring}->waiting_for;
    is_deeply([@$who{qw(pid alive)}], [$victim->pid, 1], 'waiting_for returns the stopped reader') if $point ne 'seat-taken';
    my $subscribes = sub { $scene->{ring}->subscribe(name => 'audit') };
    croaks_like($subscribes, qr/"audit" lives in process @{[$victim->pid]}/, 'the name of the stopped reader is in use')
        if $named && $point !~ /seat-taken|name-written/;
    my $end = $scene->{next};
    kill CONT => $victim->pid;
    $victim->hear;
    if ($how->{does}) {
        ok($named ? !publishes($scene, CAPACITY + 1, 0.1) : publishes($scene, 2 * CAPACITY),
            'once the reader continues, its release takes effect');
    }
    else {
        my $got = $victim->ask('$s->drain');
        my @got = $v->is_str ? $got =~ /(message \d+)/g : split ' ', $got;
        is_deeply(\@got, [$v->values($end - @got, $end - 1)], 'the continued reader gets the messages since it joined');
        is($victim->ask('$s->overflow_count'), 0, 'no message was lost');
        ok(publishes($scene, CAPACITY), 'publishers continue');
        my @then = $v->values($end, $end + CAPACITY - 1);
        is($victim->ask('($s->drain, $s->overflow_count)'), "@then 0", 'the continued reader gets the next messages');
    }
    $victim->finish;
    return;
}

# A reader that takes over a name is killed or stopped while it does so.
sub killed_again {
    my ($v, $point) = @_;
    my $scene = scene($v, keep => 3600);
    $scene->{ring}->subscribe(name => 'audit')->release;
    publishes($scene, 5);
    my $victim = remote($scene, "$point=kill");
    $victim->tell(q($s = $r->subscribe(name => 'audit')));
    is($victim->end & 127, 9, 'the reader is killed at the point');
    is(names($scene), 'audit', 'the name is still in the table');
    publishes($scene, CAPACITY - 5);
    is(publishes($scene, 1, 0.05), undef, 'publishers still wait for the name');
    my $sub = $scene->{ring}->subscribe(name => 'audit');
    is_deeply([$sub->drain, $sub->overflow_count], [$v->values(0, CAPACITY - 1), 0],
        'the next reader continues at the position of the name');
    return;
}

# A publisher is killed or stopped while it examines the table or before it waits. When it continues, there may be more room.
sub publisher_disturbed {
    my ($v, $point, $action) = @_;
    my $scene  = scene($v);
    my $sub    = $scene->{ring}->subscribe;
    my $victim = remote($scene, $point eq 'limit-seen' ? "$point=$action\@5" : "$point=$action");
    my @its    = $v->values(1000, 1003 + CAPACITY);
    $victim->tell(sprintf '$r->publish($_) for %s; 1', join ', ', map {"'$_'"} @its);
    if ($action eq 'kill') { is($victim->end & 127, 9, 'the publisher is killed at the point') }
    else                 { ok($victim->stopped, 'the publisher stops at the point') }
    my @got   = $sub->drain;
    my $start = now();
    for (1 .. 3) {
        ok(publishes($scene, CAPACITY), 'others publish');
        is_deeply([$sub->drain], [$v->values($scene->{next} - CAPACITY, $scene->{next} - 1)],
            'the messages of others are delivered');
    }
    worst("three laps past a publisher ($action)", now() - $start);
    if ($action eq 'stop') {
        kill CONT => $victim->pid;
        push @got, $sub->drain until $victim->speaks_within(0.002);
        is($victim->hear, 1, 'the continued publisher finishes its call');
        push @got, $sub->drain;
        is_deeply(\@got, \@its, 'all its messages arrive once, in order');
        $victim->finish;
    }
    else {
        is_deeply(\@got, [@its[0 .. $#got]], 'its messages from before the kill arrive');
    }
    is($sub->overflow_count, 0, 'no message was lost');
    return;
}

each_variant(sub {
    my ($v) = @_;
    for my $point (sort keys %READERS) {
        for my $named ($READERS{$point}{named} ? 1 : (0, 1)) {
            my $who = $named ? 'a reader with a name' : 'a reader';
            subtest "$who is killed at $point"  => sub { killed($v, $point, $named) };
            subtest "$who is stopped at $point" => sub { stopped($v, $point, $named) };
        }
    }
    for my $point (qw(seat-taken joining)) {
        subtest "a reader that takes over a name is killed at $point" => sub { killed_again($v, $point) };
    }
    for my $point (qw(limit-seen room-announced)) {
        for my $action (qw(kill stop)) {
            subtest "a publisher, $action at $point" => sub { publisher_disturbed($v, $point, $action) };
        }
    }
});

diag(sprintf '%-45s %7.1f ms at worst', $_, 1000 * $worst{$_}) for sort keys %worst;
done_testing;
