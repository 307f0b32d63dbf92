package Data::PubSub::Shared::CLI::Tail;

# Private to the command pubsub-shared: `tail`, the messages of a ring.

use 5.022;
use strict;
use warnings;

use IO::Poll qw(POLLERR POLLHUP);
use MIME::Base64 qw(encode_base64);
use POSIX qw(strftime);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

use Data::PubSub::Shared::CLI qw(options usage count complain emit flush printable text json);
use Data::PubSub::Shared::CLI::File;
use Data::PubSub::Shared::CLI::Text qw(number);

sub run {
    my (@arguments) = @_;
    my %opt = (lines => 10);
    options(\@arguments, \%opt, 'lines|n=s', 'follow|f', 'follow-path|F', 'raw|r', 'json|j', 'null|0', 'count|c=s', 'grep|g=s',
        'timeout|W=s', 'time|t');
    usage('missing RING') if !@arguments;
    my %plan = plan(\%opt);
    my @readers = map { reader($_, \%opt, \%plan, @arguments > 1) } @arguments;
    my $lived = eval { $opt{follow} ? follow(\%opt, \%plan, @readers) : read_to_end($_) for $opt{follow} ? 1 : @readers; 1 };
    die $@ if !$lived && !(ref $@ && $@->{enough});
    return $plan{status} // ($plan{missing}->() ? 1 : 0);
}

# What the options ask for, checked.
sub plan {
    my ($opt) = @_;
    my ($plus, $lines) = $opt->{lines} =~ /\A(\+?)(.*)\z/s;
    $lines = number($lines) // usage("--lines must be a number of messages, or + and a position, not '$opt->{lines}'");
    usage('expected --raw or --json, not both') if $opt->{raw} && $opt->{json};
    my $left = defined $opt->{count} ? count('--count', $opt->{count}, 1, 2**53) : undef;
    usage("--timeout must be a number of seconds, not '$opt->{timeout}'") if defined $opt->{timeout} && $opt->{timeout} !~ /\A(?:\d+\.?\d*|\.\d+)\z/;
    my $pattern = defined $opt->{grep} ? pattern($opt->{grep}) : undef;
    $opt->{follow} ||= $opt->{'follow-path'} || defined $opt->{timeout};
    my $came = 0;
    return (
        from => $plus, lines => $lines, wanted => $pattern,
        # Called for each message that is written. -c N ends with the last of them.
        count   => sub { $came++; die { enough => 1 } if defined $left && --$left == 0; return },
        came    => sub { return $came },
        missing => sub { return defined $left && $left > 0 || defined $opt->{timeout} && !$came },
    );
}

# Code that says whether a message matches.
sub pattern {
    my ($text) = @_;
    utf8::decode($text);
    my $regex = eval { no warnings 'regexp'; qr/$text/ } // usage("--grep must be a regular expression of perl's: " . ($@ =~ s/ at \S+ line \d+\.\n\z//r));
    return sub {
        my ($message) = @_;
        # The bytes of a text are a text.
        utf8::decode($message) if !utf8::is_utf8($message);
        return $message =~ $regex;
    };
}

# A ring that is read: its subscriber stands where it is to begin.
sub reader {
    my ($path, $opt, $plan, $several) = @_;
    my $file = Data::PubSub::Shared::CLI::File->ring($path);
    die "$path: not stamped; only messages of a ring that was made so have a time\n" if $opt->{time} && !$file->{stamped};
    my $ring = $file->attach;
    my $sub  = $ring->subscribe_all(lossy => 1);
    my $end  = $ring->write_pos;
    # The subscriber is at the oldest message.
    if    ($plan->{from})                        { $sub->cursor($plan->{lines}) }
    elsif ($end - $sub->cursor > $plan->{lines}) { $sub->cursor($end - $plan->{lines}) }
    my $self = {
        sub   => $sub,
        path  => $path,
        end   => $opt->{follow} ? undef : $end,
        next  => $sub->cursor,
        lost  => 0,
        plan  => $plan,
        shown => $several ? printable($path) : undef,
        stay  => $opt->{'follow-path'},
    };
    my $form = form($opt, $file, $self->{shown});
    $self->{form} = $opt->{time} ? stamped($form, $sub, $opt->{json}) : $form;
    # What -F finds next under the path may be of another kind; reopen refuses it.
    $self->{take} = sub { message($self, $_[0]) };
    return $self;
}

# What stands in the ring now.
sub read_to_end {
    my ($self) = @_;
    my ($sub, $end) = @$self{qw(sub end)};
    while ($sub->cursor < $end) {
        # One call takes all that is there.
        next if $sub->poll_cb($self->{take});
        flush();
        my $message = wait_for_claimed($sub, $end);
        if (!defined $message) {
            complain_of_losses($self);
            last;
        }
        $self->{take}->($message);
    }
    return;
}

