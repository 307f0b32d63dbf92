# Buses in event loops: the loop calls listeners, and `next` returns a promise or a future.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

# For each loop a program of its own, because a bus finds its loop by the loaded modules. [required modules, code]: START
# returns options of the bus, RUN runs until STOP.
my %LOOP = (
    'Mojo::IOLoop' => [
        ['Mojo::IOLoop', 'Mojo::Promise'],
        'use Mojo::IOLoop; sub START { return } sub RUN { Mojo::IOLoop->start } sub STOP { Mojo::IOLoop->stop }',
        'then',
    ],
    'another Mojo::IOLoop' => [
        ['Mojo::IOLoop', 'Mojo::Promise'],
        'use Mojo::IOLoop; my $loop = Mojo::IOLoop->new; sub START { return (loop => $loop) } sub RUN { $loop->start } sub STOP { $loop->stop }',
        'then',
    ],
    'IO::Async' => [
        ['IO::Async::Loop'],
        'use IO::Async::Loop; my $loop = IO::Async::Loop->new;
            sub START { return (loop => $loop) } sub RUN { $loop->run } sub STOP { $loop->stop }',
        'on_done',
    ],
    'AnyEvent' => [
        ['AnyEvent', 'Future'],
        'use AnyEvent; my $end; sub START { return } sub RUN { $end = AnyEvent->condvar; $end->recv } sub STOP { $end->send }',
        'on_done',
    ],
    'EV' => [
        ['EV', 'Future'],
        'use EV; sub START { return } sub RUN { EV::run() } sub STOP { EV::break() }',
        'on_done',
    ],
);

my $PROGRAM = <<'END';
use strict;
use warnings;
use Data::PubSub::Shared::Bus;
my ($path, $on_done) = @ARGV;
my $bus = Data::PubSub::Shared::Bus->new($path, START());
my (@got, @data);
my $code = $bus->listen(numbers => sub { push @got, $_[1]; STOP() if @got == 350 });
$bus->json('data');
$bus->listen(data => sub { push @data, $_[1]{n} });
$bus->notify(numbers => $_) for 1 .. 50;    # before the loop runs
my $pid = fork // die;
if (!$pid) {
    $bus->notify(numbers => $_)->notify(data => { n => $_ }) for 51 .. 350;
    require POSIX;
    POSIX::_exit(0);
}
RUN();
waitpid $pid, 0;
print "numbers ", (join(' ', @got) eq join(' ', 1 .. 350) ? 'all' : "@got"), "\n";

# Two waits for one message; a third is cancelled if that is possible.
my $first  = $bus->next('once');
my $second = $bus->next('on*');
my $third  = $bus->next('once');
$third->cancel if $third->can('cancel');
my @resolved;
for my $f ($first, $second) { $f->$on_done(sub { push @resolved, "@_"; STOP() if @resolved == 2 }) }
$bus->notify(once => 'hello')->notify(once => 'again');
RUN();
print "resolved @resolved\n";

# The loop continues while listeners are added and removed.
$bus->unlisten(numbers => $code);
$bus->listen(end => sub { STOP() });
$bus->notify(numbers => 'unheard')->notify(end => 1);
RUN();
print 'in the end ', scalar(@got), ' and data ', $data[-1], "\n";

# Another file replaces the ring: that does not end the loop.
my @errors;
$bus->on(error => sub { push @errors, $_[1]; STOP() });
unlink $path;
open my $other, '>', $path or die;
print $other 'text';
close $other;
RUN();
print "error @errors\n" =~ s/\Q$path\E/PATH/r;
unlink $path;
$bus->notify(end => 2);
RUN();
undef $bus;
require Mojo::IOLoop if $INC{'Mojo/IOLoop.pm'};
print "end\n";
END

