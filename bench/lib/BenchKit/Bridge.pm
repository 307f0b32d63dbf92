package BenchKit::Bridge;

# A bridge between two rings of this machine, OUT and IN, and all that it needs: a redis-server at a port of the
# loopback interface, and the two halves, each a process that runs the command pubsub-bridge.
#
#     my $bridge = BenchKit::Bridge->start($dir, 'Str', 131_072, 32, '--pack' => 50);    # the rest is for up
#     my $out = $bridge->ring('out');                                                    # in any process
#     my %seconds = $bridge->cpu_seconds;                                                # redis, up, down
#     $bridge->stop;

use 5.022;
use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Path qw(make_path remove_tree);
use POSIX ();

use BenchKit qw(ring_class);
use BenchKit::Messenger;
use BenchKit::RedisServer;

my $COMMAND = abs_path(dirname(__FILE__) . '/../../../bin/pubsub-bridge');

# Why it cannot run here, or undef.
sub missing {
    return BenchKit::RedisServer->missing // BenchKit::Messenger->need_module('Redis::Fast', 'libredis-fast-perl');
}

sub version { return BenchKit::RedisServer->version . ", Redis::Fast $Redis::Fast::VERSION" }

sub start {
    my ($class, $dir, $variant, $capacity, $msg_size, @for_up) = @_;
    make_path($dir);
    my $self = bless { owner => $$, dir => $dir, class => ring_class($variant) }, $class;
    $self->{class}->new("$dir/$_", $capacity, $variant eq 'Str' ? $msg_size : ()) for qw(out in);
    $self->{redis} = BenchKit::RedisServer->start($dir, 'port');
    # Both rings are empty, and so is the stream.
    $self->{down} = $self->_half('down', '--ring' => "$dir/in",  '--from' => 'start');
    $self->{up}   = $self->_half('up',   '--ring' => "$dir/out", '--from' => 'start', @for_up);
    return $self;
}

# Starts one, and waits until it says that it is connected.
sub _half {
    my ($self, $half, @options) = @_;
    pipe my $read, my $write or die "pipe: $!\n";
    my $pid = fork // die "fork: $!\n";
    if (!$pid) {
        $SIG{$_} = 'DEFAULT' for qw(INT TERM);
        open STDERR, '>&', $write or POSIX::_exit(126);
        no warnings 'exec';
        exec $^X, (map {"-I$_"} grep { !ref } @INC), $COMMAND, $half, '--stream' => 'bench',
            '--server' => $self->{redis}->address, '--state' => "$self->{dir}/$half", @options;
        POSIX::_exit(127);
    }
    close $write;
    my $seen = '';
    while (my $line = readline $read) {
        return { pid => $pid, says => $read } if $line =~ /: connected$/;
        $seen .= $line;
    }
    waitpid $pid, 0;
    die "pubsub-bridge $half did not start:\n$seen";
}

sub ring { my ($self, $name) = @_; return $self->{class}->new("$self->{dir}/$name") }

# What each process has used up, in seconds.
sub cpu_seconds {
    my ($self) = @_;
    return (redis => cpu_of($self->{redis}->pid), map { $_ => cpu_of($self->{$_}{pid}) } qw(up down));
}

sub cpu_of {
    my ($pid) = @_;
    open my $in, '<', "/proc/$pid/stat" or die "/proc/$pid/stat: $!\n";
    my @field = split ' ', readline($in) =~ s/.*\)//r;
    return ($field[11] + $field[12]) / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

# The halves end first, and must end well.
sub stop {
    my ($self) = @_;
    my @complaints;
    for my $half (grep {defined} map { delete $self->{$_} } qw(up down)) {
        kill TERM => $half->{pid};
        my $said = do { local $/; readline $half->{says} } // '';
        waitpid $half->{pid}, 0;
        push @complaints, $said if $? || $said =~ /lost|failed|left out/;
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
