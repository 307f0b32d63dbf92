#!/usr/bin/env perl
#
# A chat across the workers of a prefork web server. Each browser is connected to one of several processes; what is
# said to one process reaches the browsers of all, through a ring of strings.
#
#   perl -Mblib eg/chat.pl prefork -w 4 -l http://127.0.0.1:3000
#   perl -Mblib eg/chat.pl daemon                # a single process: the same program
#
# Then open http://127.0.0.1:3000 in some browsers. The ring is a file for as long as the server runs; with CHAT_RING
# in the environment it is that file, and several servers can share it.
#
# What to look at:
#   hall          a worker subscribes when its first browser comes, after the fork, and hands each message to its own
#   welcome       a newcomer gets the last messages first, and each message once
#   WebSocket /ws and, for whoever has none, EventSource /events with POST /say

use Mojolicious::Lite -signatures;

use File::Temp qw(tempdir);
use Mojo::IOLoop;
use Mojo::JSON qw(decode_json encode_json);

use Data::PubSub::Shared;

$| = 1;

my $MAX = 500;     # characters of a message
my $PAST = 50;      # messages that a newcomer gets

# Made before the workers are forked; they inherit it. Characters may take 6 bytes each as JSON.
my $path = $ENV{CHAT_RING} // tempdir(CLEANUP => 1) . '/chat.ring';
my $ring = Data::PubSub::Shared::Str->new($path, 1024, 6 * ($MAX + 100));

# --- The worker ---------------------------------------------------------------------------------------------------

# This worker's subscriber, and the browsers that are connected to it: id => code that sends one message.
sub hall () {
    state $hall;
    return $hall if $hall && $hall->{pid} == $$;
    $hall = { pid => $$, sub => $ring->subscribe, browsers => {}, lost => 0 };
    my $fh = $hall->{sub}->fh;
    Mojo::IOLoop->singleton->reactor->io($fh => sub { deliver($hall) })->watch($fh, 1, 0);
    return $hall;
}

# Some messages to all browsers here. The loop calls again if there are more.
sub deliver ($hall) {
    for my $message ($hall->{sub}->drain(100)) {
        $_->($message) for values %{ $hall->{browsers} };
    }
    my $lost = $hall->{sub}->overflow_count;
    app->log->warn($lost - $hall->{lost} . ' messages lost') if $lost > $hall->{lost};
    $hall->{lost} = $lost;
}

# A new browser: first what was said before the worker's next message, which comes to it by `deliver` then.
sub welcome ($send) {
    my $hall = hall();
    my $end  = $hall->{sub}->cursor;
    my $past = $ring->subscribe_all;
    my $from = $end - $PAST;
    $past->cursor($from) if $from > $past->cursor;
    while ($past->cursor < $end) { $send->($past->poll // last) }
    my $id = ++$hall->{serial};
    $hall->{browsers}{$id} = $send;
    return sub { delete $hall->{browsers}{$id} };
}

# To everybody, at whatever worker.
sub speak ($name, $text) {
    return if ref $text || !length($text // '');
    $name = 'anonymous' if ref $name || !length($name // '');
    $ring->publish(encode_json({
        name => substr($name, 0, 40), text => substr($text, 0, $MAX), time => time, worker => $$,
    }));
}

# --- What browsers ask for ----------------------------------------------------------------------------------------

get '/' => sub ($c) { $c->render('chat', worker => $$) };

websocket '/ws' => sub ($c) {
    $c->inactivity_timeout(3600);
    $c->send({ text => encode_json({ worker => $$ }) });
    my $leave = welcome(sub ($message) { $c->send({ text => $message }) });
    $c->on(message => sub ($c, $bytes) {
        my $said = eval { decode_json(Mojo::Util::encode('UTF-8', $bytes)) };
        speak(@$said{qw(name text)}) if ref $said eq 'HASH';
    });
    $c->on(finish => sub { $leave->() });
};

get '/events' => sub ($c) {
    $c->inactivity_timeout(3600);
    $c->res->headers->content_type('text/event-stream')->cache_control('no-cache');
    $c->write("event: worker\ndata: $$\n\n");
    my $leave = welcome(sub ($message) { $c->write("data: $message\n\n") });
    $c->on(finish => sub { $leave->() });
};

post '/say' => sub ($c) {
    speak($c->param('name'), $c->param('text'));
    $c->render(text => "said\n");
};

app->start;

__DATA__

@@ chat.html.ep
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Chat</title>
<style>
  body   { margin: 0 auto; max-width: 44rem; height: 100vh; display: flex; flex-direction: column;
           font: 16px/1.45 system-ui, "DejaVu Sans", sans-serif; color: #1d2733; background: #f4f6f8 }
  header { padding: .8rem 1rem; display: flex; justify-content: space-between; align-items: baseline }
  h1     { font-size: 1.15rem; margin: 0 }
  #state { color: #5c6b7a; font-size: .85rem }
  #log   { flex: 1; overflow-y: auto; margin: 0 1rem; padding: .6rem; list-style: none; background: #fff;
           border: 1px solid #d5dce3; border-radius: .5rem }
  #log li   { padding: .2rem .3rem; overflow-wrap: anywhere }
  #log b    { color: #0b5cad; margin-right: .5rem }
  #log small { color: #8a97a5; float: right; margin-left: 1rem }
  form   { display: flex; gap: .5rem; padding: 1rem }
  input  { font: inherit; padding: .45rem .6rem; border: 1px solid #b9c4cf; border-radius: .4rem; min-width: 0 }
  #name  { width: 8rem }
  #text  { flex: 1 }
  button { font: inherit; padding: .45rem 1.1rem; border: 0; border-radius: .4rem; background: #0b5cad; color: #fff }
</style>
</head>
<body>
<header><h1>Chat</h1><span id="state">connecting</span></header>
<ul id="log" aria-live="polite"></ul>
<form id="form">
  <input id="name" placeholder="Name" maxlength="40" aria-label="Name">
  <input id="text" placeholder="Message" maxlength="500" autocomplete="off" autofocus aria-label="Message">
  <button>Send</button>
</form>
<script>
  const $ = id => document.getElementById(id);
  let say;

  function show(m) {
    if (m.worker && !m.text) { $('state').textContent = 'connected to worker ' + m.worker; return }
    const [row, name, by] = ['li', 'b', 'small'].map(tag => document.createElement(tag));
    name.textContent = m.name;
    by.textContent = 'by worker ' + m.worker;
    row.append(by, name, m.text);
    $('log').append(row);
    row.scrollIntoView();
  }

  function connect() {
    const ws = new WebSocket(location.origin.replace(/^http/, 'ws') + '/ws');
    ws.onopen = () => { $('log').replaceChildren(); say = m => ws.send(JSON.stringify(m)) };
    ws.onmessage = e => show(JSON.parse(e.data));
    ws.onclose = () => { say = null; $('state').textContent = 'connecting'; setTimeout(connect, 1000) };
  }

  function listen() {    // without WebSocket: ?events in the address shows this one
    const source = new EventSource('/events');
    source.onopen = () => $('log').replaceChildren();
    source.onmessage = e => show(JSON.parse(e.data));
    source.addEventListener('worker', e => show({ worker: e.data }));
    say = m => fetch('/say', { method: 'POST', body: new URLSearchParams(m) });
  }

  if ('WebSocket' in window && location.search !== '?events') connect(); else listen();

  $('form').onsubmit = e => {
    e.preventDefault();
    const text = $('text').value;
    if (!text || !say) return;
    say({ name: $('name').value, text });
    $('text').value = '';
  };
</script>
</body>
</html>
