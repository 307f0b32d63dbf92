# Each cause has its line and its remedy.

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

use Data::PubSub::Shared::Bridge::Backend::Redis;

my $redis  = PubSubTest::Redis->start;
my $folder = fresh_dir();
my $serial = 0;

# Why it does not connect.
sub fails {
    my ($name, $server, $pattern, @more) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $number = $serial++;
    my $down = bridge('down', '--server', $server, '--stream', 's', '--ring', "$folder/$number", '--variant', 'Int', '--capacity', 16,
        '--state', "$folder/$number.state", @more)->until_said(qr/; next attempt in/);
    my ($line) = $down->said =~ /^(.*; next attempt in.*)$/m;
    like($line, qr/\Apubsub-bridge down s: $pattern; next attempt in \d+\.\d s\z/, $name);
    unlike($down->said, qr/ at .+ line \d/, "$name: without a place in the program");
    $down->murder;
    return;
}

sub credentials {
    my ($text) = @_;
    my $file = spew("$folder/credentials" . $serial++, $text);
    chmod 0600, $file;
    return ('--credentials', $file);
}

subtest 'no connection' => sub {
    fails('no socket', "$folder/nothing", qr{no server at socket \Q$folder\E/nothing: No such file or directory});
    spew("$folder/file", '');
    fails('no socket but a file', "$folder/file", qr{no server at socket \Q$folder\E/file: Connection refused});
    fails('no such host', 'no-such-host.invalid:6379', qr/cannot find the address of 'no-such-host\.invalid': .*; see --server/);
    my $probe = IO::Socket::INET->new(Listen => 16, LocalAddr => '127.0.0.1') or plan skip_all => 'there is no loopback interface';
    my $port  = $probe->sockport;
    # It accepts, and says nothing.
    fails('a server that says nothing', "127.0.0.1:$port", qr/no answer from 127\.0\.0\.1:$port within 1 s \(--timeout\)/, '--timeout', 1);
    SKIP: {
        skip 'Redis 1.999 or IO::Socket::SSL is not installed', 2 if !eval { require Redis; Redis->VERSION('1.999'); require IO::Socket::SSL; 1 };
        fails('nor with TLS', "127.0.0.1:$port", qr/(?:cannot begin TLS with|no connection to) 127\.0\.0\.1:$port\b.*; does it expect TLS at this port\?/,
            '--timeout', 1, credentials("tls = yes\n"));
    }
    close $probe;
    # It accepts nobody any more.
    my $full = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die "listen: $@";
    my $there = '127.0.0.1:' . $full->sockport;
    my @queue = map { IO::Socket::INET->new(PeerAddr => $there, Blocking => 0) } 1 .. 5;
    fails('a server that accepts nobody', $there, qr/no connection to $there within 1 s \(--timeout\)/, '--timeout', 1);
    fails('no server', "127.0.0.1:$port", qr/cannot connect to 127\.0\.0\.1:$port: Connection refused; no server listens there/);
    SKIP: {
        skip 'Redis 1.999 or IO::Socket::SSL is not installed', 2 if !eval { require Redis; Redis->VERSION('1.999'); require IO::Socket::SSL; 1 };
        my $plain = PubSubTest::Redis->start(listen => ['--port', $port, '--bind', '127.0.0.1'], where => "127.0.0.1:$port");
        fails('TLS where there is none', "127.0.0.1:$port", qr/(?:cannot begin TLS with|no connection to) 127\.0\.0\.1:$port\b.*; does it expect TLS at this port\?/,
            '--timeout', 1, credentials("tls = yes\n"));
    }
    fails('IPv6', '[::1]:1', qr/cannot connect to \[::1\]:1: (?:Connection refused; no server listens there|Cannot assign requested address|.*)/);
};

