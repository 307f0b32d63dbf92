# The chat example: a message to one worker of a prefork server reaches the browsers of all workers.

use strict;
use warnings;
use utf8;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

eval { require Mojolicious; Mojolicious->VERSION('9.00'); 1 } or plan skip_all => 'Mojolicious 9 is not installed';
-e "$FindBin::Bin/../eg/chat.pl" or plan skip_all => 'the examples are missing';
require Mojo::UserAgent;
require Mojo::IOLoop;
require Mojo::JSON;
require Mojo::URL;
require PubSubTest;
require PubSubTest::Chat;
PubSubTest->import;
if (my $why = PubSubTest::Chat->unreachable) { plan skip_all => $why }

my $WORKERS = 3;
my $server  = PubSubTest::Chat->start($WORKERS);
my $ua      = Mojo::UserAgent->new(inactivity_timeout => 0);
my @browsers;

# Runs the loop until the condition is true.
sub until_so {
    my ($so) = @_;
    Mojo::IOLoop->one_tick until $so->();
    return;
}

# A WebSocket client that has been told which worker it is connected to.
sub browser {
    my $browser = { heard => [] };
    $ua->websocket(
        $server->url('ws') . '/ws' => sub {
            my (undef, $tx) = @_;
            $tx->is_websocket or die 'no WebSocket';
            $browser->{tx} = $tx;
            $tx->on(
                json => sub {
                    my (undef, $m) = @_;
                    if (exists $m->{text}) { push @{ $browser->{heard} }, $m }
                    else                   { $browser->{worker} = $m->{worker} }
                }
            );
        }
    );
    until_so(sub { $browser->{worker} });
    return $browser;
}

sub says {
    my ($browser, $name, $text) = @_;
    $browser->{tx}->send({ json => { name => $name, text => $text } });
    return;
}

# Opens connections until each worker has one.
my %at;
for (1 .. 200) {
    my $browser = browser();
    push @browsers, $browser;
    push @{ $at{ $browser->{worker} } }, $browser;
    last if keys %at == $WORKERS && @browsers >= 6;
}
is(keys %at, $WORKERS, 'browsers are connected to different workers');
cmp_ok(scalar(@browsers), '>=', 6, scalar(@browsers) . ' browsers are connected');

subtest 'each browser gets all messages' => sub {
    my @workers = sort keys %at;
    my @said;
    for my $worker (@workers) {
        my $text = "from $worker: ☺ <b>&amp;</b>";
        says($at{$worker}[0], "name $worker", $text);
        push @said, [$worker, "name $worker", $text];
        my $n = @said;
        until_so(sub { !grep { @{ $_->{heard} } < $n } @browsers });
    }
    for my $browser (@browsers) {
        is_deeply([map { [@$_{qw(worker name text)}] } @{ $browser->{heard} }], \@said,
            "a browser at worker $browser->{worker} gets all messages");
    }
};

subtest 'many messages at once' => sub {
    my $before = @{ $browsers[0]{heard} };
    for my $n (1 .. 50) { says($browsers[ $n % @browsers ], 'x', "message $n") }
    until_so(sub { !grep { @{ $_->{heard} } < $before + 50 } @browsers });
    my @order = map { $_->{text} } @{ $browsers[0]{heard} };
    is_deeply(
        [sort @order[$before .. $#order]], [sort map {"message $_"} 1 .. 50],
        'a browser gets all messages'
    );
    is_deeply([map { $_->{text} } @{ $_->{heard} }], \@order,
        'all browsers get the messages in one order') for @browsers[1 .. $#browsers];
};

subtest 'a browser that connects later' => sub {
    my $late = browser();
    my $all  = @{ $browsers[0]{heard} };
    until_so(sub { @{ $late->{heard} } >= 50 });
    says($late, '', 'hello');
    until_so(sub { $late->{heard}[-1]{text} eq 'hello' && @{ $browsers[0]{heard} } == $all + 1 });
    is_deeply($late->{heard}, [@{ $browsers[0]{heard} }[-51 .. -1]],
        'it gets the last fifty messages, and then each new message once');
    is($late->{heard}[-1]{name}, 'anonymous', 'a message without a name gets one');
    $late->{tx}->finish;
};

subtest 'EventSource and POST' => sub {
    my $stream = '';
    # Not by the user agent: that of Mojolicious 9.53 does not pass on a response without a length before its end.
    my $url = Mojo::URL->new($server->url('http'));
    Mojo::IOLoop->client({ address => $url->host, port => $url->port } => sub {
        my (undef, $error, $socket) = @_;
        die $error if defined $error;
        $socket->timeout(0);
        $socket->on(read => sub { $stream .= $_[1] });
        $socket->write("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    });
    until_so(sub { $stream =~ /\r\n\r\nevent: worker\ndata: \d+\n\n/ });
    my $said;
    my %form = (name => 'Ünal', text => 'posted ☺');
    $ua->post($server->url('http') . '/say' => form => \%form => sub { $said = $_[1] });
    until_so(sub { $said && $stream =~ /posted .*\n\n\z/ });
    is($said->res->code, 200, 'POST returns 200');
    my ($last) = $stream =~ /data: (.*)\n\n\z/;
    is(Mojo::JSON::decode_json($last)->{name}, 'Ünal', 'the posted message arrives by EventSource');
    until_so(sub { !grep { $_->{heard}[-1]{text} ne 'posted ☺' } @browsers });
    pass('the posted message arrives at all WebSockets');
};

subtest 'another program publishes a message' => sub {
    my $ring = Data::PubSub::Shared::Str->new($server->ring);
    my $json = Mojo::JSON::encode_json({ name => 'cron', text => 'backup done', worker => $$ });
    $ring->publish("chat $json");
    until_so(sub { !grep { $_->{heard}[-1]{text} ne 'backup done' } @browsers });
    pass('all browsers get the message');
    is($ring->stats->{recoveries}, 0, 'no publisher was killed');
};

subtest 'malformed and long messages' => sub {
    my $tx = $browsers[0]{tx};
    $tx->send($_) for 'no json', '[]', '{}', '{"text":null}', '{"text":""}', '{"name":["x"],"text":{"a":1}}';
    says($browsers[0], 'n' x 1000, "\x{1F600}" x 2000);
    until_so(sub { length $browsers[1]{heard}[-1]{text} == 500 });
    is(length $browsers[1]{heard}[-1]{name}, 40, 'malformed messages are ignored, and a long name is truncated');
};

subtest 'a worker is killed' => sub {
    my ($victim) = sort keys %at;
    my $gone = 0;
    $_->{tx}->on(finish => sub { $gone++ }) for @{ $at{$victim} };
    kill KILL => $victim;
    until_so(sub { $gone == @{ $at{$victim} } });
    my @rest = grep { $_->{worker} ne $victim } @browsers;
    my $new;
    until_so(sub { ($new = browser())->{worker} ne $victim });
    says($new, 'new', 'still here');
    until_so(sub { !grep { $_->{heard}[-1]{text} ne 'still here' } @rest, $new });
    pass('the browsers of other workers get the message');
};

is($server->stop, 0, 'the server exits with 0');
unlike($server->errors, qr/ at .+ line \d|lost/, 'the server reports no errors') or diag($server->errors);

done_testing;
