package Data::PubSub::Shared;

use 5.022;
use strict;
use warnings;
no warnings 'redefine';    # a module reloader comes here again
use warnings::register;

use overload     ();
use Scalar::Util ();

our $VERSION = '1.000';

require XSLoader;
XSLoader::load(__PACKAGE__, $VERSION);

# Every ring class inherits from here, every subscriber class from Data::PubSub::Shared::Sub.
our @VARIANTS = map {"Data::PubSub::Shared::$_"} qw(Int Int32 Int16 Num Str);

# `use` of a variant switches its keywords on in the enclosing scope, `no` switches them off.
sub import   { my ($class) = @_; $^H{"$class/keywords"} = 1;     return }
sub unimport { my ($class) = @_; delete $^H{"$class/keywords"};  return }

# An object holds a mapping that belongs to one interpreter: it does not cross into a new thread.
sub CLONE_SKIP { return 1 }
*Data::PubSub::Shared::Sub::CLONE_SKIP = \&CLONE_SKIP;

# A ring has a variant, and its package makes it.
for my $method (qw(new new_readonly new_memfd new_from_fd unlink)) {
    no strict 'refs';
    *$method = sub {
        my $class = ref $_[0] || $_[0];
        require Carp;
        Carp::croak("${class}->$method: this is a method of " . join(', ', @VARIANTS[0 .. $#VARIANTS - 1]) . " and $VARIANTS[-1]");
    };
}

# Called by `new`. The message is about the caller's line, if that line wants to hear it.
sub _warn { warnings::warnif(__PACKAGE__, $_[0]); return }

# How B::Deparse writes the keywords' ops.
for my $keyword (map { my $variant = $_; map {"ps_${variant}_$_"} qw(publish poll lag) } qw(int int32 int16 str num)) {
    no strict 'refs';
    *{"B::Deparse::pp_$keyword"} = sub {
        my ($deparse, $op) = @_;
        my @arguments;
        for (my $kid = $op->first; $$kid; $kid = $kid->sibling) {
            push @arguments, $deparse->deparse($kid, 6);
        }
        return "$keyword(" . join(', ', @arguments) . ')';
    };
}

# Which package a subscriber belongs to, and a ring that a subscriber is asked for: subclasses say otherwise. And each.
for my $class (@VARIANTS) {
    my $code = qq{
        package ${class};
        sub sub_class { return '${class}::Sub' }
        package ${class}::Sub;
        our \@CARP_NOT = 'Data::PubSub::Shared';
        sub ring_class { return '${class}' }
        sub each       { return Data::PubSub::Shared::_each('${class}::Sub', scalar caller, [\@_]) }
        1;
    };
    eval $code or die $@;    ## no critic (ProhibitStringyEval)
}

# The messages one by one, as they come. In Perl, because `last` in a handler has to find a loop of perl's.
sub _each {
    my ($class, $caller, $arguments) = @_;
    my (undef, $handler, @timeout) = @$arguments;
    _croak("Usage: ${class}::each(self, handler, timeout = forever)") if @$arguments < 2 || @$arguments > 3;
    my $call = sub {
        my ($method, @more) = @_;
        # As if it were this call that failed; but not what a signal handler dies of.
        my $result = eval { &{ $class->can($method) }($arguments->[0], @more) };
        return $result if !length $@;
        my $cause = _cause($@, __FILE__);
        return _croak("$class->each: $cause");
    };
    $call->('position');    # is it a subscriber?
    my $code = _handler($handler, $caller);
    _croak("$class->each: handler must be a code reference or the name of a subroutine, not "
        . (ref $handler ? 'a reference' : !defined $handler ? 'undef' : qq("$handler"))) if !$code;
    my $count = 0;
    while (defined(my $message = $call->('poll_wait', @timeout))) {
        $count++;
        $code->($message) or last;
    }
    return $count;
}

# Why a method failed that a file of this module has called. Goes on with what else came through it, such as a signal handler's
# exception.
sub _cause {
    my ($error, $file) = @_;
    die $error if ref $error || $error !~ /\AData::PubSub::Shared::\w+(?:::Sub)?->\w+: (.*) at \Q$file\E line [0-9]+\.\n\z/s;
    return $1;
}

# What poll_cb takes for a handler, as code; a name without a package belongs to the caller's.
sub _handler {
    my ($handler, $package) = @_;
    return $handler if ref $handler && (Scalar::Util::reftype($handler) eq 'CODE' || overload::Method($handler, '&{}'));
    return if ref $handler || !length($handler // '');
    no strict 'refs';
    my $name = $handler =~ /::|'/ ? $handler : "${package}::$handler";
    return defined &$name ? \&$name : undef;
}

sub _croak { require Carp; Carp::croak($_[0]) }

for my $class (@VARIANTS, 'Data::PubSub::Shared::Set') {
    require $class =~ s{::}{/}gr . '.pm';
}

1;

__END__

=head1 NAME

Data::PubSub::Shared - broadcast messages to many processes through shared memory

=head1 SYNOPSIS

    use Data::PubSub::Shared;

    # One process publishes ...
    my $ring = Data::PubSub::Shared::Int->new('/dev/shm/ticks.ring', 1024);
    $ring->publish(42);
    $ring->publish_multi(1, 2, 3);

    # ... and any number of processes read, each for itself
    my $same = Data::PubSub::Shared::Int->new('/dev/shm/ticks.ring', 1024);
    my $sub  = $same->subscribe;          # what comes from now on
    my $all  = $same->subscribe_all;      # first what the ring still holds

    my $value  = $all->poll;              # one message, or undef
    my @values = $all->drain;             # all that is there
    my $next   = $all->poll_wait(1.5);    # sleep until one comes, 1.5 s at most

    $all->poll_cb(sub { print "$_[0]\n" });

    # Strings
    my $log = Data::PubSub::Shared::Str->new('/dev/shm/log.ring', 1024, 512);
    $log->publish("worker $$ started");

    # Without a file, shared with the children that are forked later
    my $private = Data::PubSub::Shared::Int32->new(undef, 65536);
    my $reader  = $private->subscribe;
    if (!fork) {
        while (defined(my $v = $reader->poll_wait(1))) {
            print "child got $v\n";
        }
        exit;
    }
    $private->publish($_) for 1 .. 3;
    wait;

=head1 DESCRIPTION

A ring is a piece of memory that several processes have mapped: a fixed number of slots, filled
round and round. Any process that has opened it may publish. Every subscriber keeps a cursor of its own in
its own process and reads at its own pace, so each subscriber gets each message. Reading removes
nothing; a message stays until the ring has gone round once and its slot is needed again.

Publishers do not wait for subscribers. A subscriber that falls behind by more than the ring holds
(is lapped) goes on at the oldest message that is left, and knows how many it missed: see
L</SLOW SUBSCRIBERS>. In a ring that was made lossless, publishers do wait: see L</LOSSLESS RINGS>. In both, the ring
knows its subscribers, and a subscriber with a name goes on where it stopped: see L</READERS>.

The module runs on Linux with a 64-bit perl, 5.22 or later. The memory is shared by the processes of
one host only. A program of its own connects rings on several hosts:
see L<Data::PubSub::Shared::Bridge>.

=head2 What is guaranteed

=over 4

=item *

A message whose C<publish> has returned was put into the ring, once.

=item *

The messages of one publisher are delivered in the order in which it published them, and all
subscribers see the messages of all publishers in one and the same order.

=item *

A subscriber gets a message whole or not at all, and never twice (unless it seeks back).

=item *

The messages that a subscriber missed are counted: see L</ACCOUNTING>.

=item *

A process that was killed, at whatever instant, blocks no other: see L</AFTER A CRASH>.

=back

=head2 What is not guaranteed

=over 4

=item *

That a slow subscriber gets everything. Nothing holds a publisher back, unless the ring is L<lossless|/LOSSLESS RINGS>.

=item *

That a message was handled. A publisher can see how far a subscriber has read (L</readers>), and wait for it
(L</wait_for_readers>); what the subscriber did with the messages, it does not see.

=item *

That messages outlive the host. A ring in a file is there after a restart, but its content may
be incomplete: see L</AFTER A CRASH>.

=item *

Any order between two rings.

=item *

Protection from a hostile process with write access to the ring: see
L</FILES, PERMISSIONS AND SECURITY>.

=back

=head1 VARIANTS

C<use Data::PubSub::Shared> loads all five. Their methods are the same; this page describes them
for all. C<use Data::PubSub::Shared::Int> (and so on) also turns on L</KEYWORDS>.

    Package                      Message                       Memory per slot
    Data::PubSub::Shared::Int    integer, 64 bits, signed      16 bytes
    Data::PubSub::Shared::Int32  integer, 32 bits, signed       8 bytes
    Data::PubSub::Shared::Int16  integer, 16 bits, signed       8 bytes
    Data::PubSub::Shared::Num    floating-point number         16 bytes
    Data::PubSub::Shared::Str    string of up to msg_size      16 bytes, and msg_size
                                 bytes                         rounded up to 8

Each has its own page: L<Data::PubSub::Shared::Int>, L<Data::PubSub::Shared::Int32>,
L<Data::PubSub::Shared::Int16>, L<Data::PubSub::Shared::Num>, L<Data::PubSub::Shared::Str>.

=head2 Numbers or strings?

Take an integer ring when a message fits into a number: an identifier, a counter, a time stamp, a
price in cents, a status code. Their publishers never wait for each other, and a stopped one
stops no other. C<Num> is the same for measurements and other numbers with a fraction.

Take C<Str> for everything else: log lines, JSON, packed records. Its publishers do not wait for each
other either. A message is copied twice: into the ring, and out of it.

C<Int32> and C<Int16> halve the memory, so that twice as many messages fit into the CPU's
cache; C<Int16> needs as much as C<Int32>, and cuts values to 16 bits. When in doubt, take C<Int>.

=head2 How large a ring?

Large enough for the longest pause of the slowest subscriber: messages per second times seconds.
At 100,000 messages per second and a pause of half a second that is 50,000, so ask for 65536
slots. A ring that fits into the CPU's cache is faster, so do not make it much larger than
that.

=head2 One ring for many publishers?

Publishers do not wait for each other, but all of them write the ring's write position, and a processor fetches the line that it is in
from the one that wrote it last. So single messages of all publishers together are no more than these transfers: some 13 million a second
between processors of one chip, about 5 million between sockets, whether there are 4 publishers or 64. F<bench/publishers-model.pl> computes
it for other costs. What helps, in this order:

=over 4

=item *

C<publish_multi> and C<publish_packed>: a batch takes the line once. In batches of 100, 32 publishers come to 100 times as much.

=item *

A ring for each publisher, or for a few, and a L<Data::PubSub::Shared::Set> where they are read: no line is shared. Messages of different
rings have no common order.

=item *

Publishers and readers of a ring on one socket (taskset(1), numactl(8)).

=back

=head1 CONSTRUCTORS

In this section and the next, C<Class> stands for one of the five packages.

=head2 new

    my $ring = Class->new($path, $capacity);
    my $ring = Class->new($path, $capacity, $mode);                # all but Str
    my $ring = Data::PubSub::Shared::Str->new($path, $capacity, $msg_size, $mode);
    my $ring = Data::PubSub::Shared::Str->new($path, $capacity, publishers => 256, mode => 0660);

Opens the ring in the file C<$path>, and creates it if there is none. Creating is atomic: of
several processes that do this at the same moment one makes the ring, and all get that one. A new
ring appears whole or not at all.

=over 4

=item $path

The file's name, or undef for a ring without a name that is shared with the children that the
process forks afterwards. The name must not hold a NUL byte. It leads to the same file as it does in
perl's own C<open>, C<-e> and C<unlink>: a string of characters stands for the bytes that perl keeps
it in, so encode it first (L<Encode>) where you want to be sure of them. Under C<-T>, a tainted name
croaks with C<Insecure dependency>.

=item $capacity

The number of slots, an integer from 1 to 2147483648 (2**31). It is rounded up to a power of two,
and to 2 at least. When the file holds a ring already it may be left out, or be undef or 0: C<new>
then only opens a ring, and never creates one.

=item $msg_size

C<Str> only: the longest message, in bytes, from 1 to 2147483647 (2**31 - 1). Default, also for undef and 0: 256.

=item $mode

The permissions that a new file gets, whatever the umask is. Default: 0600. A mode as
C<stat> returns it will do; what is beyond 07777 is dropped. The owner must be allowed to read and to
write. A mode without these two bits croaks, because it is nearly always a mistake: a C<$msg_size> given
to an integer ring, or octal digits in a string. C<'0644'> is the number 644; write C<0644>, or
C<oct('0644')>.

=item publishers

C<Str> only, and by name only: how many publishers can be in the middle of C<publish> at once, from 1 to 65536. Each takes
128 bytes and one message's room. Further publishers wait until one of them is done. Processes that have the ring open without
publishing at that moment do not count. Default: as many as fit into 4 MiB, at least 16 and at most 64.

=item readers

By name only: how many subscribers the table of L<readers|/READERS> has room for, from 0 to 65535. Each takes
128 bytes. Default: 64. With 0 there is no table.

=item lossless

By name only: with a true value, publishers wait instead of overwriting what a subscriber has not read. See
L</LOSSLESS RINGS>, also for the file systems on which this is refused.

=item keep

By name, and with C<lossless> only: for how many seconds publishers wait for a named subscriber that is away,
from 0 to 4294967, with fractions of a millisecond or more. Default: 0, not at all.

=item prefault

By name only: with a true value, all pages of the ring are mapped for this process when it is opened, and not each with the first
message in it. That takes about as long as the first lap would take longer; afterwards no message costs a page fault. Worth it where
the first lap matters: with messages of 4 KiB it took 5.8 microseconds a message in a file and 12 in memory, where all later ones, and the
first one with C<prefault>, took 0.9. Each process decides for itself. Needs Linux 5.14, and does nothing before. Huge pages are the
system's to give: on a tmpfs by its mount option C<huge=>, see tmpfs(5).

=item refs

C<Str> only, and by name only: with C<'croak'>, this handle publishes no references, since text such as C<HASH(0x55d0)> is of
use to no reader: C<a message must be a string, not a reference (HASH)>. Objects that overload C<""> are strings. Default:
C<'stringify'>, as perl does. It is the handle that refuses; the ring knows nothing of it.

=item stamped

C<Str> only, and by name only: with a true value, each message has the time at which it was published and the process that did it, 16
bytes more in all: see L</time> and L</sender>. It costs the publisher a look at the clock, and rings that are not stamped nothing.

=item strict

By name only: with a true value, C<new> croaks if the file holds a ring of other sizes or options than those that are asked for.

=back

C<$msg_size> and C<$mode> may be given by name, too, after the positional arguments.

Where the file holds a ring already, its sizes are taken from there. Arguments that ask for others (after rounding up)
are a warning in the category C<Data::PubSub::Shared>, and an error with C<< strict => 1 >>:

    Class->new: capacity 512 was asked for, the ring has 256

A new file is given all its disk space here, so a full disk is an error of C<new> rather than a
crash later. For a large ring that takes a while; signal handlers run meanwhile, and one that dies
ends the call and leaves nothing behind. A file that holds a ring already and lacks disk space,
because it was copied with holes (C<cp --sparse=always>, C<rsync -S>), gets what it lacks.

An empty file, or one of just the right size that is all zero, is filled in place if this user owns
it. It gets C<$mode>, too.

Returns the ring. Croaks with one of:

    capacity must be an integer from 1 to 2147483648, not "abc"
    capacity is required to create a ring at /x/y
    msg_size must be an integer from 1 to 2147483647, not -1
    mode must be a non-negative integer, not "rw"
    mode 256 (octal 0400) must let the owner read and write: write 0644 or oct('0644'), ...
    a lossless ring needs a table of readers: readers must not be 0
    keep is for lossless rings
    /x/y: invalid or incompatible: holds an Int ring, opened as Str
    /x/y: too small for a ring file (100 bytes)
    /x/y: the ring needs 16781312 bytes, and 4194304 are free: No space left on device
    path contains a NUL byte
    open(/x/y): No such file or directory

C<invalid or incompatible> is followed by what the file is: C<not a ring file>, a ring of another
variant, layout version, byte order or implementation, or one with an inconsistent header or the
wrong size. C<too small> means that not even a header fits. Only a file that a killed creator left
unfinished is said to be in the way, and may be removed. The last line stands for all that the
system may say. A file that is refused is left as it is. Symbolic links are refused, and so is
everything that is not a regular file.

    my $ring = Data::PubSub::Shared::Int->new('/dev/shm/ticks.ring', 1024, 0660);

=head2 new_memfd

    my $ring = Class->new_memfd($name, $capacity);
    my $ring = Data::PubSub::Shared::Str->new_memfd($name, $capacity, $msg_size);

A new ring in anonymous memory that has a file descriptor (see memfd_create(2)). The descriptor
can be inherited or sent over a Unix socket, and opened with L</new_from_fd>. C<$name> only shows up
in F</proc>; one of more than 249 bytes, the system's limit, croaks with its length. The other
arguments are those of L</new>, and so are their errors. The descriptor is close-on-exec, and sealed
against shrinking and growing.

    my $ring = Data::PubSub::Shared::Int->new_memfd('ticks', 1024);

=head2 new_from_fd

    my $ring = Class->new_from_fd($fd);

Opens the ring behind the file descriptor number C<$fd>. The number is duplicated (close-on-exec);
the caller's descriptor stays the caller's, to use and to close. A descriptor that is open for
reading only gives a ring for reading only, as L</new_readonly> does. Croaks as L</new> does where
there is no ring of this variant behind C<$fd>, and with the system's error text where C<$fd> is
not open.

    my $again = Data::PubSub::Shared::Int->new_from_fd($ring->memfd);

=head2 new_readonly

    my $ring = Class->new_readonly($path);

Opens the ring in the file C<$path> for reading only. The right to read the file is enough (mode
0644, say, for subscribers of all users), and whatever this process does, it cannot harm the ring: the
memory is mapped without the right to write. There must be a ring already; capacity and message
size are its own.

    my $ring = Data::PubSub::Shared::Str->new_readonly('/dev/shm/log.ring');
    my $sub  = $ring->subscribe_all;
    while (defined(my $line = $sub->poll_wait)) { print "$line\n" }

Methods that only read work: C<subscribe>, C<subscribe_all>, C<readers>, C<waiting_for>, C<stats>, C<capacity>, C<msg_size>,
C<path>, C<write_pos>, C<sync>, C<memfd> (-1), and the methods of the eventfd. Methods that would change
the ring croak with C<this ring is read-only>: those that publish and the keyword, C<forget>, C<wait_for_readers>,
C<clear>, and C<unlink> called on the object.

Its subscribers have all their methods, L</fh> too, and differ in three things, because they
cannot write to the memory:

=over 4

=item *

No publisher wakes them. While they wait they poll: after 50 microseconds first, then with
increasing intervals, every 5 milliseconds in the end. They do not count in C<sub_waiters>.

=item *

They are not in the table of L<readers|/READERS>: they cannot have a name, and publishers of a lossless ring do not wait for them.

=item *

They cannot abandon, on behalf of all, a position that a publisher claimed and did not
fill. They wait for it longer, 100 ms instead of 2, and then skip it for themselves: it is
counted in C<overflow_count>, for a stopped publisher may yet fill it. The next subscriber
with write access that comes to it abandons it for all (see L</AFTER A CRASH>).

=back

Croaks as L</new> does where there is no ring of this variant, and with the system's error text,
C<No such file or directory> among others. An undefined C<$path> croaks with C<path is undefined>.

=head1 RING METHODS

=head2 publish

    $ring->publish($value);

Appends one message and wakes the subscribers that sleep. Returns true. In a L<lossless ring|/LOSSLESS RINGS>
that is full, waits for room first, and runs signal handlers meanwhile.

Integer rings take C<$value> as perl takes any integer (a fraction is dropped; a string that is not a number
warns and counts as 0), then keep as many low bits as the variant has. Unless the ring is lossless, they never wait and never
fail. C<Num> takes it as any number, and keeps all 64 bits, of NaN and of negative zero, too. Longer numbers (a perl that was built
with C<-Duselongdouble>) are rounded to 64 bits, as C<pack 'd'> does.

C<Str> takes any string: bytes or characters, empty, with NUL bytes. Whether the string was marked
as UTF-8 is kept, so what C<poll> returns equals what was published; see L</Bytes and characters>. A
string that is longer than C<msg_size> bytes is not published; the call croaks with C<message too long (N E<gt> M)>. For
characters, N counts the bytes of their UTF-8 form.

    $ring->publish(time);

=head2 publish_multi

    my $n = $ring->publish_multi(@values);
    my $n = $ring->publish_multi(\@values);

Appends up to 8192 messages at a time, and wakes the waiters once. They are adjacent
in the ring, in their order; no other publisher's message comes between them. (One exception: a
publisher that was stopped in the middle of its batch for more than 2 ms, while a subscriber waited for the rest, or that was
lapped, publishes the rest behind the messages of others.) Subscribers see the messages of a batch one by one.

Returns their number, 0 for an empty list. More than 8192 values: croaks with
C<too many values (8193 E<gt> 8192)>, and publishes nothing. With C<Str>, one message that is too
long makes the call croak with nothing published. A batch may be larger than the ring; then its
first messages are overwritten by its last. In a lossless ring such a batch croaks, with nothing published:
C<100 messages at once never fit a lossless ring of capacity 64>.

A reference to an array as the only argument stands for its elements, and they may be any number. They are taken and checked, all of
them, before the first is published, and are adjacent in the ring in pieces of 8192; other publishers' messages may come
between two pieces.

    $ring->publish_multi(10, 20, 30);          # 3
    $ring->publish_multi([1 .. 100_000]);      # 100000

=head2 publish_packed

    my $n = $ring->publish_packed($bytes);

All but C<Str>: appends the numbers in a string as C<pack> makes it, with C<'q*'> for C<Int>, C<'l*'> for
C<Int32>, C<'s*'> for C<Int16> and C<'d*'> for C<Num>, and returns how many. There is no perl scalar for each
number, so it is several times as fast as C<publish_multi>; with L</drain_packed> it is what vectors (L<PDL>,
C<vec>, C<unpack>) and files of numbers need.

The string may be of any length. Its numbers are adjacent in the ring in pieces of 8192, or as many as the ring
has slots; other publishers' messages may come between two pieces. A length that is no multiple of a number's
width croaks with C<7 bytes are not a whole number of values of 8 bytes>, and so do references and characters
above 255. Nothing is published then.

    $ring->publish_packed(pack 'q*', 1 .. 1000);

=head2 publish_wait

    my $done = $ring->publish_wait($value);
    my $done = $ring->publish_wait($value, $timeout);

L</publish> with a limit: where a L<lossless ring|/LOSSLESS RINGS> is full, waits for room for at most C<$timeout> seconds
(L<as elsewhere|/SUBSCRIBER METHODS>: undef and left out mean without limit). Returns true; or false where time is
up, and then nothing was published. In a ring that is not lossless it never waits. Croaks as C<publish> does.

    $ring->publish_wait($line, 5) or warn 'no room for 5 s, because of ', join ', ', map { $_->{pid} } $ring->waiting_for;

=head2 try_publish

    my $done = $ring->try_publish($value);

L</publish> that does not wait for readers: where a lossless ring is full, it publishes nothing and returns false. Otherwise true.

=head2 publish_notify

    $ring->publish_notify($value);

L</publish>, then L</notify> if the ring object has an eventfd. Returns true. It fails only where
C<publish> fails; an error of the eventfd is ignored, since the message is published.

=head2 subscribe

    my $sub = $ring->subscribe;
    my $sub = $ring->subscribe(name => $name);
    my $sub = $ring->subscribe(lossy => 1);
    my $sub = $ring->subscribe(prefix => 'prices.');
    my $sub = $ring->subscribe(prefix => ['prices.', 'news.']);

A subscriber whose cursor is behind the newest message: it gets what is published from now on.
Returns an object of the package C<Class::Sub> (see L</sub_class>); see L</SUBSCRIBER METHODS>. Options, as pairs:

=over 4

=item name

A string of 1 to 47 bytes of UTF-8 without a NUL. The place of a subscriber with a name outlives its process: the next one that
subscribes by this name goes on there. See L</READERS>. undef: no name.

=item lossy

With a true value, publishers of a lossless ring do not wait for this subscriber: it loses messages when it falls behind, as in
any other ring. For whoever only looks: monitors, debugging.

=item prefix

C<Str> only: a string, or a reference to an array of strings. Only messages that begin with it, or with one of them, are
delivered. The others are passed before perl makes a scalar of them: L</filtered> counts them, no wait ends and no L</fh> is
readable because of them, and L</lag> counts them like all until they are passed. Prefixes are compared as perl compares strings, character by
character (see L</Bytes and characters>). Messages that were overwritten before the subscriber looked at them count as lost,
however they began. In a
lossless ring, publishers wait for this subscriber as for any, and its handle may be readable though there is nothing for it: then a read makes room.

=back

Croaks, with an option of another name, with C<unknown option "nme"; known: lossy, name, prefix>, and with one of

    name must be 1 to 47 bytes of UTF-8, not 0
    prefix must be a string or a list of strings, not undef
    reader "audit" lives in process 4711
    the table of readers is full (64)
    this ring has no table of readers
    name "audit": readers of a ring that is open for reading only are not listed

The third and fourth concern subscribers with a name, and those that publishers of a lossless ring shall wait for; others do
without an entry in the table.

A subscriber belongs to the process that made it. It keeps the memory mapped and the eventfd open,
so the ring object may go away before it.

=head2 subscribe_all

    my $sub = $ring->subscribe_all;
    my $sub = $ring->subscribe_all(name => $name);

The same, with the same options, but it begins with the oldest message that the ring holds (in a lossless ring:
L<see there|/LOSSLESS RINGS>). For a named subscriber this matters the first time only: later it goes on where it
stopped.

=head2 readers

    my @readers = $ring->readers;

The subscribers in the ring's table, in no order: a list of references to hashes with

    name        of a named one; undef
    pid         its process, as that process's pid namespace numbers it
    position    of the next message that it will read
    lag         messages published, and not yet read by it
    lost        messages that were overwritten before it read them
    delivered   messages that it got
    waits       1: it sleeps until a message comes; 0
    lossy       1: publishers of a lossless ring do not wait for it; 0
    alive       1; 0: its process is gone, or it has left, and its name keeps the place; undef: not known
    since       when it subscribed, as time() counts, with fractions

How exact C<position>, C<lag>, C<lost> and C<delivered> are, and when C<alive> is not known: see L</READERS>. In
scalar context: the last one.

    for my $reader (sort { $b->{lag} <=> $a->{lag} } $ring->readers) {
        printf "%7d %-20s %d behind, %d lost\n", $reader->{pid}, $reader->{name} // '-', @$reader{qw(lag lost)};
    }

=head2 forget

    my $done = $ring->forget($name);

Removes a named reader whose process is gone from the table. The next that subscribes by this name starts like a
new one. Returns true, or false where there is no such name. Croaks with C<reader "audit" lives in process
4711>.

=head2 waiting_for

    my @readers = $ring->waiting_for;

The readers, as L</readers> describes them, that have not read the message which the next C<publish> would
overwrite. So where a lossless ring is full, these are the ones that its publishers wait for. The empty list
where there is room, and in rings that are not lossless.

=head2 wait_for_readers

    my $done = $ring->wait_for_readers;
    my $done = $ring->wait_for_readers($timeout);

Waits until every reader in the table has read all that was published before the call: in a lossless ring, those
that publishers wait for (see L</LOSSLESS RINGS>); in others, all but those that were subscribed with C<< lossy
=> 1 >>. Returns true, also where there is none; false where C<$timeout> seconds have passed. Signal handlers
run meanwhile. Readers whose process is gone are not waited for.

    $ring->publish('the last one');
    $ring->wait_for_readers(10) or warn "somebody has not read everything\n";

=head2 sub_class

    my $package = $ring->sub_class;

The package of the subscribers that C<subscribe> makes. A subclass overrides it, to name a subclass of C<Class::Sub>:

    package My::Ring;
    our @ISA = 'Data::PubSub::Shared::Int';
    sub sub_class { 'My::Ring::Sub' }          # @My::Ring::Sub::ISA is 'Data::PubSub::Shared::Int::Sub'

=head2 clear

    $ring->clear;

Discards, in one step, everything published so far. It is safe while others publish and read.
Afterwards positions are counted from 0 again, and every subscriber, in whatever process, goes on
with the first message after the clear. Messages that a subscriber had not read then are not added to its
C<overflow_count>. Returns nothing.

    $ring->publish(1);
    $ring->clear;
    my $v = $sub->poll;                        # undef

=head2 sync

    $ring->sync;

Has the kernel write the memory to its file, and waits for it: msync(2). Of use only for rings in
files on a disk. Returns nothing; croaks with the system's error text.

=head2 unlink

    $ring->unlink;
    Class->unlink($path);

Removes the ring's file. Processes that have it open can go on using it, and learn that it is gone: L</is_gone>
is true, and their waits end. The next C<new> makes a new ring. Returns true, also where the file is gone
already. Croaks with the system's error text where removing fails.

A ring object removes the file that it was opened in, wherever the process has gone with C<chdir>
since, and no other: it croaks with C<... is another ring now> where another file has taken the
name, and with C<this ring has no path> where it has none. It takes no argument. The class method
removes whatever is at C<$path>; under C<-T>, a tainted one croaks with C<Insecure dependency>.

=head2 path

    my $path = $ring->path;

The path that the ring was opened with, as bytes, or undef where there is none.

=head2 readonly

    my $bool = $ring->readonly;

Whether the ring was opened for reading only (L</new_readonly>, and L</new_from_fd> with such a descriptor).

=head2 generation

    my $text = $ring->generation;

A text that says what positions of this ring are counted from: another one after a L</clear> that discarded messages, and for another
ring under the same path. So a program that stores a L</cursor> stores this beside it, and knows later whether it still means anything:

    my ($then, $position) = load();
    my $sub = $ring->subscribe_all;
    $sub->cursor($position) if $then eq $ring->generation;

=head2 memfd

    my $fd = $ring->memfd;

The file descriptor number of a ring made with L</new_memfd> or L</new_from_fd>, -1 for others, and
where the program has closed it (L</DAEMONS>). It belongs to the object: do not close it.

=head2 msg_size

    my $bytes = $ring->msg_size;

C<Str> only: the longest message that the ring takes, in bytes.

=head2 stats

    my $stats = $ring->stats;

A reference to a new hash with:

    capacity      slots
    mmap_size     all the memory of the ring, in bytes
    write_pos     as the method of that name returns it
    publish_ok    messages published
    abandoned     positions that a publisher claimed and did not fill, because it died or
                  was stopped too long
    recoveries    Str: spare blocks taken over from publishers that were killed in the
                  middle of a publish
    sub_waiters   subscribers that sleep at the moment (a killed one counts until the next
                  wake-up)
    readers       how many entries the table of readers has
    unlisted      subscribers for which it had no room, since the ring was made
    lossless      1: publishers wait for readers; 0
    keep          lossless rings only: for how many seconds they wait for a named one that
                  is away
    msg_size      Str only: the longest message, in bytes
    arena_cap     Str only: the memory for the text of messages, in bytes
    publishers    Str only: how many can be in the middle of a publish at once
    leaked        Str only: spare blocks that are missing until a process starts to
                  publish while no other does
    stamped       Str only: 1 where each message has its time and sender; 0

The numbers are read one after the other while others work, so they need not fit each other
exactly. C<clear> sets C<write_pos> and C<publish_ok> back to 0; C<abandoned> and C<recoveries>
count since the ring was made.

    printf "%d published, %d asleep\n", @{ $ring->stats }{qw(publish_ok sub_waiters)};

=head1 SUBSCRIBER METHODS

Methods that return a list want list context. In scalar context they deliver just as many
messages, but return only the last one (undef if there was none).

Counts (C<$n>, C<$max>) are numbers. A fraction is dropped. 0 delivers nothing, at once; a negative
count means everything, and so does undef for C<$max>, which is optional. Anything else croaks
with C<count must be a number, not "abc">.

Timeouts are seconds, with fractions. Undef, left out, negative, and infinity all mean: wait forever.
0 means: do not wait; so does the empty string, which is what a false condition gives:
C<< $sub->poll_wait($blocking && 5) >>. Anything else croaks with
C<timeout must be a number of seconds, not "abc">, whether or not there is a message. Time is measured by the monotonic clock;
setting the system's date does not matter. While a call waits, signal handlers run: see
L</SIGNALS>.

B<A negative timeout waits forever.> So a program that computes what is left until a deadline must not
let the difference fall below 0:

    use List::Util 'max';
    my $v = $sub->poll_wait(max(0, $deadline - time));

Neither an integer nor a string is undef, so C<defined> tells a message from none.
C<if ($sub-E<gt>poll)> goes wrong at the message 0, or the empty string.

=head2 poll

    my $value = $sub->poll;

The next message, or undef where there is none at the moment (in list context, too: one undef).
Does not wait.

    while (defined(my $v = $sub->poll)) { print "$v\n" }

=head2 latest

    my $value = $sub->latest;
    my $value = $sub->latest($timeout);

The newest message, if it was not delivered yet; undef where there is no newer one. What lies between is passed, and counted in
L</skipped>, not as lost: conflation, for those who want the current price and not each of them. With a
L<prefix|/subscribe>, the newest message that begins so. Does not wait, unless C<$timeout> says for how many seconds.

    my $price = $sub->latest // $price;

=head2 poll_multi

    my @values = $sub->poll_multi($n);

Up to C<$n> messages, oldest first; the empty list where there is none. Does not wait.

    while (my @batch = $sub->poll_multi(100)) { print "@batch\n" }

=head2 drain

    my @values = $sub->drain;
    my @values = $sub->drain($max);

All messages that are in the ring when the call begins, or C<$max> of them at most. Messages
published while it runs are left for the next call, so it ends however busy the publishers are. It
also ends at a position that a publisher has claimed and not filled yet, and may end where
65,536 or more positions in a row were never filled; see L</AFTER A CRASH>.

    my $latest = ($sub->drain)[-1];            # undef if there was none

=head2 drain_packed

    my $bytes = $sub->drain_packed;
    my $bytes = $sub->drain_packed($max);

All but C<Str>: the messages that L</drain> would return, as one string of numbers in the format of
L</publish_packed>. The empty string where there is none.

    my @values = unpack 'q*', $sub->drain_packed;

=head2 poll_wait

    my $value = $sub->poll_wait;
    my $value = $sub->poll_wait($timeout);

The next message. Where there is none yet, sleeps until one is published or C<$timeout> seconds
have passed; then returns undef. Where the ring L<is gone|/is_gone> and nothing is left to read, returns undef at once; it
notices C<unlink> of this module immediately, and other ways within two seconds.

    my $v = $sub->poll_wait(0.25) // die "nothing for a quarter of a second";

=head2 poll_wait_multi

    my @values = $sub->poll_wait_multi($n);
    my @values = $sub->poll_wait_multi($n, $timeout);

Waits as C<poll_wait> does for a first message, then returns what is there, C<$n> messages at
most. It does not wait for C<$n> to come together. The empty list after C<$timeout>.

    while (my @batch = $sub->poll_wait_multi(100, 5)) { print "@batch\n" }

=head2 poll_cb

    my $n = $sub->poll_cb($code);
    my $n = $sub->poll_cb($code, $max);

Calls the handler once for each message that is in the ring when C<poll_cb> begins, or for C<$max> of them at most,
with the message in C<$_[0]>. Returns how many it handled. C<$code> is a code reference, an object that
overloads C<&{}>, or the name of a subroutine; a name without a package belongs to the caller's.
Anything else croaks with C<handler must be a code reference or the name of a subroutine, not ...>. This
is faster than a loop around C<poll>, since
there is one method call for all of them.

If the handler dies, the exception goes through to the caller. The message it was given counts as
delivered; the next call begins with the one after it. The handler may use this module as it
likes: it may publish, subscribe, and even poll the same subscriber.

    my $sum = 0;
    my $n   = $sub->poll_cb(sub { $sum += $_[0] });

=head2 each

    my $n = $sub->each($code);
    my $n = $sub->each($code, $timeout);

Calls the handler for each message, with the message in C<$_[0]>, and waits for the next one. Ends when the handler returns a false
value, or leaves it by C<last> (perl warns of that: C<no warnings 'exiting'>); when no message has come for
C<$timeout> seconds; and when the ring L<is gone|/is_gone>. Returns how many messages it handled. C<$code> is as in L</poll_cb>, which is faster.

    $sub->each(sub { print "$_[0]\n"; $_[0] ne 'quit' });

=head2 drain_notify

    my @values = $sub->drain_notify;
    my @values = $sub->drain_notify($max);

Takes the count from the eventfd, as L</eventfd_consume> does, then drains, as L</drain> does.
Without an eventfd it just drains. In this order no message is missed: one that is published after
the drain has begun notifies again. With C<$max>, call it until it returns less than C<$max>, since
no further notification is sent for what remains. (L</fh>, in contrast, stays readable.)

=head2 fh

    my $fh = $sub->fh;

A file handle that is readable for as long as this subscriber has messages to read, whichever
process published them, and with plain C<publish>. It is what to hand to an event loop, to
C<select>, or to poll(2); see L</EVENT LOOPS>.

    my $in = IO::Select->new($sub->fh, \*STDIN);
    for my $fh ($in->can_read) {
        if   ($fh == $sub->fh) { print "$_\n" for $sub->drain }
        else                   { chat(scalar <$fh>) }
    }

Only the state of readiness is of use. Do not read from it or write to it; C<poll> and its
relatives, C<cursor>, C<reset> and C<reset_oldest> keep the state true. It is a level, not an edge:
after C<drain(10)> of 50 messages the handle is readable still, after the last message it is not.
In one case it may be readable with nothing to read: when a C<clear>, or a publisher that lapped
the subscriber and died, took away the message that it announced. The next C<poll>, which returns
undef, puts that right. So take messages without waiting in a loop's callback.

Each call returns the same handle, until you close it; then the next call makes a new one, as it
does where the program has closed its descriptor (L</DAEMONS>). It belongs to this subscriber
alone. Once the subscriber is destroyed the handle is no longer updated: take it out of the event loop
first.

A small native thread sleeps until there is a message, as a subscriber in C<poll_wait> does; one serves all
subscribers of the process (up to 127 before Linux 6.15: see L</What a handle costs>). It runs no perl code and gets no signals, and ends with
the last of them. It costs a publisher as much as any waiter: one system call per sleep, not per message.

After a fork the child's copy of the subscriber has no thread. Call C<fh> in the child: it gets a
handle, and a thread, of the child's own. The parent's handle must not be used there; the child's copy
of it is closed when the child's copy gets its own handle, reads, moves or goes, but for
a handle that a variable still holds.

Croaks with the system call that failed and its error text where no thread or no descriptor is to be
had. The handle has no layers but perl's own, also under C<use open>. It costs two descriptors for each subscriber: see
L</What a handle costs>. For many rings there is one handle: L<Data::PubSub::Shared::Set>.

=head2 lag

    my $n = $sub->lag;

How many messages have been published that this subscriber has not read. It may be more than the
ring holds: then some of them are lost already. 0 if the cursor is beyond the newest
message.

    warn "half full\n" if $sub->lag > $sub->capacity / 2;

=head2 has_overflow

    my $bool = $sub->has_overflow;

True while C<lag> is greater than the capacity, that is, while the next message this subscriber
would get has been overwritten. Reading makes it false.

=head2 overflow_count

    my $n = $sub->overflow_count;

How many messages this subscriber has lost so far because it was too slow. Losses are counted when
the subscriber next reads, not when they happen.

=head2 name

    my $name = $sub->name;

The name under which it is in the table of readers; undef where it has none, and after L</release>.

=head2 release

    $sub->release;

Leaves the table of readers now; the subscriber can be used as before, but is not known there. Publishers of a
lossless ring wait for it no longer, and another subscriber can take its name, and goes on at this one's cursor.
When a subscriber is destroyed, or its process ends, this happens by itself. Returns nothing.

=head2 prefix

    $sub->prefix('prices.');
    $sub->prefix(['prices.', 'news.']);
    $sub->prefix(undef);                # everything

C<Str> only: which messages this subscriber wants from now on, as the L<option|/subscribe> of that name says it at the start.
What was passed already stays passed. Returns nothing. Croaks as C<subscribe> does.

=head2 filtered

    my $n = $sub->filtered;

How many messages this subscriber has passed because they did not begin with its L<prefix|/subscribe>. They are counted when it
passes them: while it reads or waits, and while its L</fh> is watched.

=head2 skipped

    my $n = $sub->skipped;

How many positions L</latest> has passed to get to newer messages.

=head2 position

    my $pos = $sub->position;

The position of the message that was delivered last, in a handler of L</poll_cb>, too; of a list, that of its last message. undef before
the first, and after a L</clear>. (L</cursor> is where the next one is looked for; positions without a message may lie between.)

=head2 time

    my $seconds = $sub->time;

C<Str> only: when the message that was delivered last was published, in seconds since 1970, with fractions, as L<Time::HiRes> gives them; of a list,
its last message. It is the wall clock of the publisher's host, so it can go back. undef before the first message, and in a ring that is not
L<stamped|/new>.

    while (defined(my $line = $sub->poll_wait)) {
        printf "%s [%d] %s\n", scalar localtime $sub->time, $sub->sender, $line;
    }

=head2 time_ns

    my $nanoseconds = $sub->time_ns;

C<Str> only: the same as an integer, of which a number with fractions has not all digits.

=head2 sender

    my $pid = $sub->sender;

C<Str> only: the process that published it, as its own pid namespace numbers it; undef as for L</time>. It is the word of the publisher: a
process with write access can forge it.

=head2 ring

    my $ring = $sub->ring;

A ring object for the ring that this subscriber reads: another handle each time, with the subscriber's eventfd, and for reading only if the
subscriber's is. Of the class of the variant; a subclass of C<Class::Sub> overrides C<ring_class> to name another.

=head2 ring_class

    my $package = $sub->ring_class;

The package of what L</ring> returns.

=head2 cursor

    my $pos = $sub->cursor;
    $sub->cursor($pos);

The position of the next message to read; with an argument other than undef, moves there first.
Positions are
counted from 0 for the first message in the ring, or the first after a L</clear>. Both forms
return the cursor.

A position that has been overwritten is allowed: the next read then goes on at the oldest message,
and counts the gap as overflow. A position beyond the newest message is allowed too: the
subscriber then waits for that very message, and skips those before it.

C<$pos> is an integer from 0 to 2**63 - 1, as a number, a string of digits or a L<Math::BigInt>;
anything else croaks with C<position must be a non-negative integer, not ...>.

    my $mark = $sub->cursor;
    my @peek = $sub->drain;
    $sub->cursor($mark);                       # as if nothing had been read

=head2 reset

    $sub->reset;

Moves the cursor behind the newest message, so that older ones are skipped. Returns nothing.

=head2 reset_oldest

    $sub->reset_oldest;

Moves the cursor to the oldest message that the ring holds. Returns nothing.

=head1 METHODS OF BOTH

=head2 capacity

    my $slots = $ring->capacity;
    my $slots = $sub->capacity;

How many messages the ring holds: the number asked for, rounded up to a power of two.

=head2 is_gone

    my $gone = $ring->is_gone;
    my $gone = $sub->is_gone;

Whether the ring's file was removed, or another one took its path, so that processes that start now do not come to this
ring. What it holds can still be read. Never true for a ring in memory. Costs one stat(2).

    while (1) {
        while (defined(my $value = $sub->poll_wait(60))) { print "$value\n" }
        next if !$sub->is_gone;
        sleep 1 until eval { $sub->reopen };    # until somebody has made the next one
    }

=head2 reopen

    $ring->reopen;
    $sub->reopen;

Goes on with the ring that stands under the path now, and returns true. Subscribers and the ring object that made them are
reopened each for itself. A subscriber starts at the oldest message that the ring holds; its C<overflow_count> goes on, and
its C<fh> must be asked for anew. Croaks with C<this ring has no path>, or as C<new> does where nothing is there or nothing
that fits; the object is as it was then.

=head2 write_pos

    my $pos = $ring->write_pos;
    my $pos = $sub->write_pos;

The position that the next message will get; the number of positions used since the ring was made
or cleared.

=head2 eventfd

    my $fd = $ring->eventfd;

Rings only. Makes an eventfd (see eventfd(2)) for this ring object on the first call, and returns
its descriptor number on every call. The descriptor is non-blocking and close-on-exec. It is
closed when the last object that uses it goes: the ring object, or a subscriber made from it.
Where the program has closed it (L</DAEMONS>), the next call makes a new one. Croaks with the
system's error text where no descriptor is to be had.

A subscriber takes over the eventfd that its ring object has when C<subscribe> is called. So call
C<eventfd> first, or hand it over with L</eventfd_set>.

=head2 eventfd_set

    $ring->eventfd_set($fd);
    $sub->eventfd_set($fd);

Uses an eventfd of the caller's. It is borrowed: never closed by this module, so keep it open for
as long as it is in use: after that it counts as closed (L</DAEMONS>), whatever got its number. -1
takes it away again. Anything else that is not a descriptor number croaks
with C<file descriptor must be a non-negative integer, not ...>, a number that is not open with
the system's error text. Returns nothing.

    $sub->eventfd_set($ring->eventfd);         # made after subscribe

=head2 fileno

    my $fd = $ring->fileno;
    my $fd = $sub->fileno;

The number of the object's eventfd, or -1 where it has none, or it has been closed. (The descriptor of L</fh> is another
one: C<fileno($sub-E<gt>fh)>.)

=head2 notify

    $ring->notify;
    $sub->notify;

Adds one to the eventfd's counter, so that its watchers wake up. Returns true, or false
if there is no eventfd. A full counter is not an error: its watchers are notified already. Croaks with
the system's error text where the descriptor has been closed.

    $ring->publish_multi(@values);
    $ring->notify;                             # once for all of them

=head2 eventfd_consume

    my $count = $ring->eventfd_consume;
    my $count = $sub->eventfd_consume;

Takes the counter and sets it to 0, without waiting. Returns the count, or undef where it was 0 or
where there is no eventfd. Croaks with the system's error text where the descriptor has been
closed.

=head2 DESTROY

    undef $ring;

Perl calls it when the last reference goes. It gives back the memory (once no subscriber needs it)
and the descriptors of this process; the file and the other processes are not affected. After a
call by hand, every other method croaks with C<Attempted to use a destroyed Class object>.

=head1 ERRORS

All errors are exceptions, with one form of text:

    Data::PubSub::Shared::Int->new: open(/x/y): No such file or directory at FILE line N.
    Class->method: cause at FILE line N.

The causes that any method may have:

=over 4

=item Expected a Class object

The method was called on something else: a class name, a plain reference, an object of another
variant, or a hand-made one.

=item Attempted to use a destroyed Class object

C<DESTROY> was called before.

=item Class object destroyed during the call

=item Class object was replaced during the call

A callback, or a tied or overloaded argument, ran perl code that destroyed the object or assigned
something else to the variable that held it.

=item Usage: Class::method(...)

The number of arguments was wrong.

=item Data::PubSub::Shared->new: this is a method of ...

A constructor, or C<unlink>, was called on the package that the variants have in common. Call it on one
of the five that the message names.

=back

Keywords croak with the same causes, and with their own name in front:
C<ps_int_poll: Expected a Data::PubSub::Shared::Int::Sub object at ...>.

=head1 KEYWORDS

    use Data::PubSub::Shared::Int;

    ps_int_publish $ring, $value;
    my $value = ps_int_poll $sub;
    my $n     = ps_int_lag $sub;

Each variant has three keywords that do what its methods C<publish>, C<poll> and C<lag> do. They
are parsed with L<XS::Parse::Keyword> and compiled into ops of their own, so that they cost
neither a method look-up nor a subroutine call.

    Package                        Keywords
    Data::PubSub::Shared::Int      ps_int_publish    ps_int_poll    ps_int_lag
    Data::PubSub::Shared::Int32    ps_int32_publish  ps_int32_poll  ps_int32_lag
    Data::PubSub::Shared::Int16    ps_int16_publish  ps_int16_poll  ps_int16_lag
    Data::PubSub::Shared::Num      ps_num_publish    ps_num_poll    ps_num_lag
    Data::PubSub::Shared::Str      ps_str_publish    ps_str_poll    ps_str_lag

C<use> of a variant turns its keywords on until the end of the enclosing block or file, C<no>
turns them off. C<use Data::PubSub::Shared> turns on none. Nothing is exported.

They are parsed as calls of functions with the prototypes C<($$)> and C<($)> are. Parentheses right
behind the word hold all arguments. Without them, the one argument of C<poll> and C<lag> ends where
the argument of C<length> or C<defined> would, at a comparison, say; the value of C<publish> ends at
a comma or at C<and>, C<or>:

    if (ps_int_lag $sub == 0) { ... }            # (ps_int_lag $sub) == 0
    my $v = ps_int_poll $sub // -1;              # (ps_int_poll $sub) // -1
    ps_int_publish $ring, $x + 1 or die;         # (ps_int_publish $ring, $x + 1) or die
    ps_int_publish $ring, ($x + 1) * 2;          # publishes the product
    is ps_int_lag($sub), 2, 'two left';

Each argument is a scalar. An array, a hash, a slice or another list is an error when the code is
compiled, because only its count or its last item would arrive:

    ps_int_publish $ring, @values;               # Type of arg 2 to ps_int_publish must be scalar
    $ring->publish_multi(@values);               # publishes them all
    ps_int_publish $ring, scalar @values;        # publishes how many there are

A keyword accepts only objects of its own variant. Subclasses are fine; methods that a subclass
overrides are not called. L<B::Concise> shows the ops by name.

=head1 EVENT LOOPS

An event loop watches file handles. L</fh> of a subscriber is one, readable while there are
messages:

    use EV;
    use Data::PubSub::Shared;

    my $ring = Data::PubSub::Shared::Str->new('/dev/shm/log.ring', 1024);
    my $sub  = $ring->subscribe;

    my $watcher = EV::io $sub->fh, EV::READ, sub {
        print "$_\n" for $sub->drain(100);
    };
    EV::run;

The publishers need not know of it. They are other processes that have the
ring open under its path and call C<publish>. A callback may take some messages and leave the
rest, as this one does when there are more than 100: the loop calls it again, after it has looked
after its other watchers. In other loops:

    my $w = AnyEvent->io(fh => $sub->fh, poll => 'r', cb => sub { got($_) for $sub->drain(100) });

    $loop->watch_io(                                                  # IO::Async
        handle        => $sub->fh,
        on_read_ready => sub { got($_) for $sub->drain(100) },
    );

    Mojo::IOLoop->singleton->reactor->io($sub->fh => sub { got($_) for $sub->drain(100) })
        ->watch($sub->fh, 1, 0);

    my $poll = IO::Poll->new;                                         # or select, IO::Select
    $poll->mask($sub->fh => POLLIN);

F<eg/loop-ev.pl>, F<eg/loop-select.pl> and F<eg/chat.pl>, a chat across the workers of a prefork
server, are complete programs; L<Data::PubSub::Shared::Cookbook> has more.

Points to know:

=over 4

=item *

In a server that forks its workers, subscribe and call C<fh> in each worker, after the fork.

=item *

Take the handle out of the loop before the subscriber goes. To do both inside the callback is
fine.

=item *

A process that does nothing but wait for messages needs no event loop: C<poll_wait> sleeps in the
kernel, and every C<publish> wakes it. It does without the thread, too. Several rings are waited for by a
L<set|Data::PubSub::Shared::Set>, which has one handle for all of them as well.

=back

=head2 The eventfd

The other means is older and simpler: an eventfd, which the I<publisher> signals. No thread is
needed, and the publisher decides when to notify: once after a thousand messages, say, or for the
important ones only. It serves publishers and subscribers that can be given the descriptor, by
fork or over a Unix socket:

    my $ring = Data::PubSub::Shared::Str->new(undef, 1024);
    my $fd   = $ring->eventfd;            # before subscribe
    my $sub  = $ring->subscribe;

    if (!fork) {                          # a child that inherits the eventfd
        $ring->publish("message $_") for 1 .. 3;
        $ring->publish_notify("bye");
        exit;
    }

    my $watcher = EV::io $fd, EV::READ, sub {
        for my $message ($sub->drain_notify) {
            print "$message\n";
            EV::break if $message eq 'bye';
        }
    };
    EV::run;

Points to know:

=over 4

=item *

Only C<publish_notify> and C<notify> signal it. C<publish> does not.

=item *

The eventfd belongs to the object, not to the ring in memory. A process that opens the ring by its
path has none, or one of its own. An eventfd gets to another process by fork, or over a Unix
socket.

=item *

An eventfd has one counter, and a process that takes it takes it from all. So let each process that watches
have an eventfd to itself. Several ring objects on the same memory give several eventfds:

    my $ring = Data::PubSub::Shared::Int->new_memfd('jobs', 1024);
    my @bell = map { Data::PubSub::Shared::Int->new_from_fd($ring->memfd) } 1 .. 4;
    $_->eventfd for @bell;

    # worker number $i, forked now, watches one of them
    my $sub = $bell[$i]->subscribe;
    my $fd  = $sub->fileno;

    # the publisher notifies them all
    $ring->publish($job);
    $_->notify for @bell;

=back

=head1 SLOW SUBSCRIBERS

Let C<capacity> be 1024. A subscriber that has 1024 messages before it still gets each of them.
When one more is published, the oldest is overwritten: C<lag> is 1025, C<has_overflow> is true.
The next read moves the cursor to the oldest message left, adds the difference to
C<overflow_count>, and delivers that message. No call fails because of it.

    my $before = $sub->overflow_count;
    for my $message ($sub->drain) { handle($message) }
    my $missed = $sub->overflow_count - $before;
    warn "missed $missed messages\n" if $missed;

What to do: a larger ring; C<drain> or C<poll_cb> rather than C<poll>; a process that only reads
and hands on. Where the newest message is all that matters, L</latest> is the right thing.

Where nothing may be lost, make the ring L<lossless|/LOSSLESS RINGS>, and the publishers wait. L</readers> tells who is slow.

=head1 READERS

A ring has a table of its subscribers, 64 unless C<readers> in L</new> says otherwise. A subscriber takes an entry when it
is made, and the entry goes with it: when it is destroyed, when it is L<released|/release>, when its process ends or is killed.
L</readers> lists the table, and so does the command C<pubsub-shared who>.

=head2 Named readers

    my $sub = $ring->subscribe(name => 'audit');

The entry of a named reader stays in the table when the reader is gone, with the position that it had reached. The next
subscriber of this name, in whatever process, takes it over and goes on there: also after C<kill -9>, and also in another
user's process, or in a container, that has the ring open. What was overwritten meanwhile it has lost, and counts. A name
is held by one live process at a time; another one croaks and says which pid has it.

A message counts as read when the call that delivered it returns. If a reader is killed in the middle of a call, C<drain> for
example, or in the handler of C<poll_cb>, its successor goes on behind some or all of the messages of this call: none is
delivered twice, and those that the dead one did not handle are not delivered again. Where a message must be handled at
least once, read one at a time, and let the program note what it has finished.

A name keeps an entry until L</forget> (or C<pubsub-shared forget>) removes it, or until the ring goes.

=head2 What the numbers mean

A reader writes its position to the table when it has found the ring empty, before it sleeps, and at the latest
after an eighth of the capacity; named ones, and those of lossless rings, with every call. So C<lag> of an
ordinary busy reader may be too large by an eighth of the capacity, never too small. A position is that of
messages delivered, not handled. C<lost> and C<delivered> of a named reader include those of its predecessors.

=head2 Who is alive

The kernel tells: a process that has subscribers holds a lock on a byte far behind the end of the ring's file
(an open-file-description lock, see fcntl(2)), and lets go of it at its death, in whatever pid namespace it
lives. Where there are no such locks, because the file system has none (NFS, some of FUSE, overlayfs) or the
path was gone or could not be opened when the process subscribed, its pid and start time must do. They say
nothing about a process of another pid namespace: then C<alive> is undef. An entry is given to another reader
only if its process is surely gone.

=head2 Not in the table

A subscriber does without an entry, and loses nothing by it, where the table is full (C<unlisted> in L</stats>
counts these), where the ring has none, and where the ring is L<read-only|/new_readonly>. With a name, or in a
lossless ring without C<< lossy => 1 >>, the first two are an error.

After a fork, the entry is the parent's. The child's copy of a subscriber takes one of its own, without a name,
when the child first reads with it. Until then nobody knows of it, and publishers of a lossless ring keep no
messages for it. So subscribe in the child.

=head1 LOSSLESS RINGS

    my $ring = Data::PubSub::Shared::Str->new('/dev/shm/jobs.ring', 1024, 512, lossless => 1);

Publishers of a lossless ring wait rather than overwrite a message that a reader has not read, as a write to a
full pipe waits. It is a property of the ring: nobody publishes past it by accident.

=over 4

=item Whom they wait for

Every subscriber in the table of L<readers|/READERS>, from the moment at which C<subscribe> returns, but those
that were subscribed with C<< lossy => 1 >>. Where there are none, they do not wait. A full table is an error of
C<subscribe>.

=item How

C<publish>, C<publish_multi>, C<publish_packed>, C<publish_notify> and the keywords wait without limit, run
signal handlers meanwhile, and end with the exception if one dies; nothing was published then (of
C<publish_packed>, perhaps the first numbers). L</publish_wait> waits for a time, L</try_publish> not at all.
L</wait_for_readers> waits until everything has been read. L</waiting_for> and C<pubsub-shared who> say for
whom.

A batch of more messages than the capacity can never fit, and croaks. C<publish_packed> takes any number: it
publishes piece by piece.

=item Readers that died

Nobody waits for the dead. Before it sleeps, and every 20 ms, a waiting publisher asks the kernel whether the
readers that it waits for live.

=item Named readers that are away

Publishers wait for them only where the ring was made with C<< keep => SECONDS >>, and only for so long after
they left, or were found dead. Then they overwrite what the absent one has not read; it counts that as lost when
it comes back.

=item Readers that are stopped

By SIGSTOP, a debugger, or work that takes long: they hold up publishers, and through them all other readers.
That is what lossless means. Nothing but the reader's death ends it, or L</release>.

=item A process that waits for itself

A publisher that would wait without limit for a subscriber that the same thread has read, croaks with C<would
wait for ever for this process's own subscriber, which is read in this thread>. C<publish_wait> with a timeout
waits for it.

=item clear, seeks

C<clear> discards what was published, and makes room. A subscriber may go back (C<cursor>, C<reset_oldest>) to
what is still held; but what publishers had leave to overwrite by then, up to an eighth of the ring, they overwrite,
and it counts that as lost. For the same reason C<subscribe_all> begins with the oldest message that they have to
keep, which may be that much later than the oldest that the ring holds.

=back

What stays as it is: order, batches, accounting, publishers that are killed or stopped. C<overflow_count> of a
subscriber that publishers wait for, and that does not go back, stays 0.

Where there is room, C<publish> costs little more than in other rings (F<bench/README.md> has figures), and
publishers of integers take no lock; it is only the wait for readers that is new. Rings that are not lossless
pay nothing.

=head2 Where they can be made

Whether a reader is dead must be certain, so lossless rings need L<the kernel's locks|/Who is alive>. C<new> refuses others:

    Class->new: /x/y: a lossless ring needs a file system with open-file-description locks that hold as
    long as a mapping does, as tmpfs (/dev/shm), ext4 and xfs have them

Rings without a path and memfds have them. A subscriber that cannot get its lock, because the file was removed, is refused for
the same reason, unless it is C<lossy>.

=head1 ACCOUNTING

For each subscriber, at every moment:

    delivered + overflow_count + filtered + skipped = positions passed - abandoned ones met - discarded ones

Positions passed: how far the cursor has come. Abandoned: positions that a publisher claimed and never filled,
because it died or was stopped (C<abandoned> in L</stats> counts them for the ring; subscribers of a L<read-only
ring|/new_readonly> count those that they had to pass as lost). Discarded: by C<clear>, C<cursor($pos)>, C<reset>,
C<reset_oldest>. L</filtered> is 0 without a prefix, L</skipped> without C<latest>. So if no publisher died or was
stopped, and neither a clear nor a seek happened:

    my $start = $sub->cursor;
    my $got   = 0;
    $got += () = $sub->drain;
    # $sub->cursor - $start == $got + $sub->overflow_count

=head1 AFTER A CRASH

=head2 A publisher was killed

A publisher claims a position, then fills it; it may die in between. A subscriber that
comes to such a position abandons it after the claim timeout of 2 ms and goes on (one of a L<read-only
ring|/new_readonly>, which cannot, skips it after 100 ms). Before the 2 ms are over, C<poll>
reports no message, and C<poll_wait> waits for the rest of them. Where a great many positions were
abandoned, a call passes them in pieces of 65,536, a millisecond's work or so, and runs signal
handlers in between. No message that was published is lost. Of a batch that was not finished, the first part may be in the ring.

A killed publisher of a C<Str> ring can also leave behind the spare block that it was
writing to. Another publisher takes it over as soon as it needs one: the kernel says that the dead one's
process is gone (by a lock that it held on the ring's file), whatever user, container or pid namespace it
lived in. C<recoveries> in L</stats> counts that. Where there are no such locks (the publisher could not open
the ring's file a second time, since it had changed its user or the path was gone, or the file system has
none) the block is lost for good, and C<publish> waits once all are.

=head2 A creator was killed

The path has no ring then, or a whole one, and the next C<new> goes on from there. On file systems
without nameless files (C<O_TMPFILE>: FUSE, NFS) a file called F<.pubsub-...> may be left beside it;
the next process of the same user that creates a ring in that directory removes it.

=head2 A publisher was stopped

By SIGSTOP, a debugger, or a busy host. If that happens in the middle of C<publish>, subscribers
abandon its position after 2 ms, just as if it had died. When it continues it notices, and publishes its
message at a new position. So nothing is lost or duplicated; the message only comes later.

No process waits for a stopped one, except where as many publishers of a C<Str> ring as it has spare blocks
are stopped in the middle of C<publish> at once (16 to 64; see C<publishers> in L</new>). Then further ones wait,
and run signal handlers, until one of them continues or dies.

=head2 A subscriber was killed

It leaves in the shared memory its entry in the table of L<readers|/READERS>, which the next process that lists the table or needs
room frees; a name stays. If it was asleep, it also leaves a mark that costs the next publisher one system call. Publishers of
a lossless ring that wait for it go on within 20 ms.

=head2 The host was restarted

Rings in F</dev/shm> are gone. A ring in a file on a disk is still there, and opens. If the host went down
without writing its disks, the file is a mixture of older and newer parts: some messages may be missing, and in
a C<Str> ring some may have the wrong text. If that matters, remove the file at boot, or keep it in F</dev/shm>.
Messages that were there at the time of a L</sync> are on the disk, if they were not overwritten afterwards.

=head1 FORK AND THREADS

Rings and subscribers work in a forked child. The ring is the same; the subscriber is a copy with a cursor of
its own, which begins where the parent's stood. So parent and child both get each message from there on. (In a
lossless ring, once the child has read for the first time: L</Not in the table>.) The handle of L</fh> is the
parent's alone; the child asks for its own. The end of the child changes nothing for the parent. The memory and
the descriptors of this module are not inherited across C<exec>.

Objects do not cross into a new thread of perl's: there, the variable holds a reference to undef.
Open the ring again in the thread, by path or with C<new_from_fd>; an anonymous ring (C<$path>
undef) cannot be opened again. Rings that threads have opened for themselves work together like
those of processes.

    my $ring   = Data::PubSub::Shared::Int->new_memfd('ticks', 1024);
    my $fd     = $ring->memfd;
    my $thread = threads->create(sub {
        my $mine = Data::PubSub::Shared::Int->new_from_fd($fd);
        $mine->publish(1);
    });

=head1 DAEMONS

A program that becomes a daemon often closes every descriptor that it finds. The ring itself needs none and
goes on to work, and so do its subscribers and C<poll_wait>. Descriptors are closed, however:

=over 4

=item *

L</fh> and L</eventfd> must be called again, and give new ones. The old ones must be taken out of
event loops. A subscriber made before needs the new eventfd by L</eventfd_set>.

=item *

L</memfd> and L</fileno> return -1. A ring of L</new_memfd> can only be shared with
children then, by fork.

=item *

L</notify>, L</eventfd_consume> and L</drain_notify> croak with C<eventfd N has been closed>;
L</publish_notify> publishes and notifies no process.

=back

The next file that is opened gets the number of one that was closed: a log file, perhaps. Whenever
this module uses or closes a descriptor, it looks whether that is still the one that it was given. It
never writes to another file, reads from it or closes it. (To tell eventfds apart, it gives each a
mark, by C<F_SETSIG> of fcntl(2).) It makes no descriptor numbered 0 to 2, even where those are
closed, so that no warning gets into a ring.

    my $ring = Data::PubSub::Shared::Str->new('/run/app/events', 4096);
    Proc::Daemon::Init();                # forks twice, closes all
    my $sub = $ring->subscribe;
    $loop->add($sub->fh);                # after that

=head1 SIGNALS

C<poll_wait> and C<poll_wait_multi>, a publisher that waits for the readers of a lossless ring or, of C<Str>,
for a spare block, C<wait_for_readers>, and C<new> while it takes disk space or waits for another creator run
perl's signal handlers as soon as the signal comes. So does any call that delivers messages while it passes
positions that were never filled. A handler that dies ends the wait with its exception; otherwise the wait goes
on until its original deadline.

    local $SIG{ALRM} = sub { die "too long\n" };
    alarm 5;
    my $v = eval { $sub->poll_wait };
    alarm 0;

Signal handlers may use rings and subscribers, also those that the interrupted code was waiting
on.

=head1 FILES, PERMISSIONS AND SECURITY

=over 4

=item *

A new file has mode 0600: its owner alone can use it. C<$mode> grants more. To subscribe with C<new> takes the
right to write as well as to read, since subscribers leave marks in the memory, and stand in its table of
L<readers|/READERS>. The right to read is enough for L</new_readonly>: give the file mode 0644, and everybody
may follow, while you alone can publish or do harm.

=item *

The last part of the path must not be a symbolic link (C<O_NOFOLLOW>). The directories before it
are not checked. Squatting: in a directory where everybody may write, another user may have created the path
first, with permissions for you. Use a directory that only the right users can write to.

=item *

A process with write access can corrupt messages: forge or garble them, move positions, use up the spare blocks
of a C<Str> ring, hold up the publishers of a lossless one. It cannot make another process read or write outside
of the ring. The header is checked when the ring is opened and never read again, and the block number and length
in a slot are checked each time, against a private copy of the sizes. A string is marked as UTF-8 only if it is:
where a publisher has marked bytes that are not, they are delivered as bytes.

=item *

Under C<-T>, what is read from a ring is tainted, strings and integers alike. C<new> and C<unlink> croak
on a tainted path; L</new_readonly> takes one, as C<open> for reading does, and C<path> of a read-only
ring is tainted.

=item *

A file that is truncated while it is mapped kills each process that then touches the missing part
with SIGBUS. That is how mmap(2) works. Remove the file instead (L</unlink>), which harms no process.
A ring made with L</new_memfd> cannot be truncated.

=item *

Do not copy a ring's file over another that is in use, and do not edit it. Files do not move
between hosts of different byte order, nor between versions of the layout; such a file is
refused.

=item *

F</dev/shm> is the natural place: it is memory. A file on a disk works too, but the kernel writes
its changes to the disk from time to time. Network file systems do not connect hosts this way.

=item *

On btrfs, a new ring's file is told to change its blocks in place (as by C<chattr +C>): otherwise a
full disk would have no room for them. A copy by reflink, C<cp> without C<--reflink=never> for
example, shares its blocks with the original and loses that, and so does a ring that is restored
from a backup there: remove it and create a new one. Files on hugetlbfs are refused; a tmpfs that is mounted with
C<huge=always> has large pages, too.

=back

=head1 DEPLOYMENT

=head2 Files that the system removes or hides

=over 4

=item RemoveIPC

When the last session of an ordinary user ends, systemd-logind removes that user's files from
F</dev/shm>, unless F<logind.conf> says C<RemoveIPC=no> or the user lingers (C<loginctl enable-linger>).
A daemon that was started from a terminal, or by cron, then goes on with a ring that has no name any
more, while processes that start later create a new one: neither side hears the other. System users
(with a number below 1000, usually) are exempt. Run the daemon as one, and best as a service.

=item /tmp

On many systems systemd-tmpfiles removes files from F</tmp> after 10 days, and from F</var/tmp> after 30. It goes by
the times of the file, and those of a ring in a tmpfs do not follow its messages: they change when a process
opens the ring and when it first writes to it. A ring that is busy day and night looks abandoned. Use
F</dev/shm> or F</run>, or exclude the ring by a line such as C<x /tmp/app.ring> in F</etc/tmpfiles.d>.

=item PrivateTmp

A service with C<PrivateTmp=yes> has a F</tmp> and a F</var/tmp> of its own, which end with it. Two such
services that open F</tmp/app.ring> have two rings, and no error says so. Use F</dev/shm>, or
C<RuntimeDirectory=app> and F</run/app/app.ring>.

=back

=head2 Permissions that come from the directory

The mode is applied exactly, whatever the umask. A default ACL of the directory (setfacl(1), C<-d>) is
inherited all the same. As long as the mode is 0600 the ACL's mask is empty, and the users and groups that
it names get nothing. The group's bits of any other mode are the mask: with 0660 all those that the ACL
names may write.

=head2 Memory limits

A ring in F</dev/shm> is charged in full to the memory cgroup of the process that creates it. An anonymous
ring and a memfd are charged page by page, as the first lap of messages is written, to the cgroup of the
process that first touches the page. The charge stays while the ring exists, also when that process has
ended, and the kernel cannot drop these pages, only swap them out. A ring that is larger than what the limit
leaves ends in the OOM killer rather than in an error. So count rings in when you set a container's limit
(C<mmap_size> in L</stats>), or have a process without a limit create them, under F</dev/shm>.

F</dev/shm> of a Docker or Kubernetes container has 64 MiB, whatever its limit is. C<new> says
C<No space left on device> where a ring does not fit. Start the container with C<--shm-size=1g>, say, or
mount a volume in memory (C<emptyDir> with C<medium: Memory>), or use L</new_memfd>, which only the memory
limit bounds. L<Data::PubSub::Shared::Cookbook/CONTAINERS THAT SHARE A RING> has the commands.

=head2 overlayfs

Do not put a ring into an image. In a container, the files of the image's layers are copied when they are
first opened for writing. A process that had opened such a ring for reading (L</new_readonly>) before stays
with the original, in which nothing is ever published, and gets no error. Other containers have copies of
their own. Put rings on a volume or in F</dev/shm>.

A lock that a mapping keeps does not last on overlayfs, so nobody can know there whether a publisher of strings is dead: a
spare block that a killed one had is not taken over.

=head2 Copies, snapshots and reflinks

On a file system that copies on write (btrfs, bcachefs, XFS with reflinks), a snapshot, or a copy made by
C<cp --reflink> (which newer versions of cp do by default), shares its blocks with the ring. The next write to
each block then needs a new one. On a full disk there is none, and the publisher, or even a subscriber, is
killed by SIGBUS, though C<new> had reserved the space. Keep rings out of snapshots, and copy them with
C<cp --reflink=never>, or keep them in F</dev/shm>.

=head2 Restarts and hot deployment

An anonymous ring (C<$path> undef) belongs to the process that created it and to its children. A server that
replaces itself by exec, as Server::Starter, hypnotoad and others do to deploy a new version without a pause,
creates another one. The old workers, which are still finishing their requests, and the new ones do not hear
each other. Give the ring a path, or pass a memfd on.

A ring of another size needs a new file. Whoever deploys removes the old one (C<unlink>) and makes the new one; the others
find out with L</is_gone> and go on with L</reopen>. What was published to the old ring can be read until they do.

A memfd is close-on-exec. To pass one to a program that you exec, duplicate it and clear the flag of the
duplicate:

    use Fcntl;

    my $ring = Data::PubSub::Shared::Int->new_memfd('ticks', 1024);
    open my $passed, '+<&', $ring->memfd or die "dup: $!";
    fcntl $passed, F_SETFD, 0            or die "fcntl: $!";
    exec 'worker', fileno $passed;

    # in the worker
    my $ring = Data::PubSub::Shared::Int->new_from_fd($ARGV[0]);

=head2 Bytes and characters

A C<Str> ring carries perl's strings as they are, so a message compares equal to what was published. In
code under C<use utf8>, and after decoding input, strings are characters, and three things follow:

=over 4

=item *

C<msg_size> counts bytes of UTF-8, C<length> counts characters. A text of 200 characters may take 800 bytes.

=item *

The subscriber gets characters, too. It has to encode them before it prints them to a handle without an
encoding layer, as any text; otherwise perl warns of a C<Wide character>, or writes Latin-1.

=item *

A byte string with the UTF-8 form of a text is another message than the text. Programs in other languages, and
the bridge's consumers, see bytes and one flag. So agree on one form for each ring. The plainest one is bytes:
C<< $ring->publish(Encode::encode('UTF-8', $text)) >>, and the reverse in the subscriber. JSON that
C<encode_json> made is in that form already.

=back

=head2 What write_pos counts

C<write_pos> counts positions, not messages. A publisher that was stopped in the middle of
C<publish> finds its position abandoned, and takes another one (see L</A publisher was stopped>); one that
was killed leaves its position empty. Both make C<write_pos> run ahead. C<publish_ok> in L</stats> is
C<write_pos> without the abandoned positions.

=head2 What a handle costs

Each subscriber that has been asked for its L</fh> has an eventfd, and the handle, which is a duplicate of that. A
process with 500 such subscribers has 1,000 descriptors more, which count towards C<ulimit -n>; and one thread with
a stack of 64 KiB, which counts towards C<TasksMax=>, C<pids.max> and C<ulimit -u>. (Before Linux 6.15, and where io_uring is
forbidden, there is a thread for each 127 of them; before 5.16, and in sandboxes without futex_waitv, for each one.) A
L<set|Data::PubSub::Shared::Set> has two descriptors for all of its subscribers together, and can be waited for without any thread.

=head2 Handlers that run at once

Perl's own signal handlers (C<%SIG>) are deferred, and may die wherever they run: see L</SIGNALS>. A handler
that was installed with C<POSIX::sigaction> runs at once, in the middle of whatever C code the signal
interrupted, unless its C<safe> attribute is set; so does every handler where the environment has
C<PERL_SIGNALS=unsafe>. If such a handler dies inside a call of this module, it jumps out of code that was
about to release something. A publisher leaves a position empty, and one of C<Str> also keeps a spare block for as
long as this process lives; memory and descriptors leak. Call
C<< $action->safe(1) >>, use C<%SIG>, or let the handler do no more than set a variable.

=head2 Containers and small memory

A ring takes all its room when it is made. In a container F</dev/shm> often has 64 MiB only:

    docker run --shm-size=1g ...                        # Docker, Podman
    emptyDir: { medium: Memory, sizeLimit: 1Gi }        # Kubernetes, mounted at /dev/shm

Where the file system has less room than the ring needs, C<new> croaks with both numbers. It does
the same where the memory limit of the container (its control group) is smaller than the ring, for
files in memory and for rings without a name: the kernel would kill the process when the ring fills.
Memory counts against the container that touches it first.

Rings without a name, C<new(undef, $capacity)> and L</new_memfd>, do not use F</dev/shm>, so its
size does not matter to them; they take memory as they fill. Where a sandbox refuses
memfd_create(2), C<new(undef, ...)> works all the same, and C<new_memfd> croaks.

=head1 PERFORMANCE

The programs in F<bench/> measure all this on your host; F<bench/README.md> has figures. Start with

    perl -Mblib bench/throughput.pl

What to expect:

=over 4

=item *

Integer C<publish>: two atomic instructions and no system call, unless a subscriber sleeps. Publishers
slow each other down only through the CPU's caches.

=item *

A C<poll> that finds a message loads the slot, and writes nothing that others read. It does not touch
the word that all publishers write to. A C<poll> that finds none costs hardly more.

=item *

Waiters cost the publisher one system call per sleep, not one per message. The same call wakes all of them, which takes
5 to 25 microseconds for each that sleeps, as many writes to pipes would (F<bench/sleepers.pl>). Apart from that, the number of
subscribers does not matter to a publisher.

=item *

C<Str> C<publish>: three atomic instructions and the copy. Reading: one copy, directly into the new perl string.
Every message has a block of C<msg_size> bytes to itself. So until a new ring has been filled once, each message
touches memory for the first time: with a C<msg_size> of 4 KiB that took 2.4 microseconds a message, and 50
nanoseconds afterwards.

=item *

Batches save time: C<publish_multi> claims all its positions at once, and then costs one atomic instruction a message (two
C<Int32> or C<Int16> share one), some 5 nanoseconds, beside what perl takes for its list; C<drain> and
C<poll_cb> save perl's method call per message, which is most of the cost of C<poll>. C<publish_packed> and
C<drain_packed> save the scalar per message as well.

=item *

Keywords save a good part of that method call too.

=item *

C<publish_notify> makes two system calls per message, always. Prefer C<publish> for many, then one
C<notify>.

=item *

A subscriber with a L</fh> takes an uncontended lock with each read, and makes a system call or two when the
handle changes between readable and not. If messages come in bursts,
C<drain> in the callback.

=item *

C<poll_wait> spins for a moment before it sleeps, if there is more than one CPU.

=back

=head1 LIMITS

=over 4

=item *

Capacity: 2 to 2**31 slots, a power of two.

=item *

Processors: x86-64 and arm64; with Rust 1.84 s390x, with Rust 1.95 ppc64le. Rings need an exchange of 16 bytes
without a lock. On a CPU without one, F<Makefile.PL> says so and writes no Makefile.

=item *

C<msg_size>: 1 to 2**31 - 1 bytes. The arena for the text takes, for each slot and each of the
C<publishers>, C<msg_size> rounded up to 8, and 8 bytes.

=item *

C<publish_multi>: 8192 messages per call; in a lossless ring, not more than the capacity.

=item *

The table of readers: 0 to 65535 entries. Names: 47 bytes.

=item *

Positions are 64-bit numbers. At 100 million messages per second they last for thousands of years.

=item *

C<Int32>, C<Int16> and C<Str> recognise a message by the number of its lap round the ring, which has 31
bits. It repeats after 2**31 laps: 2 * 10**12 messages in a ring of 1024 slots. A publisher that
is stopped in the middle of C<publish> for half as long, or a subscriber that reads nothing for
just as long, may take one lap for another. C<Int> and C<Num> have no such limit.

=back

=head1 MEMORY LAYOUT

Byte order is the host's. The file, or memory, consists of

    header    Magic number, layout version, variant, capacity, message size, offsets,
              total size; the next position; the position of the last clear; the
              word on which sleepers sleep; counters; up to where publishers of a
              lossless ring may write, and where they sleep.
              Words with different writers are on different cache lines.
    readers   For each subscriber: position, losses, process, name.
    spares    Str only: for each publisher in the middle of a publish, the block that
              it writes to.
    slots     capacity times 16 (Int, Num) or 8 bytes: lap number first, then value, always
              changed as one. The value of Str is the number of a block.
    arena     Str only: the blocks. Each has a length, the UTF-8 flag, and the text.

Inside, positions never go back: C<clear> stores the position at which it happened, and users see
positions counted from there. The modules of the Rust core (F<src/layout.rs> and its neighbours)
describe each field, its writers, and why the orders of access are right.

=head1 MOVING FROM VERSION 0.x

Versions 0.x of C<Data::PubSub::Shared> on CPAN, up to 0.12, are another implementation by another author. This one shares
their interface but none of their code, and starts at 1.000, so that C<use Data::PubSub::Shared 1.000> asks for it. The advisory
CVE-2026-64617 covers versions of the other implementation before 0.07. It does not cover this one.

Programs move unchanged, rings do not:

=over 4

=item *

The file formats differ. C<new> refuses a file of the other implementation with C<invalid or incompatible: a
ring file of Data::PubSub::Shared 0.x, another implementation>, and does not touch it. Stop all processes that
use the ring, remove the file, and start them with this module: nothing but the unread messages is lost. Both
cannot use a ring at the same time.

=item *

A new file has mode 0600 unless C<$mode> says otherwise, and symbolic links are refused. Processes of several users need a
C<$mode>: see L</new>.

=item *

C<Str> publishers take no lock, so a ring has no recovery time and C<recoveries> in L</stats> counts something else. See
L</AFTER A CRASH>.

=item *

C<clear> may be called at any time, and live subscribers go on behind it by themselves.

=item *

L</new_readonly>, L</fh>, the C<$mode> and C<publishers> of L</new> and the command L<pubsub-shared>
are new.

=item *

To build the module takes Rust's cargo, 1.63 or later.

=back

=head1 SEE ALSO

L<Data::PubSub::Shared::Int>, L<Data::PubSub::Shared::Int32>, L<Data::PubSub::Shared::Int16>,
L<Data::PubSub::Shared::Num>, L<Data::PubSub::Shared::Str>: the variants.

L<Data::PubSub::Shared::Tutorial>: from the first ring to a prefork application in ten minutes.

L<Data::PubSub::Shared::Set>: waiting for several rings. L<Data::PubSub::Shared::Bus>: channels for programs with an event
loop. L<Data::PubSub::Shared::Cookbook>: complete solutions for common
jobs.

L<Data::PubSub::Shared::Bridge>: rings on several hosts. L<pubsub-shared>: the command.

L<Data::Queue::Shared>, where each message shall go to one reader; L<Data::Buffer::Shared>,
L<Data::HashMap::Shared>.

L<EV>, L<XS::Parse::Keyword>; mmap(2), futex(2), eventfd(2), memfd_create(2).

F<README.md> compares rings with pipes, sockets, message queues and brokers. F<eg/> has programs
to start from.

=head1 AUTHOR

The Data::PubSub::Shared authors.

=head1 LICENSE

This is free software. You may use, change and pass it on under the same terms as Perl itself: the
Artistic License, or the GNU General Public License, version 1 or any later one. See the file
F<LICENSE>.

=cut