subtest 'who one is' => sub {
    my $secret = PubSubTest::Redis->start(password => 'secret');
    fails('no password', $secret->where, qr/NOAUTH .*; give username and password in the credentials/);
    fails('a wrong one', $secret->where, qr/(?:WRONGPASS|ERR invalid password).*; see username and password in the credentials/,
        credentials("password = wrong\n"));
    fails('one where none is wanted', $redis->where, qr/.*; see username and password in the credentials/,
        credentials("username = nobody\npassword = secret\n"));
    $redis->call('acl', 'SETUSER', 'poor', 'on', '>secret', '~*', '+ping');
    fails('one who may nothing', $redis->where, qr/NOPERM .*; see the server's rules for this user \(ACL\)/,
        credentials("username = poor\npassword = secret\n"));
    my $down = bridge('down', '--server', $secret->where, '--stream', 's', '--ring', "$folder/quiet", '--variant', 'Int', '--capacity', 16,
        '--state', "$folder/quiet.state", '--status', "$folder/quiet.status", '--quiet', credentials("password = wrong\n"));
    until_true(sub { ((read_status("$folder/quiet.status") // {})->{failures} // 0) >= 3 });
    is($down->term, 0, '--quiet with a wrong password: the end');
    is(scalar(() = $down->said =~ /next attempt/g), 1, '--quiet with a wrong password: it says so once') or diag $down->said;
};

subtest 'keys of a wrong type' => sub {
    my $ring = variant('Int')->class->new("$folder/$_", 16) for qw(o i);
    for my $key ('wrong', '{wrong}:origins') {
        $redis->call(set => $key, 'a string');
        my $is_stream = $key eq 'wrong';
        for my $half ('up', 'down') {
            my $bridge = bridge($half, '--server', $redis->where, '--stream', 'wrong', '--ring', $folder . ($half eq 'up' ? '/o' : '/i'),
                '--state', "$folder/wrong.$half");
            variant('Int')->class->new("$folder/o", 16)->publish(1);
            is($bridge->end, 1, "$half ends");
            my $words = $is_stream ? "key 'wrong' exists but is not a stream" : "key '{wrong}:origins' exists but is not a hash";
            like($bridge->said, qr/^pubsub-bridge: \Q$words\E$/m, "$half: $words");
        }
        $redis->call(del => $key);
    }

    # What servers before version 7 say.
    my $backend = Data::PubSub::Shared::Bridge::Backend::Redis->new(server => $redis->where, stream => 'news');
    my $old = 'ERR Error running script (call to f_0123): @user_script:21: WRONGTYPE Operation against a key holding the wrong kind of value';
    is($backend->hopeless($old), "key 'news' exists but is not a stream", 'an old server');
    is($backend->hopeless("ORIGINS $old"), "key '{news}:origins' exists but is not a hash", 'an old server, the other key');
    is($backend->hopeless('FENCED by epoch 3'), "fenced: a newer instance of this bridge has taken over stream 'news'", 'fenced');
    is($backend->hopeless("OOM command not allowed when used memory > 'maxmemory'."), undef, 'a full server is not hopeless');
};

subtest 'names that are not ASCII' => sub {
    my $name = "\xc3\xa9t\xc3\xa9";    # two letters with accents, in UTF-8
    my $characters = "\x{e9}t\x{e9}";
    my $out = variant('Int')->class->new("$folder/$name.o", 16);
    my $in  = variant('Int')->class->new("$folder/$name.i", 16);
    variant('Str')->class->new("$folder/$name.gaps", 16, 512);
    my $gaps = variant('Str')->class->new("$folder/$name.gaps", 16, 512)->subscribe;
    my $both = bridge('both', '--server', $redis->where, '--stream', $name, '--out', "$folder/$name.o", '--in', "$folder/$name.i",
        '--state', "$folder/$name", '--from', 'start', '--status', "$folder/$name.status", '--host', $name, '--gaps', "$folder/$name.gaps");
    my $sub = $in->subscribe_all;
    $out->publish(1);
    is_deeply([messages_in($sub, 1)], [1], 'it works');
    is($redis->call(xlen => $name), 1, 'the key has that name');
    my $found;
    until_true(sub { $found = (read_status("$folder/$name.status") // {})->{bridges} // {}; $found->{$characters}{up}{forwarded} });
    my $up = $found->{$characters}{up};
    is($up->{stream}, $characters, 'the status: the stream');
    is($up->{ring}, "$folder/$characters.o", 'the status: the ring');
    like($up->{origin}, qr{\A$characters/}, 'the status: the origin');
    is($up->{sequence}, 1, 'the status: a number');
    $redis->call(xadd => $name, '*', 'o', "$name/x#1", 's', 3, 'i', 3);
    my ($note) = messages_in($gaps, 1);
    $note = JSON::PP::decode_json($note);
    is_deeply([@$note{qw(stream origin count)}], [$characters, "$characters/x", 2], 'a note');
    is($both->term, 0, 'the end');

    # The same in characters, from a program.
    my %all = Data::PubSub::Shared::Bridge::Options::complete('up', ring => "$folder/x", stream => "\x{263a}");
    is($all{stream}, "\xe2\x98\xba", 'characters are UTF-8 outside');
};

done_testing;
