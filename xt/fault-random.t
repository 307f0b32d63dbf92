# Publishers are killed at random points of random batches in small rings, one after the other, with no other
# publisher. So the exact content of the ring is known after each kill, position by position.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Build 'fault';
use XT::Remote;
use PubSubTest;
use Test::More;

my %POINTS = (
    integers => [qw(after-claim between-slots before-wake)],
    segments => [qw(after-claim between-slots reserved stored before-wake)],
    strings  => [qw(spare-taken written after-claim before-exchange exchanged before-return before-wake)],
);
my $MSG_SIZE = 21;

# Created by another process: this one must not pass a fault point, because its children would then not read
# their environment.
sub new_ring {
    my ($v, $capacity) = @_;
    my $path = fresh_path();
    my $maker = XT::Remote->start;
    my $made = $maker->ask(join ', ', "ref @{[$v->class]}->new('$path'", $capacity, $v->is_str ? $MSG_SIZE : (), '0600)');
    $made eq $v->class or die $made;
    $maker->finish;
    return $v->class->new($path);
}

my $serial = 0;
my $full;    # all messages of maximum length, or of any length

sub message {
    my ($v) = @_;
    $serial++;
    return $serial % 32768 if !$v->is_str;
    my $size = $full ? $MSG_SIZE : (0, $MSG_SIZE, random($MSG_SIZE + 1), 8, random($MSG_SIZE + 1))[random(5)];
    return substr "$serial:" . chr(random(256)) x $MSG_SIZE, 0, $size;
}

# Batches that fit into the room together, so that a reader that keeps up loses nothing.
sub plan_of {
    my ($v, $room) = @_;
    my @plan;
    while ($room > 0 && @plan < 6) {
        my $size = 1 + random($room < 9 ? $room : random(4) ? 9 : $room);
        push @plan, [map { message($v) } 1 .. $size];
        $room -= $size;
    }
    return @plan;
}

# Publishes the batches, single messages with `publish`; returns how many batches were published, and whether it was killed.
sub run_plan {
    my ($ring, $fault, @plan) = @_;
    my $kid = spawn(sub {
        my ($peer) = @_;
        XT::dies_with_parent();
        $ENV{PUBSUB_FAULT} = $fault;
        for my $batch (@plan) {
            @$batch == 1 ? $ring->publish(@$batch) : $ring->publish_multi(@$batch);
            $peer->tell('done');
        }
    });
    my $returned = 0;
    $returned++ while defined $kid->hear;
    my $status = $kid->end;
    $status == 0 || $status == 9 or die "a publisher ended with $status";
    return ($returned, $status == 9);
}

sub show { return join ' ', map { my $text = $_ // 'undef'; $text =~ s/[^!-~]/./gr } @_ }

# Checks that the ring holds what a reader that kept up got, position by position.
sub check_held {
    my ($ring, $got) = @_;
    my $sub  = $ring->subscribe_all;
    my $next = $sub->cursor;
    my @wrong;
    while ($sub->lag) {
        my $message = $sub->poll_wait(0.005) // next;    # abandoned positions
        my $at      = $sub->cursor - 1;
        push @wrong, "position $_ is missing" for grep { defined $got->{$_} } $next .. $at - 1;
        push @wrong, "position $at: " . show($message, 'instead of', $got->{$at}) if $message ne ($got->{$at} // '-');
        $next = $at + 1;
    }
    push @wrong, "position $_ is missing" for grep { defined $got->{$_} } $next .. $sub->cursor - 1;
    return @wrong;
}

sub storm {
    my ($v, $capacity) = @_;
    my $ring   = new_ring($v, $capacity);
    my $reader = $ring->subscribe;
    my (%got, @wrong);
    my ($deaths, $delivered) = (0, 0);
    my @points = @{ $POINTS{ $v->is_str ? 'strings' : $capacity < 1024 ? 'integers' : 'segments' } };
    my $rounds = for_seconds(0.1, sub {
        return if @wrong;
        $full = random(4) if !random(5);
        my $point = $points[random(scalar @points)];
        my @plan  = plan_of($v, 1 + random($capacity));
        my $fault = random(4) ? "$point=kill@" . (1 + random(random(2) ? 3 : 12)) : 'none=kill';
        my ($returned, $died) = run_plan($ring, $fault, @plan);
        my @sure   = map {@$_} @plan[0 .. $returned - 1];
        my @maybe  = $died && $returned < @plan ? @{ $plan[$returned] } : ();
        my @got;
        while ($reader->lag) {
            my $message = $reader->poll_wait(0.005) // next;
            push @got, $got{ $reader->cursor - 1 } = $message;
        }
        $deaths    += $died;
        $delivered += @got;
        my $more = @got - @sure;
        my $name = "$fault, batches of " . join('+', map { scalar @$_ } @plan);
        push @wrong, "$name: " . show('got', @got, 'for', @sure, 'and perhaps', @maybe)
            if "@got" ne "@{[@sure, @maybe[0 .. $more - 1]]}"
            || (!$died && $returned != @plan);
        push @wrong, map {"$name: $_"} check_held($ring, \%got);
    });
    my $stats = $ring->stats;
    push @wrong, 'the counts do not add up' if $delivered + $reader->overflow_count != $reader->cursor - $stats->{abandoned};
    push @wrong, "$stats->{leaked} spares leaked" if $stats->{leaked};
    push @wrong, "publish_ok $stats->{publish_ok} of $delivered" if $stats->{publish_ok} != $delivered;
    is_deeply(\@wrong, [], "capacity $capacity: the ring is right after $deaths kills in $rounds rounds");
    return;
}

each_variant(sub {
    my ($v) = @_;
    storm($v, $_) for 2, 4, 8, 32, $v->is_str ? 128 : (128, 1024);
});

done_testing;
