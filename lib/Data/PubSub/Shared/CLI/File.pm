package Data::PubSub::Shared::CLI::File;

# Private to the command pubsub-shared: inspection of a ring's file.
#
# The core inspects it (src/system/inspect.rs, src/system/check.rs; here as _inspect, _readers, _check and _sizes) by reading,
# not through a mapping, so that read permission is enough, and truncating the file in the meantime causes an
# error message instead of a SIGBUS.

use 5.022;
use strict;
use warnings;

use Errno qw(EINTR);
use Fcntl qw(O_NOCTTY O_NONBLOCK O_RDWR);

use Data::PubSub::Shared;

# The limits of the constructors, and their defaults.
use constant {
    MAX_CAPACITY   => 2**31,
    MAX_MSG_SIZE   => 2**31 - 1,
    MAX_PUBLISHERS => 2**16,
    MAX_READERS    => 2**16 - 1,
    MSG_SIZE       => 256,
};

# By number: name, type of messages, bits of an integer.
my @VARIANT = (
    ['?',     '?',               0],
    ['Int',   '64-bit integers', 64],
    ['Int32', '32-bit integers', 32],
    ['Int16', '16-bit integers', 16],
    ['Str',   'strings',         0],
    ['Num',   'floating-point numbers', 0],
);

sub number_of {
    my ($name) = @_;
    my ($number) = grep { lc $VARIANT[$_][0] eq lc $name } 1 .. $#VARIANT;
    return $number;
}

# The class of a variant, whose name may be in upper or lower case.
sub class_of {
    my ($name) = @_;
    my $number = number_of($name);
    return $number && "Data::PubSub::Shared::$VARIANT[$number][0]";
}

# Inspects a file with any content. Dies with `PATH: cause`.
sub new {
    my ($class, $path) = @_;
    return $class->_made($path, _inspect($path));
}

# The same, with `problems`, `notes` and `checked`, the number of checked slots.
sub check {
    my ($class, $path, $all) = @_;
    return $class->_made($path, _check($path, !!$all));
}

sub _made {
    my ($class, $path, $self) = @_;
    @$self{qw(path variant carries bits)} = ($path, @{ $VARIANT[$self->{number} // 0] });
    return bless $self, $class;
}

# The same as new, but dies if it is not a ring.
sub ring {
    my ($class, $path) = @_;
    my $self = $class->new($path);
    die "$path: $self->{reason}\n" if defined $self->{reason};
    return $self;
}

# Its readers, like those of a ring object; and the readers that publishers of a lossless ring wait for now. Dies as `new` does.
sub readers     { my ($self) = @_; return @{ _readers($self->{path}, 0) } }
sub waiting_for { my ($self) = @_; return @{ _readers($self->{path}, 1) } }

# Whether the file begins like a ring; does not check the rest.
sub looks_like_one {
    my ($path) = @_;
    my $self = Data::PubSub::Shared::CLI::attempt(sub { __PACKAGE__->new($path) });
    return $self && $self->{has_magic};
}

# Whether the file may be a damaged ring: it cannot be read, or only the magic number differs from that of a ring.
sub may_be_one {
    my ($path) = @_;
    return 0 if -l $path;
    my $self = Data::PubSub::Shared::CLI::attempt(sub { __PACKAGE__->new($path) }) or return lstat $path;
    return $self->{has_magic} || $self->{likely};
}

# The path; for a directory, the paths of its files for which $is_one is true. Default: looks_like_one.
sub expand {
    my ($path, $is_one) = @_;
    return $path if !-d $path;
    $is_one //= \&looks_like_one;
    opendir my $dir, $path or die "$path: $!\n";
    return grep { -f && $is_one->($_) } map { $path =~ s{/*\z}{/}r . $_ } sort readdir $dir;
}

sub is_str { return $_[0]{variant} eq 'Str' }
sub is_num { return $_[0]{variant} eq 'Num' }

# The minimum and maximum integer of the ring.
sub range {
    my ($self) = @_;
    my $half = 1 << $self->{bits} - 2;
    return (-$half - $half, $half - 1 + $half);
}

# The `capacity` and `mmap_size` of a new ring. The name of the variant may be in upper or lower case.
sub plan {
    my ($variant, $capacity, %more) =
        (@_[0, 1], msg_size => 0, publishers => 0, readers => 64, stamped => 0, @_[2 .. $#_]);
    return %{ _sizes(number_of($variant), $capacity, @more{qw(msg_size publishers readers stamped)}) };
}

# The ring object for this file, of the right class: mapped read-only, or for publishing.
sub attach {
    my ($self, $writing) = @_;
    my ($class, $path) = ("Data::PubSub::Shared::$self->{variant}", $self->{path});
    return $writing ? $class->new($path) : $class->new_readonly($path) if !$self->{by_descriptor};
    my $fh;
    until (sysopen $fh, $path, O_RDWR | O_NONBLOCK | O_NOCTTY) { $! == EINTR or die "$path: $!\n" }
    return $class->new_from_fd(fileno $fh);
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::File - private to the command pubsub-shared

=cut
