package Data::PubSub::Shared::Bridge;

use 5.022;
use strict;
use warnings;

our $VERSION = '1.000';

use Data::PubSub::Shared::Bridge::Down;
use Data::PubSub::Shared::Bridge::Up;

sub up   { my ($class, %option) = @_; return Data::PubSub::Shared::Bridge::Up->new(%option) }
sub down { my ($class, %option) = @_; return Data::PubSub::Shared::Bridge::Down->new(%option) }

1;

__END__

=encoding UTF-8

=head1 NAME

Data::PubSub::Shared::Bridge - one ring on many hosts, over Redis Streams

=head1 SYNOPSIS

On each host, as a service:

    pubsub-bridge both --out /dev/shm/news.out --in /dev/shm/news.in --stream news \
        --server redis.internal:6379 --variant Str --capacity 64k --mode 660

In each program, on whatever host:

    use Data::PubSub::Shared;

    my $out = Data::PubSub::Shared::Str->new('/dev/shm/news.out');
    my $in  = Data::PubSub::Shared::Str->new('/dev/shm/news.in');
    $out->publish('for everybody');                  # goes to all hosts, this one too
    my $sub = $in->subscribe;
    while (defined(my $news = $sub->poll_wait)) {    # what all hosts publish, in one order
        print "$news\n";
    }

Or, in a process of your own instead of the command:

    use Data::PubSub::Shared::Bridge;

    my $bridge = Data::PubSub::Shared::Bridge->up(   # or down
        ring   => '/dev/shm/news.out',
        stream => 'news',
        server => 'redis.internal:6379',
    );
    $bridge->run;                                    # until TERM or INT

=head1 DESCRIPTION

A ring connects the processes of one host. A bridge connects rings on several hosts: what is
published to the one ring on any host comes out of the other ring on every host, each message exactly
once, in one and the same order everywhere. Between them is a stream in a Redis server. Programs use
rings as before: they make no connection and wait for no other process.

A bridge has two directions, each of which is a process. B<Up> reads a ring and appends to the stream.
B<Down> reads the stream and publishes to a ring. A host that only speaks needs only the first, one
that only listens only the second. The command L<pubsub-bridge> runs directions, starts those again that
end, and is what most people want; this page describes what it does, and the interface for those who
embed it.

The bridge needs a Redis server, version 5 or later, and one Perl module: L<Redis::Fast>; or, for
connections with TLS, L<Redis>, 1.999 or later, and L<IO::Socket::SSL>. It reads configuration files with
L<Config::Tiny>. None of them is needed by the rest of the distribution.

=head1 HOW IT WORKS

=head2 Two rings, OUT and IN

