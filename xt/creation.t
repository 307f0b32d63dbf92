# Many processes create, open and remove one path, and some are killed, stopped or delayed in the meantime:
# there is one ring at a time, never an incomplete one, and no file is left.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Build 'fault';
use XT::Remote;
use PubSubTest;
use Test::More;

# This process does not create a ring itself: its children must read their environment at their first
# fault point.
my $PROCESSES = 8;

sub opener { return "our \$r = @{[$_[0]->class]}->new('$_[1]', 16); \$r->capacity" }

sub inode { return (stat $_[0])[1] }

# The inode of the ring that this process has mapped. (The process that created it may not know its name.)
sub mapped_inode {
    my @found = map { (split)[4] } grep {/ rw-s /} split /\n/, slurp('/proc/self/maps');
    return join '+', @found;
}

# A process that waits for a creator that is stopped gets an error after some seconds: see the end.
my $late       = fresh_path();
my $late_maker = XT::Remote->start(env => { PUBSUB_FAULT => 'mid-header=stop' });
spew($late, '');
my ($int) = variants();
$late_maker->tell(opener($int, $late));
ok($late_maker->stopped, 'a creator stops at mid-header');
my $late_waiter = XT::Remote->start;
$late_waiter->tell(opener($int, $late));

for my $v (grep { $_->name eq 'Int' || $_->is_str } variants()) {
    subtest $v->name . ': faults at the two points' => sub {
        for my $start ('nothing', 'an empty file') {
            for my $point ('before-link', 'mid-header') {
                next if $point eq 'before-link' && $start ne 'nothing';
                my $dir  = fresh_dir();
                my $path = "$dir/ring";
                my $name = "$point, $start before";
                my $make = sub {
                    my ($fault) = @_;
                    unlink $path;
                    spew($path, '') if $start ne 'nothing';
                    my $remote = XT::Remote->start($fault ? (env => { PUBSUB_FAULT => "$point=$fault" }) : ());
                    $remote->tell(opener($v, $path));
                    return $remote;
                };

                my $victim = $make->('kill');
                is($victim->end & 127, 9, "$name: the creator is killed");
                is_deeply([entries($dir)], [$start eq 'nothing' ? () : 'ring'], "$name: no new file is left");
                my $inode = inode($path);
                my $other = XT::Remote->start;
                is($other->ask(opener($v, $path)), 16, "$name: the next process creates the ring");
                is(inode($path), $inode, "$name: the ring is in the same file") if $inode;
                $other->finish;

                $victim = $make->('stop');
                ok($victim->stopped, "$name: the creator stops");
                $other = XT::Remote->start;
                $other->tell(opener($v, $path));
                if ($start eq 'nothing') {
                    is($other->hear, 16, "$name: another process creates the ring in the meantime");
                }
                else {
                    ok(!$other->speaks_within(0.05), "$name: another process waits");
                }
                kill CONT => $victim->pid;
                is($victim->hear, 16, "$name: the continued creator has a ring");
                is($other->hear, 16, "$name: the other process has a ring") if $start ne 'nothing';
                is($other->ask('our $s = $r->subscribe; 1'), 1, "$name: the other process subscribes");
                is($victim->ask('$r->publish(7)'), 1, "$name: the continued creator publishes");
                is($other->ask('$s->poll'), 7, "$name: both have the same ring");
                is_deeply([entries($dir)], ['ring'], "$name: no other file is left");
                $_->finish for $victim, $other;
            }
        }
    };
}

