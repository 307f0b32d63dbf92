# Two publishers in mount namespaces with different boot ids, as in containers, both of which open the ring again and again:
# no message is lost or torn, wherever the ring is.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use XT::Remote;
use PubSubTest;
use Test::More;

use constant BOOT_ID_FILE => '/proc/sys/kernel/random/boot_id';

# --- Places for a ring

sub kind_of { return (qx{stat -f -c %T '$_[0]' 2>/dev/null} || '?') =~ s/\s//gr }

my $disk = fresh_dir();
if (kind_of($disk) =~ /tmpfs|ramfs|\?/) {
    ($disk) = grep { kind_of($_) !~ /tmpfs|ramfs|\?/ && -w } '/var/tmp', $FindBin::Bin;
    $disk &&= File::Temp::tempdir('pubsub-test-XXXXXXXX', DIR => $disk, CLEANUP => 1);
}
my $memory = -w '/dev/shm' && kind_of('/dev/shm') eq 'tmpfs' ? File::Temp::tempdir('pubsub-test-XXXXXXXX', DIR => '/dev/shm', CLEANUP => 1) : undef;

my $serial = 0;

# (ring, code with which another process opens it, file with its bytes).
my %places = (
    ($disk   ? ('on a disk'   => sub { by_path("$disk/" . $serial++, @_) })   : ()),
    ($memory ? ('in /dev/shm' => sub { by_path("$memory/" . $serial++, @_) }) : ()),
    'a memfd' => sub {
        my ($v, $capacity) = @_;
        my $ring = $v->class->new_memfd('boot', $capacity);
        my $file = "/proc/$$/fd/" . $ring->memfd;
        return ($ring, "do { open my \$f, '+<', '$file' or die \$!; @{[$v->class]}->new_from_fd(fileno \$f) }", $file);
    },
);
delete $places{'a memfd'} if !-e "/proc/$$/fd";

sub by_path {
    my ($path, $v, $capacity) = @_;
    return ($v->class->new($path, $capacity), "@{[$v->class]}->new('$path')", $path);
}

# --- Two mount namespaces that show different boot ids, or one without

my %views = (
    'different boot ids' => [map { sprintf "%08x-0000-4000-8000-%012x\n", random(1 << 30), $_ } 1, 2],
    'one of them none'   => [sprintf("%08x-0000-4000-8000-%012x\n", random(1 << 30), 3), ''],
);
my $why = 'needs the right to unshare mounts'
    if system("unshare -m mount --bind /dev/null @{[BOOT_ID_FILE]} 2>/dev/null") != 0;

# Publishes batches, and opens the ring again for each. Each message has its publisher and number.
use constant { EACH => 16384, BATCH => 64 };
my $program = <<'PERL' =~ s/\n\s*/ /gr;
    my $ring = attach();
    for (my $n = 0; $n < EACH; $n += BATCH) {
        $ring = attach();
        $ring->publish_multi(map { message($_) } $n .. $n + BATCH - 1);
    }
    'done'
PERL

# Number $n of publisher $id; strings have many lengths and can be checked as a whole.
sub message_of {
    my ($v, $id, $n) = @_;
    return $v->is_str ? "$id.$n " x (1 + $n % 30) : $id * EACH + $n;
}

for my $view (sort keys %views) {
    for my $place (sort keys %places) {
        for my $v (variants()) {
            SKIP: {
                skip $why, 1 if $why;
                my ($ring, $attach) = $places{$place}->($v, 4 * EACH);
                my @publishers = map {
                    my $file = spew(fresh_path(), $views{$view}[$_]);
                    my $bind = "mount --bind $file @{[BOOT_ID_FILE]} && exec \"\$@\"";
                    my $one  = XT::Remote->start(prefix => ['unshare', '-m', 'sh', '-c', $bind, 'sh']);
                    my $message = $v->is_str ? qq{"$_.\$n " x (1 + \$n % 30)} : $_ * EACH . ' + $n';
                    my $set_up = 'use constant { EACH => ' . EACH . ', BATCH => ' . BATCH . ' }; '
                        . "sub attach { $attach } sub message { my (\$n) = \@_; $message } 1";
                    is($one->ask($set_up), 1, 'a publisher starts') or diag $set_up;
                    $one;
                } 0, 1;
                $_->tell($program) for @publishers;
                my @ends = map { $_->hear // 'killed' } @publishers;
                $_->finish for @publishers;
                my %next = (0 => 0, 1 => 0);
                my @wrong = grep { $_ ne 'done' } @ends;
                for my $message ($ring->subscribe_all->drain) {
                    my ($id, $n) = $v->is_str ? $message =~ /\A([01])\.([0-9]+) / : (int $message / EACH, $message % EACH);
                    if (!defined $id || $message ne message_of($v, $id, $n)) { push @wrong, "torn: $message" }
                    elsif ($n != $next{$id}) { push @wrong, "$id: $n instead of $next{$id}" }
                    $next{$id} = $n + 1 if defined $id;
                }
                push @wrong, "$_: ends at $next{$_}" for grep { $next{$_} != EACH } 0, 1;
                splice @wrong, 5;
                is_deeply(\@wrong, [], "$view, $place, " . $v->name . ': no message is lost or torn');
            }
        }
    }
}

done_testing;
