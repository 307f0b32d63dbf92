# new_from_fd of a descriptor that is open for reading only returns a read-only handle.

use strict;
use warnings;
use Fcntl;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;
    my $path  = fresh_path();
    my $open  = open_fds();
    for my $kind ('memfd', 'file') {
        my $ring = $kind eq 'memfd' ? $class->new_memfd('ro', 16) : $class->new($path, 16);
        my $name = $kind eq 'memfd' ? '/proc/self/fd/' . $ring->memfd : $path;
        sysopen my $handle, $name, O_RDONLY or die "open $name: $!";
        $ring->publish_multi($v->values(1, 3));
        my $only = $class->new_from_fd(fileno $handle);
        isa_ok($only, $class);
        is_deeply([$only->subscribe_all->drain], [$v->values(1, 3)], "$kind: a read-only handle reads");
        my $sub = $only->subscribe;
        $ring->publish($v->value(4));
        is($sub->poll_wait, $v->value(4), "$kind: a read-only handle waits");
        croaks_like(sub { $only->publish($v->value(5)) }, qr/^\Q$class->publish: this ring is read-only\E/,
            "$kind: publish croaks");
        croaks_like(sub { $only->$_ }, 'this ring is read-only', "$kind: $_ croaks") for qw(clear unlink);
        cmp_ok($only->memfd, '>', 2, "$kind: memfd returns a descriptor number");
        my $again = $class->new_from_fd($only->memfd);
        is_deeply([$again->subscribe_all->drain], [$v->values(1, 4)], "$kind: that descriptor can be opened again");
        croaks_like(sub { $again->publish($v->value(5)) }, 'this ring is read-only', "$kind: the second handle is read-only, too");
    }
    sysopen my $handle, $path, O_WRONLY or die "open $path: $!";
    croaks_like(sub { $class->new_from_fd(fileno $handle) }, 'descriptor \d+: pread: Bad file descriptor',
        'new_from_fd of a descriptor that is open for writing only croaks');
    close $handle;
    is(open_fds(), $open, 'no descriptor is left');
});

done_testing;
