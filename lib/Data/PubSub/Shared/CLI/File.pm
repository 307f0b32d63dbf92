package Data::PubSub::Shared::CLI::File;

# Private to the commands pubsub-shared and pubsub-bridge: a ring's file, looked at from outside.
#
# The bytes come by read(2), never through a mapping, and nothing is ever written. So a file that one may
# only read is enough, and one that is truncated meanwhile costs an error message instead of a SIGBUS.
# src/layout.rs says what the bytes mean; t/cli.t compares what is read here with what the rings
# themselves report.

use 5.022;
use strict;
use warnings;

use Errno qw(EINTR ELOOP);
use Fcntl qw(O_NOCTTY O_NOFOLLOW O_NONBLOCK O_RDONLY O_RDWR S_ISREG);
use List::Util qw(max min);

use Data::PubSub::Shared;

use constant {
    MAGIC        => 'PubSubSh',
    VERSION      => 1,
    HEADER_LEN   => 4096,
    MAX_CAPACITY => 2**31,
    MAX_MSG_SIZE => 2**31 - 1,
    MAX_ARENA    => 2**35 - 8,
    MSG_SIZE     => 256,    # where nothing is said

    # The lock word: a thread id and two marks.
    OWNER      => 0x3fff_ffff,
    OWNER_DIED => 0x4000_0000,
};

# By the number in the header: name, bytes of a slot, what it carries, bits of an integer.
my %VARIANT = (
    1 => ['Int',   16, '64-bit integers', 64],
    2 => ['Int32', 8,  '32-bit integers', 32],
    3 => ['Int16', 8,  '16-bit integers', 16],
    4 => ['Str',   16, 'strings',         0],
);

# The class of a variant, named as people do.
sub class_of {
    my ($name) = @_;
    my ($found) = grep { lc $_->[0] eq lc $name } values %VARIANT;
    return $found && "Data::PubSub::Shared::$found->[0]";
}

# Opens and reads the header, whatever is in it. Dies with `PATH: cause`.
sub new {
    my ($class, $path) = @_;
    my $self = bless { path => $path }, $class;
    $self->{fh} = $self->_open(O_RDONLY);
    my @stat = stat $self->{fh} or die "$path: $!\n";
    die "$path: is a directory\n"       if -d _;
    die "$path: is not a regular file\n" if !S_ISREG($stat[2]);
    @$self{qw(size mode uid blocks)} = ($stat[7], $stat[2] & 07777, $stat[4], $stat[12]);
    $self->{id} = id_of(@stat);
    $self->_parse($self->bytes(0, 640));
    return $self;
}

# The same, but dies unless it is a ring.
sub ring {
    my ($class, $path) = @_;
    my $self = $class->new($path);
    my ($problem) = $self->problems;
    die "$path: $problem\n" if defined $problem;
    return $self;
}

# Whether the file begins as a ring does; says nothing about the rest.
sub looks_like_one {
    my ($path) = @_;
    my $self = Data::PubSub::Shared::CLI::attempt(sub { __PACKAGE__->new($path) });
    return $self && $self->{magic} eq MAGIC;
}

# Whether the file may be a ring, for those who look for damage: it cannot be read, or all is as in a ring but the magic
# number.
sub may_be_one {
    my ($path) = @_;
    return 0 if -l $path;
    my $self = Data::PubSub::Shared::CLI::attempt(sub { __PACKAGE__->new($path) }) or return lstat $path;
    return $self->{magic} eq MAGIC || $self->{size} >= HEADER_LEN && !$self->_wrong_geometry;
}

# Which file it is, by what stat says, for as long as it is there; undef where it is not.
sub id_of { my (@stat) = @_; return @stat ? "$stat[0]:$stat[1]" : undef }