# Eight processes at once at a path with no file or an empty file. A killed creator may leave that half filled, for creators
# of a ring of the same size.
sub race {
    my ($v, $round) = @_;
    my $dir  = fresh_dir();
    my $path = "$dir/ring";
    spew($path, '') if $round % 3;
    my @kids = map {
        my $id = $_;
        spawn(sub {
            my ($peer) = @_;
            XT::dies_with_parent();
            my @faults = qw(before-link=kill mid-header=kill before-link=delay:2000 mid-header=delay:2000);
            $ENV{PUBSUB_FAULT} = $faults[random(8)] // '' if $id > 2;
            $peer->hear;
            no warnings 'Data::PubSub::Shared';    # the ring has only one of the two capacities
            my $ring = $v->class->new($path, $round % 3 ? 16 : 16 << $id % 2);
            $ring->publish($v->value($id));
            $peer->tell(mapped_inode() . ' ' . $ring->capacity);
        });
    } 1 .. $PROCESSES;
    $_->tell('go') for @kids;
    my %seen = map { defined $_ ? ($_ => 1) : () } map { $_->hear } @kids;
    my %how  = map { $_->end => 1 } @kids;
    my @got  = sort $v->class->new($path)->subscribe_all->drain;
    delete @how{ 0, 9 };
    my @wrong;
    push @wrong, 'rings: ' . join ' ', keys %seen if keys %seen != 1;
    push @wrong, 'ends: ' . join ' ', keys %how if %how;
    push @wrong, 'messages: ' . @got if "@got[0, 1]" ne join ' ', $v->values(1, 2);
    push @wrong, 'left: ' . join ' ', entries($dir) if "@{[entries($dir)]}" ne 'ring';
    unlink $path;
    rmdir $dir;
    return map {"round $round: $_"} @wrong;
}

# Creates or opens, uses and removes the ring repeatedly; killed at any moment.
sub worker {
    my ($v, $path, $id) = @_;
    return spawn(sub {
        XT::in_storm();
        my $class = $v->class;
        my $size  = $class->new(undef, 16)->stats->{mmap_size};
        $ENV{PUBSUB_FAULT} = (qw(before-link mid-header))[random(2)] . '=kill@' . (1 + random(20));
        while (1) {
            my $ring = $class->new($path, 16);
            my $sub  = $ring->subscribe;
            $ring->stats->{mmap_size} == $size or die 'a ring of another size';
            $ring->publish($v->value($id));
            defined $sub->poll_wait(20) or die 'its own message does not arrive';
            my $what = random(6);
            if    ($what == 0) { eval { $ring->unlink } or $@ =~ /is another ring now/ or die $@ }
            elsif ($what == 1) { spew("$path-$id", ''); rename "$path-$id", $path or die "rename: $!" }
        }
    });
}

each_variant(sub {
    my ($v) = @_;
    my @wrong;
    my $rounds = for_seconds(0.25, sub { push @wrong, race($v, $_[0]) });
    is_deeply(\@wrong, [], "$rounds times, $PROCESSES processes get one ring at one path");

    my $dir  = fresh_dir();
    my $path = "$dir/ring";
    my @kids = map { worker($v, $path, $_) } 1 .. $PROCESSES;
    my ($killed, %how) = (0);
    for_seconds(0.25, sub {
        my $id = random($PROCESSES);
        select undef, undef, undef, rand 0.003;
        kill KILL => $kids[$id]->pid;
        $how{ $kids[$id]->end }++;
        $killed++;
        $kids[$id] = worker($v, $path, $id + 1);
    });
    kill KILL => $_->pid for @kids;
    $how{ $_->end }++ for @kids;
    is_deeply([keys %how], [9], "rings are created and removed while $killed processes are killed: no process fails");
    my $ring = eval { $v->class->new($path, 16) };
    ok($ring && eval { $ring->publish($v->value(1)) }, 'the path can be opened afterwards') or diag($@);
    is_deeply([grep { !/\Aring(?:-\d)?\z/ } entries($dir)], [], 'no other file is left');
});

like($late_waiter->hear, qr/died: .*initialised by another process, which appears to be stuck/,
    'a process that waits for the stopped creator gets an error');
kill CONT => $late_maker->pid;
is($late_maker->hear, 16, 'the stopped creator has its ring when it continues');
is($late_waiter->ask(opener($int, $late)), 16, 'the other process can then open the ring');
$_->finish for $late_maker, $late_waiter;

done_testing;
