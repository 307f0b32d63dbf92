package XT::BusServers;

# The applications of xt/bus-servers.t and the servers that run them. A server runs in a process group of its own, which ends
# with the test.

use strict;
use warnings;

use Exporter 'import';
use File::Spec;
use IO::Socket::INET ();
use PubSubTest;

our @EXPORT = qw(in_path free_port start_server stop_server children_of);

# Each WebSocket connection gets all messages after the greeting.
our $MOJO = <<'END';
use Mojolicious::Lite -signatures;
plugin SharedBus => { path => $ENV{XT_BUS}, capacity => 65_536, msg_size => 100 };
my %browser;
app->bus->listen(said => sub ($bus, $payload) { $_->send($payload) for values %browser });
websocket '/ws' => sub ($c) {
    $c->inactivity_timeout(600);
    my $id = $c->tx->connection;
    $browser{$id} = $c->tx;
    $c->on(finish => sub { delete $browser{$id} });
    $c->on(message => sub ($c, $text) { $c->bus->notify(said => $text) });
    $c->send("worker $$");
};
app->config(hypnotoad => { listen => [$ENV{XT_LISTEN}], workers => 4, clients => 100, pid_file => $ENV{XT_PID_FILE},
    graceful_timeout => 5, requests => 1_000_000 });
app->log->level('error');
app->start;
END

# Without an event loop, each request calls pump. The answer is the worker and its messages.
our $PSGI = <<'END';
use strict;
use warnings;
use Data::PubSub::Shared::Bus;
my $bus = Data::PubSub::Shared::Bus->new($ENV{XT_BUS}, capacity => 65_536, msg_size => 100, loop => 'none');
my @heard;
$bus->listen(said => sub { push @heard, $_[1] });
sub {
    my ($env) = @_;
    my ($own) = $env->{QUERY_STRING} =~ /\Asay=(\S+)\z/;
    $bus->notify(said => $own) if defined $own;
    $bus->pump;
    # Its own message may be behind one that another worker is still publishing.
    $bus->pump(1) while defined $own && !grep { $_ eq $own } @heard;
    my $text = join ' ', $$ . '-' . (0 + \@heard), $bus->ring->write_pos, @heard;
    return [200, ['Content-Type' => 'text/plain', 'Content-Length' => length $text, Connection => 'close'], [$text]];
};
END

sub in_path { my ($name) = @_; return (grep { -x } map {"$_/$name"} split /:/, $ENV{PATH})[0] }

sub free_port {
    my $free = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die "listen: $!";
    return $free->sockport;
}

my %group;

sub start_server {
    my ($dir, $env, @command) = @_;
    my $owner = $$;
    my $pid   = fork // die "fork: $!";
    if (!$pid) {
        setpgrp;
        open STDIN,  '<',  '/dev/null'   or die;
        open STDOUT, '>>', "$dir/output" or die;
        open STDERR, '>&', \*STDOUT      or die;
        my $include = join ':', map { File::Spec->rel2abs($_) } grep { !ref } @INC;
        delete @ENV{ grep {/\A(?:HYPNOTOAD|MOJO|PLACK)_/} keys %ENV };
        %ENV = (%ENV, PERL5LIB => $include, %$env);
        alarm 900;    # in case the test is killed
        { no warnings 'exec'; exec @command }
        POSIX::_exit(127);
    }
    $group{$pid} = $owner;
    return $pid;
}

sub stop_server {
    my ($pid) = @_;
    kill TERM => $pid;
    waitpid $pid, 0;
    kill KILL => -$pid;
    delete $group{$pid};
    return $?;
}

END {
    local $?;
    kill KILL => -$_ for grep { $group{$_} == $$ } keys %group;
}

sub children_of {
    my ($parent) = @_;
    return grep {
        my $stat = eval { slurp("/proc/$_/stat") } // '';
        $stat =~ /.*\) (\S) (\d+) /s && $1 ne 'Z' && $2 == $parent;
    } grep {/\A\d+\z/} entries('/proc');
}

1;
