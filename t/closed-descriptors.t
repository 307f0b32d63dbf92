# A program closes descriptors of the module, as daemons close all descriptors, and opens files that get their numbers:
# these files are never written to, read from, returned or closed, and the rings still work.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use POSIX  ();
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC);
use Test::More;
use PubSubTest;

use constant { EFD_NONBLOCK => 04000, O_RDWR_CREAT => POSIX::O_RDWR() | POSIX::O_CREAT() };

my $EVENTFD = sysnum('eventfd2');

# Gives the number to another file, without perl's knowledge.
sub take {
    my ($fd, $from) = @_;
    die "no descriptor: $!" if $from < 0;
    return if $from == $fd;
    POSIX::dup2($from, $fd) // die "dup2: $!";
    POSIX::close($from);
    return;
}

# Opens a new file with this number; returns its path.
sub taken_by_file {
    my ($fd) = @_;
    my $path = fresh_path();
    take($fd, POSIX::open($path, O_RDWR_CREAT) // -1);
    return $path;
}

# Opens an eventfd that does not belong to the module, with a count of 3, with this number.
sub taken_by_eventfd {
    my ($fd, $flags) = @_;
    take($fd, syscall $EVENTFD, 3, $flags // EFD_NONBLOCK);
    return;
}

sub count_in {
    my ($fd) = @_;
    return if !defined fd_target($fd);
    my ($hex) = slurp("/proc/self/fdinfo/$fd") =~ /^eventfd-count:\s*(\w+)/m;
    return hex $hex;
}

# The number $fd of our eventfd belongs to something else now: no call of ring and subscriber reaches that.
sub leaves_alone {
    my ($v, $ring, $sub, $fd, $check) = @_;
    ok($ring->publish_notify($v->value(1)), 'publish_notify returns true');
    is($sub->poll, $v->value(1), 'publish_notify has published the message');
    croaks_like(sub { $_->notify }, qr/->notify: eventfd $fd has been closed: Bad file descriptor/, 'notify croaks')
        for $ring, $sub;
    croaks_like(sub { $_->eventfd_consume }, qr/->eventfd_consume: eventfd $fd has been closed: /, 'eventfd_consume croaks')
        for $ring, $sub;
    $ring->publish($v->value(2));
    croaks_like(sub { $sub->drain_notify }, qr/->drain_notify: eventfd $fd has been closed: /, 'drain_notify croaks');
    is($sub->poll, $v->value(2), 'drain_notify has taken no message');
    is($_->fileno, -1, 'fileno returns -1') for $ring, $sub;
    $check->('was not changed by these calls');

    my $new = $ring->eventfd;
    cmp_ok($new, '>', 2, 'eventfd creates a new eventfd');
    isnt($new, $fd, 'the new eventfd has another number');
    is($sub->fileno, -1, 'the subscriber does not use the new eventfd');
    ok($ring->notify, 'notify writes to the new eventfd');
    is($ring->eventfd_consume, 1, 'eventfd_consume reads the new eventfd');
    $sub->eventfd_set($new);
    ok($sub->notify, 'the subscriber can use the new eventfd through eventfd_set');
    is($ring->eventfd_consume, 1, 'notify of the subscriber writes to it');
    return;
}

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;

    subtest 'the number of an eventfd is reused for a file' => sub {
        my $ring = $v->ring(8);
        my $fd   = $ring->eventfd;
        my $sub  = $ring->subscribe;
        my $log  = taken_by_file($fd);
        leaves_alone($v, $ring, $sub, $fd, sub { is(-s $log, 0, "the file $_[0]") });
        undef $_ for $ring, $sub;
        is(fd_target($fd), $log, 'the file is not closed with the ring');
        is(-s $log, 0, 'the file is empty');
        POSIX::close($fd);
    };

    subtest 'the number of an eventfd is reused for an eventfd of the program' => sub {
        plan skip_all => 'number of the system call unknown here' unless $EVENTFD;
        my $ring = $v->ring(8);
        my $fd   = $ring->eventfd;
        my $sub  = $ring->subscribe;
        taken_by_eventfd($fd);
        leaves_alone($v, $ring, $sub, $fd, sub { is(count_in($fd), 3, "its count $_[0]") });
        undef $_ for $ring, $sub;
        is(count_in($fd), 3, 'the eventfd of the program is not closed, and keeps its count');
        POSIX::close($fd);
    };

    subtest 'the number of an eventfd is reused for the eventfd of another ring' => sub {
        my ($ring, $other) = ($v->ring(8), $v->ring(8));
        my $fd = $ring->eventfd;
        POSIX::close($fd);
        is($other->eventfd, $fd, 'the second ring gets the number');
        ok($other->notify, 'notify of the second ring returns true');
        ok($ring->publish_notify($v->value(1)), 'publish_notify of the first ring returns true');
        is($ring->fileno, -1, 'the first ring has no eventfd any more');
        undef $ring;
        is($other->fileno, $fd, "the eventfd of the second ring is still open");
        is($other->eventfd_consume, 1, 'the eventfd of the second ring was written to once');
    };

    subtest 'the number of an eventfd given by eventfd_set is reused for a file' => sub {
        my $lender = $v->ring(8);
        my $ring   = $v->ring(8);
        my $fd     = $lender->eventfd;
        $ring->eventfd_set($fd);
        my $sub = $ring->subscribe;
        my $log = taken_by_file($fd);
        leaves_alone($v, $ring, $sub, $fd, sub { is(-s $log, 0, "the file $_[0]") });
        undef $_ for $ring, $sub, $lender;
        is(fd_target($fd), $log, 'the file is not closed with the rings');
        POSIX::close($fd);
    };

    subtest 'the number of a memfd is reused for a file' => sub {
        for my $way (qw(new_memfd new_from_fd)) {
            my $ring = $class->new_memfd('t', 8);
            $ring = $class->new_from_fd($ring->memfd) if $way eq 'new_from_fd';
            my $sub  = $ring->subscribe;
            my $fd   = $ring->memfd;
            POSIX::close($fd);
            is($ring->memfd, -1, 'memfd returns -1 after close');
            my $log = taken_by_file($fd);
            is($ring->memfd, -1, 'memfd returns -1 after its number is reused for a file');
            $ring->publish($v->value(5));
            is($sub->poll, $v->value(5), 'the ring still works');
            croaks_like(sub { $class->new_from_fd($ring->memfd) }, 'new_from_fd: ', 'new_from_fd croaks on the closed memfd');
            undef $_ for $ring, $sub;
            is(fd_target($fd), $log, 'the file is not closed with the ring');
            POSIX::close($fd);
        }
    };

    subtest 'the descriptors of a handle are reused for files' => sub {
        my $ring = $v->ring(8);
        # Which descriptors are closed, and what the subscriber does afterwards.
        for my $closes (['inner'], ['outer'], ['both', 1]) {
            for my $way (qw(fh drop DESTROY fork)) {
                my ($name, $both) = @$closes;
                subtest "$name, $way" => sub {
                    reap("descriptors: $name, then $way: a process exits with 0", spawn(sub {
                        my @before = eventfds();
                        my $sub = $ring->subscribe;
                        my $own = fileno $sub->fh;
                        my ($inner) = grep { my $fd = $_; $fd != $own && !grep { $fd == $_ } @before } eventfds();
                        if ($way eq 'fork') {
                            my $pid = fork // die "fork: $!";
                            if ($pid) { waitpid $pid, 0; die "status $?" if $?; return }
                        }
                        my %log = map { $_ => taken_by_file($_) } $both ? ($inner, $own) : $name =~ /inner/ ? $inner : $own;
                        $ring->publish($v->value(1));
                        $sub->poll eq $v->value(1) or die 'the message was not delivered';
                        if ($way eq 'fh' || $way eq 'fork') {
                            my $fh = $sub->fh;
                            exists $log{ fileno $fh } and die 'the new handle has the number of a file';
                            readable($fh) and die 'the new handle is readable without a message';
                            $ring->publish($v->value(2));
                            until_readable($fh);
                            $sub->poll eq $v->value(2) or die 'poll returned no message';
                            readable($fh) and die 'the handle is readable after the last message';
                            $sub->fh == $fh or die 'fh returned another handle the second time';
                        }
                        $sub->DESTROY if $way eq 'DESTROY';
                        undef $sub;
                        for my $fd (keys %log) {
                            (fd_target($fd) // '') eq $log{$fd} or die "closed $fd";
                            -s $log{$fd} and die "written to $fd";
                        }
                        POSIX::close($_) for keys %log;
                        my @left = eventfds();
                        "@left" eq "@before" or die "left: @left, before: @before";
                        POSIX::_exit(0) if $way eq 'fork';
                    }));
                };
            }
        }
    };

    subtest 'perl opens a file with the number of the closed handle' => sub {
        my $ring = $v->ring(8);
        my $sub  = $ring->subscribe;
        my $fh   = $sub->fh;
        my $fd   = fileno $fh;
        POSIX::close($fd);
        my @open;
        do { open my $in, '<', '/dev/null' or die $!; push @open, $in } until fileno $open[-1] == $fd;
        my $new = $sub->fh;
        isnt($new, $fh, 'fh returns another handle');
        ok(!defined fileno $fh, 'the old handle is closed');
        undef $fh;
        ok(-c $open[-1], 'destroying the old handle does not close the file');
        ok(close(pop @open), 'the program can close the file');
        is(fd_target($fd), undef, 'the number is free after that');
    };
});

subtest 'eventfd_set with a number that is reused' => sub {
    plan skip_all => 'number of the system call unknown here' unless $EVENTFD;
    each_variant(sub {
        my ($v)  = @_;
        my $ring = $v->ring(8);
        my $fd   = 40;
        taken_by_eventfd($fd);
        $ring->eventfd_set($fd);
        is($ring->eventfd_consume, 3, 'eventfd_consume reads a non-blocking eventfd');

        taken_by_eventfd($fd, 0);
        croaks_like(sub { $ring->notify }, "eventfd $fd has been closed", 'notify croaks before eventfd_set is called again');
        $ring->eventfd_set($fd);
        is($ring->eventfd_consume, 3, 'eventfd_consume reads a blocking eventfd');
        is($ring->eventfd_consume, undef, 'eventfd_consume of an empty, blocking eventfd does not block');
        is(POSIX::write($fd, pack('Q', ~1), 8), 8, 'the eventfd is filled');
        ok($ring->publish_notify($v->value(1)), 'publish_notify to a full, blocking eventfd does not block');

        my ($read, $write) = POSIX::pipe();
        take($fd, $write);
        POSIX::close($read);
        my $signals = 0;
        local $SIG{PIPE} = sub { $signals++ };
        $ring->eventfd_set($fd);
        croaks_like(sub { $ring->notify }, 'Broken pipe', 'notify to a pipe without a reader croaks');
        ok($ring->publish_notify($v->value(1)), 'publish_notify to a pipe without a reader returns true');

        socketpair my $here, my $there, AF_UNIX, SOCK_STREAM, PF_UNSPEC or die "socketpair: $!";
        take($fd, POSIX::dup(fileno $here));
        close $here;
        $ring->eventfd_set($fd);
        ok($ring->notify, 'notify to a socket returns true');
        close $there;
        croaks_like(sub { $ring->notify }, 'Broken pipe', 'notify to a socket without a peer croaks');
        is($signals, 0, 'no SIGPIPE was sent');
        POSIX::close($fd);
    });
};

subtest 'a program without standard descriptors' => sub {
    each_variant(sub {
        my ($v)   = @_;
        my $class = $v->class;
        my $path  = fresh_path();
        my @ways  = (
            ['memfd'             => "\$class->new_memfd('t', 8)"],
            ['eventfd'           => '$class->new(undef, 8)'],
            ['a file, made'      => "\$class->new('$path', 8)"],
            ['a file, opened'    => "\$class->new('$path')"],
            ['a file, read only' => "\$class->new_readonly('$path')"],
        );
        for (@ways) {
            my ($name, $make) = @$_;
            my ($out, $status) = run_perl(<<"END", $v->class);
                use strict; use warnings; use POSIX ();
                use Data::PubSub::Shared;
                my \$class = shift;
                my \$out = POSIX::dup(1);
                my \$say = sub { POSIX::write(\$out, "\$_[0]\\n", 1 + length \$_[0]) };
                POSIX::close(\$_) for 0 .. 2;
                my \$ring = $make;
                my \$sub  = \$ring->subscribe_all;
                my \$fh   = \$sub->fh;
                \$ring->eventfd;
                warn 'a warning, which must not be in the ring' x 100;
                for my \$fd (0 .. 2) { my \$is = readlink "/proc/self/fd/\$fd"; \$say->("\$fd is \$is") if defined \$is }
                for my \$fd (grep { \$_ >= 0 } \$ring->memfd, \$ring->fileno, fileno \$fh) { \$say->("made \$fd") if \$fd <= 2 }
                eval { \$ring->publish(7) };
                my \@got = \$sub->drain;
                \$say->("got \@got");
END
            is($out, $name =~ /opened|read only/ ? "got 7 7\n" : "got 7\n",
                "$name: no descriptor of the module is 0 to 2, and the ring works");
            is($status, 0, "$name: the program exits with 0");
        }
        unlike(slurp($path), qr/a warning/, 'a warning of the program was not written to the ring');
    });
};

done_testing;

sub eventfds { return grep { (fd_target($_) // '') eq 'anon_inode:[eventfd]' } entries('/proc/self/fd') }
