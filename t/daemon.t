# A program daemonizes in each of the usual ways, with rings, eventfds and handles that it has opened before: files that
# it opens afterwards are not affected, and its rings still work.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use POSIX ();
use Test::More;
use PubSubTest;

# Become the subreaper, so that daemons become children of this process.
use constant PR_SET_CHILD_SUBREAPER => 36;
my $prctl = sysnum('prctl');
plan skip_all => 'the number of the system call is unknown for this architecture' unless $prctl;
plan skip_all => 'this process cannot become a subreaper' if syscall($prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0;

# Ways to daemonize; they differ in what they do with open descriptors.
my @ways = (
    ['a double fork that closes all descriptors' => <<'END'],
        exit 0 if fork // die "fork: $!";
        POSIX::setsid();
        exit 0 if fork // die "fork: $!";
        POSIX::close($_) for 0 .. 255;
        open STDIN,  '<',  '/dev/null' or die;
        open STDOUT, '>',  '/dev/null' or die;
        open STDERR, '>&', \*STDOUT    or die;
END
    ['a fork that leaves 0 to 2 closed' => <<'END'],
        exit 0 if fork // die "fork: $!";
        POSIX::close($_) for 0 .. 255;
END
    ['closing all descriptors but 0 to 2, without a fork' => <<'END'],
        POSIX::close($_) for 3 .. 255;
END
    ['Proc::Daemon' => <<'END', 'Proc::Daemon'],
        require Proc::Daemon;
        Proc::Daemon::Init();
END
    ['Net::Server::Daemonize, which closes only 0 to 2' => <<'END', 'Net::Server::Daemonize'],
        require Net::Server::Daemonize;
        Net::Server::Daemonize::daemonize($>, (split ' ', $) )[0], undef);
END
);

for (@ways) {
    my ($name, $daemonize, $module) = @$_;
    subtest $name => sub {
        plan skip_all => "$module is not installed" if $module && !eval "require $module; 1";
        each_variant(sub { one($_[0], $daemonize) });
    };
}

sub one {
    my ($v, $daemonize) = @_;
    my $path   = fresh_path();
    my $report = Data::PubSub::Shared::Str->new("$path.report", 64, 4096);
    my $heard  = $report->subscribe;
    my $ring   = $v->class->new($path, 64);
    my $own    = $ring->subscribe;
    my $logs   = fresh_dir();

    my $pid = fork // die "fork: $!";
    if (!$pid) {
        my $program = <<'END' =~ s/DAEMONIZE/$daemonize/r;
            use strict; use warnings; use POSIX ();
            use Data::PubSub::Shared;
            my ($class, $path, $logs, @values) = @ARGV;
            alarm 60;
            my @rings = ($class->new($path, 64), $class->new(undef, 64), $class->new_memfd('t', 64));
            my @subs  = map { $_->eventfd; ($_->subscribe, $_->subscribe) } @rings;
            $_->fh for @subs;
            my $lent = $class->new(undef, 64);
            $lent->eventfd_set($rings[0]->eventfd);
            my $doomed = $class->new_memfd('t', 64);
            my @doomed = ($doomed, map { my $sub = $doomed->subscribe; $sub->fh; $sub } 1 .. 3);
            $doomed->eventfd;

            DAEMONIZE

            # Opens logs with all free numbers, half of them as handles of perl.
            my (@log, %by_number);
            for my $n (1 .. 40) {
                my $log = "$logs/$n";
                if ($n % 2) { open my $fh, '>>', $log or die; $by_number{ fileno $fh } = $log; push @log, $fh }
                else        { my $fd = POSIX::open($log, POSIX::O_WRONLY() | POSIX::O_CREAT()); $by_number{$fd} = $log }
            }

            my $report = Data::PubSub::Shared::Str->new("$path.report");
            my @wrong;
            my $check = sub { my ($ok, $what) = @_; push @wrong, $what if !$ok };
            @doomed = undef $doomed;
            $lent->publish_notify($values[0]);
            eval { $lent->notify };
            undef $lent;
            for my $ring (@rings) {
                my ($sub, $other) = splice @subs, 0, 2;
                $ring->publish_notify($values[0]);
                eval { $_->eventfd_consume } for $ring, $sub;
                $check->($sub->poll eq $values[0], 'the first message was not delivered');
                undef $other;
                my $fh = $sub->fh;
                $check->(!exists $by_number{ fileno $fh }, 'the handle has the number of a log');
                $ring->publish($values[1]);
                vec(my $bits = '', fileno $fh, 1) = 1;
                $check->(select($bits, undef, undef, undef) == 1, 'the handle is not readable');
                $check->($sub->poll eq $values[1], 'the second message was not delivered');
                $check->(fileno $sub->fh > 2, 'the handle has a standard number');
                my $fd = $ring->eventfd;
                $check->(!exists $by_number{$fd} && $fd > 2, 'the eventfd has the number of a log or a standard number');
                $ring->notify;
                $check->(($ring->eventfd_consume // 0) == 1, 'the eventfd does not count');
                my $memfd = $ring->memfd;
                $check->(!exists $by_number{$memfd}, 'memfd returns the number of a log');
            }
            undef @rings;
            for my $fd (keys %by_number) {
                my $there = readlink("/proc/self/fd/$fd") // 'nothing';
                $check->($there eq $by_number{$fd}, "$fd is $there, not $by_number{$fd}");
                $check->(!-s $by_number{$fd}, "$fd was written to");
            }
            $report->publish(join '; ', @wrong, 'end');
END
        my @arguments = ($v->class, $path, $logs, $v->values(1, 2));
        { no warnings 'exec'; exec $^X, (map {"-I$_"} grep { !ref } @INC), '-e', $program, @arguments }
        POSIX::_exit(127);
    }
    my %status;
    while ((my $ended = waitpid -1, 0) > 0) { $status{$ended} = $? }
    is_deeply([grep {$_} values %status], [], 'all processes of the daemon exit with 0') or diag(join ' ', %status);
    is($heard->poll, 'end', 'the daemon reports no wrong result');
    is_deeply([$own->drain], [$v->values(1, 2)], 'other processes get the messages of the daemon');
    return;
}

done_testing;
