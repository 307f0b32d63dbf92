# A lossless ring with four publishers and eight readers, with and without names, two of them lossy; half of all processes
# run in pid namespaces of their own, if possible. At every moment, a process is killed or stopped for a while. No reader that
# is alive loses a message; a reader with a name continues exactly where it was killed; lossy readers count their losses;
# and publishers stop waiting for a killed reader at once. At the end, this prints the longest such wait.

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

# The options of each reader. The first of each kind is never killed, except for those with names.
my @KINDS = ([name => 'one'], [name => 'two'], [], [], [], [], [lossy => 1], [lossy => 1]);
my %MORTAL = map { $_ => 1 } 0, 1, 4, 5, 7;

# On the board: of publishers, then of readers; a reader stores its position and the next number of each sender at once.
use constant { RETURNED => 0, BEGUN => 4, LAST => 8, STOP => 12, LOST => 13, PLACE => 13 + READERS };

my $namespaces = $> == 0 && sysnum('unshare') && system('unshare --pid --fork true >/dev/null 2>&1') == 0;
my ($kills, $stops, $passed, $worst) = (0, 0, 0, 0);

# Runs $code in this pid namespace or, for odd numbers, in a new one.
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

# A named reader continues the account of the last reader of that name.
sub reader {
    my ($storm, $who) = @_;
    my ($board, $position) = ($storm->{board}, PLACE + 5 * $who);
    my ($kind) = @{ $KINDS[$who] };
    my $named = ($kind // '') eq 'name';
    my @before = $named && $storm->{begun}[$who]++ ? $board->get($position, 5) : ();
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
            $board->set($position, $sub->cursor, map { $_ // 0 } @{ $account->{next} }[0 .. 3]);
        }
        $peer->tell(join ' ', $account->equation, @$account{qw(torn backwards)});
        $peer->tell("@$_") for @{ $account->{missing} };
        $peer->tell('next');
    });
    my ($start) = ($process->{peer}->hear // '') =~ /^ready (\d+)$/ or die "reader $who did not start";
    if (@before) {
        # Messages that a call had returned, but that were not recorded yet, were lost with the killed process.
        my $in_hand = $start - $before[0];
        push @{ $storm->{odd} }, "reader $who continues at $start, and was at $before[0]"
            if $in_hand < 0 || $in_hand > MOST + $storm->{ring}->stats->{abandoned};
        $storm->{in_hand}[$who] += $in_hand;
    }
    return $process;
}

# Kills or stops a process; a publish that was not finished may have happened or not.
sub disturb {
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
        $board->set(RETURNED + $who, $begun);    # the next one may be killed before it returns, too
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
        wait_for_killed($storm, 4 + random(2));
    }
    return;
}

# Stops a reader until publishers wait for it, kills it, and measures how long they still wait.
sub wait_for_killed {
    my ($storm, $who) = @_;
    my ($board, $ring, $reader) = @$storm{qw(board ring)};
    $reader = $storm->{readers}[$who];
    signal($reader, 'STOP');
    my $end = now() + 1;
    select undef, undef, undef, 0.001 until waits_alone($storm) || now() > $end;
    my $waited = waits_alone($storm);
    signal($reader, 'KILL');
    ended($reader);
    my $killed = int(1e6 * now());
    select undef, undef, undef, 0.0005 until min($board->get(LAST, 4)) > $killed;
    if ($waited) {
        $passed++;
        $worst = max($worst, map { $_ - $killed } $board->get(LAST, 4));
    }
    $storm->{readers}[$who] = reader($storm, $who);
    return;
}

# Whether publishers wait for exactly one reader.
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
    my $disturbances = for_seconds($share, sub { disturb($storm); select undef, undef, undef, rand 0.002 });
    wait_for_killed($storm, 4);
    is_deeply([map { $_->{alive} } grep { !defined $_->{name} } $ring->readers], [(1) x 6],
        'all readers without names are known to be alive');
    $board->set(STOP, 1);
    is_deeply([map { ended($_) } @{ $storm->{publishers} }], [(0) x 4], 'the publishers exit with 0');
    $ring->publish($storm->{traffic}->last_message);
    my $stats = $ring->stats;
    is_deeply($storm->{odd}, [], 'readers with names continue where they were');
    for my $who (0 .. READERS - 1) {
        my $peer = $storm->{readers}[$who]{peer};
        my ($kind) = ($KINDS[$who][0] // 'plain');
        my ($delivered, $lost, $positions, $torn, $backwards) = split ' ', $peer->hear // '';
        my (@missing, $line);
        push @missing, [split ' ', $line] while defined($line = $peer->hear) && $line ne 'next';
        my $name = "reader $who, $kind:";
        is_deeply([$torn, $backwards], [0, 0], "$name no message is torn, delivered twice or out of order");
        cmp_ok($delivered + $lost, '<=', $positions, "$name not more messages than positions");
        cmp_ok($delivered + $lost, '>=', $positions - $stats->{abandoned}, "$name all positions are accounted for");
        my $may_miss = $kind eq 'lossy' ? $lost : $storm->{in_hand}[$who];
        cmp_ok($storm->{traffic}->unaccounted(\@missing, $storm->{open}), '<=', $may_miss, "$name no message is missing")
            or diag(join ' ', 'missing:', (map {"[@$_]"} @missing), 'may be:', map {"[@$_]"} @{ $storm->{open} });
        is($lost, 0, "$name no message was lost") if $kind ne 'lossy';
    }
    is_deeply([map { ended($_) } @{ $storm->{readers} }], [(0) x READERS], 'the readers exit with 0');
    is_deeply([$board->get(LOST, 6)], [(0) x 6], 'readers that were killed lost no message either');
    my @left = sort { $a->{name} cmp $b->{name} } $ring->readers;
    is_deeply([map { "$_->{name} $_->{alive}" } @left], ['one 0', 'two 0'], 'only readers with names are left in the table');
    note("$disturbances disturbances, $stats->{write_pos} positions, $stats->{abandoned} abandoned");
    return;
}

each_variant(sub { storm($_[0], 0.5) });
diag(sprintf '%d killed, %d stopped, %s pid namespaces; publishers waited for %d killed readers, %.1f ms at worst',
    $kills, $stops, $namespaces ? 'two and more' : 'no other', $passed, $worst / 1000);
cmp_ok($worst, '<', 5e6, 'publishers do not wait long for a killed reader');
done_testing;
