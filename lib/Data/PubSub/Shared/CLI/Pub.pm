package Data::PubSub::Shared::CLI::Pub;

# Private to the command pubsub-shared: `pub`, which publishes its arguments or standard input.

use 5.022;
use strict;
use warnings;

use Errno qw(EINTR);
use Scalar::Util qw(looks_like_number);
use Time::HiRes qw(clock_gettime sleep CLOCK_MONOTONIC);

use Data::PubSub::Shared::CLI qw(options usage complain attempt);
use Data::PubSub::Shared::CLI::File;
use Data::PubSub::Shared::CLI::Text qw(decimal double);

# The maximum of publish_multi.
use constant MAX_BATCH => 8192;

# The maximum length of a number, including blanks and zeros.
use constant MAX_DIGITS => 4096;

# The ways to handle a message that does not fit.
my @POLICIES = qw(truncate skip strict);

sub run {
    my (@arguments) = @_;
    my %opt;
    # Arguments after the ring are values, even if they begin with a dash.
    options(\@arguments, \%opt, ['require_order'], 'null|0', 'bytes|b', 'rate|r=s', @POLICIES);
    my ($path, @values) = @arguments;
    usage('missing RING') if !defined $path;
    shift @values if @values && $values[0] eq '--';
    my @asked = grep { $opt{$_} } @POLICIES;
    usage("expected --$asked[0] or --$asked[1], not both") if @asked > 1;

    usage("--rate must be a number of messages per second, not '$opt{rate}'")
        if defined $opt{rate} && !decimal($opt{rate});

    my $file = Data::PubSub::Shared::CLI::File->ring($path);
    usage('--bytes is for Str') if $opt{bytes} && !$file->is_str;
    usage('--truncate is for Str') if $opt{truncate} && !$file->is_str;
    # A program that logs to us must not die because of one line; a caller with values can see that they are rejected.
    my $policy = $asked[0] // (@values ? 'strict' : $file->is_str ? 'truncate' : 'skip');
    my $self = {
        policy => $policy,
        kind   => @values ? 'value' : 'line',
        make   => $file->is_str ? string($file) : $file->is_num ? \&number : integer($file),
        most   => $file->is_str ? $file->{msg_size} : MAX_DIGITS,
        text   => $file->is_str && !$opt{bytes},
        pause  => $opt{rate} ? 1 / $opt{rate} : 0,
        count  => 0,
        odd    => 0,
    };
    # The error message may have no reader, either.
    local $SIG{PIPE} = 'IGNORE';
    my $lived = eval {
        if (@values) {
            my @checked;
            attempt(sub { push @checked, map { message($self, $_) } @values; 1 }) or usage($@ =~ s/\n\z//r);
            publish($self, $file->attach('writing'), \@checked);
        }
        else { publish_input($self, $file->attach('writing'), $opt{null} ? "\0" : "\n") }
        1;
    };
    my $error = $@;
    complain_of_count($self);
    die $error if !$lived;
    return $self->{odd} && $policy eq 'skip' && !$opt{skip} ? 1 : 0;
}

# Publishes all at once, or one after the other at the given rate.
sub publish {
    my ($self, $ring, $values) = @_;
    if (!$self->{pause}) {
        $ring->publish_multi(splice @$values, 0, MAX_BATCH) while @$values;
        return;
    }
    while (@$values) {
        my $now = clock_gettime(CLOCK_MONOTONIC);
        # After a delay the schedule starts again: missed times are not made up for.
        $self->{due} = $now if !defined $self->{due} || $self->{due} < $now - $self->{pause};
        if ((my $left = $self->{due} - $now) > 0) {
            sleep $left;
            next;
        }
        $ring->publish(shift @$values);
        $self->{due} += $self->{pause};
    }
    return;
}

# Publishes lines as they arrive; lines that arrived together are published together.
sub publish_input {
    my ($self, $ring, $separator) = @_;
    my $rest = '';
    while (1) {
        my $got = sysread STDIN, $rest, 65536, length $rest;
        next                       if !defined $got && $! == EINTR;
        die "standard input: $!\n" if !defined $got;
        my @lines = split /\Q$separator\E/, $rest, -1;
        # After the last separator: the beginning of a line, or at the end of the input an unterminated line.
        $rest = pop @lines // '';
        my $too_long = length $rest > $self->{most};
        push @lines, $rest if $got ? $too_long && $self->{policy} eq 'strict' : length $rest;
        # Keep only enough of a long line to detect that it is too long.
        substr $rest, $self->{most} + 1, length $rest, '' if $too_long;

        my @values;
        my $lived   = attempt(sub { push @values, message($self, $_) for @lines; 1 });
        my $problem = $@;
        publish($self, $ring, \@values);
        die $problem if !$lived;
        return       if !$got;
    }
}

# The message of a text; nothing if it is skipped. Dies if that is an error.
sub message {
    my ($self, $text) = @_;
    $self->{count}++;
    my ($message, $problem) = $self->{make}->($text);
    return $self->{text} ? as_text($message) : $message if !defined $problem;
    my ($policy, $kind) = @$self{qw(policy kind)};
    my $where = "$kind $self->{count}";
    die $kind eq 'line' ? "$where: $problem\n" : "$problem\n" if $policy eq 'strict';
    # Report only the first; the others are counted.
    if (!$self->{odd}++) {
        my $what = $policy eq 'truncate' ? "longer than $self->{most} bytes; truncated" : "$problem; left out";
        complain("$where: $what, as all such ${kind}s");
    }
    return if $policy ne 'truncate';
    my $start = truncated($text, $self->{most});
    return $self->{text} ? as_text($start) : $start;
}

# Valid UTF-8 as characters; other texts as bytes.
sub as_text {
    my ($bytes) = @_;
    my $text = $bytes;
    return utf8::decode($text) && $text !~ /[\x{d800}-\x{dfff}\x{110000}-\x{7fffffff}]/ ? $text : $bytes;
}

sub complain_of_count {
    my ($self) = @_;
    return if !$self->{odd};
    my $what = $self->{odd} == 1 ? "1 $self->{kind}" : "$self->{odd} $self->{kind}s";
    complain("$what of $self->{count} " . ($self->{policy} eq 'truncate' ? 'truncated' : 'left out'));
    return;
}

# The first bytes of a text, without an incomplete UTF-8 character at the end.
sub truncated {
    my ($text, $most) = @_;
    my $start = substr $text, 0, $most;
    $start =~ s/(?:[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})\z//
        if substr($text, $most, 1) =~ /[\x80-\xbf]/;
    return $start;
}

# Returns code that converts a text: it returns (message), or (undef, problem).
sub string {
    my ($file) = @_;
    my $most = $file->{msg_size};
    return sub {
        my $length = length $_[0];
        return $length > $most ? (undef, "message too long ($length > $most)") : $_[0];
    };
}

# The rings would cut large numbers, and convert other texts to 0: here that is certainly a mistake.
sub number {
    my ($text) = @_;
    my $shown = shown($text);
    return (undef, "not a number: '$shown'") if length $text > MAX_DIGITS || !looks_like_number($text);
    my $value = double($text);
    return abs $value == 9**9**9 && $text !~ /inf/i ? (undef, "too large for a 64-bit number: '$shown'") : $value;
}

# The beginning of an invalid text for an error message.
sub shown { return length $_[0] > 100 ? substr($_[0], 0, 100) . '...' : $_[0] }

sub integer {
    my ($file) = @_;
    my $bits = $file->{bits};
    my ($least, $most) = $file->range;
    return sub {
        my ($sign, $digits) = length $_[0] <= MAX_DIGITS ? $_[0] =~ /\A\s*([-+]?)0*([0-9]+)\s*\z/ : ();
        my $shown = shown($_[0]);
        return (undef, "not an integer: '$shown'") if !defined $digits;
        my $value = $sign eq '-' ? 0 - $digits : 0 + $digits;
        # Compared as text, because a number that does not fit was rounded.
        my $same = sprintf('%d', $value) =~ tr/-//dr eq $digits;
        return $same && $value >= $least && $value <= $most ? $value : (undef, "not a $bits-bit integer: '$shown'");
    };
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::Pub - private to the command pubsub-shared

=cut
