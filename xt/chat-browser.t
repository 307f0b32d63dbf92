# The page of the chat example in a real browser: two tabs at different workers, and one that uses EventSource.
# CHAT_SCREENSHOT names a PNG file for a screenshot.

use strict;
use warnings;
use utf8;
use FindBin;
use lib "$FindBin::Bin/../t/lib", "$FindBin::Bin/../lib";
use Test::More;

eval { require Mojolicious; Mojolicious->VERSION('9.00'); 1 } or plan skip_all => 'Mojolicious 9 is not installed';
my ($chromium) = grep { -x } map { my $dir = $_; map {"$dir/$_"} qw(chromium chromium-browser google-chrome) }
    split /:/, $ENV{PATH};
$chromium or plan skip_all => 'Chromium is not installed';
require Mojo::IOLoop;
require Mojo::JSON;
require Mojo::UserAgent;
require Mojo::Util;
require PubSubTest;
require PubSubTest::Chat;
PubSubTest->import;
if (my $why = PubSubTest::Chat->unreachable) { plan skip_all => $why }

my $ua      = Mojo::UserAgent->new(inactivity_timeout => 0, max_websocket_size => 1 << 26);
my $server  = PubSubTest::Chat->start(3);
my $browser = start_browser();
my %target_of;    # session of a tab => its target

