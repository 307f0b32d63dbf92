# A publisher is killed, stopped or delayed at each fault point of each variant. The others continue, no message is torn
# or delivered twice, no subscriber sleeps forever, and the counts of all subscribers add up. At the end, this prints the
# longest delays of the others.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Build 'fault';
use XT::Remote;
use PubSubTest;
use Test::More;

# Rings of numbers have segments from 1,024 slots on.
our $capacity = 64;

# The number of the messages of a disturbed publish that are in the ring if its publisher never continues; how many there are, if
# not three; the positions that are abandoned, and those if the publisher was lapped; whether
# it holds a spare block there; whether it has woken the sleepers. A publisher of strings with two
# spares commits the last two messages, which are at an even position, in one exchange.
my %POINTS = (
    integers => {
        'after-claim'   => { single => 1, there => 0, voids => 1 },
        'between-slots' => { there => 1, passage => 2, voids => 2 },
        'before-wake'   => { there => 3 },
        'wake-marked'   => { there => 3 },
        'wake-sent'     => { there => 3, woken => 1 },
    },
    segments => {
        'reserved' => { there => 0, count => 6, voids => 6, lapped => 12 },
        'stored'   => { there => 0, count => 6, voids => 6, lapped => 12, passage => 3 },
    },
    strings => {
        'spare-taken'     => { there => 0, held => 1 },
        'after-claim'     => { there => 0, held => 1, voids => 3 },
        'written'         => { there => 1, held => 1, voids => 2, passage => 2 },
        'before-exchange' => { there => 1, held => 1, voids => 2, passage => 2 },
        'exchanged'       => { there => 2, held => 1, voids => 1, passage => 2 },
        'before-return'   => { there => 3, held => 1 },
        'before-wake'     => { there => 3 },
        'wake-marked'     => { there => 3 },
        'wake-sent'       => { there => 3, woken => 1 },
    },
);
$POINTS{pairs} = { %{ $POINTS{strings} }, exchanged => { there => 3, held => 1, passage => 2 } };

my %worst;

