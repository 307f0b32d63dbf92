package Data::PubSub::Shared::CLI::Pub;

# Private to the command pubsub-shared: `pub`, which publishes its arguments, or what comes by standard
# input.

use 5.022;
use strict;
use warnings;

use Errno qw(EINTR);

use Data::PubSub::Shared::CLI qw(options usage attempt);
use Data::PubSub::Shared::CLI::File;

# The most that publish_multi takes.
use constant MOST => 8192;

sub run {
    my (@arguments) = @_;
    my %opt;
    # What follows the ring is a value, also where it begins with a dash.
    options(\@arguments, \%opt, ['require_order'], 'null|0');
    my ($path, @values) = @arguments;
    usage('which RING?') if !defined $path;

    my $file = Data::PubSub::Shared::CLI::File->ring($path);
    my $make = $file->is_str ? string($file) : integer($file);
    if (@values) {
        my @checked;
        attempt(sub { push @checked, map { $make->($_) } @values }) or usage($@ =~ s/\n\z//r);
        publish($file->attach('writing'), \@checked);
    }
    else { publish_input($file->attach('writing'), $make, $opt{null} ? "\0" : "\n") }
    return 0;
}

sub publish {
    my ($ring, $values) = @_;
    $ring->publish_multi(splice @$values, 0, MOST) while @$values;
    return;
}

# Line by line as they come; what has come together goes out together.
sub publish_input {
    my ($ring, $make, $separator) = @_;
    my ($rest, $number) = ('', 0);
    while (1) {
        my $got = sysread STDIN, $rest, 65536, length $rest;
        next                       if !defined $got && $! == EINTR;
        die "standard input: $!\n" if !defined $got;
        my @lines = split /\Q$separator\E/, $rest, -1;
        # Behind the last separator: the beginning of a line, or at the end of the input a line without
        # its end.
        $rest = pop @lines // '';
        push @lines, $rest if !$got && length $rest;

        my @values;
        for my $line (@lines) {
            $number++;
            next if attempt(sub { push @values, $make->($line) });
            my $problem = $@;
            publish($ring, \@values);
            die "line $number: $problem";
        }
        publish($ring, \@values);
        return if !$got;
    }
}

# Code that makes a message of a text, and dies where that cannot be.
sub string {
    my ($file) = @_;
    my $most = $file->{msg_size};
    return sub {
        my $length = length $_[0];
        die "message too long ($length > $most)\n" if $length > $most;
        return $_[0];
    };
}

# The rings would cut what is too large, and take 0 for what is no number: here that is surely a mistake.
sub integer {
    my ($file) = @_;
    my $bits = $file->{bits};
    my ($least, $most) = $file->range;
    return sub {
        my ($sign, $digits) = $_[0] =~ /\A\s*([-+]?)0*([0-9]+)\s*\z/ or die "not an integer: '$_[0]'\n";
        my $value = $sign eq '-' ? 0 - $digits : 0 + $digits;
        # As text, because a number that does not fit has become a rounded one.
        my $same = sprintf('%d', $value) =~ tr/-//dr eq $digits;
        die "not a $bits-bit integer: '$_[0]'\n" if !$same || $value < $least || $value > $most;
        return $value;
    };
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::Pub - private to the command pubsub-shared

=cut
