# Publishers of strings with few spares, in two pid namespaces and mount namespaces with their own boot ids: killed, stopped,
# forked and started again at every moment, many of them at the most delicate points. No message is torn, delivered twice or
# out of order, and all counts add up; and at the end, a single publisher finds each block where it belongs.
#
# Once in a ring that is lapped all the time, and once in one that is large enough to lose nothing.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Build 'fault';
use XT::Board;
use XT::Remote;
use XT::Traffic;
use PubSubTest;
use List::Util qw(max min);
use POSIX ();
use Test::More;

use constant { CLASS => 'Data::PubSub::Shared::Str', SPARES => 3, SENDERS => 4, SUBSCRIBERS => 3 };
# Indexes on the board.
use constant { RETURNED => 0, BEGUN => 4, CURSOR => 8, STOP => 11 };
use constant { NEWNS => 0x20000, NEWPID => 0x20000000 };
use constant BOOT_ID => '/proc/sys/kernel/random/boot_id';

my $apart = $> == 0 && system("unshare --pid --fork --mount mount --bind /dev/null @{[BOOT_ID]} 2>/dev/null") == 0;
diag('publishers share namespaces: this process may not create any') if !$apart;

# --- Publishers

sub publish_some {
    my ($storm, $who, $ring) = @_;
    my ($board, $traffic) = @$storm{qw(board traffic)};
    my $number   = $board->get(BEGUN + $who);
    my $count    = random(3) ? 1 : 1 + random(40);
    my @messages = map { $traffic->encode($who, $number + $_) } 0 .. $count - 1;
    $board->set(BEGUN + $who, $number + $count);
    $count == 1 ? $ring->publish(@messages) : $ring->publish_multi(@messages);
    $board->set(RETURNED + $who, $number + $count);
    return;
}

# Publishes until it is stopped or killed, with several handles, some of them inherited by children that publish instead.
sub publish_on {
    my ($storm, $who) = @_;
    my ($board) = @$storm{qw(board)};
    my @rings = CLASS->new($storm->{path});
    until ($board->get(STOP)) {
        my $ring = $rings[random(scalar @rings)];
        if (!$storm->{lapped} && $ring->write_pos - min($board->get(CURSOR, SUBSCRIBERS)) > $storm->{capacity} / 2) {
            select undef, undef, undef, 0.0005;
            next;
        }
        my $what = random(60);
        if ($what == 0) {
            push @rings, CLASS->new($storm->{path});
        }
        elsif ($what == 1) {
            splice @rings, random(scalar @rings), 1 if @rings > 1;
        }
        elsif ($what == 2) {
            my $pid = fork // die "fork: $!";
            if (!$pid) {
                XT::in_storm();
                $board->attach;
                publish_some($storm, $who, $ring) for 1 .. 1 + random(5);
                POSIX::_exit(0);
            }
            waitpid $pid, 0;
            die "a child ends with $?\n" if $? && $? != 9;
            return if $?;    # its messages may have been published or not
        }
        else {
            publish_some($storm, $who, $ring);
        }
    }
    return;
}

my @POINTS = qw(spare-taken written after-claim before-exchange exchanged before-return recovering before-wake);

# A fault for a process, or none.
sub fault {
    return '' if !random(3);
    my $action = qw(kill kill stop delay:5000) [random(4)];
    return "$POINTS[random(scalar @POINTS)]=$action@" . (1 + random(random(2) ? 8 : 400));
}

# (pid, a descriptor that is closed when the process and all its children have ended).
sub start_publisher {
    my ($storm, $who) = @_;
    pipe my $family, my $member or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        close $family;
        XT::in_storm();
        $storm->{board}->attach;
        $ENV{PUBSUB_FAULT} = fault();
        eval { publish_on($storm, $who); 1 } or do { print STDERR "publisher $who: $@"; POSIX::_exit(1) };
        POSIX::_exit(0);
    }
    close $member;
    return { pid => $pid, family => $family };
}

sub end_of {
    my ($publisher) = @_;
    waitpid $publisher->{pid}, 0;
    my $status = $?;
    sysread $publisher->{family}, my $nothing, 1;
    return $status;
}

# A process that starts two publishers, in namespaces of their own, and kills and stops them. Tells which publishes were unfinished.
sub keeper {
    my ($storm, @senders) = @_;
    return spawn(sub {
        my ($peer) = @_;
        XT::in_storm();
        my $board = $storm->{board}->attach;
        my $init;
        if ($apart) {
            my $file = fresh_path();
            spew($file, sprintf "%08x-0000-4000-8000-%012x\n", random(1 << 30), $senders[0]);
            syscall(sysnum('unshare'), NEWNS | NEWPID) == 0 or die "unshare: $!";
            # The first process of a pid namespace, which the others and /proc need.
            pipe my $made, my $making or die "pipe: $!";
            $init = fork // die "fork: $!";
            if (!$init) {
                XT::dies_with_parent();
                system("mount --make-rprivate / && mount -t proc proc /proc && mount --bind $file " . BOOT_ID) == 0 or POSIX::_exit(1);
                syswrite $making, '1';
                sleep 1000 while 1;
            }
            close $making;
            sysread($made, my $answer, 1) or die "no namespaces\n";
        }
        my %publishers = map { $_ => start_publisher($storm, $_) } @senders;
        my ($kills, $stops, @open, @bad) = (0, 0);
        my $kill = sub {
            my ($who) = @_;
            $kills++;
            kill KILL => $publishers{$who}{pid};
            my $status = end_of($publishers{$who});
            push @bad, $status if $status != 9 && $status != 0;
            my ($returned, $begun) = ($board->get(RETURNED + $who), $board->get(BEGUN + $who));
            push @open, "$who $returned $begun" if $returned != $begun;
            $board->set(RETURNED + $who, $begun);
        };
        until ($board->get(STOP)) {
            select undef, undef, undef, rand 0.008;
            my $who = $senders[random(scalar @senders)];
            my $pid = $publishers{$who}{pid};
            my $stop = !random(4);
            if ($stop) {
                $stops++;
                kill STOP => $pid;
                select undef, undef, undef, rand 0.03;
            }
            if ($stop && random(2)) {
                kill CONT => $pid;
                next;
            }
            $kill->($who);
            $publishers{$who} = start_publisher($storm, $who);
        }
        $kill->($_) for @senders;
        if ($init) { kill KILL => $init; waitpid $init, 0 }
        $peer->tell(join ';', $kills, $stops, scalar(@bad), @open);
    });
}

