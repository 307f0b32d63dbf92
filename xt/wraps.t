# Positions and laps that wrap while publishers and subscribers of several processes work: near 2**31,
# 2**32 and 2**63 laps and positions, no call hangs, no old message is delivered, and all counts add up.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Traffic;
use PubSubTest;
use Test::More;

use constant { WRITE_POS => 128, BASE => 256, BODY => 4096, SPARE => 128 };

# A ring as it is after that many messages: each slot has the tag of its last lap.
sub aged_ring {
    my ($v, $capacity, $position) = @_;
    my $path = fresh_path();
    my $new = $v->class->new($path, $capacity);
    poke($path, WRITE_POS, pack 'Q', $position);
    poke($path, BASE,      pack 'Q', $position);
    my $shift = 0;
    $shift++ while 1 << $shift < $capacity;
    my @slots;
    for my $at (map { $position - $_ } 1 .. $capacity) {
        my $tag = ($at >> $shift) + 1 << 1;
        $slots[$at % $capacity]
            = $v->slot == 16 ? pack('Q2', $tag, 666) : pack('L2', $tag & 0xffffffff, $v->is_str ? 0 : 666);
    }
    poke($path, BODY + SPARE * ($new->stats->{readers} + ($new->stats->{publishers} || 0)), join '', @slots);
    return $v->class->new($path);
}

# Three publishers and four subscribers work across the wrap, in a ring that is large enough to lose nothing,
# or in a very small one.
sub cross {
    my ($v, $capacity, $position, $each) = @_;
    my $ring    = aged_ring($v, $capacity, $position);
    my $traffic = XT::Traffic->new($v);
    my @subs = map { my $sub = $ring->subscribe; spawn(sub {
        my ($peer) = @_;
        XT::dies_with_parent();
        my $account = XT::Traffic::Account->new($traffic, $sub);
        $account->expect($_, 0) for 0 .. 2;
        1 while $account->take($sub->poll_wait_multi(64));
        $peer->tell(join ' ', $account->equation, @$account{qw(torn backwards)}, $account->{gaps} // 0);
    }) } 1 .. 4;
    my @publishers = map { my $who = $_; spawn(sub {
        XT::dies_with_parent();
        srand;
        my $number = 0;
        while ($number < $each) {
            my $count = 1 + random(5);
            $count = $each - $number if $number + $count > $each;
            $ring->publish_multi(map { $traffic->encode($who, $number++) } 1 .. $count);
        }
    }) } 0 .. 2;
    my @ends = map { $_->end } @publishers;
    $ring->publish($traffic->last_message);
    my @wrong;
    my $abandoned = $ring->stats->{abandoned};
    for my $kid (@subs) {
        my ($delivered, $lost, $passed, $torn, $backwards, $missing) = split ' ', $kid->hear // '0 0 0 9 9 9';
        push @wrong, "torn $torn, backwards $backwards" if $torn || $backwards;
        push @wrong, "missing $missing, lost $lost" if $missing > $lost;
        push @wrong, "delivered $delivered, lost $lost, passed $passed, abandoned $abandoned"
            if $delivered + $lost > $passed || $delivered + $lost < $passed - $abandoned;
        push @wrong, "passed $passed" if $passed != $ring->write_pos;
        push @ends, $kid->end;
    }
    push @wrong, "ends @ends" if grep {$_} @ends;
    push @wrong, 'publish_ok ' . $ring->stats->{publish_ok} if $capacity > 3 * $each && $ring->stats->{publish_ok} != 3 * $each + 1;
    return @wrong;
}

each_variant(sub {
    my ($v) = @_;
    my @starts;
    for my $capacity (4, 4096) {
        push @starts, map { [$capacity, (1 << $_) * $capacity, "2**$_ laps"] } 31, 32, 33;
        push @starts, map { [$capacity, 1 << $_, "position 2**$_"] } 31, 32, 63;
    }
    for my $start (@starts) {
        my ($capacity, $position, $name) = @$start;
        my @wrong;
        my $each  = 1000;
        my $count = for_seconds(0.02, sub { push @wrong, cross($v, $capacity, $position - 1500, $each) });
        is_deeply(\@wrong, [], "capacity $capacity, $name: the ring is right after $count crossings");
    }
});

done_testing;
