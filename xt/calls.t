# A process leaves each call, or calls it before it ends: exec, _exit, exit, die, a signal that ends the process, a signal
# handler that dies. The ring still works for all other processes, and no descriptor is inherited across
# exec.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use PubSubTest;
use POSIX ();
use Test::More;
use Time::HiRes qw(setitimer ITIMER_REAL);

# Name => code of each call, given a ring and a subscriber of the calling process.
sub calls {
    my ($v, $path, $memfd) = @_;
    my $class = $v->class;
    my $value = $v->value(7);
    my %calls = (
        'new'         => sub { $class->new($path, 64) },
        'new undef'   => sub { $class->new(undef, 16)->eventfd },
        'new_memfd'   => sub { $class->new_memfd('t', 16) },
        'new_from_fd' => sub { $class->new_from_fd($memfd->memfd) },
        'unlink'      => sub { $class->unlink("$path-none") },
        'poll_wait forever'       => sub { $_[1]->reset; $_[0]->publish($value); $_[1]->poll_wait },
        'poll_wait_multi forever' => sub { $_[1]->reset; $_[0]->publish($value); $_[1]->poll_wait_multi(3) },
        'poll_cb that publishes'   => sub { my $ring = $_[0]; $ring->publish($value); $_[1]->poll_cb(sub { $ring->publish($value) }) },
    );
    my %ring = $v->ring_methods;
    my %sub  = $v->sub_methods;
    for my $method (keys %ring) { $calls{$method} = sub { my @x = $_[0]->$method(@{ $ring{$method} }) } }
    for my $method (keys %sub) {
        $calls{"sub $method"} = sub { $_[0]->publish($value); my @x = $_[1]->$method(@{ $sub{$method} }) };
    }
    delete $calls{clear};    # it would make the accounts of the others empty, and has its own tests
    my ($publish, $poll, $lag) = map { $v->keyword($_) } qw(publish poll lag);
    $calls{keywords} = eval "use $class; sub { $publish \$_[0], \$value; $lag \$_[1]; my \$x = $poll \$_[1] }" or die $@;
    return %calls;
}

# Ways to leave a call, and the expected wait status for some of them.
my %ways = (
    'exec' => sub {
        my ($call) = @_;
        $call->();
        exec '/bin/ls', '-l', '/proc/self/fd';
    },
    '_exit'       => sub { $_[0]->(); POSIX::_exit(7) },
    'exit'        => sub { $_[0]->(); exit 7 },
    'die'         => sub { eval { $_[0]->(); die "x\n" }; POSIX::_exit($@ eq "x\n" ? 7 : 1) },
    'alarm'       => sub {
        my ($call) = @_;
        $SIG{ALRM} = 'DEFAULT';
        setitimer(ITIMER_REAL, 0.0002 + rand 0.001);
        $call->() while 1;
    },
    'alarm, dies' => sub {
        my ($call) = @_;
        my $died = 0;
        # The timer fires repeatedly: an exception in a DESTROY ends only that, with a warning. No exception is raised outside
        # of the eval. (`local $SIG{ALRM}` would leave a moment without a handler.)
        our $in_eval = 0;
        $SIG{ALRM}     = sub { die "rang\n" if $in_eval };
        $SIG{__WARN__} = sub { warn @_ if $_[0] !~ /\(in cleanup\) rang$/ };
        for (1 .. 4) {
            eval {
                local $in_eval = 1;
                setitimer(ITIMER_REAL, 0.0002 + rand 0.0003, 0.001);
                $call->() while 1;
            };
            $died++ if $@ eq "rang\n";
        }
        setitimer(ITIMER_REAL, 0);
        watchdog();
        $call->();
        POSIX::_exit($died == 4 ? 7 : $died);
    },
);
my %expected = (exec => 0, alarm => 14);

each_variant(sub {
    my ($v)   = @_;
    my $path  = fresh_path();
    my $memfd = $v->class->new_memfd('t', 16);
    my $ring  = $v->class->new($path, 64);
    my $sub   = $ring->subscribe;
    my %calls = calls($v, $path, $memfd);
    $ring->eventfd;
    my (@wrong, $count);
    for my $name (sort keys %calls) {
        for my $way (sort keys %ways) {
            pipe my $read, my $write or die "pipe: $!";
            my $pid = fork // die "fork: $!";
            if (!$pid) {
                Test::More->builder->no_ending(1);
                open STDOUT, '>&', $write or POSIX::_exit(3);
                close $_ for $read, $write;
                my $mine = $v->class->new($path);
                $mine->eventfd;
                my $reader = $mine->subscribe;
                my @kept = ($ring->subscribe, $mine->subscribe_all);
                srand;
                $ways{$way}->(sub { $calls{$name}->($mine, $reader) });
                POSIX::_exit(2);
            }
            close $write;
            my $said = do { local $/; <$read> } // '';
            waitpid $pid, 0;
            my $right = $expected{$way} // 7 << 8;
            push @wrong, "$name, $way: ended with $?" if $? != $right;
            push @wrong, "$name, $way: $1" if $said =~ /(\S*(?:eventfd|memfd|ring)\S*)/;
            $sub->reset;
            $ring->publish($v->value(9));
            my $got = $sub->poll_wait;
            push @wrong, "$name, $way: then $got" if $got ne $v->value(9);
            $count++;
        }
    }
    is_deeply(\@wrong, [], "after $count processes have left a call, the ring still works");
    is($ring->stats->{recoveries}, 0, 'no spare had to be taken over') if !$v->is_str;
});

done_testing;
