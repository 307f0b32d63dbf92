# A program closes descriptors that are not its own, as a daemon closes all, and opens others, which get their numbers:
# those are never written to, read from, given away or closed, and the rings work on.

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

# Gives a number to another file, behind perl's back.
sub take {
    my ($fd, $from) = @_;
    die "no descriptor: $!" if $from < 0;
    return if $from == $fd;
    POSIX::dup2($from, $fd) // die "dup2: $!";
    POSIX::close($from);
    return;
}

# To a new file: its path.
sub taken_by_file {
    my ($fd) = @_;
    my $path = fresh_path();
    take($fd, POSIX::open($path, O_RDWR_CREAT) // -1);
    return $path;
}

# To an eventfd of somebody else's, which holds 3.
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

# Our own descriptor's number and something else behind it: nothing that ring and subscriber do reaches that.
sub leaves_alone {
    my ($v, $ring, $sub, $fd, $unharmed) = @_;
    ok($ring->publish_notify($v->value(1)), 'publish_notify returns true');
    is($sub->poll, $v->value(1), 'and has published');
    croaks_like(sub { $_->notify }, qr/->notify: eventfd $fd has been closed: Bad file descriptor/, 'notify tells')
        for $ring, $sub;
    croaks_like(sub { $_->eventfd_consume }, qr/->eventfd_consume: eventfd $fd has been closed: /, 'eventfd_consume tells')
        for $ring, $sub;
    $ring->publish($v->value(2));
    croaks_like(sub { $sub->drain_notify }, qr/->drain_notify: eventfd $fd has been closed: /, 'drain_notify tells');
    is($sub->poll, $v->value(2), 'and has taken nothing');
    is($_->fileno, -1, 'no number is given away') for $ring, $sub;
    $unharmed->('is as it was');

    my $new = $ring->eventfd;
    cmp_ok($new, '>', 2, 'eventfd makes a new one');
    isnt($new, $fd, 'of another number');
    is($sub->fileno, -1, 'which the subscriber knows nothing of');
    ok($ring->notify, 'it works');
    is($ring->eventfd_consume, 1, 'as the old one did');
    $sub->eventfd_set($new);
    ok($sub->notify, 'the subscriber has it lent');
    is($ring->eventfd_consume, 1, 'and rings it');
    return;
}

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;

    subtest "an eventfd's number is a file's" => sub {
        my $ring = $v->ring(8);
        my $fd   = $ring->eventfd;
        my $sub  = $ring->subscribe;
        my $log  = taken_by_file($fd);
        leaves_alone($v, $ring, $sub, $fd, sub { is(-s $log, 0, "the file $_[0]") });
        undef $_ for $ring, $sub;
        is(fd_target($fd), $log, 'the file is not closed');
        is(-s $log, 0, 'and is empty');
        POSIX::close($fd);
    };

    subtest "an eventfd's number is a strange eventfd's" => sub {
        plan skip_all => 'number of the system call unknown here' unless $EVENTFD;
        my $ring = $v->ring(8);
        my $fd   = $ring->eventfd;
        my $sub  = $ring->subscribe;
        taken_by_eventfd($fd);
        leaves_alone($v, $ring, $sub, $fd, sub { is(count_in($fd), 3, "its count $_[0]") });
        undef $_ for $ring, $sub;
        is(count_in($fd), 3, 'it is not closed, its count the same');
        POSIX::close($fd);
    };

    subtest "an eventfd's number is another ring's eventfd's" => sub {
        my ($ring, $other) = ($v->ring(8), $v->ring(8));
        my $fd = $ring->eventfd;
        POSIX::close($fd);
        is($other->eventfd, $fd, 'the number');
        ok($other->notify, 'rung');
        ok($ring->publish_notify($v->value(1)), 'publish_notify of the first');
        is($ring->fileno, -1, 'which has no eventfd any more');
        undef $ring;
        is($other->fileno, $fd, "the other's is open still");
        is($other->eventfd_consume, 1, 'and was rung once');
    };

    subtest 'a lent one, whose number is a file\'s' => sub {
        my $lender = $v->ring(8);
        my $ring   = $v->ring(8);
        my $fd     = $lender->eventfd;
        $ring->eventfd_set($fd);
        my $sub = $ring->subscribe;
        my $log = taken_by_file($fd);
        leaves_alone($v, $ring, $sub, $fd, sub { is(-s $log, 0, "the file $_[0]") });
        undef $_ for $ring, $sub, $lender;
        is(fd_target($fd), $log, 'the file is not closed');
        POSIX::close($fd);
    };

    subtest 'a memfd' => sub {
        for my $way (qw(new_memfd new_from_fd)) {
            my $ring = $class->new_memfd('t', 8);
            $ring = $class->new_from_fd($ring->memfd) if $way eq 'new_from_fd';
            my $sub  = $ring->subscribe;
            my $fd   = $ring->memfd;
            POSIX::close($fd);
            is($ring->memfd, -1, 'closed: -1');
            my $log = taken_by_file($fd);
            is($ring->memfd, -1, 'its number is a file\'s: -1');
            $ring->publish($v->value(5));
            is($sub->poll, $v->value(5), 'the ring works on');
            croaks_like(sub { $class->new_from_fd($ring->memfd) }, 'new_from_fd: ', 'but cannot be passed on');
            undef $_ for $ring, $sub;
            is(fd_target($fd), $log, 'the file is not closed');
            POSIX::close($fd);
        }
    };

    subtest 'the handle of a subscriber' => sub {
        my $ring = $v->ring(8);
        # Which of the descriptors go; and how the subscriber meets that.
        for my $closes (['what is behind it'], ['the handle\'s own'], ['both', 1]) {
            for my $way (qw(fh drop DESTROY fork)) {
                my ($name, $both) = @$closes;
                subtest "$name, $way" => sub {
                    reap('in a process of its own', spawn(sub {
                        my @before = eventfds();
                        my $sub = $ring->subscribe;
                        my $own = fileno $sub->fh;
                        my ($inner) = grep { my $fd = $_; $fd != $own && !grep { $fd == $_ } @before } eventfds();
                        if ($way eq 'fork') {
                            my $pid = fork // die "fork: $!";
                            if ($pid) { waitpid $pid, 0; die "status $?" if $?; return }
                        }
                        my %log = map { $_ => taken_by_file($_) } $both ? ($inner, $own) : $name =~ /behind/ ? $inner : $own;
                        $ring->publish($v->value(1));
                        $sub->poll eq $v->value(1) or die 'nothing published';
                        if ($way eq 'fh' || $way eq 'fork') {
                            my $fh = $sub->fh;
                            exists $log{ fileno $fh } and die 'the number of a file';
                            readable($fh) and die 'readable at once';
                            $ring->publish($v->value(2));
                            until_readable($fh);
                            $sub->poll eq $v->value(2) or die 'no message';
                            readable($fh) and die 'readable still';
                            $sub->fh == $fh or die 'not the same again';
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

    subtest 'a handle that perl opens by the number of the old one' => sub {
        my $ring = $v->ring(8);
        my $sub  = $ring->subscribe;
        my $fh   = $sub->fh;
        my $fd   = fileno $fh;
        POSIX::close($fd);
        my @open;
        do { open my $in, '<', '/dev/null' or die $!; push @open, $in } until fileno $open[-1] == $fd;
        my $new = $sub->fh;
        isnt($new, $fh, 'asked anew: another handle');
        ok(!defined fileno $fh, 'the old one is closed');
        undef $fh;
        ok(-c $open[-1], 'but not what has its number');
        ok(close(pop @open), 'which its owner closes');
        is(fd_target($fd), undef, 'and it is closed then');
    };
});

subtest 'lent anew by the same number' => sub {
    plan skip_all => 'number of the system call unknown here' unless $EVENTFD;
    each_variant(sub {
        my ($v)  = @_;
        my $ring = $v->ring(8);
        my $fd   = 40;
        taken_by_eventfd($fd);
        $ring->eventfd_set($fd);
        is($ring->eventfd_consume, 3, 'an eventfd that does not block');

        taken_by_eventfd($fd, 0);
        croaks_like(sub { $ring->notify }, "eventfd $fd has been closed", 'not lent yet');
        $ring->eventfd_set($fd);
        is($ring->eventfd_consume, 3, 'one that blocks');
        is($ring->eventfd_consume, undef, 'does not block us, empty');
        is(POSIX::write($fd, pack('Q', ~1), 8), 8, 'filled');
        ok($ring->publish_notify($v->value(1)), 'nor full');

        my ($read, $write) = POSIX::pipe();
        take($fd, $write);
        POSIX::close($read);
        my $signals = 0;
        local $SIG{PIPE} = sub { $signals++ };
        $ring->eventfd_set($fd);
        croaks_like(sub { $ring->notify }, 'Broken pipe', 'a pipe without a reader');
        ok($ring->publish_notify($v->value(1)), 'publish_notify');

        socketpair my $here, my $there, AF_UNIX, SOCK_STREAM, PF_UNSPEC or die "socketpair: $!";
        take($fd, POSIX::dup(fileno $here));
        close $here;
        $ring->eventfd_set($fd);
        ok($ring->notify, 'a socket');
        close $there;
        croaks_like(sub { $ring->notify }, 'Broken pipe', 'whose peer has gone');
        is($signals, 0, 'no SIGPIPE');
        POSIX::close($fd);
    });
};

subtest 'standard descriptors that are closed' => sub {
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
            is($out, $name =~ /opened|read only/ ? "got 7 7\n" : "got 7\n", $name);
            is($status, 0, 'ends well');
        }
        unlike(slurp($path), qr/a warning/, 'nothing was written to the ring');
    });
};

done_testing;

sub eventfds { return grep { (fd_target($_) // '') eq 'anon_inode:[eventfd]' } entries('/proc/self/fd') }
