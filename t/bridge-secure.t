# A server that wants to know who one is: passwords, users, TLS.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::INET;
use Test::More;
use PubSubTest;
use PubSubTest::Redis;
BEGIN { PubSubTest::Redis::needed() }
use PubSubTest::Bridge;

my $folder = fresh_dir();
my $serial = 0;

# Whether messages come from one ring into another, with these credentials.
sub works {
    my ($redis, $name, @how) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $env = ref $how[0] ? shift @how : {};
    my $ring = "$folder/" . $serial++;
    my ($out, $in) = map { variant('Str')->class->new("$ring.$_", 64, 64) } qw(out in);
    my $both = bridge($env, 'both', '--server', $redis->where, '--stream', "s$serial", '--out', "$ring.out", '--in', "$ring.in",
        '--state', $ring, '--from', 'start', @how);
    $out->publish_multi($name, 'and more');
    is_deeply([messages_in($in->subscribe_all, 2)], [$name, 'and more'], $name);
    $both->until_said(qr/^pubsub-bridge $_ \S+: connected$/m) for qw(up down);
    is($both->term, 0, "$name: the end");
    return;
}

# What it says when it may not.
sub fails {
    my ($redis, $name, $pattern, @how) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $env = ref $how[0] ? shift @how : {};
    my $ring = "$folder/" . $serial++;
    my $down = bridge($env, 'down', '--server', $redis->where, '--stream', "s$serial", '--ring', "$ring.in", '--variant', 'int',
        '--capacity', 16, '--state', $ring, @how);
    $down->until_said(qr/; next attempt/);
    like($down->said, $pattern, $name);
    unlike($down->said, qr/: connected$/m, "$name: is not connected");
    is($down->term, 0, "$name: goes on trying until it is told to end");
    return;
}

sub credentials {
    my (%of) = @_;
    my $file = spew("$folder/credentials" . $serial++, join '', map {"$_ = $of{$_}\n"} sort keys %of);
    chmod 0600, $file;
    return ('--credentials', $file);
}

subtest 'a password' => sub {
    my $redis = PubSubTest::Redis->start(password => 'open, please #1');
    works($redis, 'from a file', credentials(password => 'open, please #1'));
    works($redis, 'from the environment', { PUBSUB_BRIDGE_PASSWORD => 'open, please #1' });
    works($redis, 'the file counts', { PUBSUB_BRIDGE_PASSWORD => 'nonsense' }, credentials(password => 'open, please #1'));
    fails($redis, 'a wrong one', qr/WRONGPASS|invalid password/, credentials(password => 'open'));
    fails($redis, 'none', qr/NOAUTH/);
    my $up = bridge({ PUBSUB_BRIDGE_PASSWORD => 'open, please #1' }, 'up', '--server', $redis->where, '--stream', 's',
        '--ring', "$folder/quiet", '--variant', 'int', '--capacity', 16, '--state', "$folder/quiet.state")->connected;
    unlike($up->said . slurp('/proc/' . $up->pid . '/cmdline'), qr/open, please/, 'nobody sees it');
    $up->term;

    $redis->call('acl', 'SETUSER', 'bridge', 'on', '>secret', '~*', '+@all');
    works($redis, 'a user of that name', credentials(username => 'bridge', password => 'secret'));
    fails($redis, 'another user', qr/WRONGPASS/, credentials(username => 'bridge', password => 'open, please #1'));
    $redis->call('acl', 'SETUSER', 'poor', 'on', '>secret', '~*', '+ping');
    fails($redis, 'one who may nothing', qr/NOPERM/, credentials(username => 'poor', password => 'secret'));
};

