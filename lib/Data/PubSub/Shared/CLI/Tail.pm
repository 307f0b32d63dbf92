package Data::PubSub::Shared::CLI::Tail;

# Private to the command pubsub-shared: `tail`, the messages of a ring.

use 5.022;
use strict;
use warnings;

use IO::Poll qw(POLLERR POLLHUP);
use MIME::Base64 qw(encode_base64);

use Data::PubSub::Shared::CLI qw(options usage complain emit flush printable json);
use Data::PubSub::Shared::CLI::File;

sub run {
    my (@arguments) = @_;
    my %opt = (lines => 10);
    options(\@arguments, \%opt, 'lines|n=s', 'follow|f', 'raw|r', 'json|j', 'null|0');
    usage('one RING, please') if @arguments != 1;
    usage("-n is a number of messages, or + and a position, not '$opt{lines}'")
        if $opt{lines} !~ /\A\+?\d{1,18}\z/;
    usage('--raw or --json') if $opt{raw} && $opt{json};

    my $file = Data::PubSub::Shared::CLI::File->ring($arguments[0]);
    my $ring = $file->attach;
    my $sub  = $ring->subscribe_all;
    my $end  = $ring->write_pos;
    seek_start($sub, $end, $opt{lines});

    my $write = writer($sub, \%opt, $file->is_str);
    my $lost  = 0;
    while ($opt{follow} || $sub->cursor < $end) {
        my $message = $sub->poll;
        if (!defined $message) {
            flush();
            $message = $opt{follow} ? wait_for_next($sub) : wait_for_claimed($sub, $end);
        }
        if ((my $now = $sub->overflow_count) > $lost) {
            flush();
            my $missed = $now - $lost == 1 ? '1 message' : $now - $lost . ' messages';
            complain("missed $missed: overwritten before they were read, or never finished by their publisher");
            $lost = $now;
        }
        last if !defined $message;
        $write->($message);
    }
    return 0;
}

# The subscriber stands at the oldest message.
sub seek_start {
    my ($sub, $end, $lines) = @_;
    my ($plus, $number) = $lines =~ /\A(\+?)(\d+)\z/;
    if    ($plus)                         { $sub->cursor($number) }
    elsif ($end - $sub->cursor > $number) { $sub->cursor($end - $number) }
    return;
}

# What is claimed but not filled before $end gets some time; it may come to nothing.
sub wait_for_claimed {
    my ($sub, $end) = @_;
    my $message;
    for (1 .. 10) {
        my $before = $sub->cursor;
        $message = $sub->poll_wait(0.15);
        last if defined $message || $sub->cursor == $before || $sub->cursor >= $end;
    }
    return $message;
}

# Undef: whoever read our output has gone.
sub wait_for_next {
    my ($sub) = @_;
    while (1) {
        my $message = $sub->poll_wait(1);
        return $message if defined $message;
        # A pipe whose other end is closed kills us only when we write to it, and that may take long.
        my $poll = IO::Poll->new;
        $poll->mask(\*STDOUT => POLLERR | POLLHUP);
        $poll->poll(0);
        return undef if $poll->events(\*STDOUT);
    }
}

# The code that writes one message, which was just read from $sub.
sub writer {
    my ($sub, $opt, $is_str) = @_;
    my $end = $opt->{null} ? "\0" : "\n";
    if ($opt->{json}) {
        return sub {
            my ($message) = @_;
            my %data = (position => $sub->cursor - 1);
            if    (!$is_str)                                          { $data{value} = $message + 0 }
            elsif (utf8::is_utf8($message) || utf8::decode($message)) { $data{value} = $message }
            else { $data{base64} = encode_base64($message, '') }
            emit(json(\%data));
        };
    }
    return sub { emit($_[0] . $end) } if !$is_str;
    return sub { emit(printable($_[0]) . $end) } if !$opt->{raw};
    return sub {
        my ($message) = @_;
        utf8::encode($message) if utf8::is_utf8($message);
        emit($message . $end);
    };
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::Tail - private to the command pubsub-shared

=cut
