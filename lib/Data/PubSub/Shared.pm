package Data::PubSub::Shared;

use 5.022;
use strict;
use warnings;
no warnings 'redefine';    # a module reloader may load this again
use warnings::register;

use overload     ();
use Scalar::Util ();

our $VERSION = '1.000';

require XSLoader;
XSLoader::load(__PACKAGE__, $VERSION);

# Every ring class inherits from this package, every subscriber class from Data::PubSub::Shared::Sub.
our @VARIANTS = map {"Data::PubSub::Shared::$_"} qw(Int Int32 Int16 Num Str);

# `use` of a variant switches its keywords on in the enclosing scope, `no` switches them off.
sub import   { my ($class) = @_; $^H{"$class/keywords"} = 1;     return }
sub unimport { my ($class) = @_; delete $^H{"$class/keywords"};  return }

# An object holds a mapping that belongs to one interpreter: it does not cross into a new thread.
sub CLONE_SKIP { return 1 }
*Data::PubSub::Shared::Sub::CLONE_SKIP = \&CLONE_SKIP;

# Rings are made by the packages of the variants, not by this one.
for my $method (qw(new new_readonly new_memfd new_from_fd unlink)) {
    no strict 'refs';
    *$method = sub {
        my $class = ref $_[0] || $_[0];
        require Carp;
        Carp::croak("${class}->$method: this is a method of " . join(', ', @VARIANTS[0 .. $#VARIANTS - 1]) . " and $VARIANTS[-1]");
    };
}

# Called by `new`. Warns at the caller's line, if warnings are enabled there.
sub _warn { warnings::warnif(__PACKAGE__, $_[0]); return }

# Lets B::Deparse print the keywords' ops.
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

# The package of a ring's subscribers, and of a subscriber's ring, which subclasses may override; and `each`.
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

# Calls the handler for each message. In Perl, because `last` in a handler needs a Perl loop to leave.
sub _each {
    my ($class, $caller, $arguments) = @_;
    my (undef, $handler, @timeout) = @$arguments;
    _croak("Usage: ${class}::each(self, handler, timeout = forever)") if @$arguments < 2 || @$arguments > 3;
    my $call = sub {
        my ($method, @more) = @_;
        # Report the error as one of `each`, but pass on the exception of a signal handler unchanged.
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

# The cause in the error of a method that this module's file $file has called. Passes on any other exception, such as that of a
# signal handler.
sub _cause {
    my ($error, $file) = @_;
    my $text = _without_place($error, $file);
    die $error if $text eq $error || $text !~ s/\AData::PubSub::Shared::\w+(?:::Sub)?->\w+: //;
    return $text;
}

# The text of an exception without its place, if that is in the file; perl adds the file handle that was read last.
sub _without_place {
    my ($error, $file) = @_;
    return ref $error ? $error : $error =~ s/ at \Q$file\E line [0-9]+(?:, <[^\n]*> (?:line|chunk) [0-9]+)?\.\n\z//r;
}

# The handler as code, by poll_cb's rules; a name without a package belongs to the caller's.
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
    my $sub  = $same->subscribe;          # messages published from now on
    my $all  = $same->subscribe_all;      # first the messages that the ring still holds

    my $value  = $all->poll;              # one message, or undef
    my @values = $all->drain;             # all messages in the ring
    my $next   = $all->poll_wait(1.5);    # wait up to 1.5 s for a message

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

Publishers do not wait for subscribers. A subscriber that falls behind by more than the ring holds (is lapped)
continues at the oldest message that is left, and counts how many it missed: see L</SLOW SUBSCRIBERS>. In a ring
that was made lossless, publishers do wait: see L</LOSSLESS RINGS>. Both kinds of ring keep a table of their
subscribers, and a named subscriber resumes where it stopped: see L</READERS>.

The module runs on Linux with a 64-bit perl, 5.22 or later. The memory is shared by the processes of
one host only. To connect rings on several hosts, use the program described in
L<Data::PubSub::Shared::Bridge>.

=head2 What is guaranteed

=over 4

=item *

A message whose C<publish> has returned was put into the ring, once.

=item *

The messages of one publisher are delivered in the order in which it published them, and all
subscribers see the messages of all publishers in the same order.

=item *

A subscriber gets a message whole or not at all, and never twice (unless it seeks back).

=item *

The messages that a subscriber missed are counted: see L</ACCOUNTING>.

=item *

A process that is killed, at any instant, does not block the others: see L</AFTER A CRASH>.

=back

=head2 What is not guaranteed

=over 4

=item *

That a slow subscriber gets every message. Publishers do not wait for it, unless the ring is L<lossless|/LOSSLESS RINGS>.

=item *

That a message was handled. A publisher can see how far a subscriber has read (L</readers>), and wait for it
(L</wait_for_readers>), but not what the subscriber did with the messages.

=item *

That messages survive a crash of the host. A ring in a file still exists after a restart, but its content may
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

Take an integer ring when a message fits into a number: an identifier, a counter, a time stamp, a price
in cents, a status code. Publishers of integers never wait for each other, and a stopped publisher does
not stop the others. C<Num> is the same for measurements and other numbers with a fraction.

Take C<Str> for everything else: log lines, JSON, packed records. Publishers of strings do not wait for each
other either. A message is copied twice: into the ring, and out of it.

C<Int32> and C<Int16> halve the memory, so that twice as many messages fit into the CPU's
cache; C<Int16> needs as much as C<Int32>, and cuts values to 16 bits. When in doubt, take C<Int>.

=head2 How large a ring?

Large enough for the longest pause of the slowest subscriber: messages per second times seconds.
At 100,000 messages per second and a pause of half a second that is 50,000, so ask for 65536
slots. A ring that fits into the CPU's cache is faster, so do not make it much larger than
that.

=head2 One ring for many publishers?

Publishers do not wait for each other, but all of them update the ring's write position. Each time, a CPU fetches the cache line of
the write position from the CPU that wrote it last. The number of these transfers limits the rate of single messages from all
publishers together: some 13 million a second between CPUs of one chip, about 5 million between sockets, whether there are 4
publishers or 64. F<bench/publishers-model.pl> computes the limit for other costs. To raise it, in this order:

=over 4

=item *

Use C<publish_multi> and C<publish_packed>: a batch fetches the line once. With batches of 100, 32 publishers reach 100 times the
rate.

=item *

Give each publisher, or a few publishers, a ring of their own, and read the rings with a L<Data::PubSub::Shared::Set>: no line is
shared. Messages of different rings have no common order.

=item *

Run the publishers and readers of a ring on one socket (taskset(1), numactl(8)).

=back

=head1 CONSTRUCTORS

In this section and the next, C<Class> stands for one of the five packages.

=head2 new

    my $ring = Class->new($path, $capacity);
    my $ring = Class->new($path, $capacity, $mode);                # all but Str
    my $ring = Data::PubSub::Shared::Str->new($path, $capacity, $msg_size, $mode);
    my $ring = Data::PubSub::Shared::Str->new($path, $capacity, publishers => 256, mode => 0660);

Opens the ring in the file C<$path>, and creates it if it does not exist. Creation is atomic: if several
processes call C<new> at the same moment, one of them makes the ring, and all open that ring. A new ring
appears whole or not at all.

=over 4

=item $path

The file's name, or undef for a ring without a name that is shared with the children that the process
forks afterwards. The name must not contain a NUL byte. It refers to the same file as in perl's own
C<open>, C<-e> and C<unlink>. In a string of characters these use the bytes of perl's internal encoding,
so encode such a name first (L<Encode>) if you need certain bytes. Under C<-T>, a tainted name croaks
with C<Insecure dependency>.

=item $capacity

The number of slots, an integer from 1 to 2147483648 (2**31). It is rounded up to a power of two, and to at
least 2. If the file already holds a ring, the capacity may be left out, or be undef or 0: C<new> then only
opens a ring, and never creates one.

=item $msg_size

C<Str> only: the maximum length of a message, in bytes, from 1 to 2147483647 (2**31 - 1). Default (also for undef and 0): 256.

=item $mode

The permissions of a new file, regardless of the umask. Default: 0600. A mode as returned by C<stat> is
accepted; bits beyond 07777 are ignored. The owner must be allowed to read and to write. A mode without
these two bits croaks, because it is nearly always a mistake: a C<$msg_size> given to an integer ring,
or octal digits in a string. C<'0644'> is the number 644; write C<0644>, or C<oct('0644')>.

=item publishers

C<Str> only, and by name only: how many publishers can be in the middle of C<publish> at once, from 1 to 65536. Each takes 128
bytes plus the space of one message. Further publishers wait until one of them has finished. Processes that have the ring open but
are not publishing do not count. Default: as many as fit into 4 MiB, at least 16 and at most 64.

=item readers

By name only: how many subscribers the table of L<readers|/READERS> has room for, from 0 to 65535. Each takes
128 bytes. Default: 64. With 0 there is no table.

=item lossless

By name only: with a true value, publishers wait instead of overwriting messages that a subscriber has not read. See
L</LOSSLESS RINGS>, also for the file systems that do not support it.

=item keep

By name, and with C<lossless> only: how long publishers wait for a named subscriber that is away, in seconds
from 0 to 4294967, with a resolution of 1 ms. Default: 0, do not wait.

=item prefault

By name only: with a true value, C<new> maps all pages of the ring for this process, instead of one page at a time on first use.
That takes about as long as the page faults of the first lap would take; afterwards no message costs a page fault. It is worth it if
the first lap matters: with messages of 4 KiB the first lap took 5.8 microseconds a message in a file and 12 in memory; all later
laps, and the first one with C<prefault>, took 0.9. The option affects only this process. It needs Linux 5.14 and does nothing on
older kernels. Huge pages are configured in the system: on a tmpfs by its mount option C<huge=>, see tmpfs(5).

=item refs

C<Str> only, and by name only: with C<'croak'>, this handle does not publish references, since text such as C<HASH(0x55d0)> is
useless to readers. It croaks with C<a message must be a string, not a reference (HASH)>. Objects that overload C<""> are strings.
Default: C<'stringify'>, as perl does. This is a property of the handle, not of the ring.

=item stamped

C<Str> only, and by name only: with a true value, each message carries the time at which it was published and the process that
published it, which takes 16 bytes: see L</time> and L</sender>. The publisher reads the clock for each call; rings that are not
stamped pay nothing.

=item strict

By name only: with a true value, C<new> croaks if the file holds a ring of other sizes or options than the arguments request.

=back

C<$msg_size> and C<$mode> may also be given by name, after the positional arguments.

If the file already holds a ring, its sizes apply. Arguments that request other sizes (after rounding up)
cause a warning in the category C<Data::PubSub::Shared>, or an error with C<< strict => 1 >>:

    Class->new: capacity 512 was asked for, the ring has 256

C<new> allocates all disk space of a new file, so a full disk is an error of C<new> rather than a crash
later. For a large ring that takes a while. Signal handlers run in the meantime; if one dies, the call
ends and removes the unfinished file. If the file already holds a ring but has holes, because it was
copied with C<cp --sparse=always> or C<rsync -S>, C<new> allocates the missing space.

An empty file, or a file of exactly the right size that contains only zeros, is initialised in place if this user owns
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

C<invalid or incompatible> is followed by the reason: C<not a ring file>, a ring of another variant, layout
version, byte order or implementation, or a ring with an inconsistent header or the wrong size. C<too small>
means that the file is smaller than a header. Only for a file that a killed creator left unfinished does the
message say that it is in the way and may be removed. The last line is an example of the system's error texts. A
rejected file is not changed. Symbolic links are rejected, and so is everything else that is not a regular file.

    my $ring = Data::PubSub::Shared::Int->new('/dev/shm/ticks.ring', 1024, 0660);

=head2 new_memfd

    my $ring = Class->new_memfd($name, $capacity);
    my $ring = Data::PubSub::Shared::Str->new_memfd($name, $capacity, $msg_size);

Creates a ring in anonymous memory that has a file descriptor (see memfd_create(2)). The descriptor
can be inherited or sent over a Unix socket, and opened with L</new_from_fd>. C<$name> only appears
in F</proc>; a name longer than 249 bytes, the system's limit, croaks with its length. The other
arguments are those of L</new>, and so are their errors. The descriptor is close-on-exec, and sealed
against shrinking and growing.

    my $ring = Data::PubSub::Shared::Int->new_memfd('ticks', 1024);

=head2 new_from_fd

    my $ring = Class->new_from_fd($fd);

Opens the ring behind the file descriptor number C<$fd>. The number is duplicated (close-on-exec); the caller
keeps its own descriptor and closes it. A descriptor that is open for reading only gives a read-only ring, as
L</new_readonly> does. Croaks as L</new> does if C<$fd> does not refer to a ring of this variant, and with the
system's error text if C<$fd> is not open.

    my $again = Data::PubSub::Shared::Int->new_from_fd($ring->memfd);

=head2 new_readonly

    my $ring = Class->new_readonly($path);

Opens the ring in the file C<$path> for reading only. Read permission on the file is enough (mode
0644, say, for subscribers of all users), and this process cannot corrupt the ring, because the
memory is mapped read-only. The ring must exist; its capacity and message size apply.

    my $ring = Data::PubSub::Shared::Str->new_readonly('/dev/shm/log.ring');
    my $sub  = $ring->subscribe_all;
    while (defined(my $line = $sub->poll_wait)) { print "$line\n" }

Methods that only read the ring work: C<subscribe>, C<subscribe_all>, C<readers>, C<waiting_for>, C<stats>, C<capacity>,
C<msg_size>, C<path>, C<write_pos>, C<sync>, C<memfd> (-1), and the methods of the eventfd. Methods that would change the ring croak
with C<this ring is read-only>: the publishing methods and keyword, C<forget>, C<wait_for_readers>, C<clear>, and C<unlink> called
on the object.

Its subscribers have all their methods, L</fh> too, and differ in three things, because they
cannot write to the memory:

=over 4

=item *

Publishers do not wake them. While they wait they poll, at intervals that grow from 50 microseconds
to 5 milliseconds. They are not counted in C<sub_waiters>.

=item *

They are not in the table of L<readers|/READERS>: they cannot have a name, and publishers of a lossless ring do not wait for them.

=item *

They cannot abandon a position that a publisher claimed and did not fill, on behalf of all subscribers.
They wait for it longer, 100 ms instead of 2, and then skip it for themselves only. The position is
counted in C<overflow_count>, since a stopped publisher may still fill it. The next subscriber with
write access that reaches it abandons it for all (see L</AFTER A CRASH>).

=back

Croaks as L</new> does if the file holds no ring of this variant, and with the system's error text,
such as C<No such file or directory>. An undefined C<$path> croaks with C<path is undefined>.

=head1 RING METHODS

=head2 publish

    $ring->publish($value);

Appends one message and wakes sleeping subscribers. Returns true. If a L<lossless ring|/LOSSLESS RINGS>
is full, waits for space first; signal handlers run while it waits.

Integer rings take C<$value> as perl takes any integer (a fraction is dropped; a string that is not a number warns and counts
as 0), then keep as many low bits as the variant has. Unless the ring is lossless, they never wait and never fail. C<Num>
takes any number and keeps all 64 bits, including those of NaN and negative zero. Longer numbers (in a perl built with
C<-Duselongdouble>) are rounded to 64 bits, as C<pack 'd'> does.

C<Str> takes any string: bytes or characters, empty, with NUL bytes. The string's UTF-8 flag is kept, so C<poll>
returns a string equal to the published one; see L</Bytes and characters>. A string longer than C<msg_size>
bytes is not published; the call croaks with C<message too long (N E<gt> M)>. For characters, N counts the bytes
of their UTF-8 form.

    $ring->publish(time);

=head2 publish_multi

    my $n = $ring->publish_multi(@values);
    my $n = $ring->publish_multi(\@values);

Appends up to 8192 messages at a time, and wakes the waiters once. The messages are adjacent in the ring, in order;
no other publisher's message comes between them. (Exceptions: if a publisher is stopped in the middle of its batch
for more than 2 ms while a subscriber waits for the rest, or if it is lapped, or if it comes to slots that another publisher
of numbers withholds, which was stopped or killed in the middle of a batch, then it publishes the rest after the messages of
others.) Subscribers see the messages of a batch one by one, or, if they are numbers in a ring of at least 1024 slots
that is not lossless, up to 1024 at once (more in rings of more than 2**26 slots).

Returns their number, 0 for an empty list. More than 8192 values: croaks with C<too many values
(8193 E<gt> 8192)>, and publishes nothing. With C<Str>, if one message is too long, the call croaks
and publishes nothing. A batch may be larger than the ring; then its last messages overwrite its
first. In a lossless ring such a batch croaks, and nothing is published: C<100 messages at once
never fit a lossless ring of capacity 64>.

If the only argument is a reference to an array, its elements are published, and there may be any number of them. All of them are
read and checked before the first is published. They are adjacent in the ring in pieces of 8192; other publishers' messages may come
between two pieces.

    $ring->publish_multi(10, 20, 30);          # 3
    $ring->publish_multi([1 .. 100_000]);      # 100000

=head2 publish_packed

    my $n = $ring->publish_packed($bytes);

All variants but C<Str>: appends the numbers in a string that C<pack> has made with C<'q*'> for C<Int>, C<'l*'> for C<Int32>,
C<'s*'> for C<Int16> or C<'d*'> for C<Num>. Returns how many numbers it published. It needs no perl scalar for each number,
so it is several times as fast as C<publish_multi>. Use it, together with L</drain_packed>, for vectors (L<PDL>, C<vec>,
C<unpack>) and files of numbers.

The string may be of any length. Its numbers are adjacent in the ring in pieces of 8192, or as many as the ring has slots;
other publishers' messages may come between two pieces. A length that is not a multiple of the size of a number croaks
with C<7 bytes are not a whole number of values of 8 bytes>; references and characters above 255 croak, too. In these
cases nothing is published.

    $ring->publish_packed(pack 'q*', 1 .. 1000);

=head2 publish_wait

    my $done = $ring->publish_wait($value);
    my $done = $ring->publish_wait($value, $timeout);

L</publish> with a time limit: if a L<lossless ring|/LOSSLESS RINGS> is full, waits for space for at most C<$timeout> seconds
(L<as elsewhere|/SUBSCRIBER METHODS>, without a limit if it is undef or left out). Returns true if the message was published, and
false if the time has passed. In a ring that is not lossless it never waits. Croaks as C<publish> does.

    $ring->publish_wait($line, 5) or warn 'no room for 5 s, because of ', join ', ', map { $_->{pid} } $ring->waiting_for;

=head2 try_publish

    my $done = $ring->try_publish($value);

L</publish> without waiting for readers: if a lossless ring is full, publishes nothing and returns false. Otherwise returns true.

=head2 publish_notify

    $ring->publish_notify($value);

L</publish>, then L</notify> if the ring object has an eventfd. Returns true. It fails only if
C<publish> fails; an error of the eventfd is ignored, since the message is already published.

=head2 subscribe

    my $sub = $ring->subscribe;
    my $sub = $ring->subscribe(name => $name);
    my $sub = $ring->subscribe(lossy => 1);
    my $sub = $ring->subscribe(prefix => 'prices.');
    my $sub = $ring->subscribe(prefix => ['prices.', 'news.']);

Creates a subscriber whose cursor is just after the newest message: it gets the messages published from now on.
Returns an object of the package C<Class::Sub> (see L</sub_class>); see L</SUBSCRIBER METHODS>. Options, as pairs:

=over 4

=item name

A string of 1 to 47 bytes of UTF-8 without a NUL. The position of a named subscriber is kept when its process ends: the next
subscriber of this name continues there. See L</READERS>. undef: no name.

=item lossy

With a true value, publishers of a lossless ring do not wait for this subscriber: it loses messages when it falls behind, as in
any other ring. Use it for monitoring and debugging.

=item prefix

C<Str> only: a string, or a reference to an array of strings. Only messages that begin with it, or with one of them, are delivered.
The others are skipped before perl makes a scalar of them. L</filtered> counts them; they end no wait and make no L</fh> readable;
L</lag> includes them until they are skipped. Prefixes are compared as perl compares strings, character by character (see L</Bytes
and characters>). Messages that were overwritten before the subscriber examined them count as lost, whatever their prefix. In a
lossless ring, publishers wait for this subscriber as for any other, and its handle may be readable though no message matches: then
a read makes room for publishers.

=back

Croaks with C<unknown option "nme"; known: lossy, name, prefix> for an unknown option, and with one of

    name must be 1 to 47 bytes of UTF-8, not 0
    prefix must be a string or a list of strings, not undef
    reader "audit" lives in process 4711
    the table of readers is full (64)
    this ring has no table of readers
    name "audit": readers of a ring that is open for reading only are not listed

The messages about a full and a missing table only concern named subscribers and subscribers that publishers of a lossless ring wait
for. Other subscribers work without an entry in the table.

A subscriber belongs to the process that made it. It keeps the memory mapped and the eventfd open,
so the ring object may be destroyed first.

=head2 subscribe_all

    my $sub = $ring->subscribe_all;
    my $sub = $ring->subscribe_all(name => $name);

As C<subscribe>, with the same options, but the subscriber begins with the oldest message that the ring holds (for lossless rings,
see L</LOSSLESS RINGS>). For a named subscriber this matters only the first time: later it resumes where it stopped.

=head2 readers

    my @readers = $ring->readers;

Returns the subscribers in the ring's table, in no particular order: a list of references to hashes with

    name        its name, or undef
    pid         its process, as numbered in that process's pid namespace
    position    the position of the next message that it will read
    lag         how many published messages it has not read yet
    lost        how many messages were overwritten before it read them
    delivered   how many messages it got
    waits       1 if it is sleeping until a message arrives, otherwise 0
    lossy       1 if publishers of a lossless ring do not wait for it, otherwise 0
    alive       1, or 0 if its process is gone or has released it and only the name is left; undef if unknown
    since       when it subscribed, in seconds since 1970, with fractions

L</READERS> says how exact C<position>, C<lag>, C<lost> and C<delivered> are, and when C<alive> is unknown. In
scalar context, returns the last reader.

    for my $reader (sort { $b->{lag} <=> $a->{lag} } $ring->readers) {
        printf "%7d %-20s %d behind, %d lost\n", $reader->{pid}, $reader->{name} // '-', @$reader{qw(lag lost)};
    }

=head2 forget

    my $done = $ring->forget($name);

Removes a named reader whose process is gone from the table. The next subscriber of this name starts like a
new one. Returns true, or false if there is no such name. Croaks with C<reader "audit" lives in process
4711>.

=head2 waiting_for

    my @readers = $ring->waiting_for;

Returns the readers, as L</readers> describes them, that have not read the message which the next C<publish> would
overwrite. If a lossless ring is full, its publishers wait for these readers. Returns the empty list if there is
room, and for rings that are not lossless.

=head2 wait_for_readers

    my $done = $ring->wait_for_readers;
    my $done = $ring->wait_for_readers($timeout);

Waits until every reader in the table has read all messages published before the call. In a lossless ring this means
the readers that publishers wait for (see L</LOSSLESS RINGS>); in others, all but those subscribed with C<< lossy
=> 1 >>. Returns true, also if there are no readers; false if C<$timeout> seconds have passed. Signal handlers
run while it waits. It does not wait for readers whose process is gone.

    $ring->publish('the last one');
    $ring->wait_for_readers(10) or warn "some readers have not read everything\n";

=head2 sub_class

    my $package = $ring->sub_class;

The package of the subscribers that C<subscribe> makes. A subclass overrides this method to name a subclass of C<Class::Sub>:

    package My::Ring;
    our @ISA = 'Data::PubSub::Shared::Int';
    sub sub_class { 'My::Ring::Sub' }          # @My::Ring::Sub::ISA is 'Data::PubSub::Shared::Int::Sub'

=head2 clear

    $ring->clear;

Discards, in one step, everything published so far. It is safe while other processes publish and read.
Afterwards positions are counted from 0 again, and every subscriber in every process continues with the
first message after the clear. Messages that a subscriber had not read by then are not added to its
C<overflow_count>. Returns nothing.

    $ring->publish(1);
    $ring->clear;
    my $v = $sub->poll;                        # undef

=head2 sync

    $ring->sync;

Writes the memory to the ring's file with msync(2), and waits until that is done. Useful only for rings in
files on a disk. Returns nothing; croaks with the system's error text.

=head2 unlink

    $ring->unlink;
    Class->unlink($path);

Removes the ring's file. Processes that have it open can continue to use it, and learn that it is gone: L</is_gone>
is true, and their waits end. The next C<new> makes a new ring. Returns true, also if the file is already gone.
Croaks with the system's error text if removing fails.

A ring object removes only the file that it was opened from, even if the process has changed its directory
since. It croaks with C<... is another ring now> if another file has taken the name, and with C<this ring
has no path> if it has none. It takes no argument. The class method removes any file at C<$path>; under
C<-T>, a tainted path croaks with C<Insecure dependency>.

=head2 path

    my $path = $ring->path;

The path that the ring was opened with, as bytes, or undef if it has none.

=head2 readonly

    my $bool = $ring->readonly;

Whether the ring was opened for reading only (L</new_readonly>, and L</new_from_fd> with such a descriptor).

=head2 generation

    my $text = $ring->generation;

A string that identifies the ring and its last L</clear>. It changes when a L</clear> discards messages, and is different for
another ring under the same path. A program that stores a L</cursor> stores this string with it, and later knows whether the
position is still valid:

    my ($then, $position) = load();
    my $sub = $ring->subscribe_all;
    $sub->cursor($position) if $then eq $ring->generation;

=head2 memfd

    my $fd = $ring->memfd;

The file descriptor number of a ring made with L</new_memfd> or L</new_from_fd>; -1 for other rings, and
if the program has closed the descriptor (L</DAEMONS>). It belongs to the object: do not close it.

=head2 msg_size

    my $bytes = $ring->msg_size;

C<Str> only: the maximum length of a message, in bytes.

=head2 stats

    my $stats = $ring->stats;

A reference to a new hash with:

    capacity      slots
    mmap_size     all the memory of the ring, in bytes
    write_pos     as returned by the method of that name
    publish_ok    messages published
    abandoned     positions that a publisher claimed and did not fill, because it died or
                  was stopped too long
    recoveries    Str: spare blocks taken over from publishers that were killed in the
                  middle of a publish
    sub_waiters   subscribers that are sleeping (a killed one counts until the next
                  wake-up)
    readers       the number of entries in the table of readers
    unlisted      subscribers that found the table full, since the ring was made
    lossless      1 if publishers wait for readers, otherwise 0
    keep          lossless rings only: how many seconds publishers wait for a named
                  reader that is away
    msg_size      Str only: the maximum length of a message, in bytes
    arena_cap     Str only: the memory for the text of messages, in bytes
    publishers    Str only: how many can be in the middle of a publish at once
    leaked        Str only: spare blocks that are missing until a process starts to
                  publish while no other does
    stamped       Str only: 1 if each message has its time and sender, otherwise 0

The numbers are read one after the other while other processes work, so they may not agree exactly.
C<clear> resets C<write_pos> and C<publish_ok> to 0; C<abandoned> and C<recoveries> count since the
ring was made.

    printf "%d published, %d asleep\n", @{ $ring->stats }{qw(publish_ok sub_waiters)};

=head1 SUBSCRIBER METHODS

Call methods that return a list in list context. In scalar context they deliver just as many
messages, but return only the last one (undef if there was none).

Counts (C<$n>, C<$max>) are numbers. A fraction is dropped. With 0 the call returns at once and delivers nothing. A negative
count means all messages, and so does undef for C<$max>, which is optional. Anything else croaks with C<count must be a
number, not "abc">.

Timeouts are in seconds, with fractions. Undef, a missing argument, negative numbers, and infinity all mean: wait forever. 0
means: do not wait. The empty string, the value of a false condition, means the same: C<< $sub->poll_wait($blocking && 5) >>.
Anything else croaks with C<timeout must be a number of seconds, not "abc">, whether or not there is a message. Time is measured
with the monotonic clock; setting the system's date has no effect. While a call waits, signal handlers run: see L</SIGNALS>.

B<A negative timeout waits forever.> So a program that computes the time left until a deadline must not
let the difference fall below 0:

    use List::Util 'max';
    my $v = $sub->poll_wait(max(0, $deadline - time));

A message is never undef, so test it with C<defined>. C<if ($sub-E<gt>poll)> fails for the message 0
and the empty string.

=head2 poll

    my $value = $sub->poll;

Returns the next message, or undef if there is none (in list context, too: one undef). Does not
wait.

    while (defined(my $v = $sub->poll)) { print "$v\n" }

=head2 latest

    my $value = $sub->latest;
    my $value = $sub->latest($timeout);

Returns the newest message if it has not been delivered yet, and undef otherwise. The messages before it are skipped, and counted in
L</skipped>, not as lost. This is conflation, for programs that need the current price and not each price. With a
L<prefix|/subscribe>, returns the newest message with that prefix. Waits for up to C<$timeout> seconds if a timeout is given;
otherwise it does not wait.

    my $price = $sub->latest // $price;

=head2 poll_multi

    my @values = $sub->poll_multi($n);

Returns up to C<$n> messages, oldest first; the empty list if there are none. Does not wait.

    while (my @batch = $sub->poll_multi(100)) { print "@batch\n" }

=head2 drain

    my @values = $sub->drain;
    my @values = $sub->drain($max);

Returns all messages that are in the ring when the call begins, or at most C<$max> of them. Messages
published while it runs are left for the next call, so it ends even if publishers are busy. It also
ends at a position that a publisher has claimed and not filled yet, and may end after 65,536 or more
positions in a row that were never filled; see L</AFTER A CRASH>.

    my $latest = ($sub->drain)[-1];            # undef if there was none

=head2 drain_packed

    my $bytes = $sub->drain_packed;
    my $bytes = $sub->drain_packed($max);

All variants but C<Str>: returns the messages that L</drain> would return, as one string of numbers in the format of
L</publish_packed>. Returns the empty string if there are none.

    my @values = unpack 'q*', $sub->drain_packed;

=head2 poll_wait

    my $value = $sub->poll_wait;
    my $value = $sub->poll_wait($timeout);

Returns the next message. If there is none yet, sleeps until one is published; returns undef after C<$timeout> seconds.
If the ring L<is gone|/is_gone> and no message is left, returns undef at once. It notices C<unlink> of this module
immediately, and other ways of removing the file within two seconds.

    my $v = $sub->poll_wait(0.25) // die "nothing for a quarter of a second";

=head2 poll_wait_multi

    my @values = $sub->poll_wait_multi($n);
    my @values = $sub->poll_wait_multi($n, $timeout);

Waits for a first message as C<poll_wait> does, then returns the messages in the ring, at most C<$n>.
It does not wait until there are C<$n> of them. Returns the empty list after C<$timeout> seconds.

    while (my @batch = $sub->poll_wait_multi(100, 5)) { print "@batch\n" }

=head2 poll_cb

    my $n = $sub->poll_cb($code);
    my $n = $sub->poll_cb($code, $max);

Calls the handler once for each message that is in the ring when C<poll_cb> begins, or for C<$max> of them at most,
with the message in C<$_[0]>. Returns how many it handled. C<$code> is a code reference, an object that overloads
C<&{}>, or the name of a subroutine; a name without a package belongs to the caller's. Anything else croaks with
C<handler must be a code reference or the name of a subroutine, not ...>. This is faster than a loop around
C<poll>, since there is one method call for all messages.

If the handler dies, the exception propagates to the caller. The message that it was given counts as
delivered; the next call begins with the one after it. The handler may use this module freely: it
may publish, subscribe, and even poll the same subscriber.

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
Without an eventfd it just drains. This order misses no message: a message published after the drain
has begun notifies again. With C<$max>, call it until it returns less than C<$max>, since no further
notification is sent for what remains. (L</fh>, in contrast, stays readable.)

=head2 fh

    my $fh = $sub->fh;

A file handle that is readable as long as this subscriber has messages to read, regardless of which
process published them; plain C<publish> is enough. Pass it to an event loop, to C<select>, or to
poll(2); see L</EVENT LOOPS>.

    my $in = IO::Select->new($sub->fh, \*STDIN);
    for my $fh ($in->can_read) {
        if   ($fh == $sub->fh) { print "$_\n" for $sub->drain }
        else                   { chat(scalar <$fh>) }
    }

Only its readiness matters. Do not read from it or write to it. C<poll> and the other reading methods,
C<cursor>, C<reset> and C<reset_oldest> update the readiness. It is level-triggered, not edge-triggered:
after C<drain(10)> of 50 messages the handle is still readable, after the last message it is not. In one
case it may be readable though there is nothing to read: when a C<clear>, or a publisher that lapped the
subscriber and died, removed the message that it announced. The next C<poll>, which returns undef, resets
it. So read without waiting in a loop's callback.

Each call returns the same handle. If you close it, or the program has closed its descriptor (L</DAEMONS>),
the next call makes a new one. The handle belongs to this subscriber alone. Once the subscriber is
destroyed the handle is no longer updated: take it out of the event loop first.

A small native thread sleeps until there is a message, as a subscriber in C<poll_wait> does. One thread serves all subscribers of
the process (up to 127 before Linux 6.15: see L</What a handle costs>). It runs no perl code, gets no signals, and ends with the
last of the subscribers. It costs a publisher as much as any waiter: one system call per sleep, not per message.

After a fork the child's copy of the subscriber has no thread. Call C<fh> in the child to get a handle
and a thread of its own. Do not use the parent's handle in the child. It is closed there when the
subscriber's copy gets its own handle, reads, moves its cursor or is destroyed, unless a variable still
holds the handle.

Croaks with the failed system call and its error text if no thread or descriptor is available. The handle has only perl's
default layers, also under C<use open>. It costs two descriptors for each subscriber: see L</What a handle costs>. For many
rings there is one handle: L<Data::PubSub::Shared::Set>.

=head2 lag

    my $n = $sub->lag;

How many published messages this subscriber has not read. This may be more than the ring holds: then
some of them are already lost. It is 0 if the cursor is beyond the newest message.

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

The subscriber's name in the table of readers; undef if it has none, and after L</release>.

=head2 release

    $sub->release;

Removes the subscriber from the table of readers. It can be used as before, but is no longer listed. Publishers of a
lossless ring no longer wait for it. Another subscriber can take its name, and continues at this one's cursor. When
a subscriber is destroyed, or its process ends, this happens automatically. Returns nothing.

=head2 prefix

    $sub->prefix('prices.');
    $sub->prefix(['prices.', 'news.']);
    $sub->prefix(undef);                # everything

C<Str> only: sets the prefixes of the messages to deliver from now on, like the L<option|/subscribe> of that name.
Messages that were already skipped are not delivered. Returns nothing. Croaks as C<subscribe> does.

=head2 filtered

    my $n = $sub->filtered;

How many messages this subscriber has skipped because they did not begin with its L<prefix|/subscribe>. They are counted when it
skips them: while it reads or waits, and while its L</fh> is watched.

=head2 skipped

    my $n = $sub->skipped;

How many positions L</latest> has skipped to get to newer messages.

=head2 position

    my $pos = $sub->position;

The position of the message that was delivered last, also in a handler of L</poll_cb>; after a call that returned a list, that of
its last message. It is undef before the first message, and after a L</clear>. (L</cursor> is the position where the next read
begins; there may be positions without a message in between.)

=head2 time

    my $seconds = $sub->time;

C<Str> only: when the message that was delivered last was published, in seconds since 1970, with fractions, as in L<Time::HiRes>;
after a call that returned a list, that of its last message. It is the wall clock of the publisher's host, so it can go back. It is
undef before the first message, and in a ring that is not L<stamped|/new>.

    while (defined(my $line = $sub->poll_wait)) {
        printf "%s [%d] %s\n", scalar localtime $sub->time, $sub->sender, $line;
    }

=head2 time_ns

    my $nanoseconds = $sub->time_ns;

C<Str> only: the same in nanoseconds, as an integer, because a floating-point number does not hold all digits.

=head2 sender

    my $pid = $sub->sender;

C<Str> only: the pid of the process that published the message, as numbered in its own pid namespace; undef as for L</time>. It is
not verified: a process with write access can forge it.

=head2 ring

    my $ring = $sub->ring;

Returns a ring object for the ring that this subscriber reads. Each call makes a new handle, with the subscriber's eventfd, and
read-only if the subscriber is. It has the class of the variant; a subclass of C<Class::Sub> overrides C<ring_class> to name
another.

=head2 ring_class

    my $package = $sub->ring_class;

The package of the objects that L</ring> returns.

=head2 cursor

    my $pos = $sub->cursor;
    $sub->cursor($pos);

The position of the next message to read. With an argument other than undef, moves there first. Positions
are counted from 0 for the first message in the ring, or the first after a L</clear>. Both forms return
the cursor.

A position that has been overwritten is allowed: the next read then continues at the oldest message,
and counts the gap as overflow. A position beyond the newest message is allowed too: the subscriber
then waits for that message, and skips those before it.

C<$pos> is an integer from 0 to 2**63 - 1, as a number, a string of digits or a L<Math::BigInt>;
anything else croaks with C<position must be a non-negative integer, not ...>.

    my $mark = $sub->cursor;
    my @peek = $sub->drain;
    $sub->cursor($mark);                       # as if nothing had been read

=head2 reset

    $sub->reset;

Moves the cursor just after the newest message, so that the messages in the ring are skipped. Returns nothing.

=head2 reset_oldest

    $sub->reset_oldest;

Moves the cursor to the oldest message that the ring holds. Returns nothing.

=head1 METHODS OF BOTH

=head2 capacity

    my $slots = $ring->capacity;
    my $slots = $sub->capacity;

How many messages the ring holds: the number requested, rounded up to a power of two.

=head2 is_gone

    my $gone = $ring->is_gone;
    my $gone = $sub->is_gone;

Whether the ring's file was removed, or another file took its path, so that processes that open the path now do not get this
ring. Its messages can still be read. Never true for a ring in memory. Costs one stat(2).

    while (1) {
        while (defined(my $value = $sub->poll_wait(60))) { print "$value\n" }
        next if !$sub->is_gone;
        sleep 1 until eval { $sub->reopen };    # until the next ring exists
    }

=head2 reopen

    $ring->reopen;
    $sub->reopen;

Switches to the ring that is at the path now, and returns true. Subscribers and the ring object that made them are
reopened separately. A subscriber starts at the oldest message that the ring holds; it keeps its C<overflow_count>, and
its C<fh> must be requested again. Croaks with C<this ring has no path>, or as C<new> does if the path holds no ring, or
one of another variant; in that case the object is unchanged.

=head2 write_pos

    my $pos = $ring->write_pos;
    my $pos = $sub->write_pos;

The position that the next message will get, which is the number of positions used since the ring was made
or cleared.

=head2 eventfd

    my $fd = $ring->eventfd;

Rings only. Makes an eventfd (see eventfd(2)) for this ring object on the first call, and returns its
descriptor number on every call. The descriptor is non-blocking and close-on-exec. It is closed when
the last object that uses it is destroyed: the ring object, or a subscriber made from it. If the
program has closed it (L</DAEMONS>), the next call makes a new one. Croaks with the system's error
text if no descriptor is available.

A subscriber uses the eventfd that its ring object has when C<subscribe> is called. So call
C<eventfd> first, or pass the eventfd to the subscriber with L</eventfd_set>.

=head2 eventfd_set

    $ring->eventfd_set($fd);
    $sub->eventfd_set($fd);

Uses an eventfd of the caller. This module never closes it, so keep it open as long as it is in use. Once the
caller has closed it, it counts as closed (L</DAEMONS>), even if its number is used for another file. -1
detaches it. Anything else that is not a descriptor number croaks with C<file descriptor must be a
non-negative integer, not ...>, and a number that is not open with the system's error text. Returns nothing.

    $sub->eventfd_set($ring->eventfd);         # made after subscribe

=head2 fileno

    my $fd = $ring->fileno;
    my $fd = $sub->fileno;

The number of the object's eventfd, or -1 if it has none or the eventfd has been closed. (The descriptor of L</fh> is a different
one: C<fileno($sub-E<gt>fh)>.)

=head2 notify

    $ring->notify;
    $sub->notify;

Adds one to the eventfd's counter, so that its watchers wake up. Returns true, or false if there is no
eventfd. A full counter is not an error: its watchers are already notified. Croaks with the system's
error text if the descriptor has been closed.

    $ring->publish_multi(@values);
    $ring->notify;                             # once for all of them

=head2 eventfd_consume

    my $count = $ring->eventfd_consume;
    my $count = $sub->eventfd_consume;

Reads the counter and sets it to 0, without waiting. Returns the count, or undef if it was 0 or
there is no eventfd. Croaks with the system's error text if the descriptor has been closed.

=head2 DESTROY

    undef $ring;

Perl calls it when the last reference goes away. It releases the memory (once no subscriber needs it)
and the descriptors of this process; the file and other processes are not affected. After an explicit
call, every other method croaks with C<Attempted to use a destroyed Class object>.

=head1 ERRORS

All errors are exceptions with a text of this form:

    Data::PubSub::Shared::Int->new: open(/x/y): No such file or directory at FILE line N.
    Class->method: cause at FILE line N.

Causes that any method may report:

=over 4

=item Expected a Class object

The method was called on a class name, a plain reference, an object of another variant, or an object
that this module did not make.

=item Attempted to use a destroyed Class object

C<DESTROY> was called before.

=item Class object destroyed during the call

=item Class object was replaced during the call

A callback, or a tied or overloaded argument, ran perl code that destroyed the object or assigned
something else to the variable that held it.

=item Usage: Class::method(...)

The number of arguments was wrong.

=item Data::PubSub::Shared->new: this is a method of ...

A constructor, or C<unlink>, was called on the common base package. Call it on one of the five
packages that the message names.

=back

Keywords croak with the same texts, which begin with the keyword's name: C<ps_int_poll: Expected a
Data::PubSub::Shared::Int::Sub object at ...>.

=head1 KEYWORDS

    use Data::PubSub::Shared::Int;

    ps_int_publish $ring, $value;
    my $value = ps_int_poll $sub;
    my $n     = ps_int_lag $sub;

Each variant has three keywords that do the same as its methods C<publish>, C<poll> and C<lag>. They
are parsed with L<XS::Parse::Keyword> and compiled into ops of their own, so they need neither a
method look-up nor a subroutine call.

    Package                        Keywords
    Data::PubSub::Shared::Int      ps_int_publish    ps_int_poll    ps_int_lag
    Data::PubSub::Shared::Int32    ps_int32_publish  ps_int32_poll  ps_int32_lag
    Data::PubSub::Shared::Int16    ps_int16_publish  ps_int16_poll  ps_int16_lag
    Data::PubSub::Shared::Num      ps_num_publish    ps_num_poll    ps_num_lag
    Data::PubSub::Shared::Str      ps_str_publish    ps_str_poll    ps_str_lag

C<use> of a variant turns its keywords on until the end of the enclosing block or file, C<no>
turns them off. C<use Data::PubSub::Shared> turns on none. Nothing is exported.

They are parsed like calls of functions with the prototypes C<($$)> and C<($)>. Parentheses directly after the
keyword enclose all arguments. Without parentheses, the one argument of C<poll> and C<lag> ends like the
argument of C<length> or C<defined>, at a comparison, for example; the value of C<publish> ends at a comma or
at C<and>, C<or>:

    if (ps_int_lag $sub == 0) { ... }            # (ps_int_lag $sub) == 0
    my $v = ps_int_poll $sub // -1;              # (ps_int_poll $sub) // -1
    ps_int_publish $ring, $x + 1 or die;         # (ps_int_publish $ring, $x + 1) or die
    ps_int_publish $ring, ($x + 1) * 2;          # publishes the product
    is ps_int_lag($sub), 2, 'two left';

Each argument is a scalar. An array, a hash, a slice or another list is a compile-time error,
because only its count or its last item would be published:

    ps_int_publish $ring, @values;               # Type of arg 2 to ps_int_publish must be scalar
    $ring->publish_multi(@values);               # publishes them all
    ps_int_publish $ring, scalar @values;        # publishes how many there are

A keyword accepts only objects of its own variant. Objects of a subclass are accepted, but methods that the subclass
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

The publishers need no change. They are other processes that have opened the ring by its path and
call C<publish>. A callback may take some messages and leave the rest, as this one does when there
are more than 100: the loop calls it again after it has served its other watchers. In other loops:

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

Take the handle out of the loop before the subscriber is destroyed. Both may happen inside the callback.

=item *

A process that only waits for messages needs no event loop: C<poll_wait> sleeps in the kernel, and
every C<publish> wakes it. This needs no thread, either. To wait for several rings, use a
L<set|Data::PubSub::Shared::Set>, which also has one handle for all of them.

=back

=head2 The eventfd

The alternative is older and simpler: an eventfd, which the I<publisher> signals. It needs no thread,
and the publisher decides when to notify: once after a thousand messages, for example, or only for
important ones. It works for publishers and subscribers that share the descriptor, by fork or over a
Unix socket:

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

The eventfd belongs to the object, not to the ring in memory. A process that opens the ring by its path
has no eventfd, or one of its own. An eventfd is passed to another process by fork, or over a Unix
socket.

=item *

An eventfd has one counter, and a process that consumes it consumes it for all. So give each process that watches
an eventfd of its own. Several ring objects on the same memory give several eventfds:

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

Let C<capacity> be 1024. A subscriber that has 1024 unread messages still gets each of them. When
one more is published, the oldest is overwritten: C<lag> is 1025, C<has_overflow> is true. The next
read moves the cursor to the oldest message left, adds the difference to C<overflow_count>, and
delivers that message. No call fails because of it.

    my $before = $sub->overflow_count;
    for my $message ($sub->drain) { handle($message) }
    my $missed = $sub->overflow_count - $before;
    warn "missed $missed messages\n" if $missed;

Remedies: a larger ring; C<drain> or C<poll_cb> instead of C<poll>; a process that only reads messages
and passes them on. If only the newest message matters, use L</latest>.

If no message may be lost, make the ring L<lossless|/LOSSLESS RINGS>, so that the publishers wait. L</readers> shows slow
subscribers.

=head1 READERS

A ring has a table of its subscribers, with 64 entries unless C<readers> in L</new> says otherwise. A subscriber takes an entry when
it is made. The entry is removed when the subscriber is destroyed or L<released|/release>, and when its process ends or is killed.
L</readers> lists the table, and so does the command C<pubsub-shared who>.

=head2 Named readers

    my $sub = $ring->subscribe(name => 'audit');

The entry of a named reader stays in the table when the reader is gone, with the position that it had reached. The next subscriber
of this name, in any process, takes it over and continues there. This also works after C<kill -9>, and for a process of another
user or in a container that has the ring open. Messages that were overwritten in the meantime are counted as lost. A name is held
by one live process at a time; in another process C<subscribe> croaks with the pid of the holder.

A message counts as read when the call that delivered it returns. If a reader is killed in the middle of a call, C<drain> for
example, or in the handler of C<poll_cb>, its successor continues after some or all of the messages of this call. No message is
delivered twice, and messages that the killed reader did not handle are not delivered again. If each message must be handled at
least once, read one at a time, and let the program record which messages it has finished.

A name keeps an entry until L</forget> (or C<pubsub-shared forget>) removes it, or until the ring is removed.

=head2 What the numbers mean

A reader writes its position to the table when it has found the ring empty, before it sleeps, and at the latest after an
eighth of the capacity. Named readers, and readers of lossless rings, write it with every call. So C<lag> of an ordinary
busy reader may be too large by an eighth of the capacity, but never too small. Positions count messages delivered, not
handled. C<lost> and C<delivered> of a named reader include those of its predecessors.

=head2 How it is known whether a reader is alive

A process that has subscribers holds a lock on a byte far beyond the end of the ring's file (an open-file-description
lock, see fcntl(2)). The kernel releases the lock when the process ends, in any pid namespace. If there are no such
locks, because the file system does not support them (NFS, some FUSE file systems, overlayfs) or the path was gone or
could not be opened when the process subscribed, its pid and start time are used instead. They say nothing about a
process of another pid namespace: then C<alive> is undef. An entry is given to another reader only if its process is
certainly gone.

=head2 Not in the table

A subscriber works without an entry, and loses nothing by it, if the table is full (C<unlisted> in L</stats> counts these
subscribers), if the ring has no table, and if the ring is L<read-only|/new_readonly>. For a named subscriber, or in a lossless
ring without C<< lossy => 1 >>, a full or missing table is an error.

After a fork, the entry belongs to the parent. The child's copy of a subscriber takes an entry of its own, without a name,
when the child first reads with it. Until then it is not listed, and publishers of a lossless ring keep no messages for
it. So subscribe in the child.

=head1 LOSSLESS RINGS

    my $ring = Data::PubSub::Shared::Str->new('/dev/shm/jobs.ring', 1024, 512, lossless => 1);

Publishers of a lossless ring wait rather than overwrite a message that a reader has not read, as a write to a
full pipe waits. This is a property of the ring: every publisher of the ring waits.

=over 4

=item Which readers they wait for

Every subscriber in the table of L<readers|/READERS>, from the moment at which C<subscribe> returns, except those
that were subscribed with C<< lossy => 1 >>. If there are none, publishers do not wait. A full table is an error of
C<subscribe>.

=item Which calls wait

C<publish>, C<publish_multi>, C<publish_packed>, C<publish_notify> and the keywords wait without limit. Signal handlers
run while they wait. If a handler dies, the call ends with its exception, and nothing was published (by
C<publish_packed>, perhaps the first numbers). L</publish_wait> waits for a limited time, L</try_publish> does not wait.
L</wait_for_readers> waits until everything has been read. L</waiting_for> and C<pubsub-shared who> list the readers
that publishers wait for.

A batch of more messages than the capacity can never fit, and croaks. C<publish_packed> takes any number: it
publishes piece by piece.

=item Readers that died

Publishers do not wait for readers whose process has ended. A waiting publisher asks the kernel, before it sleeps and every 20 ms,
whether the readers that it waits for are alive.

=item Named readers that are away

Publishers wait for them only if the ring was made with C<< keep => SECONDS >>, and only for that long after they left or were found
dead. Then publishers overwrite the messages that the absent reader has not read; it counts them as lost when it comes back.

=item Readers that are stopped

A reader that is stopped by SIGSTOP or a debugger, or busy with long work, holds up publishers, and thereby all other readers.
This is the price of a lossless ring. It lasts until the reader continues, calls L</release>, or ends.

=item A process that waits for itself

If a publisher would wait without limit for a subscriber that the same thread has read, it croaks with C<would
wait forever for this process's own subscriber, which is read in this thread>. C<publish_wait> with a timeout
waits for it.

=item clear, seeks

C<clear> discards the published messages, and so makes room. A subscriber may seek back (C<cursor>, C<reset_oldest>) to messages
that are still in the ring. But publishers may overwrite the messages that they were already allowed to overwrite at that time, up
to an eighth of the ring; the subscriber counts these as lost. For the same reason C<subscribe_all> begins with the oldest message
that publishers must keep, which may be that much later than the oldest message that the ring holds.

=back

Order, batches, accounting, and the treatment of killed and stopped publishers are the same as in other rings. C<overflow_count> of
a subscriber that publishers wait for, and that does not seek back, stays 0.

If there is room, C<publish> costs little more than in other rings (F<bench/README.md> has figures), and
publishers of integers take no lock; the only addition is the wait for readers. Rings that are not lossless
pay nothing.

=head2 Where they can be made

A lossless ring must know for certain whether a reader is dead, so it needs L<the kernel's locks|/How it is
known whether a reader is alive>. On file systems without them C<new> croaks:

    Class->new: /x/y: a lossless ring needs a file system with open-file-description locks that hold as
    long as a mapping does, as tmpfs (/dev/shm), ext4 and xfs have them

Rings without a path and memfds support them. If a subscriber cannot get its lock, because the file was removed, C<subscribe> croaks
for the same reason, unless the subscriber is C<lossy>.

=head1 ACCOUNTING

For each subscriber, at every moment:

    delivered + overflow_count + filtered + skipped = positions passed - abandoned ones met - discarded ones

Positions passed: how far the cursor has moved. Abandoned: positions that a publisher claimed and never filled, because
it died or was stopped (C<abandoned> in L</stats> counts them for the ring; subscribers of a L<read-only
ring|/new_readonly> count the ones that they skipped as lost). Discarded: by C<clear>, C<cursor($pos)>, C<reset>,
C<reset_oldest>. L</filtered> is 0 without a prefix, L</skipped> is 0 without C<latest>. So if no publisher died or was
stopped, and there was no clear or seek:

    my $start = $sub->cursor;
    my $got   = 0;
    $got += () = $sub->drain;
    # $sub->cursor - $start == $got + $sub->overflow_count

=head1 AFTER A CRASH

=head2 A publisher was killed

A publisher claims a position, then fills it; it may die in between. A subscriber that reaches such a position
abandons it after the claim timeout of 2 ms and continues. (A subscriber of a L<read-only ring|/new_readonly>
cannot abandon it, and skips it after 100 ms.) Until the 2 ms have passed, C<poll> returns no message, and
C<poll_wait> waits. If very many positions were abandoned, a call skips them in pieces of 65,536, which takes
about a millisecond each, and runs signal handlers in between. No published message is lost. The first part of an
unfinished batch may be in the ring.

A killed publisher of a C<Str> ring can also leave behind the spare block that it was writing to. Another
publisher takes the block over as soon as it needs one. It recognises the death of the process by a lock that
the process held on the ring's file, regardless of user, container or pid namespace. C<recoveries> in L</stats>
counts these blocks. If there is no such lock (the publisher could not open the ring's file a second time,
because it had changed its user or the path was gone, or the file system does not support the locks), the block
is lost permanently, and once all blocks are lost C<publish> waits.

A publisher that was killed in the middle of a batch of numbers (in a ring of at least 1024 slots that is not lossless) can leave up to
1024 slots reserved. Nobody uses them until another process publishes a batch and recognises the death, by the same lock. If
there is no such lock, as in a ring without a name (C<new(undef, ...)>), they stay unused as long as the ring exists. Once this affects
more than an eighth of a ring's parts, batches reserve nothing any more, and cost as much as in a small ring.

=head2 A creator was killed

The path then holds no ring or a complete one, and the next C<new> makes or opens it. On file systems
without nameless files (C<O_TMPFILE>: FUSE, NFS) a file called F<.pubsub-...> may be left beside it;
the next process of the same user that creates a ring in that directory removes it.

=head2 A publisher was stopped

By SIGSTOP, a debugger, or a busy host. If that happens in the middle of C<publish>, subscribers abandon its
position after 2 ms, just as if it had died. When it continues it notices this, and publishes its message at
a new position. So nothing is lost or duplicated; the message only comes later. Until then, nobody uses the slots that a batch of
numbers had reserved (at most 1024).

Other processes do not wait for a stopped publisher, with one exception. If as many publishers of a C<Str> ring as it has spare
blocks (16 to 64; see C<publishers> in L</new>) are stopped in the middle of C<publish> at once, further publishers wait until one
of them continues or dies; signal handlers run while they wait.

=head2 A subscriber was killed

Its entry stays in the table of L<readers|/READERS> until a process lists the table or needs an entry; that process frees it. The
entry of a named reader is kept. If the subscriber was asleep, it also leaves a mark that costs the next publisher one system call.
Publishers of a lossless ring that wait for it continue within 20 ms.

=head2 The host was restarted

Rings in F</dev/shm> are gone. A ring in a file on a disk still exists and can be opened. If the host went down
without writing its disks, the file is a mixture of older and newer parts: some messages may be missing, and in a
C<Str> ring some may have the wrong text. If that matters, remove the file at boot, or keep it in F</dev/shm>.
Messages that were in the ring at the time of a L</sync> are on the disk, unless they were overwritten afterwards.

=head1 FORK AND THREADS

Rings and subscribers work in a forked child. The ring is the same; the subscriber is a copy with a cursor of
its own, which begins at the parent's position. So parent and child both get each message from there on. (In a
lossless ring, from the child's first read on: see L</Not in the table>.) The handle of L</fh> belongs to the
parent; call C<fh> again in the child. The parent is not affected when the child ends. The memory and the
descriptors of this module are not inherited across C<exec>.

Objects are not copied into a new perl thread: there, the variable holds a reference to undef. Open
the ring again in the thread, by path or with C<new_from_fd>; an anonymous ring (C<$path> undef)
cannot be opened again. Threads that have each opened the ring use it like separate processes.

    my $ring   = Data::PubSub::Shared::Int->new_memfd('ticks', 1024);
    my $fd     = $ring->memfd;
    my $thread = threads->create(sub {
        my $mine = Data::PubSub::Shared::Int->new_from_fd($fd);
        $mine->publish(1);
    });

=head1 DAEMONS

A program that becomes a daemon often closes all its descriptors. The ring itself needs none and
continues to work, and so do its subscribers and C<poll_wait>. But with the descriptors closed:

=over 4

=item *

L</fh> and L</eventfd> must be called again, and return new handles. Take the old ones out of event
loops. Pass the new eventfd to existing subscribers with L</eventfd_set>.

=item *

L</memfd> and L</fileno> return -1. A ring of L</new_memfd> can then only be shared with children,
by fork.

=item *

L</notify>, L</eventfd_consume> and L</drain_notify> croak with C<eventfd N has been closed>;
L</publish_notify> publishes and notifies no process.

=back

The next file that is opened, perhaps a log file, gets the number of a closed descriptor. Whenever
this module uses or closes a descriptor, it checks that the number still refers to the same file. It
never writes to another file, reads from it or closes it. (To tell eventfds apart, it marks each one
with C<F_SETSIG> of fcntl(2).) It makes no descriptor numbered 0 to 2, even if those are closed, so
that no warning is written into a ring.

    my $ring = Data::PubSub::Shared::Str->new('/run/app/events', 4096);
    Proc::Daemon::Init();                # forks twice, closes all
    my $sub = $ring->subscribe;
    $loop->add($sub->fh);                # after Init

=head1 SIGNALS

Perl's signal handlers run as soon as the signal arrives in all calls that wait: C<poll_wait> and C<poll_wait_multi>;
C<wait_for_readers>; a publisher that waits for the readers of a lossless ring, or for a spare block of a C<Str> ring; and C<new>
while it allocates disk space or waits for another creator. They also run in any call that delivers messages while it skips
positions that were never filled. If a handler dies, the call ends with its exception; otherwise the wait continues until its
original deadline.

    local $SIG{ALRM} = sub { die "too long\n" };
    alarm 5;
    my $v = eval { $sub->poll_wait };
    alarm 0;

Signal handlers may use rings and subscribers, also those that the interrupted code was waiting
on.

=head1 FILES, PERMISSIONS AND SECURITY

=over 4

=item *

A new file has mode 0600: only its owner can use it. C<$mode> grants more. Subscribers of a ring opened with C<new> need
write permission as well as read permission, since they write marks and their entry in the table of L<readers|/READERS>
to the memory. Read permission is enough for L</new_readonly>: give the file mode 0644, and all users can follow the
ring, while only you can publish or corrupt it.

=item *

The last part of the path must not be a symbolic link (C<O_NOFOLLOW>). The directories before it are not
checked. Squatting: in a directory that all users can write to, another user may have created the path first,
with permissions for you. Use a directory that only trusted users can write to.

=item *

A process with write access can corrupt messages: forge or garble them, move positions, use up the spare blocks of a C<Str>
ring, hold up the publishers of a lossless ring. It cannot make another process read or write outside of the ring. The
header is checked when the ring is opened and never read again. The block number and length in a slot are checked each time
against a private copy of the sizes. A string is marked as UTF-8 only if it is valid UTF-8: if a publisher has marked other
bytes as UTF-8, they are delivered as bytes.

=item *

Under C<-T>, messages read from a ring are tainted, strings and integers alike. C<new> and C<unlink> croak
on a tainted path; L</new_readonly> accepts one, as C<open> for reading does, and C<path> of a read-only
ring is tainted.

=item *

If a file is truncated while it is mapped, each process that then accesses the missing part is killed
by SIGBUS. That is how mmap(2) works. Remove the file instead (L</unlink>), which affects no process.
A ring made with L</new_memfd> cannot be truncated.

=item *

Do not copy a ring's file over another one that is in use, and do not edit it. A file cannot be used
on a host of another byte order, or with another version of the layout; C<new> rejects such a file.

=item *

F</dev/shm> is the natural place for a ring: it is memory. A file on a disk works too, but the kernel writes
its changes to the disk from time to time. A ring on a network file system does not connect hosts.

=item *

On btrfs, copy-on-write is turned off for the file of a new ring (as by C<chattr +C>): otherwise writing would
need new blocks, which a full disk does not have. A copy by reflink, C<cp> without C<--reflink=never> for
example, shares its blocks with the original and loses this property, and so does a ring that is restored from
a backup: remove it and create a new one. Files on hugetlbfs are rejected; a tmpfs mounted with C<huge=always>
has large pages, too.

=back

=head1 DEPLOYMENT

=head2 Files that the system removes or hides

=over 4

=item RemoveIPC

When the last session of an ordinary user ends, systemd-logind removes that user's files from F</dev/shm>,
unless F<logind.conf> says C<RemoveIPC=no> or the user lingers (C<loginctl enable-linger>). A daemon that
was started from a terminal, or by cron, then continues with a ring that no longer has a name, while
processes that start later create a new one: neither side gets the other's messages. System users (usually
those with an id below 1000) are exempt. Run the daemon as a system user, preferably as a service.

=item /tmp

On many systems systemd-tmpfiles removes files from F</tmp> after 10 days, and from F</var/tmp> after 30. It uses
the times of the file. The times of a ring in a tmpfs do not change with its messages: they change when a process
opens the ring and when it first writes to it. So a ring that is always busy looks unused. Use F</dev/shm> or
F</run>, or exclude the ring by a line such as C<x /tmp/app.ring> in F</etc/tmpfiles.d>.

=item PrivateTmp

A service with C<PrivateTmp=yes> has a F</tmp> and a F</var/tmp> of its own, which are removed when it stops. Two such
services that open F</tmp/app.ring> have two rings, and get no error. Use F</dev/shm>, or C<RuntimeDirectory=app> and
F</run/app/app.ring>.

=back

=head2 Permissions that come from the directory

The mode is applied exactly, regardless of the umask. A default ACL of the directory (setfacl(1), C<-d>) is still
inherited. With mode 0600 the ACL's mask is empty, so the users and groups that it names get no access. In any
other mode the group bits are the mask: with 0660 all users and groups that the ACL names may write.

=head2 Memory limits

A ring in F</dev/shm> is charged in full to the memory cgroup of the process that creates it. An anonymous ring and a
memfd are charged page by page, as the first lap of messages is written, to the cgroup of the process that first
accesses the page. The charge stays while the ring exists, also after that process has ended, and the kernel cannot
drop these pages, only swap them out. If a ring is larger than the memory that the limit leaves, the OOM killer ends
a process; there is no error. So include the rings when you set a container's limit (C<mmap_size> in L</stats>), or
have a process without a limit create them, under F</dev/shm>.

F</dev/shm> of a Docker or Kubernetes container has 64 MiB, regardless of its memory limit. C<new> croaks with C<No
space left on device> if a ring does not fit. Start the container with C<--shm-size=1g>, for example, or mount a volume
in memory (C<emptyDir> with C<medium: Memory>), or use L</new_memfd>, which is only bounded by the memory limit.
L<Data::PubSub::Shared::Cookbook/CONTAINERS THAT SHARE A RING> has the commands.

=head2 overlayfs

Do not put a ring into an image. In a container, the files of the image's layers are copied when they are
first opened for writing. A process that had opened such a ring for reading (L</new_readonly>) before keeps
the original, in which nothing is ever published, and gets no error. Other containers have copies of their
own. Put rings on a volume or in F</dev/shm>.

On overlayfs a mapping does not keep a file's lock, so other processes cannot know whether a publisher is dead: the
spare block of a killed publisher of strings is not taken over, and the slots that a killed batch of numbers had reserved stay unused.

=head2 Copies, snapshots and reflinks

On a file system that copies on write (btrfs, bcachefs, XFS with reflinks), a snapshot, or a copy made by
C<cp --reflink> (the default of newer versions of cp), shares its blocks with the ring. The next write to
each block then needs a new block. If the disk is full, the publisher, or even a subscriber, is killed by
SIGBUS, though C<new> had reserved the space. Keep rings out of snapshots, and copy them with C<cp
--reflink=never>, or keep them in F</dev/shm>.

=head2 Restarts and hot deployment

An anonymous ring (C<$path> undef) belongs to the process that created it and to its children. A server that
replaces itself by exec, as Server::Starter, hypnotoad and others do to deploy a new version without a pause,
creates another ring. The old workers, which are still finishing their requests, and the new ones do not get
each other's messages. Give the ring a path, or pass a memfd on.

A ring of another size needs a new file. The deploying process removes the old file (C<unlink>) and makes the new one; the other
processes notice it with L</is_gone> and switch with L</reopen>. Until then they can read the messages of the old ring.

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

A C<Str> ring carries perl's strings unchanged, so a message compares equal to the published string. In
code under C<use utf8>, and after decoding input, strings are characters. This has three consequences:

=over 4

=item *

C<msg_size> counts bytes of UTF-8, C<length> counts characters. A text of 200 characters may take 800 bytes.

=item *

The subscriber gets characters, too. It has to encode them, like any text, before it prints them to a handle without an
encoding layer; otherwise perl warns of a C<Wide character>, or writes Latin-1.

=item *

A byte string with the UTF-8 form of a text is a different message from the text. Programs in other languages, and
the bridge's consumers, see bytes and one flag. So agree on one form for each ring. The simplest one is bytes: C<<
$ring->publish(Encode::encode('UTF-8', $text)) >>, and the reverse in the subscriber. JSON from C<encode_json>
already has that form.

=back

=head2 What write_pos counts

C<write_pos> counts positions, not messages. A publisher that was stopped in the middle of C<publish> finds its position abandoned,
and takes another one (see L</A publisher was stopped>); a publisher that was killed leaves its position empty. In both cases
C<write_pos> is larger than the number of messages. C<publish_ok> in L</stats> is C<write_pos> without the abandoned positions.

=head2 What a handle costs

Each subscriber whose L</fh> is used has an eventfd, and the handle, which is a duplicate of it. A process with 500 such subscribers
has 1,000 additional descriptors, which count towards C<ulimit -n>, and one thread with a stack of 64 KiB, which counts towards
C<TasksMax=>, C<pids.max> and C<ulimit -u>. (Before Linux 6.15, and where io_uring is forbidden, there is a thread for each 127
subscribers; before 5.16, and in sandboxes without futex_waitv, one for each subscriber.) A L<set|Data::PubSub::Shared::Set> has two
descriptors for all of its subscribers together, and needs no thread to wait.

A process that publishes strings, or a batch of numbers in a ring of at least 1024 slots, has one more mapping for each ring, of one
page without access, which tells others that it lives. Making it takes some 10 microseconds, with the first such publish.

=head2 Handlers that run at once

Perl's own signal handlers (C<%SIG>) are deferred, and may safely die: see L</SIGNALS>. A handler
installed with C<POSIX::sigaction> runs immediately, in the middle of the C code that the signal
interrupted, unless its C<safe> attribute is set; so does every handler if the environment has
C<PERL_SIGNALS=unsafe>. If such a handler dies inside a call of this module, the call cannot clean up:
a publisher leaves a position empty, and as long as this process lives, a publisher of C<Str> also keeps a spare block, and a
batch of numbers withholds up to 1024 slots; memory and descriptors leak. If such a handler forks in the middle of a publish, and
the child goes on with it, messages can be torn or overwritten. Call C<< $action->safe(1) >>, use C<%SIG>, or let the
handler only set a variable.

=head2 Containers and small memory

A ring allocates all its memory when it is made. In a container F</dev/shm> often has only 64 MiB:

    docker run --shm-size=1g ...                        # Docker, Podman
    emptyDir: { medium: Memory, sizeLimit: 1Gi }        # Kubernetes, mounted at /dev/shm

If the file system has less space than the ring needs, C<new> croaks with both numbers. For files in memory and for rings
without a name it does the same if the memory limit of the container (its control group) is smaller than the ring,
because the kernel would kill the process when the ring fills. Memory is charged to the container that accesses it first.

Rings without a name, C<new(undef, $capacity)> and L</new_memfd>, do not use F</dev/shm>, so its
size does not matter; they take memory as they fill. If a sandbox forbids memfd_create(2),
C<new(undef, ...)> still works, and C<new_memfd> croaks.

=head1 PERFORMANCE

The programs in F<bench/> measure these costs on your host; F<bench/README.md> has figures. Start with

    perl -Mblib bench/throughput.pl

Expect the following costs:

=over 4

=item *

An integer C<publish> takes two atomic instructions, and no system call unless a subscriber sleeps. Publishers
slow each other down only through the CPU's caches.

=item *

A C<poll> that finds a message loads the slot, and writes nothing that other processes read. It does not access
the word that all publishers write to. A C<poll> that finds no message costs hardly more.

=item *

Waiters cost the publisher one system call per sleep, not one per message. The same call wakes all waiters, which takes 5 to 25
microseconds for each, about as long as a write to a pipe for each would take (F<bench/sleepers.pl>). Apart from that, the number
of subscribers does not matter to a publisher.

=item *

A C<Str> C<publish> takes three atomic instructions and a copy. Reading takes one copy, directly into the new perl string.
Every message has a block of C<msg_size> bytes of its own. So until a new ring has been filled once, each message uses
memory for the first time: with a C<msg_size> of 4 KiB that took 2.4 microseconds a message, and 50 nanoseconds
afterwards.

=item *

Batches save time: C<publish_multi> claims all its positions at once. Numbers then cost a nanosecond each, in addition to perl's
cost for the list: in rings of at least 1024 slots, only the beginning and the end of a run of up to 1024 messages
take an atomic instruction. In smaller and in lossless rings each message takes one, some 5 nanoseconds. C<drain> and C<poll_cb> save
perl's method call per message, which is most of the cost of C<poll>. C<publish_packed> and C<drain_packed> save the
scalar per message as well.

=item *

Keywords save most of that method call, too.

=item *

C<publish_notify> always makes two system calls per message. For many messages, use C<publish>, then one
C<notify>.

=item *

A subscriber with a L</fh> takes an uncontended lock with each read, and makes a system call or two when the
handle changes between readable and not readable. If messages come in bursts, use C<drain> in the callback.

=item *

C<poll_wait> spins for a moment before it sleeps, if there is more than one CPU.

=back

=head1 LIMITS

=over 4

=item *

Capacity: 2 to 2**31 slots, a power of two.

=item *

CPUs: x86-64 and arm64; with Rust 1.84 s390x, with Rust 1.95 ppc64le. Rings need a lock-free compare-and-exchange of
16 bytes. On a CPU without one, F<Makefile.PL> prints an error and writes no Makefile.

=item *

C<msg_size>: 1 to 2**31 - 1 bytes. The arena for the text takes, for each slot and each of the
C<publishers>, C<msg_size> rounded up to a multiple of 8, plus 8 bytes.

=item *

C<publish_multi>: 8192 messages per call; in a lossless ring, not more than the capacity.

=item *

The table of readers: 0 to 65535 entries. Names: 47 bytes.

=item *

Positions are 64-bit numbers. At 100 million messages per second they last for thousands of years.

=item *

C<Int32>, C<Int16> and C<Str> recognise a message by its lap number, which has 31 bits. It repeats after
2**31 laps: 2 * 10**12 messages in a ring of 1024 slots. A publisher that is stopped in the middle of
C<publish> for half as many messages, or a subscriber that reads nothing for that many messages, may
mistake one lap for another. C<Int> and C<Num> have no such limit.

=back

=head1 MEMORY LAYOUT

Byte order is the host's. The file, or memory, consists of

    header    Magic number, layout version, variant, capacity, message size, offsets,
              total size; the next position; the position of the last clear; the
              word on which subscribers sleep; counters; the position up to which
              publishers of a lossless ring may write, and the word on which they sleep;
              the slots that batches of numbers have reserved.
              Words with different writers are on different cache lines.
    readers   For each subscriber: position, losses, process, name.
    spares    Str only: for each publisher in the middle of a publish, the block that
              it writes to.
    slots     capacity times 16 (Int, Num) or 8 bytes: lap number first, then value, changed
              in one instruction, or by a batch that has reserved the slot. The value of
              Str is the number of a block.
    arena     Str only: the blocks. Each has a length, the UTF-8 flag, and the text.

Internal positions never go back: C<clear> stores the position at which it happened, and users see
positions counted from there. The modules of the Rust core (F<src/layout.rs> and others) describe
each field, its writers, and why the memory orderings are correct.

=head1 MOVING FROM VERSION 0.x

Versions 0.x of C<Data::PubSub::Shared> on CPAN, up to 0.12, are another implementation by another author. This one shares
their interface but none of their code, and starts at 1.000, so that C<use Data::PubSub::Shared 1.000> asks for it. The advisory
CVE-2026-64617 covers versions of the other implementation before 0.07. It does not cover this one.

Programs move unchanged, rings do not:

=over 4

=item *

The file formats differ. C<new> refuses a file of the other implementation with C<invalid or incompatible: a ring file
of Data::PubSub::Shared 0.x, another implementation>, and does not touch it. Stop all processes that use the ring,
remove the file, and start them with this module: only unread messages are lost. The two implementations cannot use a
ring at the same time.

=item *

A new file has mode 0600 unless C<$mode> says otherwise, and symbolic links are rejected. If processes of several users share
the ring, pass a C<$mode>: see L</new>.

=item *

C<Str> publishers take no lock, so a ring has no recovery time, and C<recoveries> in L</stats> has another meaning. See
L</AFTER A CRASH>.

=item *

C<clear> may be called at any time, and live subscribers continue after it automatically.

=item *

L</new_readonly>, L</fh>, the C<$mode> and C<publishers> of L</new> and the command L<pubsub-shared>
are new.

=item *

Building the module needs Rust's cargo, 1.63 or later.

=back

=head1 SEE ALSO

L<Data::PubSub::Shared::Int>, L<Data::PubSub::Shared::Int32>, L<Data::PubSub::Shared::Int16>,
L<Data::PubSub::Shared::Num>, L<Data::PubSub::Shared::Str>: the variants.

L<Data::PubSub::Shared::Tutorial>: from the first ring to a prefork application in ten minutes.

L<Data::PubSub::Shared::Set>: waiting for several rings. L<Data::PubSub::Shared::Bus>: channels for programs with an event
loop. L<Data::PubSub::Shared::Cookbook>: complete solutions for common
jobs.

L<Data::PubSub::Shared::Bridge>: rings on several hosts. L<pubsub-shared>: the command.

L<Data::Queue::Shared>, where each message goes to one reader; L<Data::Buffer::Shared>,
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