subtest 'TLS' => sub {
    eval { require Redis; Redis->VERSION('1.999'); require IO::Socket::SSL; 1 } or plan skip_all => 'Redis 1.999 or IO::Socket::SSL is not installed';
    system('openssl version >/dev/null 2>&1') == 0 or plan skip_all => 'openssl is not installed';
    my $probe = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or plan skip_all => 'there is no loopback interface';
    my $port = $probe->sockport;
    close $probe;

    my $openssl = sub { system("cd $folder && openssl @_ >/dev/null 2>&1") == 0 or die "openssl @_" };
    spew("$folder/names", "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
    for my $ca (qw(ca other)) {
        $openssl->("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$ca -keyout $ca.key -out $ca.crt");
    }
    for my $who (qw(server client)) {
        $openssl->("req -newkey rsa:2048 -nodes -subj /CN=$who -keyout $who.key -out $who.csr");
        $openssl->("x509 -req -in $who.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out $who.crt");
    }
    my %tls = (where => "127.0.0.1:$port", connection => sub {
        Redis->new(server => "127.0.0.1:$port", ssl => 1, SSL_verify_mode => 0, reconnect => 0, encoding => undef);
    });
    my @listen = ('--port', 0, '--tls-port', $port, '--bind', '127.0.0.1', '--tls-cert-file', "$folder/server.crt",
        '--tls-key-file', "$folder/server.key", '--tls-ca-cert-file', "$folder/ca.crt");
    my $redis = eval { PubSubTest::Redis->start(%tls, listen => [@listen, '--tls-auth-clients', 'no']) }
        or plan skip_all => 'this redis-server has no TLS';
    works($redis, 'from a file', credentials(tls => 'yes', 'ca-file' => "$folder/ca.crt"));
    works($redis, 'from the environment', { PUBSUB_BRIDGE_TLS => 1, PUBSUB_BRIDGE_CA_FILE => "$folder/ca.crt" });
    fails($redis, 'an unknown authority', qr/certificate verify failed/i, credentials(tls => 'yes', 'ca-file' => "$folder/other.crt"));
    fails($redis, 'without TLS', qr/gave no Redis answer \(.*\); if it expects TLS, say tls = yes in the credentials; next/, '--timeout', 2);

    # It is killed, and its connections are cut.
    my $ring = "$folder/tls";
    my ($out, $in) = map { variant('Int')->class->new("$ring.$_", 4096) } qw(out in);
    my $both = bridge('both', '--server', $redis->where, '--stream', 'storm', '--out', "$ring.out", '--in', "$ring.in",
        '--state', $ring, '--from', 'start', '--timeout', 1, credentials(tls => 'yes', 'ca-file' => "$folder/ca.crt"));
    my $sub = $in->subscribe_all;
    my @got;
    for my $round (0 .. 5) {
        if ($round == 2) { $redis->kill_it }
        if ($round == 4) { $redis->stop }
        $redis->cut_clients if $round % 2;
        $out->publish_multi($round * 500 + 1 .. $round * 500 + 500);
        if ($round == 2) { $redis->run }
        if ($round == 4) {
            # Longer than they wait for an answer.
            my $attempts = sub { my ($half) = @_; return scalar(() = $both->said =~ /^pubsub-bridge $half storm: .*next attempt/mg) };
            for my $half (qw(up down)) {
                my $before = $attempts->($half);
                until_true(sub { $attempts->($half) > $before });
            }
            $redis->cont;
        }
        push @got, messages_in($sub, 500);
    }
    is_deeply(\@got, [1 .. 3000], 'nothing is lost, nothing comes twice');
    is($both->term, 0, 'the end');
    undef $redis;

    $redis = PubSubTest::Redis->start(%tls, listen => \@listen, mute => 1);
    works($redis, 'a certificate of our own', credentials(tls => 'yes', 'ca-file' => "$folder/ca.crt",
        'cert-file' => "$folder/client.crt", 'key-file' => "$folder/client.key"));
    fails($redis, 'none', qr/\S/, '--timeout', 2, credentials(tls => 'yes', 'ca-file' => "$folder/ca.crt"));
};

done_testing;