# Runs Chromium and connects to its devtools; it prints their address on its standard error.
sub start_browser {
    my $dir = fresh_dir();
    pipe my $read, my $write or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        alarm 600;    # in case the test is killed
        POSIX::setpgid(0, 0);
        open STDIN,  '<', '/dev/null';
        open STDOUT, '>', '/dev/null';
        open STDERR, '>&', $write;
        my @flags = qw(--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
            --disable-background-networking --disable-component-update --disable-dev-shm-usage
            --remote-debugging-port=0 --window-size=900/600);
        s{/}{,} for @flags;
        { no warnings 'exec'; exec $chromium, @flags, "--user-data-dir=$dir", 'about:blank' }
        POSIX::_exit(127);
    }
    close $write;
    my ($url, $said) = (undef, '');
    while (my $line = <$read>) {
        $said .= $line;
        $url = $1, last if $line =~ m{DevTools listening on (ws://\S+)};
    }
    $url or die "no devtools: $said";
    my $self = { pid => $pid, err => $read, id => 0, answer => {} };
    $ua->websocket($url => sub { $self->{tx} = $_[1] });
    until_so(sub { $self->{tx} });
    $self->{tx}->is_websocket or die 'no devtools';
    $self->{tx}->on(json => sub { my (undef, $m) = @_; $self->{answer}{ $m->{id} } = $m if $m->{id} });
    return $self;
}

END {
    if ($browser && $browser->{pid}) {
        local $?;
        kill TERM => $browser->{pid};
        1 while readline $browser->{err};    # until the last of its processes has exited
        waitpid $browser->{pid}, 0;
    }
}

sub until_so {
    my ($so) = @_;
    Mojo::IOLoop->one_tick until $so->();
    return;
}

# Sends a command of the devtools protocol; returns its result.
sub command {
    my ($method, $parameters, $session) = @_;
    my $id = ++$browser->{id};
    $browser->{tx}->send({ json => {
        id => $id, method => $method, params => $parameters || {}, $session ? (sessionId => $session) : (),
    } });
    until_so(sub { $browser->{answer}{$id} });
    my $answer = delete $browser->{answer}{$id};
    $answer->{error} and die "$method: $answer->{error}{message}";
    return $answer->{result};
}

# Returns the value of an expression in a tab; waits for the value of a promise.
sub evaluate {
    my ($tab, $expression) = @_;
    my $result = command('Runtime.evaluate',
        { expression => $expression, awaitPromise => Mojo::JSON->true, returnByValue => Mojo::JSON->true }, $tab);
    $result->{exceptionDetails} and die "$expression: " . Mojo::JSON::encode_json($result->{exceptionDetails});
    return $result->{result}{value};
}

# Checks the condition in the tab repeatedly until it is true.
sub until_there {
    my ($tab, $condition) = @_;
    my $look = "() => ($condition) ? done(true) : setTimeout(look, 5)";
    return evaluate($tab, "new Promise(done => { const look = $look; look() })");
}

sub tab {
    my ($path) = @_;
    my $target = command('Target.createTarget', { url => $server->url('http') . $path });
    my $tab = command('Target.attachToTarget', { targetId => $target->{targetId}, flatten => Mojo::JSON->true });
    $target_of{ $tab->{sessionId} } = $target->{targetId};
    my $there = q{document.getElementById('state')};
    1 until eval { until_there($tab->{sessionId}, $there) };    # the empty document is replaced during the call
    until_there($tab->{sessionId}, q{/worker \d+/.test(document.getElementById('state').textContent)});
    return $tab->{sessionId};
}

sub worker_of { return (evaluate($_[0], q{document.getElementById('state').textContent}) =~ /(\d+)/)[0] }

# Types and submits a message as a user does.
sub says {
    my ($tab, $name, $text) = @_;
    my $json = Mojo::Util::decode('UTF-8', Mojo::JSON::encode_json([$name, $text]));
    evaluate($tab, "[document.getElementById('name').value, document.getElementById('text').value] = $json");
    evaluate($tab, q{document.getElementById('send').click()});
    return;
}

# The messages as "name: text".
sub rows {
    my ($tab) = @_;
    my $row = q{li.querySelector('b').textContent + ': ' + li.lastChild.textContent};
    return evaluate($tab, "[...document.querySelectorAll('#log li')].map(li => $row)");
}

my @tabs = (tab('/'));
for (1 .. 50) {
    push @tabs, tab('/');
    last if worker_of($tabs[-1]) != worker_of($tabs[0]);
}
isnt(worker_of($tabs[-1]), worker_of($tabs[0]), 'two tabs are connected to different workers');
push @tabs, tab('/?events');

my @said = (
    ['Ann',  'Is anybody at another worker?'],
    ['Bob',  'Yes, I am. ☺'],
    ['Cleo', 'And I have no WebSocket: EventSource works, too.'],
    ['Ann',  '<script>alert(1)</script> & <b>bold</b> are shown as they are.'],
    ['',     'who am I?'],
);
for my $n (0 .. $#said) {
    says($tabs[ (0, -2, -1)[ $n % 3 ] ], @{ $said[$n] });
    until_there($_, 'document.querySelectorAll("#log li").length == ' . ($n + 1)) for @tabs;
}
my $expected = [map { ($_->[0] || 'anonymous') . ": $_->[1]" } @said];
is_deeply(rows($_), $expected, 'a tab shows all messages in order') for @tabs;

my $late = tab('/');
until_there($late, 'document.querySelectorAll("#log li").length == 5');
is_deeply(rows($late), $expected, 'a tab that is opened later shows all messages');

my $server_of_late = worker_of($late);
kill KILL => $server_of_late;
until_there($late, "/worker \\d+/.test(document.getElementById('state').textContent) "
    . "&& !document.getElementById('state').textContent.includes('$server_of_late')");
says($late, 'Dora', 'My worker was killed; I am back.');
until_there($late, 'document.querySelectorAll("#log li").length == 6');
is(rows($late)->[-1], 'Dora: My worker was killed; I am back.', 'a tab connects again after its worker was killed');

my $png = Mojo::Util::b64_decode(command('Page.captureScreenshot', { format => 'png' }, $late)->{data});
like($png, qr/\A\x89PNG/, 'the screenshot is a PNG');
spew($ENV{CHAT_SCREENSHOT}, $png) if $ENV{CHAT_SCREENSHOT};

subtest 'contrast' => sub {
    my ($light, $dark) = map {
        my ($variables) = $_;
        +{ $variables =~ /--(\w[\w-]*): (#\w+);/g };
    } slurp("$FindBin::Bin/../eg/chat.pl") =~ /:root \{(.*?)\}/gs;
    my $luminance = sub {
        my @rgb = map { hex($_) / (length $_ == 1 ? 15 : 255) } $_[0] =~ /\A#(\w)(\w)(\w)\z/ ? ($1, $2, $3) : $_[0] =~ /\w\w/g;
        my @linear = map { $_ <= 0.04045 ? $_ / 12.92 : (($_ + 0.055) / 1.055)**2.4 } @rgb;
        return 0.2126 * $linear[0] + 0.7152 * $linear[1] + 0.0722 * $linear[2];
    };
    for my $scheme ([light => $light], [dark => $dark]) {
        my ($name, $colour) = @$scheme;
        my @pairs = (['on-accent', 'accent'], map { my $text = $_; map { [$text, $_] } qw(card own page) } qw(text soft), map {"w$_"} 0 .. 7);
        for (@pairs) {
            my ($more, $less) = sort { $b <=> $a } map { $luminance->($colour->{$_}) } @$_;
            my $ratio = ($more + 0.05) / ($less + 0.05);
            cmp_ok($ratio, '>=', 4.5, sprintf '%s: %s on %s', $name, @$_);
        }
    }
};

subtest 'small screen, dark scheme, scrolled up, disconnected' => sub {
    command('Target.activateTarget', { targetId => $target_of{$late} });
    my %size = (width => 360, height => 640, deviceScaleFactor => 1, mobile => Mojo::JSON->true);
    command('Emulation.setDeviceMetricsOverride', \%size, $late);
    command('Emulation.setEmulatedMedia', { features => [{ name => 'prefers-color-scheme', value => 'dark' }] }, $late);
    is(evaluate($late, 'document.documentElement.scrollWidth'), 360, 'on a small screen, nothing is wider than 360 px');
    is(evaluate($late, 'getComputedStyle(document.body).backgroundColor'), 'rgb(17, 22, 28)',
        'the dark scheme has a dark background');
    says($late, 'Dora', "line\n" x 40) for 1 .. 3;
    until_there($late, 'document.querySelectorAll("#log li").length == 9');
    evaluate($late, q{document.getElementById('log').scrollTop = 0});
    # Its worker may be the one that was killed.
    until_there($tabs[0], q{!document.getElementById('send').disabled});
    says($tabs[0], 'Ann', 'You are reading above.');
    until_there($late, 'document.querySelectorAll("#log li").length == 10');
    is(evaluate($late, q{document.getElementById('log').scrollTop}), 0, 'a new message does not move a log that is scrolled up');
    is(evaluate($late, q{document.getElementById('more').textContent}), "1 new message \x{2193}",
        'a log that is scrolled up shows the number of new messages');
    is(evaluate($late, q{document.querySelectorAll('li.own').length}), 4, 'own messages are marked');
    ok(evaluate($late, q{!document.getElementById('send').disabled}), 'the button Send is enabled');
    $server->stop;
    until_there($late, q{document.getElementById('send').disabled});
    pass('the button Send is disabled while disconnected');
};

is($server->stop, 0, 'the server exits with 0');

done_testing;
