package BenchKit::RedisServer;

# A redis-server of our own, that saves nothing, at a Unix socket or at a port of the loopback interface:
#
#     my $server = BenchKit::RedisServer->start($dir, 'port');    # or 'socket'
#     $server->address;                                           # 127.0.0.1:PORT, or the socket's path
#     $server->stop;                                              # also when the object goes away
#
# Further arguments of start are options of the program: '--name' => value.

use 5.022;
use strict;
use warnings;

use IO::Socket::INET ();

sub program {
    my ($found) = grep {-x} map {"$_/redis-server"} split(/:/, $ENV{PATH}), qw(/usr/bin /usr/local/bin);
    return $found;
}

# The reason why it cannot run here, or undef.
sub missing { return defined program() ? undef : 'redis-server is missing (Debian package redis-server)' }

sub version {
    my $program = program();
    my ($number) = qx('$program' --version) =~ /v=(\S+)/;
    return 'redis-server ' . ($number // 'of unknown version');
}

# Another process may take the free port before the server does; then try the next one.
sub start {
    my ($class, $dir, $where, @options) = @_;
    my $seen;
    for (1 .. ($where eq 'port' ? 5 : 1)) {
        my $port = $where eq 'port' ? free_port() : 0;
        my $self = bless { owner => $$, address => $port ? "127.0.0.1:$port" : "$dir/redis" }, $class;
        my @place = ('--port' => $port, $port ? ('--bind' => '127.0.0.1') : ('--unixsocket' => "$dir/redis"));
        $seen = $self->_launch(@place, '--dir' => $dir, @options);
        return $self if !defined $seen;
    }
    die "redis-server did not start:\n$seen";
}

sub free_port {
    my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die "no port is free: $@\n";
    return $socket->sockport;
}

# Reads the server's log until it says that it is ready. Otherwise returns the log.
sub _launch {
    my ($self, @options) = @_;
    my @command = (program(), @options, '--logfile' => '', '--save' => '', '--appendonly' => 'no');
    $self->{pid} = open $self->{log}, '-|', @command or die "redis-server: $!\n";
    my $seen = '';
    while (my $line = readline $self->{log}) {
        return if $line =~ /ready to accept connections/i;
        $seen .= $line;
    }
    $self->stop;
    return $seen;
}

sub address { return $_[0]{address} }
sub pid     { return $_[0]{pid} }

sub stop {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;
    kill TERM => $pid;
    close delete $self->{log};    # waits for the server, whose output this is
    return;
}

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$;
    local ($@, $?, $!);
    $self->stop;
    return;
}

1;
