package BenchKit::Messenger::Pipe;

# A pipe to each subscriber. Messages have a fixed length, so they need no frame: a subscriber reads as
# much as there is and cuts it into messages. That is the fastest way to use a pipe.

use 5.022;
use strict;
use warnings;

use parent 'BenchKit::Messenger';

sub title { return 'pipes' }

sub prepare {
    my ($self) = @_;
    for (1 .. $self->{subscribers}) {
        pipe(my $in, my $out) or die "pipe: $!\n";
        push @{ $self->{in} },  $in;
        push @{ $self->{out} }, $out;
    }
    return;
}

sub open_subscriber {
    my ($self, $index) = @_;
    $self->{sub} = $self->{in}[$index];
    delete @$self{qw(in out)};
    return;
}

sub publish_all {
    my ($self, $messages) = @_;
    my @out = @{ $self->{out} };
    for my $message (@$messages) {
        syswrite $_, $message or die "write: $!\n" for @out;
    }
    return;
}

sub receive {
    my ($self, $take) = @_;
    my ($in, $size) = @$self{qw(sub size)};
    my $buffer = '';
    while (sysread $in, $buffer, 65536, length $buffer) {
        my $whole = int(length($buffer) / $size);
        return if $take->(unpack "(a$size)$whole", $buffer);
        substr $buffer, 0, $whole * $size, '';
    }
    die "the pipe ended early\n";
}

sub close {
    my ($self) = @_;
    delete @$self{qw(in out)};
    return;
}

1;