# All of them, as messages come. The ones that are gone are left out; ends with the last.
sub follow {
    my ($opt, $plan, @readers) = @_;
    my $set  = @readers > 1 ? Data::PubSub::Shared::Set->new(map { $_->{sub} } @readers) : undef;
    my $last = now();
    while (@readers) {
        my $before = $plan->{came}->();
        my $read   = 0;
        $read += $_->{sub}->poll_cb($_->{take}) for @readers;
        $last = now() if $plan->{came}->() > $before;
        my $left = defined $opt->{timeout} ? $last + $opt->{timeout} - now() : 1;
        return if $left <= 0;
        next   if $read;
        flush();
        next if wait_for_any($left < 1 ? $left : 1, $set, @readers);
        complain_of_losses($_) for @readers;
        return if reader_left(0);
        for my $gone (grep { $_->{sub}->is_gone } @readers) {
            if ($gone->{stay}) {
                $set->remove($gone->{sub}) if $set;
                find_next_ring($gone) or return;
                $set->add($gone->{sub}) if $set;
                next;
            }
            complain("$gone->{path}: removed or replaced; nothing more will come");
            $plan->{status} = 1;
            $set->remove($gone->{sub}) if $set;
            @readers = grep { $_ != $gone } @readers;
        }
    }
    return;
}

# Whether there is something to read.
sub wait_for_any {
    my ($seconds, $set, $reader) = @_;
    return scalar(my @ready = $set->wait($seconds)) if $set;
    my $message = $reader->{sub}->poll_wait($seconds) // return 0;
    $reader->{take}->($message);
    return 1;
}

sub now { return clock_gettime(CLOCK_MONOTONIC) }

# Writes a message that was just read.
sub message {
    my ($self, $message) = @_;
    my $position = $self->{sub}->position // $self->{sub}->cursor - 1;
    complain_of_losses($self) if $position != $self->{next};
    $self->{next} = $position + 1;
    # What came while we wrote.
    return if defined $self->{end} && $position >= $self->{end};
    return if $self->{plan}{wanted} && !$self->{plan}{wanted}->($message);
    emit($self->{form}->($message, $position));
    $self->{plan}{count}->();
    return;
}

sub complain_of_losses {
    my ($self) = @_;
    my $now    = $self->{sub}->overflow_count;
    my $missed = $now - $self->{lost} or return;
    $self->{lost} = $now;
    flush();
    complain((defined $self->{shown} ? "$self->{path}: " : '') . 'missed ' . ($missed == 1 ? '1 message' : "$missed messages")
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

# Code that makes of a message and its position what is written; the ring's name in front, where it is given.
sub form {
    my ($opt, $file, $name) = @_;
    my $end   = $opt->{null} ? "\0" : "\n";
    my $value = $file->is_str ? undef : $file->is_num ? \&shortest : sub { $_[0] };
    if ($opt->{json}) {
        my $start = defined $name ? '{"ring":' . json(text($file->{path})) =~ s/\n\z//r . ',"position":' : '{"position":';
        return sub { $start . $_[1] . ',' . json_string($_[0]) . "}\n" } if !$value;
        # JSON has no infinities, and what is no number.
        return sub { my $text = $value->($_[0]); $text = qq("$text") if $text =~ /[IN]/; qq($start$_[1],"value":$text}\n) };
    }
    my $front = defined $name ? "$name: " : '';
    return sub { $front . $value->($_[0]) . $end }   if $value;
    return sub { $front . printable($_[0]) . $end } if !$opt->{raw};
    return sub {
        my ($message) = @_;
        utf8::encode($message) if utf8::is_utf8($message);
        return $front . $message . $end;
    };
}

# The same with the time and the sender of the message that was just read in front.
sub stamped {
    my ($form, $sub, $json) = @_;
    return sub {
        my $line = $form->(@_);
        # Digits that a floating-point number does not have.
        my ($seconds, $ns) = $sub->time_ns =~ /\A(.*?)(.{9})\z/;
        my $time = strftime('%Y-%m-%dT%H:%M:%S', localtime($seconds || 0)) . ".$ns";
        return $json ? '{"time":"' . $time . '","sender":' . $sub->sender . ',' . substr $line, 1 : "$time " . $sub->sender . " $line";
    };
}

# As few digits as give the same 64 bits again; this perl's numbers may be longer.
sub shortest {
    my ($number) = @_;
    my $text;
    for my $digits (15 .. 17) {
        $text = sprintf "%.${digits}g", $number;
        last if unpack('d', pack 'd', $text) == $number;
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