for my $name (sort keys %LOOP) {
    my ($needs, $loop, $on_done) = @{ $LOOP{$name} };
    SKIP: {
        my @missing = grep { !eval "require $_; 1" } @$needs;
        skip "$name: @missing is not installed", 2 if @missing;
        my ($out, $status) = run_perl("$loop\n$PROGRAM", fresh_path(), $on_done);
        is($out, "numbers all\nresolved hello hello\nin the end 350 and data 350\nerror PATH: too small for a ring file (4 bytes)\nend\n", "$name: listeners, promises and errors");
        is($status, 0, "$name: the program exits with 0");
    }
}

SKIP: {
    skip 'Future::AsyncAwait or IO::Async is not installed', 1 if !eval { require Future::AsyncAwait; require IO::Async::Loop; 1 };
    my ($out) = run_perl(<<'END', fresh_path());
        use strict;
        use warnings;
        use Future::AsyncAwait;
        use IO::Async::Loop;
        use Data::PubSub::Shared::Bus;
        my $loop = IO::Async::Loop->new;
        my $bus  = Data::PubSub::Shared::Bus->new($ARGV[0], loop => $loop);
        async sub talk { my $n = await $bus->next_message('n'); $bus->notify(answer => $n + 1); return await $bus->next('bye') }
        my $talk = talk();
        $bus->listen(answer => sub { $bus->notify(bye => "got $_[1]") });
        $bus->notify(n => 41);
        print $talk->get, "\n";
END
    is($out, "got 42\n", 'async and await work');
}

subtest 'a process that forks while its loop runs' => sub {
    plan skip_all => 'Mojolicious is not installed' if !eval { require Mojo::IOLoop; 1 };
    my ($out, $status) = run_perl(<<'END', fresh_path());
        use strict;
        use warnings;
        use Mojo::IOLoop;
        use Data::PubSub::Shared::Bus;
        my $bus  = Data::PubSub::Shared::Bus->new($ARGV[0]);
        my $name = 'parent';
        $| = 1;
        $bus->listen(x => sub { print "$name: $_[1]\n"; Mojo::IOLoop->stop if $_[1] eq 'end' });
        Mojo::IOLoop->one_tick for 1 .. 3;
        my $pid = fork // die;
        if (!$pid) {
            $name = 'child';
            $bus->notify(x => 'from the child');    # from its first use, the child listens for itself
            Mojo::IOLoop->timer(0.1 => sub { $bus->notify(x => 'end') });
        }
        Mojo::IOLoop->start;
        if ($pid) { waitpid $pid, 0; print "child $?\n" }
END
    is(join('', sort split /^/, $out), "child 0\nchild: end\nchild: from the child\nparent: end\nparent: from the child\n",
        'parent and child get all messages');
    is($status, 0, 'parent and child exit with 0');
};

subtest 'a process without a free descriptor' => sub {
    plan skip_all => 'Mojolicious is not installed' if !eval { require Mojo::IOLoop; 1 };
    my $limited = q{exec 'sh', '-c', 'ulimit -n 64 && exec "$@"', 'sh', $^X, (map {"-I$_"} @INC), '-e', @ARGV};
    my ($out, $status) = run_perl($limited, <<'END', fresh_path());
        use strict;
        use warnings;
        use Mojo::IOLoop;
        use Data::PubSub::Shared::Bus;
        my $bus = Data::PubSub::Shared::Bus->new($ARGV[0]);
        Mojo::IOLoop->timer(0 => sub { });
        Mojo::IOLoop->one_tick;    # what the loop itself opens
        my @all;
        $bus->on(error => sub { print "error: $_[1]\n"; @all = () });
        $bus->listen(x => sub { print "got $_[1]\n"; Mojo::IOLoop->stop });
        $bus->notify(x => 1);
        while (open my $file, '<', '/dev/null') { push @all, $file }
        Mojo::IOLoop->start;
END
    is($out, "error: eventfd: Too many open files\ngot 1\n", 'the error handler is called, and the listener once a descriptor is free');
    is($status, 0, 'the program exits with 0');
};

done_testing;
