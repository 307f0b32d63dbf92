package XT::Board;

# Numbers that processes share through an unnamed file; each number is written by one process only.
# Numbers that a process wrote before it was killed stay.

use strict;
use warnings;

use Fcntl qw(SEEK_SET);

sub new {
    my ($class, $count) = @_;
    open my $file, '+>', undef or die "an unnamed file: $!";
    my $self = bless { file => $file, count => $count }, $class;
    $self->set($_, 0) for 0 .. $count - 1;
    $self->attach;
    return $self;
}

# To be called in each process, which needs a file position of its own.
sub attach {
    my ($self) = @_;
    open my $file, '+<', '/proc/self/fd/' . fileno $self->{file} or die "open: $!";
    $self->{own} = $file;
    return $self;
}

sub set {
    my ($self, $at, @numbers) = @_;
    my $file = $self->{own} // $self->{file};
    sysseek $file, 8 * $at, SEEK_SET or die "seek: $!";
    syswrite($file, pack 'Q*', @numbers) == 8 * @numbers or die "write: $!";
    return;
}

sub get {
    my ($self, $at, $count) = @_;
    $count //= 1;
    my $file = $self->{own} // $self->{file};
    sysseek $file, 8 * $at, SEEK_SET or die "seek: $!";
    sysread($file, my $bytes, 8 * $count) == 8 * $count or die "read: $!";
    return wantarray ? unpack 'Q*', $bytes : unpack 'Q', $bytes;
}

1;