# --- Subscribers

sub subscriber {
    my ($storm, $who) = @_;
    my $sub = $storm->{ring}->subscribe;
    return spawn(sub {
        my ($peer) = @_;
        XT::in_storm();
        my $board   = $storm->{board}->attach;
        my $account = XT::Traffic::Account->new($storm->{traffic}, $sub);
        $account->expect($_, 0) for 0 .. SENDERS - 1;
        my @ways = (
            sub { $sub->poll_wait(0.1) },
            sub { $sub->poll_wait_multi(1 + random(60), 0.1) },
            sub { $sub->drain },
            sub { my @got; $sub->poll_cb(sub { push @got, $_[0] }); @got },
        );
        my $goes_on = 1;
        while ($goes_on) {
            $goes_on = $account->take(grep {defined} $ways[random(scalar @ways)]->());
            $board->set(CURSOR + $who, $sub->cursor);
        }
        $peer->tell(join ';', $account->equation, @$account{qw(torn backwards)}, map {"@$_"} @{ $account->{missing} });
    });
}

sub check {
    my ($path) = @_;
    my $said = qx{$^X -Mblib bin/pubsub-shared check --all $path 2>&1};
    return $? == 0 ? 'sound' : $said;
}

sub storm {
    my (%how) = @_;
    my $path  = fresh_path();
    # Created by another process: this one must not pass a fault point, because its children would then not read their
    # environment.
    my $maker = XT::Remote->start;
    my $made  = $maker->ask("ref @{[CLASS]}->new('$path', $how{capacity}, 256, publishers => @{[SPARES]})");
    $made eq CLASS or die $made;
    $maker->finish;
    my $storm = {
        %how, path => $path, board => XT::Board->new(12), traffic => XT::Traffic->new(variant('Str')),
        ring => CLASS->new($path),
    };
    my @subs    = map { subscriber($storm, $_) } 0 .. SUBSCRIBERS - 1;
    my @keepers = (keeper($storm, 0, 1), keeper($storm, 2, 3));
    select undef, undef, undef, $how{seconds};
    $storm->{board}->set(STOP, 1);

    my ($kills, $stops, $bad, @open) = (0, 0, 0);
    for (@keepers) {
        my ($k, $s, $b, @o) = split /;/, $_->hear // '0;0;1';
        ($kills, $stops, $bad) = ($kills + $k, $stops + $s, $bad + $b);
        push @open, map { [split ' '] } @o;
    }
    is($bad, 0, "$kills killed, $stops stopped; all publishers ended by these signals");
    is_deeply([map { $_->end } @keepers], [0, 0], 'the processes that killed and stopped them exit with 0');

    my $ring = $storm->{ring};
    $ring->publish($storm->{traffic}->last_message);
    my $stats = $ring->stats;
    for my $who (0 .. SUBSCRIBERS - 1) {
        my ($delivered, $lost, $passed, $torn, $backwards, @missing) = split /;/, $subs[$who]->hear // '0;0;0;9;9';
        @missing = map { [split ' '] } @missing;
        is("$torn $backwards", '0 0', "subscriber $who: $delivered messages, whole, in order, once");
        my $missing = $passed - $delivered - $lost;
        ok($missing >= 0 && $missing <= $stats->{abandoned},
            "subscriber $who: $missing positions without a message, of $stats->{abandoned} abandoned");
        is($passed, $stats->{write_pos}, "subscriber $who passed all positions");
        my $short = $storm->{traffic}->unaccounted(\@missing, \@open);
        $how{lapped} ? cmp_ok($short, '<=', $lost, "subscriber $who: missing messages were counted as lost") : is("$short $lost", '0 0', "subscriber $who: no message is missing or lost");
    }
    is_deeply([map { $_->end } @subs], [(0) x @subs], 'the subscribers exit with 0');
    is($stats->{leaked}, 0, 'no spare has leaked');
    is(check($path), 'sound', 'check: each block has one owner');
    $ring->publish_multi(('x') x $ring->capacity) for 1 .. 3;
    is(check($path), 'sound', 'check: each block has one owner after three more laps');
    diag("$stats->{write_pos} positions, $kills killed, $stops stopped, $stats->{recoveries} blocks taken over, "
        . "$stats->{abandoned} abandoned");
    return;
}

my $rounds = max(1, int(seconds() / 30));
for my $round (1 .. $rounds) {
    my %how = (seconds => seconds() / $rounds / 2);
    subtest "a small ring, round $round" => sub { storm(%how, capacity => 16, lapped => 1) };
    subtest "a large ring, round $round" => sub { storm(%how, capacity => 4096) };
}

done_testing;
