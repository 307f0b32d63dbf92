package PubSubTest::Redis;

# A redis-server of the test's own, with an append-only file: it can be killed, stopped and started again. It listens at
# a socket in a folder of the test, or where the test says, and ends with it.

use strict;
use warnings;

use Exporter 'import';
use POSIX ();

use PubSubTest;

our @EXPORT_OK = qw(dies_with_parent until_true);

# Why there can be none; nothing if there can.
sub skip_reason {
    return 'redis-server is not installed' if system('redis-server --version >/dev/null 2>&1') != 0;
    return 'Redis::Fast is not installed'  if !eval { require Redis::Fast; 1 };
    return;
}

# Loads what is needed, or skips the test.
sub needed {
    my $reason = skip_reason();
    Test::More::plan(skip_all => $reason) if defined $reason;
    return;
}

# fsync: always or everysec; listen: arguments in place of those for a socket; where: what clients then connect to;
# prefix: a command to start it by; password; config: more arguments; folder; connection: code that connects, for the
# test itself; mute: the test cannot.
sub start {
    my ($class, %how) = @_;
    my $self = bless { fsync => 'always', prefix => [], config => [], folder => fresh_dir(), owner => $$, %how }, $class;
    $self->{where} //= "$self->{folder}/socket";
    return $self->run;
}

sub where { return $_[0]{where} }
sub pid   { return $_[0]{pid} }

sub run {
    my ($self) = @_;
    my $folder = $self->{folder};
    my @listen = $self->{listen} ? @{ $self->{listen} } : ('--port', 0, '--unixsocket', "$folder/socket");
    $self->{pid} = fork // die "fork: $!";
    if (!$self->{pid}) {
        dies_with_parent();
        open STDIN,  '<',  '/dev/null';
        open STDOUT, '>>', "$folder/log";
        open STDERR, '>&', \*STDOUT;
        no warnings 'exec';
        exec @{ $self->{prefix} }, 'redis-server', '--dir', $folder, '--daemonize', 'no', '--save', '', '--appendonly', 'yes',
            '--appendfsync', $self->{fsync}, @listen,
            (defined $self->{password} ? ('--requirepass', $self->{password}) : ()), @{ $self->{config} };
        POSIX::_exit(127);
    }
    return $self if $self->{mute};    # nobody here can connect to it
    until_true(sub {
        waitpid($self->{pid}, POSIX::WNOHANG()) == 0 or die "redis-server did not start:\n" . slurp("$folder/log");
        eval { $self->call('ping') };
    });
    return $self;
}

# A connection, for the test itself.
sub connection {
    my ($self) = @_;
    return $self->{connection}->($self) if $self->{connection};
    my $where = $self->where;
    my $redis = Redis::Fast->new(($where =~ m{\A/} ? 'sock' : 'server') => $where, reconnect => 0, encoding => undef);
    $redis->auth($self->{password}) if defined $self->{password};
    return $redis;
}

# Has it do something: the answer.
sub call {
    my ($self, $command, @arguments) = @_;
    return $self->connection->$command(@arguments);
}

sub signal { my ($self, $signal) = @_; kill $signal => $self->{pid} or die "kill: $!"; return }
sub stop   { $_[0]->signal('STOP'); return }
sub cont   { $_[0]->signal('CONT'); return }

sub kill_it {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;
    kill KILL => $pid;
    waitpid $pid, 0;
    return;
}

sub cut_clients { my ($self) = @_; $self->call('client_kill', 'TYPE', 'normal', 'SKIPME', 'yes'); return }

sub DESTROY {
    my ($self) = @_;
    local ($?, $!, $@);
    kill KILL => $self->{pid} if $self->{pid} && $self->{owner} == $$;
    waitpid $self->{pid}, 0 if $self->{pid} && $self->{owner} == $$;
    return;
}

# Looks again until it is true, under the watchdog: what it was.
sub until_true {
    my ($code) = @_;
    my $result;
    select undef, undef, undef, 0.005 until $result = $code->();
    return $result;
}

# The kernel kills this process when the one that forked it ends.
sub dies_with_parent {
    my $prctl = sysnum('prctl');
    syscall $prctl, 1, 9, 0, 0, 0 if $prctl;
    return;
}

1;
