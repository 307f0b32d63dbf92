package Data::PubSub::Shared::CLI::Tail;

# Private to the command pubsub-shared: `tail`, the messages of a ring.

use 5.022;
use strict;
use warnings;

use IO::Poll qw(POLLERR POLLHUP);
use MIME::Base64 qw(encode_base64);

use Data::PubSub::Shared::CLI qw(options usage complain emit flush printable);
use Data::PubSub::Shared::CLI::File;
use Data::PubSub::Shared::CLI::Text qw(number);

sub run {
    my (@arguments) = @_;
    my %opt = (lines => 10);
    options(\@arguments, \%opt, 'lines|n=s', 'follow|f', 'follow-path|F', 'raw|r', 'json|j', 'null|0');
    usage('expected exactly one RING') if @arguments != 1;
    my ($plus, $count) = $opt{lines} =~ /\A(\+?)(.*)\z/s;
    $count = number($count) // usage("--lines must be a number of messages, or + and a position, not '$opt{lines}'");
    usage('expected --raw or --json, not both') if $opt{raw} && $opt{json};

    my $file = Data::PubSub::Shared::CLI::File->ring($arguments[0]);
    my $ring = $file->attach;
    my $sub  = $ring->subscribe_all(lossy => 1);
    my $end  = $ring->write_pos;
    # The subscriber is at the oldest message.
    if    ($plus)                        { $sub->cursor($count) }
    elsif ($end - $sub->cursor > $count) { $sub->cursor($end - $count) }

    $opt{follow} ||= $opt{'follow-path'};
    my $reader = {
        sub  => $sub,
        path => $file->{path},
        end  => $opt{follow} ? undef : $end,
        next => $sub->cursor,
        lost => 0,
        form => form(\%opt, $file),
    };
    my $take = sub { message($reader, $_[0]) };
    while ($opt{follow} || $sub->cursor < $end) {
        # One call takes all that is there.
        next if $sub->poll_cb($take);
        flush();
        my $message = $opt{follow} ? wait_for_next($sub) : wait_for_claimed($sub, $end);
        if (defined $message) {
            $take->($message);
            next;
        }
        complain_of_losses($reader);
        last if !$opt{follow} || !$sub->is_gone;
        if (!$opt{'follow-path'}) {
            complain("$file->{path}: removed or replaced; nothing more will come");
            return 1;
        }
        last if !find_next_ring($reader);
    }
    return 0;
}

# Writes a message that was just read.
sub message {
    my ($self, $message) = @_;
    my $position = $self->{sub}->cursor - 1;
    complain_of_losses($self) if $position != $self->{next};
    $self->{next} = $position + 1;
    # What came while we wrote.
    return if defined $self->{end} && $position >= $self->{end};
    emit($self->{form}->($message, $position));
    return;
}

sub complain_of_losses {
    my ($self) = @_;
    my $now    = $self->{sub}->overflow_count;
    my $missed = $now - $self->{lost} or return;
    $self->{lost} = $now;
    flush();
    complain('missed ' . ($missed == 1 ? '1 message' : "$missed messages")
        . ': overwritten before they were read, or never finished by their publisher');
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

# Undef: whoever read our output has gone, or the ring has.
sub wait_for_next {
    my ($sub) = @_;
    while (1) {
        my $message = $sub->poll_wait(1);
        return $message if defined $message;
        return undef if $sub->is_gone || reader_left(0);
    }
}

# Goes on with what stands under the path next, from its oldest message on. False: whoever read our output has gone.
sub find_next_ring {
    my ($self) = @_;
    my ($sub, $said) = ($self->{sub}, '');
    until ($! = 0, eval { $sub->reopen; 1 }) {
        my $why = $!{ENOENT} ? 'removed' : $@ =~ s/ at \S+ line \d+\.\n\z//r;
        complain("$self->{path}: $why; waiting for a new ring") if $why ne $said;
        $said = $why;
        return 0 if reader_left(0.1);
    }
    complain("$self->{path}: a new ring");
    $self->{next} = $sub->cursor;
    return 1;
}

# Whether the other end of the pipe that we write to is closed, or is so within some seconds. We would be killed only by
# writing to it, and that may take long.
sub reader_left {
    my ($seconds) = @_;
    my $poll = IO::Poll->new;
    $poll->mask(\*STDOUT => POLLERR | POLLHUP);
    $poll->poll($seconds);
    return $poll->events(\*STDOUT);
}

# Code that makes of a message and its position what is written.
sub form {
    my ($opt, $file) = @_;
    my ($end, $is_str) = ($opt->{null} ? "\0" : "\n", $file->is_str);
    if ($file->is_num) {
        return sub { shortest($_[0]) . $end } if !$opt->{json};
        # JSON has no infinities, and what is no number.
        return sub { my $text = shortest($_[0]); $text = qq("$text") if $text =~ /[IN]/; qq({"position":$_[1],"value":$text}\n) };
    }
    if ($opt->{json}) {
        return $is_str ? sub { qq({"position":$_[1],) . json_string($_[0]) . "}\n" }
            :            sub { qq({"position":$_[1],"value":$_[0]}\n) };
    }
    return sub { $_[0] . $end } if !$is_str;
    return sub { printable($_[0]) . $end } if !$opt->{raw};
    return sub {
        my ($message) = @_;
        utf8::encode($message) if utf8::is_utf8($message);
        return $message . $end;
    };
}

# As few digits as give the same number again.
sub shortest {
    my ($number) = @_;
    my $text;
    for my $digits (15 .. 17) {
        $text = sprintf "%.${digits}g", $number;
        last if $text == $number;
    }
    return $text;
}

# The member for a string. JSON::PP takes so long for each object that a reader of a busy ring cannot keep up.
sub json_string {
    my ($message) = @_;
    if ($message =~ /[^\x20\x21\x23-\x5b\x5d-\x7e]/) {
        if    (utf8::is_utf8($message))                   { utf8::encode($message) }
        elsif (!utf8::decode(my $characters = $message)) { return '"base64":"' . encode_base64($message, '') . '"' }
        state $short = { "\n" => '\n', "\r" => '\r', "\t" => '\t', "\f" => '\f', "\b" => '\b', '"' => '\"', '\\' => '\\\\' };
        $message =~ s{([\x00-\x1f\x7f"\\])}{$short->{$1} // sprintf '\u%04x', ord $1}ge;
    }
    return qq("value":"$message");
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::Tail - private to the command pubsub-shared

=cut