Programs publish to OUT and read from IN. Up reads OUT, and nothing else does (it may, but sees this
host's messages only). Only Down publishes to IN.

    host A    publish -> OUT -> up --+                +--> down -> IN -> subscribe
                                     +--> stream -----+
    host B    publish -> OUT -> up --+                +--> down -> IN -> subscribe

Why two rings, and not one? The order. The stream puts the messages of all hosts into one sequence;
every Down follows it. So all hosts see one order, the publishing host included, whose own messages
take the way through the stream like all others. With a single ring each host would see its own
messages first. And nothing can echo: no direction both reads and writes a ring. A ring that is used for
both by mistake is refused, also where the two directions are started apart and know it by different
names.

A host that does not want its own messages back gives its Down C<skip_own>. Then its programs read
their neighbours' messages from IN, and of its own, at once, from OUT; how the two relate to each other
in order is not known.

Several OUT rings, of one host or of many, may go into one stream, each with an Up of its own. An OUT
ring may go into several streams. An IN ring is filled from one stream only.

=head2 The ring is the buffer

Up takes messages out of OUT in batches, eight of which at most are under way. While the server is
away, it takes out no more, and OUT fills. Publishers notice nothing. When the server is back, Up goes
on where it was. Only when more is published meanwhile than OUT holds, messages are lost: the oldest,
and they are counted.

In the same way the stream is the buffer for a host that is away: Down goes on where it was, and loses
only what the stream has dropped meanwhile.

=head2 Exactly once, on the way up

Each OUT ring has a name in the stream, its I<origin>. Up numbers the origin's messages 1, 2, 3 and so
on. One script, which the server runs as a whole or not at all, appends a batch to the stream I<and>
stores beside it the last number and the position in the ring behind that batch. So the two are always
true of each other. A batch that is sent again because its answer was lost is recognised by its
numbers, and appended once. A batch that comes after one that the server refused, for want of memory
for instance, is refused as well, so that nothing is appended in another order than that of the
numbers; all of them are sent again.

A new process asks for that number and position, and goes on exactly there. By asking it begins a new
I<epoch>; from then on the server refuses what an earlier process left on its way. So one that was
thought dead, and was only slow, can do no harm: it is told so, and ends.

=head2 Exactly once, on the way down

The stream does not know who has read what. Down remembers in its L<state file|/STATE FILE>, before it
publishes a batch: where in the stream it is, the batch itself, and the position in IN at which it
will be. A process that comes after a killed one reads IN from that position on, sees which
messages of the batch are there, and publishes the others.

It also remembers for each origin the epoch and the number that comes next. So it notices what is
missing, and passes over what comes twice.

=head1 CONSTRUCTORS

=head2 up

    my $bridge = Data::PubSub::Shared::Bridge->up(%options);

The direction that reads the ring and appends to the stream.

=head2 down

    my $bridge = Data::PubSub::Shared::Bridge->down(%options);

The direction that reads the stream and publishes to the ring.

Both open the ring, or create it (see C<capacity> in L</OPTIONS>), and lock the state file. They do
not reach for the server yet. They die with one line that says what is wrong, without a place in the
program: see L</ERRORS>. To run both directions, make two processes.

=head1 METHODS

=head2 run

    my $all = $bridge->run;

Works until L</stop> is called, or a TERM or INT signal comes. Meanwhile it has handlers of its own
for TERM, INT and USR1 (which writes a line on standard error that says how things are), and ignores
PIPE; afterwards they are what they were. Call it once.

When asked to stop, Up sends what OUT holds at that moment, for 5 seconds at most, and waits for the
answers. Where the server is away, it sends nothing more. Messages that stay in OUT are not lost: the next
process goes on there. Returns true if all was acknowledged that had been taken out (up), or all was
published that had been read (down).

A server that cannot be reached, or refuses, is not a reason to end. Such errors are reported on standard
error, and the direction tries again, after 0.05 s first, then ever later, up to 5 s (each time between
half and one and a half of that, so that not all hosts come at once). Dies where trying again makes no
sense: when another process has begun a newer epoch, when the stream's key is not a stream or that of the
origins not a hash, and when the path of the ring has become another ring, or has been removed for a
second or more (start again, to use or to create the ring that belongs there). The messages that the old ring holds
at that moment are sent first.

=head2 stop

    $bridge->stop;

Asks C<run> to end. To be called in a signal handler, or by C<on_status>.

=head2 status

    my $status = $bridge->status;

A reference to a new hash; L</STATUS> describes it.

=head1 OPTIONS

The names and values are those of the command and of its configuration file, but there words are
joined by dashes, here by underscores: C<--skip-own> is C<skip_own>. Switches are C<1> or C<yes>, C<0>
or C<no>. Numbers of slots, bytes and entries may end in C<k>, C<M> or C<G>, which are powers of 1024.

=over 4

=item ring => PATH

The ring's file. Needed. The direction must have the right to read and to write it, up too.

=item stream => NAME

The name of the stream; in Redis it is the key. Needed. 1 to 200 bytes, no spaces.

=item server => HOST:PORT, [IPV6]:PORT, or /PATH

The server, or its Unix socket. Default: C<127.0.0.1:6379>. An IPv6 address is written in
brackets: C<[::1]:6379>.

=item credentials => FILE

A file with a password, or what TLS needs: see L<pubsub-bridge/CREDENTIALS>. None where nothing is
said; then the environment is asked.

=item host => NAME

This host's name in origins. No space, C<#> or C</>, 100 bytes at most. Default: the host's name. C<skip_own> goes by it, so with that it must be another one on each host. A new name
has no effect on an origin that exists: the name is in Up's state file.

=item state => FILE

The L<state file|/STATE FILE>. A file of its own for each direction. By default it is
F<STREAM.up> or F<STREAM.down> in the first of these directories that has a name: C<$STATE_DIRECTORY>, as
systemd sets it; for root F</var/lib/pubsub-bridge>; F<$XDG_STATE_HOME/pubsub-bridge>;
F<~/.local/state/pubsub-bridge>. The directory is created if missing. Several rings that go into one
stream from one host need names of their own here.

=item status => FILE

A file that is replaced each second by one that holds the L</STATUS> as JSON. Default: none.

=item on_status => CODE

Only here, not for the command. Called when C<run> begins, each second, and when it ends, with the
L</STATUS> and the direction:

    on_status => sub {
        my ($status, $bridge) = @_;
        $bridge->stop if $status->{lost}{rejected};
    },

It must not die, and should be quick: it is called between two batches.

=item quiet => SWITCH

No lines on standard error about beginning, connecting and ending. Losses, and entries that cannot be
understood, are still reported. Whatever keeps the direction from working, a wrong password or a server that is
away, is reported once, until it works again.

=item timeout => SECONDS

How long the server may take to accept a connection, and to answer; 1 to 9999. Default: 10.

=item variant => Int | Int32 | Int16 | Str

=item capacity => SLOTS

=item msg_size => BYTES

=item mode => OCTAL

How to create the ring where there is none; as in L<Data::PubSub::Shared/new>. C<variant> and
C<capacity> are needed for that, C<msg_size> is 256 and C<mode> 600 by default. The ring for
C<gaps> gets this C<mode>, too. If there is
a ring, it is taken as it is; but a ring of another C<variant> is refused.

=item from => start | now | ID

Where to begin, for the first time; later, the state file says it. Up: C<start> is the oldest message
that the ring holds (the default), C<now> is what is published after the direction was made. Down: C<start>
is the oldest entry of the stream, C<now> the next one that comes (the default), and an identifier,
for Redis C<1767225600000> or C<1767225600000-5>, the first entry behind that one.

=item batch => NUMBER

Up: how many entries one call of the server appends at most (and never more than 8000 messages). Down:
how many one call reads at most (never more than the ring holds). 1 to 8000. Default: 1000. A batch waits for nothing: it is what is there. From a ring of long strings it is smaller: no more
messages than fill 4 MB if each is C<msg_size> bytes long, or one.

=item pack => NUMBER

Up only: how many messages one entry holds at most. 1 to 8000. Default: 1. An entry
waits for no further messages either, so a pack costs no time; it saves the server a good deal of work
and memory per message, and makes the stream harder to read by eye.

=item maxlen => NUMBER

Up only: how many entries the stream keeps, roughly; older ones are dropped as new ones come.
Default: 1,000,000. Redis drops whole nodes, so it may keep some hundred more. If several
directions append, give them the same number: the smallest decides.

=item skip_own => SWITCH

Down only: leave out what this C<host> has sent. Default: off.

=item gaps => PATH

Down only: a ring of strings into which each gap is published as well; see L</COUNTED LOSS>.

=item backend => NAME

The server between the hosts. Default: C<Redis>; a name that contains C<::> is the name of a class. See L</BACKENDS>.

=back

=head1 WHAT IS GUARANTEED

=over 4

=item *

A message that is in OUT when Up comes to it is put into each IN exactly once.

=item *

The messages of an origin keep the order that they had in OUT. All IN rings have the messages of all
origins in one and the same order, that of the stream.

=item *

Losses are counted, by origin and cause: see L</COUNTED LOSS>.

=item *

This holds whatever is killed (SIGKILL included), at whatever instant and however often: directions, the
command that has started them, publishers, subscribers. It holds when directions or hosts are stopped for
any time, when connections break in the middle of an order or an answer, when the server goes away and
comes back with its data, when the disk of the state file is full for a while, and when hosts are
shut down in an orderly manner.

=item *

A process that was stopped or cut off, and has been replaced meanwhile, cannot append anything any
more: the server refuses its epoch.

=item *

Publishers and subscribers never wait for the bridge, the network or the server.

=back

A subscriber that falls behind loses messages in IN as in any ring, and counts them in its own
C<overflow_count>.

=head2 COUNTED LOSS

Each direction counts, since its state file was begun, how many messages were lost for which reason. It
says so on standard error, at most once a second, and in its L</STATUS>. What Up finds lost it also
tells the stream, in its place between the messages, and so every Down counts it, too.

=over 4

=item overrun

Up: OUT was overrun before they could be sent. The server was away for longer than the ring lasts, or
publishers are faster, for longer, than the way up.

=item restart

Up: the same, but in the time before this process started. Messages that a dead
publisher left unfinished may be among both (see L<Data::PubSub::Shared/ACCOUNTING>).

=item replaced

Up: the path of OUT is another ring than the one that was read last. The messages that the old one still held are
lost; their number is unknown, so the count is 0 each time. All that the new ring holds is sent. After a
restart of the host this is what rings in F</dev/shm> show. A ring that is replaced while Up runs
is read to its end first, and then nothing is lost, unless publishers still use the old one.

=item trimmed

Down: the stream dropped them before they were read: this host was away for longer than C<maxlen> lasts.
Also when the stream was removed, or has come back empty.

=item backend

Down: their numbers are missing although the stream reaches back to what their origin sent before. The
server had acknowledged them, and lost them: see L</What is not guaranteed>.

=item rejected

Down: they do not fit into IN. The ring's C<msg_size> is too small, or the numbers are too large for
its variant, or no numbers.

=item indeterminate

Down: the last process was killed before or after it had published them, and others have published so
much to IN since then that it cannot be seen any more. They are not published again. It cannot happen
where Down is the only one to publish to IN.

=back

With C<gaps> Down publishes each gap to a ring of strings (1024 slots of 512 bytes where it has to be
made), so that programs may act on it. Each is an object in JSON:

    {"count":120,"number":3,"origin":"alpha/news.out-1f2e3d4c","reason":"overrun",
     "stream":"news","time":1767225600.123}

C<origin> is empty for C<rejected> and C<indeterminate>. C<number> counts the notes since the state file was
begun. A note is published when the loss has been remembered, and before the messages of the batch in
which it lies; a process that is killed just then may publish it again, with the same number.

=head2 What is not guaranteed

=over 4

=item Time

Nothing is said about how long a message takes; in normal operation, about as long as two round
trips to the server.

=item A power failure at the host

Memory is gone, and the rings in it: what OUT held and was not yet sent. The state file is brought to
the disk every 5 seconds, so it may be some seconds old. Up does not mind: the server knows better.
Down then publishes once more what came in those seconds, to an IN that is as new as everybody else in
that host.

=item A power failure at the server

Its settings decide what it keeps. With C<appendonly yes> and C<appendfsync always>, all that
it has acknowledged. With C<everysec> the last second may be missing, and without C<appendonly> what
came since the last snapshot, or everything. Those who had read the missing messages have them; those
who had not count them as C<backend> (or C<trimmed>), and go on. Up does not send them again.

=item Failover

Redis replicates behind its answers. A replica that takes over may lack the last ones that were
acknowledged. That is as above. If moreover the new server's clock is behind the old one's, its first
entries may get identifiers that readers have passed already; they count these as C<backend>. If Up is
killed in the same moment, before it has noted the last answers in its state file, messages that had
been read before may come again, under a new epoch.

=item Others who publish to IN

They may. Then IN has an order of its own on each host, and if Down is killed in the middle of a batch
and others have published just the same texts or numbers at that moment, those may be taken for
the batch's.

=item Other hands in the server

Removing entries or the hash of origins, or restoring an old copy of either, invalidates the account.
Losses are noticed where numbers are missing.

=item A clear of OUT

Clearing OUT discards unsent messages, and they are not counted, as with any subscriber.

=item Two Ups for one ring and one stream

They would be two origins, and everything would come twice. So the second is refused, by a lock on the
ring. The lock goes by what C<stream> and C<server> say; one server under two names is not recognised.

=item Copied state files

A state file belongs to one ring on one host. If it is copied to another host, a clone of a virtual
machine for instance, the two go for one origin. Once both have sent, the one that is shut out and
starts again sees that a ring that was never its own sends in its name. It says so on standard error,
and goes on as a new origin from where it was; nothing is sent twice. Where the rings are on disks and
were copied with the state, they cannot be told apart. It is better to remove the state files, and such
rings, in the clone before it starts.

=item Removed state files

Without its state file Up begins again, as a new origin, at C<from>: what OUT still holds comes twice.
Down begins again at C<from>: with C<now> it misses, without counting, what came meanwhile.

=item A ring that was removed and created again in the same inode

It is recognised as another one by the birth time of its file. Where the file system does not keep
that (tmpfs in older kernels), it may be taken for the old one, when it has as many messages or more:
then that many of its first messages are not sent.

=back

=head1 THE STREAM

Programs in other languages can read the stream and write to it. F<docs/stream-format.md> in the distribution describes it:
the fields of an entry, the numbers by which a reader finds duplicates and gaps, the hash of origins, and the two scripts.
F<eg/bridge-consumer.py> is a complete reader in Python.

In short: each entry has the fields C<o> (C<ORIGIN#EPOCH>), C<s> (the number of its first message) and one of C<i>, C<I>, C<m>, C<M>,
C<u>, C<U> for the messages or C<g> for a gap. The hash C<{NAME}:origins> beside the stream NAME keeps for each origin its epoch,
its last number and its place in the ring.

=head1 STATE FILE

What a direction must know after its death. Its name is that of C<state>, mode 0600. Beside it are
F<NAME.lock>, which the process that uses it has locked (with flock(2), so that it is free when that
process is gone), and for moments F<NAME.new>.

The file is a log. Each record is C<PSB1>, the length of its body (32 bits, big-endian), the MD5 of
the body (16 bytes), and the body, a hash as L<Storable>'s C<nfreeze> writes it. The last whole record
counts; a torn one behind it is cut off. When the log has grown beyond 4 MB it is replaced by one with
the last record only. The file is read by C<thaw>, which must not read what others may have written:
keep the directory to the bridge's user.

    Up      origin, epoch, sequence (the last number acknowledged), position, lost, rings (the
            identities of the last rings that had this state file)
    Down    id (of the last entry read), origins (epoch, next number and last entry of each), chunk
            (messages about to be published), at (position in the ring that they will get), ring (its identity), rest
            (messages that come behind chunk), lost, duplicates, blind (whether it began at an identifier,
            so that what unknown origins sent before is not missed), notes, noted (about gaps)

A record is there, whatever becomes of the process, as soon as it is written. It is brought to the
disk (fsync(2)) every 5 seconds at most, and when C<run> ends.

To find out where a direction is, look at its L</STATUS>. To let Down start again somewhere else, stop it, remove
its state file, and give it C<from>. Do not remove Up's, unless the ring is new as well.

=head1 STATUS

    direction    up or down
    ring         its path
    stream       its name
    server       as in the options
    pid          of the process
    time         when this was written, in seconds since 1970
    started_at   when the direction was made
    connected    true, or false: also where an answer is outstanding for more than a second
    failures     attempts since the server last did what it was asked; 0 where all is well
    error        the last thing that went wrong, or why the process ended, or null
    forwarded    messages: sent and acknowledged (up), published (down), by this process
    rate         the same per second, during the last second
    lost         an object: reason => messages, since the state file was begun

Up also has

    origin       its name in the stream
    epoch        the current one
    sequence     the number of the last message taken out of the ring
    in_flight    batches without an answer
    lag          messages in the ring that are not yet taken out

and Down

    id           of the last entry read
    origins      how many it knows
    duplicates   messages left out because they came twice, since the state file was begun
    malformed    entries left out because they could not be understood, by this process

What to watch: C<connected>; C<lag> against the capacity of OUT; C<lost>; that C<time> is young. How
far Down is behind is the distance from C<id> to the stream's last identifier, whose first part is a
time in milliseconds.

In the status file of C<pubsub-bridge both> and C<run> these are under C<bridges>, by name and direction,
with C<running> (whether the process is there; without it, C<connected> is false and C<error> says why
it ended) and C<restarts> (how often it was started again);
beside that, C<pid> and C<time> of the parent:

    { "bridges": { "news": { "up": { ... }, "down": { ... } } }, "pid": 4711, "time": 1767225600.123 }

=head1 BACKENDS

Only one file knows the server between the hosts,
L<Data::PubSub::Shared::Bridge::Backend::Redis>. Another one needs a class with these methods, and its
name as C<backend>. Errors are exceptions of one line each that ends in a newline; after each, the direction
calls C<close>, pauses, and calls C<connect>.

=over 4

=item new(server => ..., stream => ..., timeout => ..., waiting => CODE, %credentials)

Whenever a backend waits for an answer, it must call C<waiting> ten times a second or more often, with
the seconds for which the answer has been awaited, and with 0 when it has come after all. So the status
says the truth while a server does not answer. Returns an object. Dies where a module is missing. Does not connect. Credentials are those that were
given of C<username>, C<password>, C<tls> (always there; true or false), C<ca_file>, C<cert_file>,
C<key_file>.

=item connect

Gets ready to answer all of the following, or dies. May be called while it is connected.

=item close

Lets go of the connection, without waiting for anything. No C<done> (see C<append>) of before may be
called afterwards.

=item is_connected

Whether C<connect> succeeded, and nothing is known to have gone wrong since.

=item check

Asks the server for something, and dies unless an answer comes. An idle Up calls it each second.

=item begin($origin, $epoch, $sequence, $position)

Begins a new epoch. B<Atomic> against all C<begin> and C<append> of this origin, and lasting. If the
backend knows the origin, it returns its last number and its position; otherwise it stores, and
returns, those that are given. The epoch is greater than any before, and than C<$epoch>. Returns
C<($epoch, $sequence, $position, $known)>.

From then on, every C<append> with a smaller epoch must fail.

=item append(origin => ..., epoch => ..., sequence => ..., acknowledged => ..., position => ...,
maxlen => ..., content => [...], done => CODE)

Sends a batch, and does not wait. C<content> is a list of runs, each C<[$kind, $takes, [$payload,
$payload ...]]>: entries of one kind, as many as there are payloads (bytes), each of which takes
C<$takes> numbers. C<sequence> is the number of the first entry, C<acknowledged> the last number for
which Up has got a good answer. B<Atomic>: appends the entries whose first number is greater than the
last one known of the origin, and stores the last number and the position; or does nothing.

B<No append beyond a hole>: it must fail if C<sequence> is greater than max(I<the last number known>,
C<acknowledged>) + 1. Up sends the next batches before it knows that one was refused. If one of them
were appended, the refused batch would be below the last number when it comes again, and would be lost
and taken for delivered. The last number alone is not enough: a backend that has lost its data, or
goes on from an older copy, knows a smaller one than was acknowledged, and must go on nevertheless.

Readers must find the entries in this order. C<maxlen> is how many entries
the stream should keep at least.

C<done> is called once for each batch, in the order of the batches, by C<append> or C<settle>: with
undef, or with the error. After an error or a lost connection, all batches without a good answer are
sent again, the same numbers with the same content.

=item settle($most)

Waits until at most C<$most> batches are without an answer. Dies when the connection is lost, or an
answer takes longer than C<timeout>.

=item read_after($id, $count, $seconds)

The next entries behind C<$id>, C<$count> at most: a reference to a list of C<[$id, [field, value,
field, value ...]]>, the oldest first. Fields are those of L</THE STREAM>, best in the order given
there. Where there are none, waits up to C<$seconds> for the first, and returns an empty list if none
came. Signals are handled after that.

=item ends

The state of the stream, at one instant: C<< { first => $id, last => $id, origins => { $origin =>
[$epoch, $last_number] } } >>. The identifiers are empty strings where there are no entries.

=item is_behind($id, $other)

Whether C<$id> comes later in the stream than C<$other>.

=item start

An identifier before all entries.

=item is_id($text)

Whether a user may have meant an identifier by that.

=item hopeless($error)

Why there is no sense in trying again after this error, in words; nothing otherwise. It must know the
error of an epoch that is over.

=back

Identifiers are strings without a newline; they only grow along a stream, also after entries have been
dropped.

=head1 RUNNING IT

=head2 As a service

F<eg/bridge/> has a configuration file, two units for systemd and a few lines about them.
C<pubsub-bridge run> takes a configuration file with all bridges of a host, and starts two processes
for each, which it starts again if they end. The units let it see F</dev/shm>. If you write your own:
C<PrivateDevices> and C<ProtectSystem=strict> do no harm, but these do:

=over 4

=item DynamicUser, RemoveIPC

They remove what the user has in F</dev/shm> when the service stops. So does the logind of systemd
when the last session of an ordinary user ends, unless F<logind.conf> has C<RemoveIPC=no>. That
is true for rings without any bridge, too.

=item ProtectProc, ProcSubset, PrivatePIDs

Processes that share a C<Str> ring find out by F</proc> whether the holder of its lock is alive, where
the kernel does not tell them.

=back

=head2 Users and permissions

The bridge opens both rings for reading and writing. Let it run as the user of the programs that use
them, or give the rings a group and C<mode> 660. The directory of the rings should be writable for no one
else: see L<Data::PubSub::Shared/FILES, PERMISSIONS AND SECURITY>. The state files are the bridge's
alone.

Whoever may write to the stream may make messages for all hosts. Give the server a password, or better
a user that may do this and no more:

    ACL SETUSER bridge on >PASSWORD ~news ~{news}:origins -@all +script|load +evalsha
        +xadd +xread +xrange +xrevrange +hget +hset +hgetall

=head2 How large?

=over 4

=item OUT

Messages per second, times the longest time without the server, a restart of the bridge included. If
that is a minute at 1,000 per second: 65536 slots.

=item IN

As any ring: messages per second, all hosts together, times the longest pause of its slowest
subscriber. Its C<msg_size> must do for the longest message of any host. When a host comes back after
an hour, Down publishes what it has missed as fast as it can; who must not lose then needs a large
ring.

=item maxlen

Messages per second, all hosts together, divided by C<pack>, times the longest absence of a host. For
memory count 50 bytes for each entry and the messages; packed, 15 bytes for each message and the
messages.

=item pack

50 or 100, unless a program that is not yours reads the stream. It matters from some thousand messages
per second on.

=item batch

1000 does. The server does nothing else while it carries one out; eight may be under way.

=back

C<bench/bridge.pl> measures what your hosts can do.

=head2 Redis

    appendonly yes                # or nothing survives a restart
    appendfsync everysec          # always: nothing is lost in a power failure, and it is slower
    maxmemory-policy noeviction   # the default: do not let it drop a stream, or the hash, to make room

With C<noeviction> a full server refuses to append; then OUT is the buffer, as if the server were
away. The directions use database 0, and follow no redirections: in a cluster, connect to the node that
has the key. The hosts' clocks need not agree.

=head1 ERRORS

Constructors die with:

    ring is required
    unknown option 'foo'
    maxlen is not for the down direction
    batch must be a number from 1 to 8000, not '0'
    server '::1:6379' is ambiguous: an IPv6 address needs brackets, as in [::1]:6379
    /x/y: no such ring; to create it, give --variant and --capacity
    /x/y: holds an Int ring, opened as Str
    /x/y: not a ring file
    /x/y: is both sent and received into: each message would return forever;
        publish to one ring (up) and read another (down)
    /x/y: another process fills this ring from a stream
    /x/y: another process uses this state file; give each direction of each bridge one of its own (--state)
    /x/y: another process sends this ring into stream news at redis.internal:6379
    /x/y: not a pubsub-bridge state file
    /x/y: cannot create directory: Permission denied
    credentials /x/y: others may read it; please chmod 600
    the Perl module Redis::Fast is needed and cannot be loaded (Debian: libredis-fast-perl)
    the Perl module Redis, 1.999 or later, is needed and cannot be loaded (Debian: ...)

and with the system's error text behind a path. C<run> dies with:

    fenced: a newer instance of this bridge has taken over stream 'news'
    key 'news' exists but is not a stream
    key '{news}:origins' exists but is not a hash
    /x/y: was replaced by another ring
    /x/y: was removed

Everything else that happens in C<run> is tried again, and reported on standard error: connections
that break, a password that is wrong, a server that is full or still loading, a state file that cannot
be written. Among these are

    cannot find the address of 'redis.internal': Name or service not known; see --server
    cannot connect to redis.internal:6379: Connection refused; no server listens there
    no server at socket /x/y: No such file or directory
    no connection to redis.internal:6379 within 10 s (--timeout)
    no answer from redis.internal:6379 within 10 s (--timeout)
    cannot begin TLS with redis.internal:6379: ...; does it expect TLS at this port?
    redis.internal:6379 gave no Redis answer (...); if it expects TLS, say tls = yes in the credentials
    NOAUTH Authentication required.; give username and password in the credentials
    OOM command not allowed when used memory > 'maxmemory'.

=head1 SEE ALSO

L<pubsub-bridge>, the command; L<Data::PubSub::Shared>, the rings;
L<Data::PubSub::Shared::Cookbook/SEVERAL MACHINES>.

L<Redis::Fast>, L<Redis>. F<DESIGN.md> has the argument why nothing is lost and nothing comes twice.

=head1 AUTHOR

The Data::PubSub::Shared authors.

=head1 LICENSE

The same terms as Perl itself; see L<Data::PubSub::Shared/LICENSE>.

=cut
