# On overlayfs, a mapping keeps the file of the lower layer open, and so does not hold a lock of its own: publishers of strings
# must not take each other for killed there.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Build 'fault';
use XT::Remote;
use PubSubTest;
use Test::More;

plan skip_all => 'needs the right to mount' if $> || system('unshare --mount true 2>/dev/null') != 0;

sub quiet { return system("$_[0] >/dev/null 2>&1") == 0 }

sub publisher {
    my ($path, $fault) = @_;
    my $remote = XT::Remote->start($fault ? (env => { PUBSUB_FAULT => $fault }) : ());
    my $made = $remote->ask("our \$r = Data::PubSub::Shared::Str->new('$path', 16, 64, publishers => 2); 1");
    return $made eq '1' ? $remote : die $made;
}

my $top = fresh_dir();
my $kid = spawn(sub {
    my ($peer) = @_;
    syscall(sysnum('unshare'), 0x20000) == 0 && quiet('mount --make-rprivate /') or return $peer->tell('no namespace');
    quiet("mount -t tmpfs none $top") or return $peer->tell('no tmpfs');
    mkdir "$top/$_" or die "mkdir: $!" for qw(lower upper work ring);
    quiet("mount -t overlay -o lowerdir=$top/lower,upperdir=$top/upper,workdir=$top/work none $top/ring")
        or return $peer->tell('no overlayfs');
    $peer->tell('mounted');
    my ($path, $bytes) = ("$top/ring/strings", 'a' x 64);
    my $holder = publisher($path, 'written=stop');
    $holder->tell("\$r->publish('$bytes')");
    until_state($holder->leaf, 'T');
    my $other = publisher($path);
    $peer->tell($other->ask('$r->publish($_ x 64) for map { chr(98 + $_ % 20) } 1 .. 40; $r->stats->{recoveries}'));
    kill CONT => $holder->leaf;
    $peer->tell($holder->hear);
    $peer->tell($other->ask('my @got = $r->subscribe_all->drain; scalar(@got), $got[-1], scalar grep { !/^(.)\1{63}$/ } @got'));
    $_->finish for $other, $holder;
    quiet("umount $top/ring && umount $top");
});
my $said = $kid->hear // 'the child ended';
if ($said ne 'mounted') { $kid->end; plan skip_all => $said }
is($kid->hear, 0, 'the block of a publisher that is stopped in the middle of a publish is not taken over');
is($kid->hear, 1, 'the stopped publisher finishes its call when it continues');
is($kid->hear, '16 ' . 'a' x 64 . ' 0', 'its message is there, and all messages are whole');
is($kid->end, 0, 'the child exits with 0');

done_testing;
