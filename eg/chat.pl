#!/usr/bin/env perl
# A chat across the workers of a prefork web server. Each browser is connected to one of several processes. A message sent to
# one process reaches the browsers of all processes, over a bus in shared memory.
#
#   perl -Mblib eg/chat.pl prefork -w 4 -l http://127.0.0.1:3000
#   perl -Mblib eg/chat.pl daemon                # a single process: the same program
# Then open http://127.0.0.1:3000 in some windows: the colour of a message shows which process it came through.
# The ring is a temporary file that exists while the server runs. With CHAT_RING in the environment it is that file, and several
# servers can share it.
#
# Points of interest:
#   listen        once, before the workers are forked: each of them subscribes automatically, and sends messages to its browsers
#   past          a new browser gets the last messages first, and each message once
#   WebSocket /ws and, for browsers without it, EventSource /events with POST /say

use Mojolicious::Lite -signatures;

use File::Temp qw(tempdir);
use Mojo::JSON qw(decode_json encode_json);

$| = 1;

my $MAX  = 500;    # characters of a message
my $PAST = 50;     # messages that a new browser gets

# A character may take 6 bytes in JSON.
plugin SharedBus => { path => $ENV{CHAT_RING} // tempdir(CLEANUP => 1) . '/chat.ring', msg_size => 6 * ($MAX + 200) };

# The browsers that are connected to this process: id => code that sends one message.
my %browser;
app->bus->listen(chat => sub ($bus, $message) { $_->($message) for values %browser });

# Sends a new browser the past messages. The next ones are sent by the listener.
sub welcome ($send) {
    state $serial = 0;
    my $id = ++$serial;
    $send->($_) for app->bus->past(chat => $PAST);
    $browser{$id} = $send;
    return sub { delete $browser{$id} };
}

# Sends a message to all browsers of all workers. `by` identifies the browser, which recognises its own messages by it.
sub speak ($name, $text, $by = undef) {
    state $serial = 0;
    return if ref $text || !length($text // '');
    $name = 'anonymous' if ref $name || !length($name // '');
    $by   = ''          if ref $by || ($by // '') !~ /\A\w{1,20}\z/;
    app->bus->notify(chat => encode_json({
        name => substr($name, 0, 40), text => substr($text, 0, $MAX), time => time, worker => $$, id => "$$-" . ++$serial,
        by => $by,
    }));
}

# --- Requests of browsers ----------------------------------------------------------------------------------------

get '/' => sub ($c) { $c->render('chat') };

websocket '/ws' => sub ($c) {
    $c->inactivity_timeout(3600);
    $c->send({ text => encode_json({ worker => $$ }) });
    my $leave = welcome(sub ($message) { $c->send({ text => $message }) });
    $c->on(message => sub ($c, $bytes) {
        my $said = eval { decode_json(Mojo::Util::encode('UTF-8', $bytes)) };
        speak(@$said{qw(name text by)}) if ref $said eq 'HASH';
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
    speak(map { $c->param($_) } qw(name text by));
    $c->render(text => "said\n");
};

app->start;

__DATA__

@@ chat.html.ep
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Chat</title>
<style>
  :root {
    --page: #eef1f5; --card: #fff; --own: #e3eefb; --line: #cbd3dc; --text: #17202b; --soft: #51606f; --accent: #0b5cad;
    --on-accent: #fff; --off: #6b7785;
    --w0: #0b5cad; --w1: #a8321a; --w2: #1b6e3c; --w3: #7a3ea8; --w4: #7d5200; --w5: #00666c; --w6: #a81766; --w7: #5b6100;
  }
  @media (prefers-color-scheme: dark) {
    :root {
      --page: #11161c; --card: #1b222b; --own: #1b2f47; --line: #35414e; --text: #e7ecf2; --soft: #a5b2c0; --accent: #7db8ff;
      --on-accent: #0c1722; --off: #8794a3;
      --w0: #7db8ff; --w1: #ff9d85; --w2: #7fd6a0; --w3: #d0aaff; --w4: #f0c060; --w5: #6fd6dc; --w6: #ff9ccb; --w7: #d3d86a;
    }
  }
  * { box-sizing: border-box }
  body { margin: 0 auto; max-width: 46rem; height: 100vh; height: 100dvh; display: flex; flex-direction: column;
         font: 16px/1.45 system-ui, "DejaVu Sans", sans-serif; color: var(--text); background: var(--page) }
  header { padding: .8rem 1rem .6rem; display: flex; flex-wrap: wrap; gap: .2rem 1rem; justify-content: space-between;
           align-items: baseline }
  h1 { font-size: 1.15rem; margin: 0 }
  #state { color: var(--soft); font-size: .875rem }
  #state b, .by { color: var(--worker) }
  #state b::before { content: ''; display: inline-block; width: .6em; height: .6em; margin-right: .35em; border-radius: 50%;
                     background: var(--worker) }
  main { flex: 1; min-height: 0; position: relative; margin: 0 1rem; background: var(--card); border: 1px solid var(--line);
         border-radius: .6rem; overflow: hidden }
  #log { height: 100%; overflow-y: auto; margin: 0; padding: .8rem; list-style: none }
  #log li { width: fit-content; min-width: 9rem; max-width: 85%; margin: 0 0 .55rem; padding: .35rem .7rem .45rem;
            border: 1px solid var(--line); border-left: .3rem solid var(--worker); border-radius: .5rem;
            overflow-wrap: anywhere }
  #log li.own { margin-left: auto; background: var(--own) }
  .head { display: flex; flex-wrap: wrap; gap: 0 .6rem; align-items: baseline; font-size: .8125rem; color: var(--soft) }
  .head b { color: var(--text); font-size: .9375rem }
  .head time { margin-left: auto }
  #log p { margin: 0; white-space: pre-wrap }
  #empty { position: absolute; inset: 0; display: flex; flex-direction: column; justify-content: center; padding: 1.5rem;
           text-align: center; color: var(--soft) }
  #empty strong { color: var(--text); font-size: 1.05rem }
  #empty p { margin: .4rem auto 0; max-width: 27rem }
  #more { position: absolute; bottom: .7rem; left: 50%; transform: translateX(-50%); border-radius: 1rem; padding: .3rem .9rem;
          font-size: .875rem; box-shadow: 0 2px 8px #0004 }
  form { display: flex; gap: .5rem; padding: .8rem 1rem 1rem }
  input { font: inherit; padding: .5rem .65rem; border: 1px solid var(--off); border-radius: .45rem; min-width: 0;
          color: inherit; background: var(--card) }
  input::placeholder { color: var(--soft); opacity: 1 }
  #name { flex: 0 1 9rem }
  #text { flex: 1 }
  button { font: inherit; font-weight: 600; padding: .5rem 1.1rem; border: 0; border-radius: .45rem; background: var(--accent);
           color: var(--on-accent); cursor: pointer }
  button:disabled { background: var(--line); color: var(--soft); cursor: default }
  :focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
  [hidden] { display: none !important }
  @media (max-width: 30rem) {
    header, form { padding-left: .6rem; padding-right: .6rem }
    main { margin: 0 .6rem }
    form { flex-wrap: wrap }
    #name { flex: 1 0 100% }
    #log li { max-width: 94% }
  }
</style>
</head>
<body>
<header><h1>Chat across processes</h1><span id="state" role="status">connecting ...</span></header>
<main>
  <div id="empty">
    <strong>No messages yet</strong>
    <p>Write the first message below. Then open this page in another window: it may be served by another process, and
      your messages appear there, too. The colour of a message shows which process it came through.</p>
  </div>
  <ul id="log" aria-live="polite" aria-label="Messages" tabindex="0"></ul>
  <button id="more" type="button" hidden></button>
</main>
<form id="form">
  <input id="name" placeholder="Your name" maxlength="40" aria-label="Your name" autocomplete="nickname">
  <input id="text" placeholder="Message" maxlength="500" autocomplete="off" autofocus aria-label="Message">
  <button id="send" disabled>Send</button>
</form>
<script>
  const $ = id => document.getElementById(id);
  const make = (tag, text, name) => Object.assign(document.createElement(tag), { textContent: text, className: name || '' });
  const log = $('log'), me = Math.random().toString(36).slice(2, 12), seen = new Set();
  let say, unread = 0;

  const colour = (element, worker) => element.style.setProperty('--worker', `var(--w${worker % 8})`);
  const isAtEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  const toEnd = () => { log.scrollTop = log.scrollHeight; news(0) };

  function news(count) {
    unread = count;
    $('more').hidden = !count;
    $('more').textContent = count == 1 ? '1 new message ↓' : count + ' new messages ↓';
  }

  function connected(worker) {
    const b = make('b', 'worker ' + worker);
    colour(b, worker);
    $('state').replaceChildren('connected to ', b);
  }

  function offline() { say = null; $('send').disabled = true; $('state').textContent = 'not connected, trying again ...' }
  function online(code) { say = code; $('send').disabled = false }

  function show(m) {
    if (m.worker && !m.text) return connected(m.worker);
    if (m.id && seen.has(m.id)) return;    // received before the connection was lost
    seen.add(m.id);
    const stays = !isAtEnd(), own = m.by == me;
    const row = make('li', '', own ? 'own' : ''), head = make('div', '', 'head');
    const when = new Date((m.time || Date.now() / 1000) * 1000);
    const time = make('time', when.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }));
    time.dateTime = when.toISOString();
    colour(row, m.worker);
    head.append(make('b', m.name), make('span', 'worker ' + m.worker, 'by'), time);
    row.append(head, make('p', m.text));
    log.append(row);
    $('empty').hidden = true;
    if (stays && !own) news(unread + 1); else toEnd();
  }

  function connect() {
    const ws = new WebSocket(location.origin.replace(/^http/, 'ws') + '/ws');
    ws.onopen = () => online(m => ws.send(JSON.stringify(m)));
    ws.onmessage = e => show(JSON.parse(e.data));
    ws.onclose = () => { offline(); setTimeout(connect, 1000) };
  }

  function listen() {    // without WebSocket: force it with ?events in the address
    const source = new EventSource('/events');
    source.onopen = () => online(m => fetch('/say', { method: 'POST', body: new URLSearchParams(m) }));
    source.onerror = offline;
    source.onmessage = e => show(JSON.parse(e.data));
    source.addEventListener('worker', e => connected(e.data));
  }

  if ('WebSocket' in window && location.search !== '?events') connect(); else listen();

  log.onscroll = () => { if (isAtEnd()) news(0) };
  $('more').onclick = toEnd;
  $('form').onsubmit = e => {
    e.preventDefault();
    const text = $('text').value;
    if (!text || !say) return;
    say({ name: $('name').value, text, by: me });
    $('text').value = '';
  };
</script>
</body>
</html>
