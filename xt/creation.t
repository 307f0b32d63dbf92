# Many processes make, open and remove one path, and some are killed, stopped or held up while they
# do: one ring at a time, never a half-made one, nothing left behind.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Build 'fault';
use XT::Remote;
use PubSubTest;
use Test::More;

# This process makes no ring itself: its children shall look into their environment at their first
# fault point.
my $PROCESSES = 8;

sub opener { return "our \$r = @{[$_[0]->class]}->new('$_[1]', 16); \$r->capacity" }

sub inode { return (stat $_[0])[1] }

# The inode of the one ring that this process has mapped. (Its maker may know it by no name.)
sub mapped_inode {
    my @found = map { (split)[4] } grep {/ rw-s /} split /\n/, slurp('/proc/self/maps');
    return join '+', @found;
}

# Whoever waits for a maker that does not go on is told so, in a few seconds: see the end.
my $late       = fresh_path();
my $late_maker = XT::Remote->start(env => { PUBSUB_FAULT => 'mid-header=stop' });
spew($late, '');
my ($int) = variants();
$late_maker->tell(opener($int, $late));
ok($late_maker->stopped, 'a maker stops in mid-header');
my $late_waiter = XT::Remote->start;
$late_waiter->tell(opener($int, $late));

for my $v (grep { $_->name eq 'Int' || $_->is_str } variants()) {
    subtest $v->name . ': hurt at the two points' => sub {
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
                is($victim->end & 127, 9, "$name: killed");
                is_deeply([entries($dir)], [$start eq 'nothing' ? () : 'ring'], "$name: nothing new is left");
                my $inode = inode($path);
                my $other = XT::Remote->start;
                is($other->ask(opener($v, $path)), 16, "$name: the next one makes it");
                is(inode($path), $inode, "$name: in place") if $inode;
                $other->finish;

                $victim = $make->('stop');
                ok($victim->stopped, "$name: stopped");
                $other = XT::Remote->start;
                $other->tell(opener($v, $path));
                if ($start eq 'nothing') {
                    is($other->hear, 16, "$name: another makes it meanwhile");
                }
                else {
                    ok(!$other->speaks_within(0.05), "$name: another waits");
                }
                kill CONT => $victim->pid;
                is($victim->hear, 16, "$name: continued, it has a ring");
                is($other->hear, 16, "$name: so has the other") if $start ne 'nothing';
                is($other->ask('our $s = $r->subscribe; 1'), 1, "$name: the other subscribes");
                is($victim->ask('$r->publish(7)'), 1, "$name: the one that was stopped publishes");
                is($other->ask('$s->poll'), 7, "$name: it is the same ring");
                is_deeply([entries($dir)], ['ring'], "$name: nothing else is there");
                $_->finish for $victim, $other;
            }
        }
    };
}

# Eight at once at a path where nothing is, or an empty file, that a maker may leave half filled when it dies: then it is
# for those who want a ring of that size.
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
            no warnings 'Data::PubSub::Shared';    # of two capacities one is there
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

# Over and over: make or open, use, remove; killed at any moment.
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
            defined $sub->poll_wait(20) or die 'its own message does not come';
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
    is_deeply(\@wrong, [], "$rounds times $PROCESSES at one path: one ring");

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
    is_deeply([keys %how], [9], "making and removing in a storm: $killed killed, nobody failed");
    my $ring = eval { $v->class->new($path, 16) };
    ok($ring && eval { $ring->publish($v->value(1)) }, 'the path can be opened') or diag($@);
    is_deeply([grep { !/\Aring(?:-\d)?\z/ } entries($dir)], [], 'nothing else is left');
});

like($late_waiter->hear, qr/died: .*initialised by another process, which appears to be stuck/, 'who waits for the stopped maker is told');
kill CONT => $late_maker->pid;
is($late_maker->hear, 16, 'which has its ring when it goes on');
is($late_waiter->ask(opener($int, $late)), 16, 'and then so has the other');
$_->finish for $late_maker, $late_waiter;

done_testing;
