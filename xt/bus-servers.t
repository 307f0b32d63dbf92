# Buses in real servers, with twenty clients and four workers. Prefork and hypnotoad: each WebSocket connection gets all
# messages while it is open, in one order, also while workers are killed and the server is restarted by signal. Starman and
# uWSGI with threads: without an event loop, each worker has all messages since its first request.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use PubSubTest;
use PubSubTest::Chat;
use XT::BusServers;
use IO::Socket::INET ();
use Test::More;

use constant { WORKERS => 4, CLIENTS => 20 };

if (my $why = PubSubTest::Chat->unreachable) { plan skip_all => $why }
my $mojo = eval { require Mojolicious; Mojolicious->VERSION('9.00'); require Mojo::UserAgent; require Mojo::IOLoop; 1 };

sub listen_to {
    my ($path) = @_;
    return Data::PubSub::Shared::Str->new($path, 65_536, 100)->subscribe_all;
}

# Checks that the messages of a listener are a part of all messages without a gap, and begin early enough.
sub piece_ok {
    my ($got, $all, $at, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my %index = map { $all->[$_] => $_ } 0 .. $#$all;
    my $from  = @$got ? $index{ $got->[0] } : $at;
    ok($from <= $at, "$name: the messages begin early enough") or diag("began at $from, should at $at");
    return is_deeply($got, [@$all[$from .. $from + $#$got]], "$name: no message missed, none twice, in order");
}

#--- WebSockets

# Also notices conditions that become true without an event.
sub until_so {
    my ($so) = @_;
    my $timer = Mojo::IOLoop->recurring(0.02 => sub { });
    Mojo::IOLoop->one_tick until $so->();
    Mojo::IOLoop->remove($timer);
    return;
}

my ($ua, %open);

sub browser {
    my ($url, $ring) = @_;
    my $browser = { got => [] };
    until ($browser->{worker}) {
        my ($gone, $tx);
        # The first message may come with the handshake.
        $ua->websocket("$url/ws" => sub {
            (undef, $tx) = @_;
            return $gone = 1 if !$tx->is_websocket;    # the server is being replaced, or the worker was killed
            $open{ 0 + $browser } = $browser;
            $browser->{tx} = $tx;
            $tx->on(message => sub {
                my (undef, $text) = @_;
                if   ($text =~ /\Aworker (\d+)\z/) { $browser->{worker} = $1 }
                else                               { push @{ $browser->{got} }, $text }
            });
            $tx->on(finish => sub { $gone = 1; delete $open{ 0 + $browser } });
        });
        until_so(sub { $browser->{worker} || $gone });
    }
    $browser->{at} = $ring->write_pos;
    return $browser;
}

sub storm {
    my ($url, $ring_path, $master) = @_;
    my $sub  = listen_to($ring_path);
    my $ring = Data::PubSub::Shared::Str->new($ring_path);
    my ($serial, @all, @ended) = (0);
    my @browsers = map { browser($url, $ring) } 1 .. CLIENTS;
    my %at       = map { $_->{worker} => 1 } @browsers;
    for (1 .. 300) {
        last if keys %at == WORKERS;
        push @browsers, browser($url, $ring);
        $at{ $browsers[-1]{worker} } = 1;
    }
    is(scalar keys %at, WORKERS, 'number of workers with clients, of clients: ' . @browsers);
    my $say = sub {
        for (1 .. $_[0]) {
            my @now = values %open;
            $now[rand @now]{tx}->send('m' . ++$serial) if @now;
            Mojo::IOLoop->one_tick if !($serial % 7) && @now;
        }
    };
    # Waits until all messages of the ring have arrived at all open connections.
    my $settle = sub {
        my $still = 0;
        until_so(sub {
            my @more = map { s/\Asaid //r } $sub->drain;
            push @all, @more;
            $still = @more ? 0 : $still + 1;
            return 0 if !@all;
            return !grep { !@{ $_->{got} } || $_->{got}[-1] ne $all[-1] } values %open if $still > 3;
        });
    };
    my $round = sub {
        my ($name, $do) = @_;
        $say->(40);
        my %before = map { 0 + $_ => $_ } values %open;
        $do->();
        $say->(40);
        $settle->();
        my @live = values %open;
        cmp_ok(scalar @all, '>', 0, "$name: " . @all . ' messages so far, ' . @live . ' connections');
        piece_ok($_->{got}, \@all, $_->{at}, "$name, worker $_->{worker}") for @live;
        piece_ok($_->{got}, \@all, $_->{at},
            "$name, worker $_->{worker}, connection closed") for grep { !$open{ 0 + $_ } } values %before;
        push @browsers, map { browser($url, $ring) } 1 .. CLIENTS - keys %open;
    };
    $round->('without disturbance', sub { });
    for my $time (1, 2) {
        $round->("a worker is killed, $time", sub {
            my ($victim) = map { $_->{worker} } (values %open)[0];
            kill KILL => $victim;
            until_so(sub { !grep { $_->{worker} == $victim } values %open });
        });
    }
    return $round;
}

sub url_of { my ($port) = @_; return "ws://127.0.0.1:$port" }

sub until_there {
    my ($port) = @_;
    select undef, undef, undef, 0.02 until IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port);
    return;
}

subtest 'prefork' => sub {
    plan skip_all => 'Mojolicious 9 is not installed' if !$mojo;
    ($ua, %open) = (Mojo::UserAgent->new(inactivity_timeout => 0, max_connections => 0));
    my ($dir, $port) = (fresh_dir(), free_port());
    my $app = spew("$dir/app", $XT::BusServers::MOJO);
    my $pid = start_server($dir, { XT_BUS => "$dir/bus", XT_PID_FILE => "$dir/pid" }, $^X, $app, 'prefork', '-w', WORKERS,
        '-c', 100, '-l', "http://127.0.0.1:$port", '-P', "$dir/pid");
    until_there($port);
    storm(url_of($port), "$dir/bus");
    undef $ua;
    is(stop_server($pid), 0, 'the server exits with 0');
    is(slurp("$dir/output") =~ s/^.*(?:Web application available|stopped|Worker \d+).*\n//mgr, '', 'the server reports no errors');
};

subtest 'hypnotoad' => sub {
    plan skip_all => 'Mojolicious 9 is not installed' if !$mojo;
    my $hypnotoad = in_path('hypnotoad') or plan skip_all => 'Hypnotoad is not installed';
    ($ua, %open) = (Mojo::UserAgent->new(inactivity_timeout => 0, max_connections => 0));
    my ($dir, $port) = (fresh_dir(), free_port());
    my $app = spew("$dir/app", $XT::BusServers::MOJO);
    my $env = { XT_BUS => "$dir/bus", XT_PID_FILE => "$dir/pid", XT_LISTEN => "http://127.0.0.1:$port" };
    my $pid = start_server($dir, $env, $^X, $hypnotoad, '-f', $app);
    until_there($port);
    my $round = storm(url_of($port), "$dir/bus");
    my $master = sub { my ($is) = (eval { slurp("$dir/pid") } // '') =~ /(\d+)/; return $is // 0 };
    for my $time (1, 2) {
        my $old = $master->();
        my %was = map { $_ => 1 } children_of($old);
        $round->("hot deployment, $time", sub {
            kill USR2 => $old;
            until_so(sub { my $now = $master->(); $now && $now != $old && kill 0, $now });
            # The old workers close their connections after a timeout.
            until_so(sub { !grep { $was{ $_->{worker} } } values %open });
        });
    }
    my $last = $master->();
    undef $ua;
    kill TERM => $last;
    select undef, undef, undef, 0.05 while kill 0, $last and waitpid(-1, POSIX::WNOHANG()) >= 0;
    stop_server($pid);
};

#--- Without a loop

sub request {
    my ($port, $query) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or return;
    print {$socket} "GET /?$query HTTP/1.0\r\nHost: localhost\r\n\r\n";
    my $text = do { local $/; <$socket> } // '';
    my ($length, $body) = $text =~ /\AHTTP\S+ 200.*?^Content-Length: (\d+)\r\n.*?\r\n\r\n(.*)/ims or return;
    return if length $body != $length;    # the worker was killed in the middle
    my ($who, $end, @heard) = split ' ', $body;
    return { who => $who, end => $end, heard => \@heard };
}

# Twenty clients publish and ask repeatedly; an answer includes all that was published before it.
sub look_around {
    my ($port, $ring_path, $workers, $renew, $kill) = @_;
    my @kids = map {
        my $id = $_;
        spawn(sub {
            my ($peer) = @_;
            dies_with_parent();
            my %last;
            my $n = 0;
            until (-e "$ring_path.stop") {
                my $answer = request($port, 'say=' . $id . '-' . ++$n) or next;
                my $before = $last{ $answer->{who} };
                $before && @{ $answer->{heard} } < $before->{count} and die 'a worker has lost messages';
                $last{ $answer->{who} } = { count => scalar @{ $answer->{heard} } };
                grep { $_ eq "$id-$n" } @{ $answer->{heard} } or die "the worker that published $id-$n does not have it";
            }
            $peer->tell($n);
        });
    } 1 .. CLIENTS;
    for my $do ($kill, $renew, $kill) {
        select undef, undef, undef, 0.5;
        $do->();
    }
    select undef, undef, undef, 0.5;
    spew("$ring_path.stop", '');
    my $said = 0;
    $said += $_->hear for @kids;
    reap("the clients got correct answers and exit with 0: $said messages", @kids);
    my (%account, @all);
    for (1 .. 2_000) {
        my $answer = request($port, '') or next;
        $account{ $answer->{who} } = $answer;
        last if keys %account >= $workers;
    }
    @all = map { s/\Asaid //r } listen_to($ring_path)->drain;
    is(scalar keys %account, $workers, "all $workers workers have answered");
    for my $who (sort keys %account) {
        my $got = $account{$who}{heard};
        is_deeply($got, [@all[@all - @$got .. $#all]], "$who has all messages up to the last once: " . @$got);
    }
    return;
}

subtest 'Starman' => sub {
    my $starman = in_path('starman') or plan skip_all => 'Starman is not installed';
    my ($dir, $port) = (fresh_dir(), free_port());
    my $app = spew("$dir/app.psgi", $XT::BusServers::PSGI);
    my $pid = start_server($dir, { XT_BUS => "$dir/bus" }, $^X, $starman, '--preload-app', '--workers', WORKERS, '--listen',
        "127.0.0.1:$port", '--env', 'deployment', '--disable-keepalive', $app);
    until_there($port);
    my $kill = sub { my @workers = children_of($pid); kill KILL => $workers[0] if @workers };
    look_around($port, "$dir/bus", WORKERS, sub { kill HUP => $pid }, $kill);
    is(stop_server($pid), 0, 'the server exits with 0');
};

subtest 'uWSGI with threads' => sub {
    my $uwsgi = in_path('uwsgi') or plan skip_all => 'uWSGI is not installed';
    my ($plugin) = grep { -e } map {"$_/psgi_plugin.so"} qw(/usr/lib/uwsgi/plugins /usr/lib64/uwsgi /usr/lib/uwsgi);
    plan skip_all => 'uWSGI has no psgi plugin' if !$plugin;
    my ($dir, $port) = (fresh_dir(), free_port());
    my $app = spew("$dir/app.psgi", $XT::BusServers::PSGI);
    my $pid = start_server($dir, { XT_BUS => "$dir/bus" }, $uwsgi, '--plugin', $plugin, qw(--processes 2 --threads 2 --master
        --die-on-term --need-app --http-socket), "127.0.0.1:$port", '--psgi', $app, '--listen', 64);
    until_there($port);
    my $kill = sub { my @workers = children_of($pid); kill KILL => $workers[0] if @workers };
    look_around($port, "$dir/bus", WORKERS, sub { kill HUP => $pid }, $kill);
    stop_server($pid);
    pass('the server ends');
};

done_testing;
