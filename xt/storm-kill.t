# Four publishers and four subscribers; at every moment, a process is killed or stopped for a while.
# Once in a ring that is lapped all the time, and once in one that is large enough to lose nothing.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Board;
use XT::Traffic;
use PubSubTest;
use List::Util qw(min);
use Test::More;

# Indexes on the board.
use constant { RETURNED => 0, BEGUN => 4, CURSOR => 8, STOP => 12 };

my ($kills, $stops) = (0, 0);

sub publisher {
    my ($storm, $who) = @_;
    my ($ring, $board, $traffic) = @$storm{qw(ring board traffic)};
    return spawn(sub {
        XT::in_storm();
        $board->attach;
        my $number = $board->get(BEGUN + $who);
        until ($board->get(STOP)) {
            if (!$storm->{lapped} && $ring->write_pos - min($board->get(CURSOR, 4)) > $storm->{capacity} / 2) {
                select undef, undef, undef, 0.0005;
                next;
            }
            my $count    = random(3) ? 1 : 1 + random(40);
            my @messages = map { $traffic->encode($who, $number + $_) } 0 .. $count - 1;
            $number += $count;
            $board->set(BEGUN + $who, $number);
            $count == 1 ? $ring->publish(@messages) : $ring->publish_multi(@messages);
            $board->set(RETURNED + $who, $number);
        }
    });
}

sub subscriber {
    my ($storm, $who, $from_start) = @_;
    my ($ring, $board) = @$storm{qw(ring board)};
    my $sub = $ring->subscribe;
    return spawn(sub {
        my ($peer) = @_;
        XT::in_storm();
        $board->attach;
        my $account = XT::Traffic::Account->new($storm->{traffic}, $sub);
        if ($from_start) { $account->expect($_, 0) for 0 .. 3 }
        my @ways = (
            sub { $sub->poll_wait },
            sub { $sub->poll_wait_multi(1 + random(60), 5) },
            sub { $sub->drain },
            sub { $sub->drain(1 + random(100)) },
            sub { my @got; $sub->poll_cb(sub { push @got, $_[0] }); @got },
        );
        my $goes_on = 1;
        while ($goes_on) {
            my @got = grep {defined} $ways[random(scalar @ways)]->();
            $goes_on = $account->take(@got);
            $board->set(CURSOR + $who, $sub->cursor);
        }
        $peer->tell(join ' ', $account->equation, @$account{qw(torn backwards)});
        $peer->tell("@$_") for @{ $account->{missing} };
        $peer->tell(join ' ', 'next', map { $_ // 0 } @{ $account->{next} }[0 .. 3]);
    });
}

# Kills or stops a process; a publish that was not finished may have happened or not.
sub disturb {
    my ($storm) = @_;
    my ($board, $publishers, $subscribers) = @$storm{qw(board publishers subscribers)};
    my $what = random(10);
    my $who  = random(4);
    if ($what < 1) {
        $stops++;
        $publishers->[$who]->kill('STOP');
        select undef, undef, undef, rand 0.01;
        $publishers->[$who]->kill('CONT');
    }
    elsif ($what < 7) {
        $kills++;
        $publishers->[$who]->kill('KILL');
        $publishers->[$who]->end;
        my ($returned, $begun) = ($board->get(RETURNED + $who), $board->get(BEGUN + $who));
        push @{ $storm->{open} }, [$who, $returned, $begun] if $returned != $begun;
        $board->set(RETURNED + $who, $begun);    # the next one may be killed before it returns, too
        $publishers->[$who] = publisher($storm, $who);
    }
    else {
        $kills++;
        $who = 2 + $who % 2;
        $subscribers->[$who]->kill('KILL');
        $subscribers->[$who]->end;
        $board->set(CURSOR + $who, $storm->{ring}->write_pos);
        $subscribers->[$who] = subscriber($storm, $who);
    }
    return;
}

sub storm {
    my ($v, $share, %how) = @_;
    my $storm = {
        %how, traffic => XT::Traffic->new($v), board => XT::Board->new(13),
        ring => $v->ring($how{capacity}), open => [],
    };
    my ($ring, $board) = @$storm{qw(ring board)};
    $storm->{subscribers} = [map { subscriber($storm, $_, 1) } 0 .. 3];
    $storm->{publishers}  = [map { publisher($storm, $_) } 0 .. 3];
    for_seconds($share, sub { disturb($storm); select undef, undef, undef, rand 0.002 });
    $board->set(STOP, 1);
    reap('the publishers exit with 0', @{ $storm->{publishers} });
    $ring->publish($storm->{traffic}->last_message);
    my $stats = $ring->stats;
    for my $who (0 .. 3) {
        my $kid = $storm->{subscribers}[$who];
        my ($delivered, $lost, $passed, $torn, $backwards) = split ' ', $kid->hear // '';
        my (@missing, $line);
        push @missing, [split ' ', $line] while defined($line = $kid->hear) && $line !~ /next/;
        my @next = split ' ', ($line // '') =~ s/next//r;
        is_deeply([$torn, $backwards], [0, 0], "subscriber $who: no message is torn, delivered twice or out of order");
        cmp_ok($delivered + $lost, '<=', $passed, "subscriber $who: not more messages than positions");
        cmp_ok($delivered + $lost, '>=', $passed - $stats->{abandoned}, "subscriber $who: all positions are accounted for");
        my $unaccounted = $storm->{traffic}->unaccounted(\@missing, $storm->{open});
        cmp_ok($unaccounted, '<=', $lost, "subscriber $who: missing messages were counted as lost");
        next if $storm->{lapped};
        is($lost, 0, "subscriber $who: no message was lost");
        my @returned = $board->get(RETURNED, 4);
        next if $who > 1;
        is_deeply(\@next, [map { expected_end($storm, $_, $next[$_], $returned[$_]) } 0 .. 3],
            "subscriber $who: all messages up to the last");
        is($delivered, $passed - $stats->{abandoned}, "subscriber $who: the counts add up exactly");
        is($delivered, $stats->{publish_ok}, "subscriber $who: publish_ok counts the delivered messages");
    }
    is_deeply([map { $_->end } @{ $storm->{subscribers} }], [(0) x 4], 'the subscribers exit with 0');
    return;
}

# The number after the last message; publishes that were unfinished at the end may have happened or not.
sub expected_end {
    my ($storm, $who, $next, $returned) = @_;
    my ($open) = sort { $b->[2] <=> $a->[2] }
        grep { $_->[0] == $who && ($_->[1] == $returned || $_->[2] == $returned) } @{ $storm->{open} };
    return $open && $next >= $open->[1] && $next <= $open->[2] ? $next : $returned;
}

each_variant(sub {
    my ($v) = @_;
    subtest 'a ring that is lapped'       => sub { storm($v, 0.35, capacity => 64, lapped => 1) };
    subtest 'a ring with segments that is lapped' => sub { storm($v, 0.35, capacity => 1024, lapped => 1) } if !$v->is_str;
    subtest 'a ring that is large enough'   => sub { storm($v, 0.5, capacity => 1 << 14) };
});
diag("$kills killed, $stops stopped");
done_testing;
