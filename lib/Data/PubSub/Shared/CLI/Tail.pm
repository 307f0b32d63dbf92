package Data::PubSub::Shared::CLI::Tail;

# Private to the command pubsub-shared: `tail`, the messages of a ring.

use 5.022;
use strict;
use warnings;

use IO::Poll qw(POLLERR POLLHUP);
use MIME::Base64 qw(encode_base64);
use POSIX qw(strftime);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

use Data::PubSub::Shared::CLI qw(options usage count complain attempt emit flush printable text json);
use Data::PubSub::Shared::CLI::File;
use Data::PubSub::Shared::CLI::Text qw(cause decimal double number without_place);

sub run {
    my (@arguments) = @_;
    my %opt = (lines => 10);
    options(\@arguments, \%opt, 'lines|n=s', 'follow|f', 'follow-path|F', 'raw|r', 'json|j', 'null|0', 'count|c=s', 'grep|g=s',
        'timeout|W=s', 'time|t', 'format=s');
    usage('missing RING') if !@arguments;
    my %plan = plan(\%opt);
    my @readers = map { reader($_, \%opt, \%plan, @arguments > 1) } @arguments;
    my $lived = eval { $opt{follow} ? follow(\%opt, \%plan, @readers) : read_to_end($_) for $opt{follow} ? 1 : @readers; 1 };
    die $@ if !$lived && !(ref $@ && $@->{enough});
    return $plan{status} // ($plan{missing}->() ? 1 : 0);
}

