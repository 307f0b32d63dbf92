# Paths and file modes: what the constructor accepts, and what it refuses without leaving a file.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Socket qw(AF_UNIX SOCK_STREAM pack_sockaddr_un);
use Test::More;
use PubSubTest;

sub mode_of { return (stat $_[0])[2] & 07777 }

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;
    my @size  = $v->is_str ? (32) : ();

    subtest 'mode' => sub {
        my $umask = umask;
        # Writes of an unprivileged user clear the set-group-ID bit.
        my $kept = $> ? 0777 : 07777;
        for my $mask (0, 022, 0777) {
            umask $mask;
            for my $mode (undef, 0600, 0640, 0666, 0777, 02770, 0100640) {
                my $path = fresh_path_of(0700);
                my $ring = $class->new($path, 8, @size, $mode);
                my $name = sprintf 'mode %s with umask %04o', defined $mode ? sprintf('%04o', $mode) : 'undef', $mask;
                is(mode_of($path), ($mode // 0600) & $kept, $name);
            }
            my $path = fresh_path_of(0700);
            my $ring = $class->new($path, 8);
            is(mode_of($path), 0600, 'the default is 0600');
        }
        umask $umask;
        my $path = fresh_path();
        my $ring = $class->new($path, 8, @size, 0640);
        $class->new($path, 8, @size, 0666);
        is(mode_of($path), 0640, 'opening an existing ring does not change its mode');
    };

    my $dir  = fresh_dir();
    my $open = open_fds();
    my $path = "$dir/ring";
    my $ring = $class->new($path, 8);
    is($ring->path, $path, 'path returns the path');
    is((stat $path)[7], $ring->stats->{mmap_size}, 'the file is as long as its mapping');
    is(((stat _)[12] || 0) * 512 >= (stat _)[7], 1, 'the blocks of the file are allocated');
    is_deeply([entries($dir)], ['ring'], 'the ring is the only file in its directory');
    undef $ring;
    is_deeply([entries($dir)], ['ring'], 'the file outlives its handle');

    my %refused = (
        'symbolic link' => [sub { symlink $path, $_[0] or die $! }, 'symbolic links'],
        'dangling link' => [sub { symlink "$dir/nowhere", $_[0] or die $! }, 'symbolic links'],
        'directory'     => [sub { mkdir $_[0] or die $! }, ''],
        'FIFO'          => [sub { POSIX::mkfifo($_[0], 0600) or die $! }, ''],
        'socket'        => [\&bind_socket, ''],
    );
    for my $kind (sort keys %refused) {
        my ($make, $why) = @{ $refused{$kind} };
        my $where = "$dir/bad";
        $make->($where);
        my @before = lstat $where;
        croaks_like(sub { $class->new($where, 8) }, "\Q$class\E->new: .*\Q$where\E.*$why", "$kind: refused");
        is((lstat $where)[1], $before[1], "$kind: unchanged");
        -d _ ? rmdir $where : unlink $where;
    }
    ok(!-e "$dir/nowhere", 'no file was created behind the dangling link');

    croaks_like(sub { $class->new('/dev/null', 8) }, '/dev/null', 'a device is refused');
    croaks_like(sub { $class->new("$dir/a\0b", 8) }, '->new: ', 'a path with a NUL byte is refused');
    croaks_like(sub { $class->new('', 8) }, '->new: ', 'an empty path is refused');
    croaks_like(
        sub { $class->new("$dir/missing/ring", 8) },
        "\Q$class\E->new: \\w+\\(\Q$dir\E/missing/ring\\): No such file or directory", 'a path in a missing directory is refused'
    );
    croaks_like(sub { $class->new("$path/ring", 8) }, 'Not a directory', 'a path through a file is refused');
    croaks_like(sub { $class->new("$dir/" . 'x' x 300, 8) }, 'File name too long', 'a name that is too long is refused');
    is_deeply([entries($dir)], ['ring'], 'refused paths leave no file');
    is(open_fds(), $open, 'refused paths leave no open descriptor');

    my @nobody = nobody();
    if (@nobody || $>) {
        my $closed = fresh_path_of(0555) =~ s{/ring\z}{}r;
        my $secret = fresh_path_of(0755);
        my $other  = $class->new($secret, 8);
        chmod 0, $secret;
        spawn_as(\@nobody, "$class: an unprivileged user gets Permission denied", sub {
            croaks_like_in_child(sub { $class->new("$closed/ring", 8) }, qr{\Q$closed\E/ring\): Permission denied});
            croaks_like_in_child(sub { $class->new($secret, 8) },        qr{\Q$secret\E\): Permission denied});
        });
        is_deeply([entries($closed)], [], 'no file is left in the read-only directory');
        chmod 0700, $closed;
    }
});

done_testing;

# A path in a new directory with this mode, which other users can reach.
sub fresh_path_of {
    my ($mode) = @_;
    my $dir = fresh_dir();
    chmod 0755, $dir =~ s{/[^/]+\z}{}r;
    chmod $mode, $dir;
    return "$dir/ring";
}

sub bind_socket {
    my ($where) = @_;
    socket my $socket, AF_UNIX, SOCK_STREAM, 0 or die $!;
    bind $socket, pack_sockaddr_un($where) or die $!;
    return;
}

sub spawn_as {
    my ($who, $name, $code) = @_;
    my $kid = spawn(sub {
        become(@$who) if @$who;
        $code->();
    });
    return is($kid->end, 0, $name);
}

sub croaks_like_in_child {
    my ($code, $pattern) = @_;
    eval { $code->(); 1 } and die 'it did not croak';
    $@ =~ $pattern or die "wrong error: $@";
    return;
}
