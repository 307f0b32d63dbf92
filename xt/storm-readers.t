# A lossless ring with four publishers and eight readers, with names, without, and some that may be skipped; half of all live in
# pid namespaces of their own, where that may be. Somebody is killed, or stopped for a while, at every moment. No reader loses
# a message for as long as it lives, one with a name goes on exactly where it was killed, those that may be skipped know
# what they lost, and publishers pass a dead reader at once. At the end: how long they waited for a dead one at worst.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Board;
use XT::Traffic;
use PubSubTest;
use List::Util qw(max min);
use POSIX ();
use Test::More;

use constant { CAPACITY => 256, MOST => 60, READERS => 8 };

# How each reader subscribes. The first of each kind is never killed, but for those with names.
my @KINDS = ([name => 'one'], [name => 'two'], [], [], [], [], [lossy => 1], [lossy => 1]);
my %MORTAL = map { $_ => 1 } 0, 1, 4, 5, 7;

# On the board: of publishers, then of readers; a reader writes its place and the senders' next numbers at once.
use constant { RETURNED => 0, BEGUN => 4, LAST => 8, STOP => 12, LOST => 13, PLACE => 13 + READERS };

my $namespaces = $> == 0 && sysnum('unshare') && system('unshare --pid --fork true >/dev/null 2>&1') == 0;
my ($kills, $stops, $passed, $worst) = (0, 0, 0, 0);

# A process in this pid namespace or, for odd numbers, in one of its own.
sub process {
    my ($number, $code) = @_;
    my $inside = $namespaces && $number % 2;
    my $peer = spawn(sub {
        my ($peer) = @_;
        XT::in_storm();
        return $code->($peer) if !$inside;
        syscall(sysnum('unshare'), 0x20000000) == 0 or die "unshare: $!";    # CLONE_NEWPID
        pipe my $told, my $tells or die "pipe: $!";
        my $pid = fork // die "fork: $!";
        if (!$pid) {
            XT::in_storm();
            close $tells;
            readline $told;
            my $lived = eval { $code->($peer); 1 };
            print STDERR "# child: $@" if !$lived;
            POSIX::_exit($lived ? 0 : 1);
        }
        $peer->tell($pid);
        close $tells;
        waitpid $pid, 0;
        POSIX::_exit($? & 127 || $? >> 8);
    });
    return { peer => $peer, pid => $inside ? $peer->hear : $peer->pid };
}

sub signal {
    my ($process, $signal) = @_;
    CORE::kill($signal => $process->{pid}) or die "kill: $!";
    return;
}

sub ended { return $_[0]{peer}->end }

sub publisher {
    my ($storm, $who) = @_;
    my ($ring, $board, $traffic) = @$storm{qw(ring board traffic)};
    return process($who, sub {
        $board->attach;
        my $number = $board->get(BEGUN + $who);
        until ($board->get(STOP)) {
            my $way      = random(4);
            my $count    = $way ? 1 : 1 + random(40);
            my @messages = map { $traffic->encode($who, $number + $_) } 0 .. $count - 1;
            $board->set(BEGUN + $who, $number + $count);
            if    ($way == 0) { $ring->publish_multi(@messages) }
            elsif ($way == 1) { 1 until $ring->publish_wait(@messages, 0.01) || $board->get(STOP) && ($count = 0, 1) }
            elsif ($way == 2) { 1 until $ring->try_publish(@messages) || $board->get(STOP) && ($count = 0, 1) }
            else              { $ring->publish(@messages) }
            $number += $count;
            $board->set(RETURNED + $who, $number);
            $board->set(BEGUN + $who, $number);
            $board->set(LAST + $who, int(1e6 * now()));
        }
    });
}