# Checks the options, and returns the plan for reading.
sub plan {
    my ($opt) = @_;
    my ($plus, $lines) = $opt->{lines} =~ /\A(\+?)(.*)\z/s;
    $lines = number($lines) // usage("--lines must be a number of messages, or + and a position, not '$opt->{lines}'");
    for (['raw', 'json'], ['json', 'format'], ['time', 'format']) {
        usage("expected --$_->[0] or --$_->[1], not both") if 2 == grep { defined $opt->{$_} } @$_;
    }
    my $left = defined $opt->{count} ? count('--count', $opt->{count}, 1, 1 << 53) : undef;
    usage("--timeout must be a number of seconds, not '$opt->{timeout}'") if defined $opt->{timeout} && !defined decimal($opt->{timeout});
    my ($unknown) = grep { !/\A[vprts%]\z/ } placeholders($opt);
    usage("--format: unknown '%$unknown'; known: %v, %p, %r, %t, %s and %%") if defined $unknown;
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

# The letters after each % of --format.
sub placeholders { my ($opt) = @_; return ($opt->{format} // '') =~ /%(.?)/gs }

# Returns code that tests whether a message matches.
sub pattern {
    my ($text) = @_;
    utf8::decode($text);
    my $regex = eval { no warnings 'regexp'; qr/$text/ } // usage("--grep must be a regular expression of perl's: " . without_place($@));
    return sub {
        my ($message) = @_;
        # Match UTF-8 bytes as characters.
        utf8::decode($message) if !utf8::is_utf8($message);
        return $message =~ $regex;
    };
}

# A ring to read, with its subscriber at the start position. With -F the ring may not exist yet.
sub reader {
    my ($path, $opt, $plan, $several) = @_;
    my $self = {
        path  => $path,
        opt   => $opt,
        plan  => $plan,
        shown => $several ? printable($path) : undef,
        stay  => $opt->{'follow-path'},
        said  => '',
    };
    $self->{take} = sub { message($self, $_[0]) };
    if ($self->{stay} && !lstat $path && $!{ENOENT}) {
        $self->{away} = 1;
        return $self;
    }
    my $sub = attach($self);
    my $end = $sub->write_pos;
    $self->{end} = $end if !$opt->{follow};
    # The subscriber is at the oldest message.
    if    ($plan->{from})                        { $sub->cursor($plan->{lines}) }
    elsif ($end - $sub->cursor > $plan->{lines}) { $sub->cursor($end - $plan->{lines}) }
    $self->{next} = $sub->cursor;
    return $self;
}

# Subscribes from the oldest message on. A ring that -F finds later may have another variant; reopen rejects it.
sub attach {
    my ($self) = @_;
    my ($path, $opt) = @$self{qw(path opt)};
    my $file = Data::PubSub::Shared::CLI::File->ring($path);
    die "$path: not stamped; only messages of a ring that was made so have a time\n"
        if !$file->{stamped} && ($opt->{time} || grep {/[ts]/} placeholders($opt));
    my $sub = $file->attach->subscribe_all(lossy => 1);
    my $form = form($opt, $file, $self->{shown}, $sub);
    @$self{qw(sub form next lost)} = ($sub, $opt->{time} ? stamped($form, $sub, $opt->{json}) : $form, $sub->cursor, 0);
    return $sub;
}

# Writes the messages that are in the ring now.
sub read_to_end {
    my ($self) = @_;
    my ($sub, $end) = @$self{qw(sub end)};
    while ($sub->cursor < $end) {
        # One call reads all messages in the ring.
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

# Writes messages of all rings as they arrive. Rings that are gone are dropped, or with -F waited for; ends with the last one.
sub follow {
    my ($opt, $plan, @readers) = @_;
    my $set  = Data::PubSub::Shared::Set->new(grep {defined} map { $_->{sub} } @readers);
    my $last = now();
    while (@readers) {
        my $before = $plan->{came}->();
        my $read   = 0;
        $read += $_->{sub}->poll_cb($_->{take}) for grep { !$_->{away} } @readers;
        $last = now() if $plan->{came}->() > $before;
        my $left = defined $opt->{timeout} ? $last + $opt->{timeout} - now() : 1;
        return if $left <= 0;
        next   if $read;
        flush();
        my @come = grep { $_->{away} && find_next_ring($_) } @readers;
        $set->add(map { $_->{sub} } @come);
        next if @come;
        # There is no notification when a missing ring appears.
        my $most = (grep { $_->{away} } @readers) ? 0.1 : 1;
        $left = $most if $left > $most;
        return if reader_left($set->subscribers ? 0 : $left);
        next   if $set->subscribers && $set->wait($left);
        my @gone = grep { !$_->{away} && (complain_of_losses($_), $_->{sub}->is_gone) } @readers;
        $set->remove(map { $_->{sub} } @gone);
        $_->{away} = 1 for @gone;
        for (grep { !$_->{stay} } @gone) {
            complain("$_->{path}: removed or replaced; nothing more will come");
            $plan->{status} = 1;
        }
        @readers = grep { $_->{stay} || !$_->{away} } @readers;
    }
    return;
}

sub now { return clock_gettime(CLOCK_MONOTONIC) }

# Writes a message that was just read.
sub message {
    my ($self, $message) = @_;
    my $position = $self->{sub}->position // $self->{sub}->cursor - 1;
    complain_of_losses($self) if $position != $self->{next};
    $self->{next} = $position + 1;
    # Skip messages that were published while we wrote.
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

# Waits for claimed positions before $end that are not filled; they may be abandoned.
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

# Switches to the ring that is at the path now, from its oldest message on; returns false if there is none.
sub find_next_ring {
    my ($self) = @_;
    my ($sub, $path) = @$self{qw(sub path)};
    $! = 0;
    if (attempt(sub { $sub ? $sub->reopen : attach($self); 1 })) {
        complain("$path: a new ring");
        $self->{next} = $self->{sub}->cursor;
        @$self{qw(away said)} = (0, '');
        return 1;
    }
    my $why = !$!{ENOENT} ? cause($@) =~ s/\A\Q$path\E: //r : $sub ? 'removed' : 'not there yet';
    complain("$path: $why; waiting for a new ring") if $why ne $self->{said};
    $self->{said} = $why;
    return 0;
}

# Whether the other end of our output pipe is closed, or is closed within some seconds. Without this check only the next write
# would end us, which may be much later.
sub reader_left {
    my ($seconds) = @_;
    my $poll = IO::Poll->new;
    $poll->mask(\*STDOUT => POLLERR | POLLHUP);
    $poll->poll($seconds);
    return $poll->events(\*STDOUT);
}

# Returns code that formats a message and its position, with the ring's name in front if it is given.
sub form {
    my ($opt, $file, $name, $sub) = @_;
    my $end   = $opt->{null} ? "\0" : "\n";
    my $value = $file->is_str ? undef : $file->is_num ? \&shortest : sub { $_[0] };
    if ($opt->{json}) {
        my $start = defined $name ? '{"ring":' . json(text($file->{path})) =~ s/\n\z//r . ',"position":' : '{"position":';
        return sub { $start . $_[1] . ',' . json_string($_[0]) . "}\n" } if !$value;
        # JSON has no infinities and no NaN.
        return sub { my $text = $value->($_[0]); $text = qq("$text") if $text =~ /[IN]/; qq($start$_[1],"value":$text}\n) };
    }
    $value //= $opt->{raw} ? \&as_bytes : \&printable;
    if (defined $opt->{format}) {
        my %part = ('%' => sub {'%'}, v => $value, p => sub { $_[1] }, r => sub { printable($file->{path}) }, t => sub { time_of($sub) },
            s => sub { $sub->sender });
        my $format = $opt->{format};
        return sub { my @message = @_; return $format =~ s/%(.)/$part{$1}->(@message)/ger . $end };
    }
    my $front = defined $name ? "$name: " : '';
    return sub { $front . $value->($_[0]) . $end };
}

sub as_bytes {
    my ($message) = @_;
    utf8::encode($message) if utf8::is_utf8($message);
    return $message;
}

# The time at which the last message was published.
sub time_of {
    my ($sub) = @_;
    # A floating-point number does not have all these digits.
    my ($seconds, $ns) = $sub->time_ns =~ /\A(.*?)(.{9})\z/;
    return strftime('%Y-%m-%dT%H:%M:%S', localtime($seconds || 0)) . ".$ns";
}

# The same, with the time and sender of the last message in front.
sub stamped {
    my ($form, $sub, $json) = @_;
    return sub {
        my $line = $form->(@_);
        my $time = time_of($sub);
        return $json ? '{"time":"' . $time . '","sender":' . $sub->sender . ',' . substr $line, 1 : "$time " . $sub->sender . " $line";
    };
}

# The shortest text that gives the same 64 bits; this perl's numbers may be longer.
sub shortest {
    my ($number) = @_;
    my $text;
    for my $digits (15 .. 17) {
        $text = sprintf "%.${digits}g", $number;
        last if double($text) == $number;
    }
    return $text;
}

# The JSON member for a string. JSON::PP is too slow for a busy ring.
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
