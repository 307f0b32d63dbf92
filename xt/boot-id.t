# A ring whose header says that the machine was started again since: the first who attaches frees its
# lock, whatever the number of its holder means today; later ones leave it alone.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Build 'fault';
use XT::Remote;
use PubSubTest;
use Test::More;

use constant { BOOT_ID => 64, LOCK => 512 };

my ($v) = grep { $_->is_str } variants();

my $this_boot = do {
    my $hex = slurp('/proc/sys/kernel/random/boot_id') =~ s/[^0-9a-f]//gir;
    no warnings 'portable';
    pack 'Q2', map { hex substr $hex, 16 * $_, 16 } 0, 1;
};
my %other_boots = (
    'another boot'     => random_bytes(16),
    'no boot'          => "\0" x 16,
    'half of this one' => substr($this_boot, 0, 8) . random_bytes(8),
);

# A ring of another boot that holds messages, and whose lock somebody holds who lives.
sub left_behind {
    my ($boot) = @_;
    my $path = fresh_path();
    my $ring = $v->class->new($path, 16);
    $ring->publish_multi($v->values(1, 5));
    undef $ring;
    poke($path, BOOT_ID, $boot);
    poke($path, LOCK, pack 'L', $$);
    return $path;
}

my $fresh = fresh_path();
$v->class->new($fresh, 16);
is(peek($fresh, BOOT_ID, 16), $this_boot, 'a new ring knows its boot');

for my $boot (sort keys %other_boots) {
    subtest $boot => sub {
        my $path = left_behind($other_boots{$boot});
        my $ring = $v->class->new($path);
        is(peek($path, BOOT_ID, 16), $this_boot, 'the boot id is written');
        $ring->publish($v->value(6));
        is_deeply([$ring->subscribe_all->drain], [$v->values(1, 6)], 'the lock is free, the messages are there');

        # Freed once: a holder of today is left alone by whoever attaches then.
        my $holder = XT::Remote->start(env => { PUBSUB_FAULT => 'locked=stop' });
        $holder->ask("our \$r = @{[$v->class]}->new('$path')");
        $holder->tell('$r->publish("held"); 1');
        ok($holder->stopped, 'somebody holds the lock');
        my $later = XT::Remote->start;
        $later->ask("our \$r = @{[$v->class]}->new('$path')");
        $later->tell('$r->publish("later"); 1');
        ok(!$later->speaks_within(0.2), 'who attaches later does not take it away');
        kill CONT => $holder->pid;
        is($_->hear, 1, 'both come to their end') for $holder, $later;
        $_->finish for $holder, $later;
        is_deeply([$ring->subscribe_all->drain], [$v->values(1, 6), 'held', 'later'], 'and nothing is lost');
    };
}

# Eight attach at once and publish: the lock is freed before any of them takes it.
my @wrong;
my $rounds = for_seconds(0.5, sub {
    my ($round) = @_;
    my $path = left_behind($other_boots{'another boot'});
    my @kids = map {
        my $id = $_;
        spawn(sub {
            my ($peer) = @_;
            XT::dies_with_parent();
            $peer->hear;
            my $ring = $v->class->new($path);
            $ring->publish("$id.$_") for 1 .. 20;
        });
    } 1 .. 8;
    $_->tell('go') for @kids;
    $_->end == 0 or push @wrong, "round $round: somebody failed" for @kids;
    my $ring  = $v->class->new($path);
    my $stats = $ring->stats;
    push @wrong, "round $round: $stats->{write_pos} published" if $stats->{write_pos} != 5 + 8 * 20;
    push @wrong, "round $round: recovered" if $stats->{recoveries};
    unlink $path;
});
is_deeply(\@wrong, [], "$rounds times eight attach at once");

# One that is refused is not written to.
my $path  = left_behind($other_boots{'another boot'});
my $bytes = slurp($path);
my ($int) = variants();
croaks_like(sub { $int->class->new($path) }, 'invalid or incompatible', 'another variant is refused');
ok(slurp($path) eq $bytes, 'and leaves lock and boot id alone');

done_testing;