# The account of one with a name goes on with the next that has it.
sub reader {
    my ($storm, $who) = @_;
    my ($board, $places) = ($storm->{board}, PLACE + 5 * $who);
    my ($kind) = @{ $KINDS[$who] };
    my $named = ($kind // '') eq 'name';
    my @before = $named && $storm->{begun}[$who]++ ? $board->get($places, 5) : ();
    my $process = process($who, sub {
        my ($peer) = @_;
        $board->attach;
        my $sub     = $storm->{class}->new($storm->{path})->subscribe(@{ $KINDS[$who] });
        my $account = XT::Traffic::Account->new($storm->{traffic}, $sub);
        my $start   = $sub->cursor;
        if (@before) { $account->expect($_, $before[1 + $_]) for 0 .. 3 }
        $peer->tell("ready $start");
        my @ways = (
            sub { $sub->poll_wait },
            sub { $sub->poll_wait_multi(1 + random(MOST)) },
            sub { $sub->drain(1 + random(MOST)) },
            sub { my @got = $sub->poll; @got },
        );
        my $goes_on = 1;
        while ($goes_on) {
            my @got = grep {defined} $ways[random(scalar @ways)]->();
            $goes_on = $account->take(@got);
            $board->set(LOST + $who, $sub->overflow_count);
            $board->set($places, $sub->cursor, map { $_ // 0 } @{ $account->{next} }[0 .. 3]);
        }
        $peer->tell(join ' ', $account->equation, @$account{qw(torn backwards)});
        $peer->tell("@$_") for @{ $account->{missing} };
        $peer->tell('next');
    });
    my ($start) = ($process->{peer}->hear // '') =~ /^ready (\d+)$/ or die "reader $who did not come";
    if (@before) {
        # What a call had returned, but nobody wrote down, was in the dead one's hands.
        my $in_hand = $start - $before[0];
        push @{ $storm->{odd} }, "reader $who goes on at $start, and was at $before[0]"
            if $in_hand < 0 || $in_hand > MOST + $storm->{ring}->stats->{abandoned};
        $storm->{in_hand}[$who] += $in_hand;
    }
    return $process;
}

# Hurts somebody; what a publisher had begun and not finished may have been published or not.
sub hurt {
    my ($storm) = @_;
    my ($board, $publishers, $readers) = @$storm{qw(board publishers readers)};
    my $what = random(10);
    if ($what < 2) {
        $stops++;
        my $process = random(2) ? $publishers->[random(4)] : $readers->[random(READERS)];
        signal($process, 'STOP');
        select undef, undef, undef, rand 0.01;
        signal($process, 'CONT');
    }
    elsif ($what < 5) {
        $kills++;
        my $who = random(4);
        signal($publishers->[$who], 'KILL');
        ended($publishers->[$who]);
        my ($returned, $begun) = ($board->get(RETURNED + $who), $board->get(BEGUN + $who));
        push @{ $storm->{open} }, [$who, $returned, $begun] if $returned != $begun;
        $board->set(RETURNED + $who, $begun);    # the next may die before it returns, too
        $publishers->[$who] = publisher($storm, $who);
    }
    elsif ($what < 9) {
        $kills++;
        my @mortal = sort keys %MORTAL;
        my $who = $mortal[random(scalar @mortal)];
        signal($readers->[$who], 'KILL');
        ended($readers->[$who]);
        $readers->[$who] = reader($storm, $who);
    }
    else {
        pass_the_dead($storm, 4 + random(2));
    }
    return;
}

# One that publishers wait for, because it was stopped, dies: how long they still wait.
sub pass_the_dead {
    my ($storm, $who) = @_;
    my ($board, $ring, $reader) = @$storm{qw(board ring)};
    $reader = $storm->{readers}[$who];
    signal($reader, 'STOP');
    my $end = now() + 1;
    select undef, undef, undef, 0.001 until waits_alone($storm) || now() > $end;
    my $waited = waits_alone($storm);
    signal($reader, 'KILL');
    ended($reader);
    my $dead = int(1e6 * now());
    select undef, undef, undef, 0.0005 until min($board->get(LAST, 4)) > $dead;
    if ($waited) {
        $passed++;
        $worst = max($worst, map { $_ - $dead } $board->get(LAST, 4));
    }
    $storm->{readers}[$who] = reader($storm, $who);
    return;
}

# Publishers wait for one reader, and for no other.
sub waits_alone { return 1 == grep { $_->{lag} >= CAPACITY - 40 } $_[0]{ring}->waiting_for }

sub storm {
    my ($v, $share) = @_;
    my $path  = fresh_path();
    my @new   = ($path, CAPACITY, $v->is_str ? 256 : (), lossless => 1, keep => 3600, readers => 16);
    my $storm = {
        traffic => XT::Traffic->new($v), board => XT::Board->new(PLACE + 5 * READERS), path => $path, class => $v->class,
        ring    => $v->class->new(@new), open => [], odd => [], in_hand => [(0) x READERS],
    };
    my ($ring, $board) = @$storm{qw(ring board)};
    $storm->{readers}    = [map { reader($storm, $_) } 0 .. READERS - 1];
    $storm->{publishers} = [map { publisher($storm, $_) } 0 .. 3];
    my $hurts = for_seconds($share, sub { hurt($storm); select undef, undef, undef, rand 0.002 });
    pass_the_dead($storm, 4);
    is_deeply([map { $_->{alive} } grep { !defined $_->{name} } $ring->readers], [(1) x 6], 'all others are known to live');
    $board->set(STOP, 1);
    is_deeply([map { ended($_) } @{ $storm->{publishers} }], [(0) x 4], 'the publishers end');
    $ring->publish($storm->{traffic}->last_message);
    my $stats = $ring->stats;
    is_deeply($storm->{odd}, [], 'who has a name goes on where it was');
    for my $who (0 .. READERS - 1) {
        my $peer = $storm->{readers}[$who]{peer};
        my ($kind) = ($KINDS[$who][0] // 'plain');
        my ($delivered, $lost, $positions, $torn, $backwards) = split ' ', $peer->hear // '';
        my (@missing, $line);
        push @missing, [split ' ', $line] while defined($line = $peer->hear) && $line ne 'next';
        my $name = "reader $who, $kind:";
        is_deeply([$torn, $backwards], [0, 0], "$name nothing torn, nothing twice or out of order");
        cmp_ok($delivered + $lost, '<=', $positions, "$name no more than there was");
        cmp_ok($delivered + $lost, '>=', $positions - $stats->{abandoned}, "$name all accounted for");
        my $may_miss = $kind eq 'lossy' ? $lost : $storm->{in_hand}[$who];
        cmp_ok($storm->{traffic}->unaccounted(\@missing, $storm->{open}), '<=', $may_miss, "$name nothing is missing")
            or diag(join ' ', 'missing:', (map {"[@$_]"} @missing), 'may be:', map {"[@$_]"} @{ $storm->{open} });
        is($lost, 0, "$name nothing was lost") if $kind ne 'lossy';
    }
    is_deeply([map { ended($_) } @{ $storm->{readers} }], [(0) x READERS], 'the readers end');
    is_deeply([$board->get(LOST, 6)], [(0) x 6], 'nor did those that were killed lose anything');
    my @left = sort { $a->{name} cmp $b->{name} } $ring->readers;
    is_deeply([map { "$_->{name} $_->{alive}" } @left], ['one 0', 'two 0'], 'only names are left in the table');
    note("$hurts hurts, $stats->{write_pos} positions, $stats->{abandoned} abandoned");
    return;
}

each_variant(sub { storm($_[0], 0.5) });
diag(sprintf '%d killed, %d stopped, %s pid namespaces; publishers waited for %d dead readers, %.1f ms at worst',
    $kills, $stops, $namespaces ? 'two and more' : 'no other', $passed, $worst / 1000);
cmp_ok($worst, '<', 5e6, 'nobody waits long for a dead reader');
done_testing;
