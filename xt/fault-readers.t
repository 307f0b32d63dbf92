# Readers and publishers of a lossless ring are killed or stopped at each named point of the table of readers.
# Publishers pass a dead reader at once; a stopped one holds them until it goes on, and shows among those that are waited
# for; a stopped publisher holds nobody. Names can be taken again, and go on where their reader stood. At the end: how
# long the others were held up at worst.

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

# Where a reader can be hurt. `named`: with a name only; `kept`: its name and its place stay when it is killed there; `does`: what
# it is hurt at, once it has subscribed.
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
    is($remote->ask("our \$r = @{[$scene->{v}->class]}->new('$scene->{path}'); our \$s; 1"), 1, 'another process comes');
    return $remote;
}

sub scene {
    my ($v, @options) = @_;
    my $path = fresh_path();
    my $ring = $v->class->new($path, CAPACITY, lossless => 1, readers => 4, @options);
    # Entries that were never used are not looked at.
    $_->release for map { $ring->subscribe } 1, 2;
    return { v => $v, path => $path, ring => $ring, next => 0 };
}

# Publishes as many from here, and what that took; undef where that is more than so many seconds.
sub publishes {
    my ($scene, $count, $patience) = @_;
    my $start = now();
    for (1 .. $count) {
        $scene->{ring}->publish_wait($scene->{v}->value($scene->{next}), $patience // 60) or return;
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
    is($victim->end & 127, 9, 'it dies there');
    if ($named && $how->{kept}) {
        ok(publishes($scene, CAPACITY), 'there is room for what is kept');
        is(publishes($scene, 1, 0.1), undef, 'and for no more');
        my $heir = $scene->{ring}->subscribe(name => 'audit');
        is_deeply([$heir->drain], [$v->values(3, 2 + CAPACITY)], 'the next of this name has it all');
        is($heir->overflow_count, 0, 'nothing was lost');
        return;
    }
    my $took = publishes($scene, 3 * CAPACITY);
    ok($took, 'publishers pass it');
    worst('publishers behind a dead reader', $took // 0);
    is(names($scene), '', 'nothing is left of it');
    my $heir = $scene->{ring}->subscribe(name => 'audit');
    is($heir->cursor, $scene->{ring}->write_pos, 'the name is free, and begins anew');
    publishes($scene, 2);
    is_deeply([$heir->drain], [$v->values($scene->{next} - 2, $scene->{next} - 1)], 'and follows');
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
    ok($victim->stopped, 'it stops there');
    1 while $scene->{next} < 10 * CAPACITY && defined publishes($scene, 1, 0.05);
    cmp_ok($scene->{next}, '<=', 3 + CAPACITY, 'publishers wait for it');
    my ($who) = $scene->{ring}->waiting_for;
    is_deeply([@$who{qw(pid alive)}], [$victim->pid, 1], 'and it is known for whom') if $point ne 'seat-taken';
    my $subscribes = sub { $scene->{ring}->subscribe(name => 'audit') };
    croaks_like($subscribes, qr/"audit" lives in process @{[$victim->pid]}/, 'its name is taken')
        if $named && $point !~ /seat-taken|name-written/;
    my $end = $scene->{next};
    kill CONT => $victim->pid;
    $victim->hear;
    if ($how->{does}) {
        ok($named ? !publishes($scene, CAPACITY + 1, 0.1) : publishes($scene, 2 * CAPACITY), 'gone, it is as it is meant to be');
    }
    else {
        my $got = $victim->ask('$s->drain');
        my @got = $v->is_str ? $got =~ /(message \d+)/g : split ' ', $got;
        is_deeply(\@got, [$v->values($end - @got, $end - 1)], 'what it gets is what was published since it joined');
        is($victim->ask('$s->overflow_count'), 0, 'nothing was lost');
        ok(publishes($scene, CAPACITY), 'publishers go on');
        my @then = $v->values($end, $end + CAPACITY - 1);
        is($victim->ask('($s->drain, $s->overflow_count)'), "@then 0", 'and it follows');
    }
    $victim->finish;
    return;
}

# A name that comes back, and dies or stops where it does so.
sub killed_again {
    my ($v, $point) = @_;
    my $scene = scene($v, keep => 3600);
    $scene->{ring}->subscribe(name => 'audit')->release;
    publishes($scene, 5);
    my $victim = remote($scene, "$point=kill");
    $victim->tell(q($s = $r->subscribe(name => 'audit')));
    is($victim->end & 127, 9, 'it dies there');
    is(names($scene), 'audit', 'its name is still there');
    publishes($scene, CAPACITY - 5);
    is(publishes($scene, 1, 0.05), undef, 'and publishers keep its messages');
    my $sub = $scene->{ring}->subscribe(name => 'audit');
    is_deeply([$sub->drain, $sub->overflow_count], [$v->values(0, CAPACITY - 1), 0], 'the next goes on at its place');
    return;
}

# A publisher that is hurt where it looks through the table, or as it waits. There may be more room than it saw, when it goes on.
sub publisher_hurt {
    my ($v, $point, $deed) = @_;
    my $scene  = scene($v);
    my $sub    = $scene->{ring}->subscribe;
    my $victim = remote($scene, $point eq 'limit-seen' ? "$point=$deed\@5" : "$point=$deed");
    my @its    = $v->values(1000, 1003 + CAPACITY);
    $victim->tell(sprintf '$r->publish($_) for %s; 1', join ', ', map {"'$_'"} @its);
    if ($deed eq 'kill') { is($victim->end & 127, 9, 'it dies there') }
    else                 { ok($victim->stopped, 'it stops there') }
    my @got   = $sub->drain;
    my $start = now();
    for (1 .. 3) {
        ok(publishes($scene, CAPACITY), 'others publish');
        is_deeply([$sub->drain], [$v->values($scene->{next} - CAPACITY, $scene->{next} - 1)], 'and are read');
    }
    worst("three laps past a publisher ($deed)", now() - $start);
    if ($deed eq 'stop') {
        kill CONT => $victim->pid;
        push @got, $sub->drain until $victim->speaks_within(0.002);
        is($victim->hear, 1, 'continued, it comes to its end');
        push @got, $sub->drain;
        is_deeply(\@got, \@its, 'everything arrived, once and in order');
        $victim->finish;
    }
    else {
        is_deeply(\@got, [@its[0 .. $#got]], 'what it published had arrived');
    }
    is($sub->overflow_count, 0, 'nothing was lost');
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
        subtest "a name that comes back is killed at $point" => sub { killed_again($v, $point) };
    }
    for my $point (qw(limit-seen room-announced)) {
        for my $deed (qw(kill stop)) {
            subtest "a publisher, $deed at $point" => sub { publisher_hurt($v, $point, $deed) };
        }
    }
});

diag(sprintf '%-45s %7.1f ms at worst', $_, 1000 * $worst{$_}) for sort keys %worst;
done_testing;
