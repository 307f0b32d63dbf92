package BenchKit::Bridge;

# Bridges between rings of this host, with a redis-server on a port of the loopback interface, and the
# program pubsub-bridge, as built by `./run bridge`.
#
#     my $bridge = BenchKit::Bridge->start($dir, variant => 'Str', capacity => 131_072, size => 30, pack => 50);    # rings => 20
#     my $out = $bridge->ring('out');              # in any process
#     my %seconds = $bridge->cpu_seconds;          # redis, program
#     my %costs = $bridge->costs;                  # memory in MB, connections
#     $bridge->stop;

use 5.022;
use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Path qw(make_path remove_tree);
use List::Util qw(sum0);
use POSIX ();

use BenchKit qw(ring_class);
use BenchKit::RedisServer;

my $PROGRAM = abs_path(dirname(__FILE__) . '/../../..') . '/bridge/target/release/pubsub-bridge';

# The reason why it cannot run here, or undef.
sub missing { return BenchKit::RedisServer->missing // (-x $PROGRAM ? undef : "$PROGRAM is missing (./run bridge)") }

sub start {
    my ($class, $dir, %option) = @_;
    make_path($dir);
    my $self = bless { owner => $$, dir => $dir, rings => 1, %option, class => ring_class($option{variant}) }, $class;
    $self->{redis} = BenchKit::RedisServer->start($dir, 'port');
    for my $ring (1 .. $self->{rings}) {
        $self->{class}->new("$dir/$_$ring", $option{capacity}, $option{variant} eq 'Str' ? $option{size} : ()) for qw(out in);
    }
    $self->launch;
    return $self;
}

# Starts the program, and waits until each direction says that it is connected. All rings are empty, and so are the streams.
sub launch {
    my ($self) = @_;
    my $dir = $self->{dir};
    open my $file, '>', "$dir/bridges.toml" or die "$dir/bridges.toml: $!\n";
    print {$file} qq(state = "$dir"\n[server]\nurl = "redis://), $self->{redis}->address, qq("\n);
    print {$file} qq([bridge.b$_]\nout = "$dir/out$_"\nin = "$dir/in$_"\nfrom = "start"\npack = $self->{pack}\n) for 1 .. $self->{rings};
    close $file or die "$dir/bridges.toml: $!\n";
    $self->start_process($PROGRAM, 'run', "$dir/bridges.toml");
    $self->await(qr/: connected: /, 2 * $self->{rings});
    return;
}

# One pipe has the output of its processes.
sub start_process {
    my ($self, @command) = @_;
    my $pid = open my $says, '-|' // die "fork: $!\n";
    if (!$pid) {
        $SIG{$_} = 'DEFAULT' for qw(INT TERM);
        open STDERR, '>&', \*STDOUT or POSIX::_exit(126);
        no warnings 'exec';
        exec @command;
        POSIX::_exit(127);
    }
    push @{ $self->{processes} }, { pid => $pid, says => $says };
    return;
}

sub await {
    my ($self, $pattern, $times) = @_;
    my $says = $self->{processes}[-1]{says};
    my $seen = '';
    while ($times and defined(my $line = readline $says)) {
        $seen .= $line;
        $times-- if $line =~ $pattern;
    }
    die "pubsub-bridge did not start:\n$seen" if $times;
    return;
}

sub ring { my ($self, $name) = @_; return $self->{class}->new("$self->{dir}/${name}1") }

sub pids { return map { $_->{pid} } @{ $_[0]{processes} } }

# The CPU time that each side has used.
sub cpu_seconds {
    my ($self) = @_;
    return (redis => cpu_of($self->{redis}->pid), program => sum0(map { cpu_of($_) } $self->pids));
}

# Of all threads, in seconds; the kernel counts nanoseconds there.
sub cpu_of {
    my ($pid) = @_;
    return sum0(map { (split ' ', content($_))[0] } glob "/proc/$pid/task/*/schedstat") / 1e9;
}

sub costs {
    my ($self) = @_;
    my ($port) = $self->{redis}->address =~ /(\d+)$/;
    my ($clients) = qx(redis-cli -p $port INFO clients) =~ /^connected_clients:(\d+)/m;
    my @kilobytes = map { content("/proc/$_/smaps_rollup") =~ /^Pss:\s+(\d+)/m } $self->pids;
    return (memory => sum0(@kilobytes) / 1e3, connections => $clients - 1);    # without our own
}

sub content {
    my ($path) = @_;
    open my $in, '<', $path or die "$path: $!\n";
    local $/;
    return readline $in;
}

# The program ends first, and must end well.
sub stop {
    my ($self) = @_;
    my $processes = delete $self->{processes} // [];
    kill TERM => map { $_->{pid} } @$processes;
    my @complaints;
    for my $process (@$processes) {
        my $said = do { local $/; readline $process->{says} } // '';
        push @complaints, $said if !close($process->{says}) or $said =~ /lost|failed|left out/;
    }
    if (my $redis = delete $self->{redis}) { $redis->stop }
    remove_tree($self->{dir});
    die "the bridge complains:\n@complaints" if @complaints;
    return;
}

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$;
    local ($@, $?, $!);
    eval { $self->stop };
    return;
}

1;