sub worst {
    my ($what, $seconds) = @_;
    $worst{$what} = $seconds if $seconds > ($worst{$what} // 0);
    return;
}

# A ring, a subscriber in this process, a sleeping subscriber in another that tells its messages, and a publisher with a
# fault. The first message is published by this process.
sub scene {
    my ($v, $fault, @options) = @_;
    my $path = fresh_path();
    my $ring = $v->class->new($path, $capacity, @options);
    my %scene = (v => $v, ring => $ring, path => $path, sub => $ring->subscribe, got => []);
    $scene{sleeper} = spawn(sub {
        my ($peer) = @_;
        XT::dies_with_parent();
        my $sub = $ring->subscribe;
        my $count = 0;
        $peer->tell('ready');
        while (1) {
            my $message = $sub->poll_wait;
            last if $message eq $v->value(9999);
            $count++;
            $peer->tell($message);
        }
        $peer->tell(join ' ', 'account', $count + 1, $sub->overflow_count, $sub->cursor);
    });
    $scene{sleeper}->hear;
    $scene{victim} = XT::Remote->start(env => { PUBSUB_FAULT => $fault });
    is($scene{victim}->ask("our \$r = @{[$v->class]}->new('$path'); 1"), 1, 'the publisher starts');
    $ring->publish($v->value(1));
    read_until(\%scene, $v->value(1));
    hear_until(\%scene, $v->value(1));
    return \%scene;
}

# Reads in this process until that message has come; returns the seconds that it took.
sub read_until {
    my ($scene, $message) = @_;
    my $start = now();
    my $last  = '';
    while ($last ne $message) {
        $last = $scene->{sub}->poll_wait;
        push @{ $scene->{got} }, $last;
    }
    return now() - $start;
}

sub hear_until {
    my ($scene, $message) = @_;
    my $start = now();
    my $last  = '';
    while ($last ne $message) {
        $last = $scene->{sleeper}->hear;
        push @{ $scene->{heard} }, $last;
    }
    return now() - $start;
}

# Publishes a last message, and checks that both subscribers got exactly these, and that their counts add up.
sub settle {
    my ($scene, @expected) = @_;
    my ($v, $ring, $sub) = @$scene{qw(v ring sub)};
    $ring->publish($v->value(9999));
    read_until($scene, $v->value(9999));
    unshift @expected, $v->value(1);
    is_deeply($scene->{got}, [@expected, $v->value(9999)], 'all messages arrived once, whole and in order');
    my $account;
    do { $account = $scene->{sleeper}->hear; push @{ $scene->{heard} }, $account } until $account =~ /^account/;
    pop @{ $scene->{heard} };
    is_deeply($scene->{heard}, \@expected, 'the sleeping subscriber got the same messages');
    my $stats = $ring->stats;
    my (undef, $delivered, $lost, $passed) = split ' ', $account;
    is($delivered + $lost, $passed - $stats->{abandoned}, 'the counts of the sleeping subscriber add up');
    is(@expected + 1 + $sub->overflow_count, $sub->cursor - $stats->{abandoned},
        'the counts of the subscriber in this process add up');
    is($stats->{publish_ok}, @expected + 1, 'publish_ok counts the messages that arrived');
    is($scene->{sleeper}->end, 0, 'the process of the sleeping subscriber exits with 0');
    return $stats;
}

# Has the victim publish the messages that meet the fault.
sub provoke {
    my ($scene, $point) = @_;
    my $v      = $scene->{v};
    my @hurt   = $point->{count} ? $v->values(11, 10 + $point->{count}) : $v->values(2, $point->{single} ? 2 : 4);
    my $quoted = join ', ', map {"'$_'"} @hurt;
    until_state($scene->{sleeper}->pid, 'S');
    $scene->{victim}->tell("\$r->publish_multi($quoted)") if !$point->{single};
    $scene->{victim}->tell("\$r->publish($quoted)")       if $point->{single};
    return @hurt;
}

sub killed {
    my ($v, $name, $point, @options) = @_;
    my $scene = scene($v, "$name=kill@" . ($point->{passage} || 1), @options);
    my @there = (provoke($scene, $point))[0 .. $point->{there} - 1];
    is($scene->{victim}->end & 127, 9, 'the publisher is killed at the point');
    my $start = now();
    $scene->{ring}->publish($v->value(5));
    worst(@options && $point->{held} ? 'publish with the only spare, after a kill' : 'publish after a kill', now() - $start);
    worst('message after a killed publisher', read_until($scene, $v->value(5)));
    hear_until($scene, $v->value(5));
    worst('wake-up after a killed publisher', now() - $start);
    my $stats = settle($scene, @there, $v->value(5));
    is($stats->{abandoned}, $point->{voids} || 0, 'abandoned counts the unfilled positions');
    is($stats->{recoveries}, $point->{held} && @options ? 1 : 0, 'the spare is taken over if it is needed');
    return if !$v->is_str;
    is($stats->{leaked}, 0, 'no spare has leaked');
    return;
}

# The process that takes over the spare of a killed process is killed, too.
sub killed_twice {
    my ($v, $name, $point) = @_;
    my $scene = scene($v, "$name=kill@" . ($point->{passage} || 1), publishers => 1);
    my @there = (provoke($scene, $point))[0 .. $point->{there} - 1];
    is($scene->{victim}->end & 127, 9, 'the publisher is killed at the point');
    my $second = XT::Remote->start(env => { PUBSUB_FAULT => 'recovering=kill' });
    is($second->ask("our \$r = @{[$v->class]}->new('$scene->{path}'); 1"), 1, 'a second publisher starts');
    $second->tell("\$r->publish('@{[$v->value(6)]}')");
    is($second->end & 127, 9, 'the second publisher is killed while it takes over the spare');
    $scene->{ring}->publish($v->value(5));
    read_until($scene, $v->value(5));
    hear_until($scene, $v->value(5));
    my $stats = settle($scene, @there, $v->value(5));
    is($stats->{recoveries}, 1, 'a third publisher takes over the spare');
    is($stats->{leaked}, 0, 'no spare has leaked');
    return;
}

# No process publishes after the kill: the messages in the ring reach sleeping subscribers nevertheless.
sub killed_alone {
    my ($v, %points) = @_;
    my @scenes;
    for my $name (grep { $points{$_}{there} } sort keys %points) {
        my $scene = scene($v, "$name=kill@" . ($points{$name}{passage} || 1));
        $scene->{there} = [(provoke($scene, $points{$name}))[0 .. $points{$name}{there} - 1]];
        $scene->{victim}->end;
        push @scenes, $scene;
    }
    my $start = now();
    for my $scene (@scenes) {
        hear_until($scene, $scene->{there}[-1]);
        worst('wake-up beside a killed publisher, without further publishes', now() - $start);
        settle($scene, @{ $scene->{there} });
    }
    return;
}

sub stopped {
    my ($v, $name, $point) = @_;
    my $scene = scene($v, "$name=stop@" . ($point->{passage} || 1));
    my ($victim, $ring) = @$scene{qw(victim ring)};
    my @hurt = provoke($scene, $point);
    ok($victim->stopped, 'the publisher stops at the point');
    my @there = @hurt[0 .. $point->{there} - 1];
    if (@there) { read_until($scene, $there[-1]) }
    my @laps  = $v->values(100, 100 + $capacity + 10);
    my $start = now();
    for my $message (@laps) {
        $ring->publish($message);
        read_until($scene, $message);
        hear_until($scene, $message);
        worst('message after a stopped publisher', now() - $start);
        $start = now();
    }
    kill CONT => $victim->pid;
    is($victim->hear, $point->{single} ? 1 : scalar @hurt, 'the continued publisher finishes its call');
    my @late = @hurt[$point->{there} .. $#hurt];
    read_until($scene, $late[-1]) if @late;
    my $stats = settle($scene, @there, @laps, @late);
    is($stats->{abandoned}, $point->{lapped} || $point->{voids} || 0, 'abandoned counts the unfilled positions');
    is($stats->{recoveries}, 0, 'no spare is taken over from a publisher that is alive');
    $victim->finish;
    return;
}

sub delayed {
    my ($v, $name, $point) = @_;
    my $scene = scene($v, "$name=delay:20000@" . ($point->{passage} || 1));
    my @hurt = provoke($scene, $point);
    is($scene->{victim}->hear, scalar @hurt, 'the delayed publisher finishes its call');
    read_until($scene, $hurt[-1]);
    $scene->{ring}->publish($v->value(5));
    settle($scene, @hurt, $v->value(5));
    $scene->{victim}->finish;
    return;
}

# The first two are of creation: see creation.t; the fourth is of a reader: see lapped-copy.t; the others are of the table
# of readers and of lossless rings: see fault-readers.t.
my %seen = map { $_ => 1 } qw(before-link mid-header recovering mid-copy
    seat-taken name-written named joining leaving limit-seen room-announced);
each_variant(sub {
    my ($v) = @_;
    my %points = %{ $POINTS{ $v->is_str ? 'pairs' : 'integers' } };
    my $all = sub {
        my (%of) = @_;
        for my $name (sort keys %of) {
            $seen{$name} = 1;
            subtest "killed at $name" => sub { killed($v, $name, $of{$name}) };
            subtest "stopped at $name" => sub { stopped($v, $name, $of{$name}) };
            subtest "delayed at $name" => sub { delayed($v, $name, $of{$name}) };
        }
    };
    $all->(%points);
    if (!$v->is_str) {
        local $capacity = 1024;
        $all->(%{ $POINTS{segments} });
    }
    subtest 'killed, without further publishes' => sub { killed_alone($v, %points) };
    return if !$v->is_str;
    %points = %{ $POINTS{strings} };
    for my $name (sort keys %points) {
        subtest "killed at $name with the only spare" => sub { killed($v, $name, $points{$name}, publishers => 1) };
        next if !$points{$name}{held};
        subtest "killed at $name, and again while the spare is taken over" => sub { killed_twice($v, $name, $points{$name}) };
    }
});

my %named;
for my $file (glob XT::Build->root . '/src/{*,*/*,*/*/*}.rs') {
    my $text = slurp($file);
    $named{$1} = 1 while $text =~ /fault_point!\("([^"]+)"\)/g;
}
is_deeply([sort keys %seen], [sort keys %named], 'all fault points in the sources are tested');
diag(sprintf '%-55s %7.1f ms at worst', $_, 1000 * $worst{$_}) for sort keys %worst;
done_testing;
