package XT::Traffic;

# Messages that carry their sender, their number and a checksum, and the account that a subscriber keeps of them. A
# number is never sent twice; senders are 0 .. 3.

use strict;
use warnings;
use List::Util qw(max min);

# Numbers are sent modulo this: less than the available bits, so that no message equals the last one.
my %MODULUS = (Int => (1 << 30) - 1, Int32 => (1 << 20) - 1, Int16 => (1 << 14) - 1, Num => (1 << 30) - 1, Str => 1 << 40);

sub new {
    my ($class, $variant) = @_;
    return bless { name => $variant->name, modulus => $MODULUS{ $variant->name } }, $class;
}

sub modulus { return $_[0]{modulus} }

# A checksum that depends on all bits of sender and number.
sub check { return ($_[1] * 2654435761 + $_[0] * 40503 + ($_[1] >> 7)) & 0x3fffffff }

# The message that ends a storm; encode never returns it.
sub last_message { return $_[0]{name} eq 'Str' ? 'the end' : -1 }

sub encode {
    my ($self, $sender, $number) = @_;
    my $name = $self->{name};
    if ($name eq 'Str') {
        my $check = check($sender, $number);
        return "$sender $number $check " . chr(33 + $check % 90) x ($check % 201);
    }
    $number %= $self->{modulus};
    return $sender << 14 | $number if $name eq 'Int16';
    return unpack 'l', pack 'L', $sender << 30 | $number << 10 | check($sender, $number) & 0x3ff if $name eq 'Int32';
    my $bits = $sender << 60 | check($sender, $number) << 30 | $number;
    return $name eq 'Num' ? unpack 'd', pack 'q', $bits : $bits;
}

# (sender, number modulo the modulus); the empty list if the message is torn.
sub decode {
    my ($self, $message) = @_;
    my $name = $self->{name};
    if ($name eq 'Str') {
        my ($sender, $number, $check, $rest) = $message =~ /\A([0-3]) (\d+) (\d+) (.*)\z/s or return;
        return if $check != check($sender, $number) || $rest ne chr(33 + $check % 90) x ($check % 201);
        return ($sender, $number);
    }
    $message = unpack 'q', pack 'd', $message if $name eq 'Num';
    return (($message & 0xffff) >> 14, $message & 0x3fff) if $name eq 'Int16';
    if ($name eq 'Int32') {
        my $bits = $message & 0xffffffff;
        my ($sender, $number) = ($bits >> 30, $bits >> 10 & 0xfffff);
        return ($bits & 0x3ff) == (check($sender, $number) & 0x3ff) ? ($sender, $number) : ();
    }
    my ($sender, $number) = ($message >> 60 & 3, $message & 0x3fffffff);
    return ($message >> 30 & 0x3fffffff) == check($sender, $number) ? ($sender, $number) : ();
}

# The number of messages that are missing but must have been delivered or lost. Missing: gaps, each a sender, the first number
# and the count. Open: numbers that a killed publisher had begun, which may have been published or not: a sender, the first
# number, and the one after the last. A subscriber that started late knows numbers only modulo the modulus.
sub unaccounted {
    my ($self, $missing, $open) = @_;
    my $modulus = $self->{modulus};
    my $count = 0;
    for my $gap (@$missing) {
        my ($who, $from, $length) = @$gap;
        $count += $length;
        for my $begun (grep { $_->[0] == $who } @$open) {
            my ($first, $behind) = @$begun[1, 2];
            my $after  = ($first - $from) % $modulus;
            my $before = ($from - $first) % $modulus;
            $count -= max(0, min($length - $after, $behind - $first)) + max(0, min($length, $behind - $first - $before)) * ($before > 0);
        }
    }
    return $count;
}

#--- The account of a subscriber

package XT::Traffic::Account;

sub new {
    my ($class, $traffic, $sub) = @_;
    return bless {
        traffic => $traffic, sub => $sub, start => $sub->cursor, lost => [],
        next => [], missing => [], delivered => 0, torn => 0, backwards => 0,
    }, $class;
}

# Expects this number from the sender first, so that numbers missing before the first message are noticed.
sub expect { my ($self, $sender, $number) = @_; $self->{next}[$sender] = $number; return }

# Takes messages in order. Returns false if one of them was the last.
sub take {
    my ($self, @messages) = @_;
    my $traffic = $self->{traffic};
    my $modulus = $traffic->modulus;
    my $end     = $traffic->last_message;
    my $lost    = $self->{sub}->overflow_count;
    my %seen;
    for my $message (@messages) {
        $self->{delivered}++;
        return 0 if $message eq $end;
        my ($sender, $number) = $traffic->decode($message);
        if (!defined $sender) { $self->{torn}++; next }
        my $next = $self->{next}[$sender];
        $seen{$sender} = 1;
        # Messages lost since this sender was last seen may all have been its own. If they could be half of all numbers, gaps cannot
        # be told from repetitions.
        my $lost_since = $lost - ($self->{lost}[$sender] // 0);
        if (defined $next && $lost_since < $modulus / 4) {
            my $gap = ($number - $next) % $modulus;
            if ($gap > $modulus / 2) { $self->{backwards}++; next }
            push @{ $self->{missing} }, [$sender, $next, $gap] if $gap;
            $self->{gaps} += $gap;
            $number = $next + $gap;
        }
        $self->{next}[$sender] = $number + 1;
    }
    $self->{lost}[$_] = $lost for keys %seen;
    return 1;
}

# delivered, overflow_count, positions passed.
sub equation {
    my ($self) = @_;
    my $sub = $self->{sub};
    return ($self->{delivered}, $sub->overflow_count, $sub->cursor - $self->{start});
}

1;