# The path; for a directory, those of the files in it that $is_one, which is looks_like_one where nothing is said.
sub expand {
    my ($path, $is_one) = @_;
    return $path if !-d $path;
    $is_one //= \&looks_like_one;
    opendir my $dir, $path or die "$path: $!\n";
    return grep { -f && $is_one->($_) } map { $path =~ s{/*\z}{/}r . $_ } sort readdir $dir;
}

# Symbolic links are refused, as the rings' own constructors do. Descriptors and mappings of a process are
# no such links, though they look like it: by them one sees rings that have no path.
sub _is_descriptor {
    my ($self) = @_;
    return $self->{path} =~ m{\A/(?:proc/(?:self|\d+)(?:/task/\d+)?|dev)/(?:fd/\d+|map_files/[0-9a-f-]+)\z};
}

sub _open {
    my ($self, $access) = @_;
    my $flags = $access | O_NONBLOCK | O_NOCTTY | ($self->_is_descriptor ? 0 : O_NOFOLLOW);
    my $fh;
    until (sysopen $fh, $self->{path}, $flags) {
        next if $! == EINTR;
        die "$self->{path}: ", $! == ELOOP ? 'symbolic links are refused' : $!, "\n";
    }
    return $fh;
}

# Bytes of the file as they are now; fewer where it ends.
sub bytes {
    my ($self, $at, $length) = @_;
    defined sysseek $self->{fh}, $at, 0 or die "$self->{path}: $!\n";
    my $bytes = '';
    while (length $bytes < $length) {
        my $got = sysread $self->{fh}, $bytes, $length - length $bytes, length $bytes;
        last if defined $got && !$got;
        die "$self->{path}: $!\n" if !defined $got && $! != EINTR;
    }
    return $bytes;
}

sub _parse {
    my ($self, $bytes) = @_;
    $bytes .= "\0" x (640 - length $bytes);
    @$self{qw(magic version number)} = unpack 'a8 L2', $bytes;
    @$self{qw(capacity msg_size slots_at arena_at arena_len total)} = unpack 'x16 Q6', $bytes;
    $self->{boot_id} = substr $bytes, 64, 16;
    $self->reparse($bytes);
    @$self{qw(variant slot_len carries bits)} = @{ $VARIANT{ $self->{number} } || ['?', 0, '?', 0] };
    return;
}

# What changes while the ring is used: from the bytes given, or as it is now.
sub reparse {
    my ($self, $bytes) = @_;
    $bytes //= $self->bytes(0, 640);
    $self->{raw_pos} = unpack 'x128 Q', $bytes;
    @$self{qw(base abandoned_at_clear)} = unpack 'x256 Q2', $bytes;
    @$self{qw(wake waiters)}            = unpack 'x384 L2', $bytes;
    @$self{qw(lock lock_reserved namespace lock_reserved_too recoveries abandoned)} = unpack 'x512 L2 Q4', $bytes;
    # A base above the write position is no clear, and the rings do not believe it either.
    $self->{write_pos}  = $self->{raw_pos} - ($self->{base} > $self->{raw_pos} ? 0 : $self->{base});
    $self->{used}       = min($self->{write_pos}, $self->{capacity});
    my $gone            = max($self->{abandoned} - $self->{abandoned_at_clear}, 0);
    $self->{publish_ok} = max($self->{write_pos} - $gone, 0);
    return $self;
}

sub is_str { return $_[0]{number} == 4 }

# The least and the greatest integer that the ring can hold.
sub range {
    my ($self) = @_;
    my $half = 1 << $self->{bits} - 2;
    return (-$half - $half, $half - 1 + $half);
}

# Why this is no ring that can be opened; the empty list if it is one.
sub problems {
    my ($self) = @_;
    return 'too small for a ring file'                       if $self->{size} < HEADER_LEN;
    return 'not a ring file (no magic number)'               if $self->{magic} ne MAGIC;
    return "layout version $self->{version}, not " . VERSION if $self->{version} != VERSION;
    return $self->_wrong_geometry;
}

sub _wrong_geometry {
    my ($self) = @_;
    return "unknown variant $self->{number}" if !$self->{slot_len};
    my $capacity = $self->{capacity};
    return "capacity $capacity" if $capacity < 2 || $capacity > MAX_CAPACITY || $capacity & ($capacity - 1);
    my ($least, $most) = $self->is_str ? (1, MAX_MSG_SIZE) : (0, 0);
    return "message size $self->{msg_size}" if $self->{msg_size} < $least || $self->{msg_size} > $most;

    my %right = geometry($self->{slot_len}, $capacity, $self->{msg_size});
    return "an arena of $right{arena_len} bytes" if $right{arena_len} > MAX_ARENA;
    for my $field (sort keys %right) {
        return "$field is $self->{$field} in the header, and should be $right{$field}"
            if $self->{$field} != $right{$field};
    }
    return "the file has $self->{size} bytes, and should have $right{total}" if $self->{size} != $right{total};
    return;
}

# Where the parts of a ring begin, and how long they are. $msg_size is 0 for integers.
sub geometry {
    my ($slot_len, $capacity, $msg_size) = @_;
    my $arena_at  = HEADER_LEN + $capacity * $slot_len;
    my $arena_len = $msg_size ? ($capacity + 1) * round_up_8($msg_size) : 0;
    return (slots_at => HEADER_LEN, arena_at => $arena_at, arena_len => $arena_len, total => $arena_at + $arena_len);
}

# What a new ring will have: its capacity, and the geometry. The variant is named as people do.
sub plan {
    my ($variant, $wanted, $msg_size) = @_;
    my ($found) = grep { lc $_->[0] eq lc $variant } values %VARIANT;
    my $capacity = 2;
    $capacity *= 2 while $capacity < $wanted;
    return (capacity => $capacity, geometry($found->[1], $capacity, $msg_size));
}

sub round_up_8 { return ($_[0] + 7) & ~7 }

# Bytes of the file that have no disk space: holes, or a file system that compresses. Memory without a name has none until
# it is used, and needs none before.
sub unreserved {
    my ($self) = @_;
    return $self->_is_descriptor ? 0 : max($self->{size} - 512 * ($self->{blocks} || 0), 0);
}

# The thread that holds the lock, 0 where none does.
sub lock_owner { return $_[0]{lock} & OWNER }

# 'this', 'earlier', or 'unknown'.
sub boot {
    my ($self) = @_;
    state $now = do {
        my $text = '';
        if (open my $in, '<', '/proc/sys/kernel/random/boot_id') { $text = <$in> // '' }
        my @half = ($text =~ tr/0-9a-f//cdr) =~ /\A([0-9a-f]{16})([0-9a-f]{16})\z/;
        @half ? pack('Q2', map { no warnings 'portable'; hex } @half) : "\0" x 16;
    };
    return 'unknown' if "\0" x 16 eq $now || "\0" x 16 eq $self->{boot_id};
    return $self->{boot_id} eq $now ? 'this' : 'earlier';
}

# The ring object for this file, of the right class: mapped read-only, or for publishing.
sub attach {
    my ($self, $writing) = @_;
    my $class = "Data::PubSub::Shared::$self->{variant}";
    if ($self->_is_descriptor) {
        my $fh = $self->_open(O_RDWR);
        return $class->new_from_fd(fileno $fh);
    }
    return $writing ? $class->new($self->{path}) : $class->new_readonly($self->{path});
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::File - private to the command pubsub-shared

=cut
