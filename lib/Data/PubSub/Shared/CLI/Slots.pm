package Data::PubSub::Shared::CLI::Slots;

# Private to the command pubsub-shared: whether the slots of a ring hold what they can hold.
#
# The ring may be in use. So the write position is read after the slots (whatever stands in them was
# claimed before), and what looks wrong counts only if it looks the same a moment later.
#
# Integer slots are (tag, value), tag = (lap + 1) << 1 | void. Text slots are (sequence, place), sequence
# = position + 1, place = offset / 8 << 32 | UTF-8 << 31 | length; the messages of consecutive positions
# lie next to each other in the arena. See src/slot.rs, src/int_ring.rs and src/str_ring.rs.

use 5.022;
use strict;
use warnings;

use List::Util qw(max min);
use Time::HiRes qw(sleep);

use Data::PubSub::Shared::CLI::File;

use constant {
    CHUNK  => 4096,    # slots read at a time
    CHUNKS => 256,     # as many are looked at where nobody asks for all
    MOST   => 20,      # problems that are told
    BATCH  => 8192,    # messages that one publisher writes before it moves the position
    MOMENT => 0.01,    # seconds
};

sub new {
    my ($class, $file) = @_;
    return bless { file => $file, checked => 0 }, $class;
}

# Slots looked at.
sub checked { return $_[0]{checked} }

# (problems => [text, ...], unfilled => count, torn => count)
sub look {
    my ($self, $all) = @_;
    my $last = ($self->{file}{capacity} - 1) / CHUNK;
    my @chunks = 0 .. $last;
    if (!$all && @chunks > CHUNKS) {
        # Where things happen now, and others evenly spread.
        my $here   = int($self->{file}{raw_pos} % $self->{file}{capacity} / CHUNK);
        my $before = $here ? $here - 1 : $last;
        my %some   = map { (int $_ => 1) } $here, $before, map { $_ * $last / (CHUNKS - 3) } 0 .. CHUNKS - 3;
        @chunks = sort { $a <=> $b } keys %some;
    }
    my %found = (problems => [], unfilled => 0, torn => 0);
    for my $chunk (@chunks) {
        $self->{checked} += min(CHUNK, $self->{file}{capacity});
        my @first = $self->_chunk($chunk) or next;
        sleep MOMENT;
        my %again = map { ($_->{key} => 1) } $self->_chunk($chunk);
        for my $finding (grep { $again{ $_->{key} } } @first) {
            if ($finding->{text}) { push @{ $found{problems} }, $finding->{text} }
            else                  { $found{ $finding->{kind} }++ }
        }
        if (@{ $found{problems} } > MOST) {
            splice @{ $found{problems} }, MOST, @{ $found{problems} }, '... and more';
            last;
        }
    }
    return %found;
}

# Findings in one chunk: { key, kind, text }.
sub _chunk {
    my ($self, $chunk) = @_;
    my ($file, $from) = ($self->{file}, $chunk * CHUNK);
    my $count = min(CHUNK, $file->{capacity} - $from);
    my $bytes = $file->bytes($file->{slots_at} + $from * $file->{slot_len}, $count * $file->{slot_len});
    my $end   = $file->reparse->{raw_pos};
    my @words = unpack $file->{slot_len} == 16 ? 'Q*' : 'L*', $bytes;
    die "$file->{path}: the file was cut meanwhile\n" if @words != 2 * $count;

    # Slots below the end's were written in this lap, the others in the lap before.
    my $here = min(max($end % $file->{capacity} - $from, 0), $count);
    my $lap  = ($end - $end % $file->{capacity}) / $file->{capacity};    # exact, whatever its size
    my $look = $file->is_str ? \&_strings : \&_integers;
    return (
        $self->$look($from,         $lap,     $end, @words[0 .. 2 * $here - 1]),
        $self->$look($from + $here, $lap - 1, $end, @words[2 * $here .. $#words]),
    );
}

# Slots from $slot on whose newest claim was in $lap; -1: never claimed.
sub _integers {
    my ($self, $slot, $lap, undef, @words) = @_;
    my $file  = $self->{file};
    my $wide  = $file->{slot_len} == 16;
    my $mask  = $wide ? ~0 : 0xffff_ffff;
    my $tag   = $lap + 1 << 1 & $mask;
    my $short = $file->{variant} eq 'Int16';
    my @found;
    for (my $i = 0; $i < @words; $i += 2, $slot++) {
        my ($seen, $value) = @words[$i, $i + 1];
        if ($short && $value > 0x7fff && $value < 0xffff_8000) {
            push @found, _problem($slot, "value $value has more than 16 bits", $seen);
        }
        next if $seen == $tag;
        # Narrow tags go round.
        my $age = $wide ? $tag - $seen : ($tag - $seen & $mask ^ 0x8000_0000) - 0x8000_0000;
        if    ($lap < 0 || $age < -1) { push @found, _problem($slot, 'is of a lap that has not begun', $seen) }
        elsif ($seen == 1)            { push @found, _problem($slot, 'is of no lap', $seen) }
        elsif ($age > 0)              { push @found, { kind => 'unfilled', key => "$slot unfilled $lap $seen" } }
    }
    return @found;
}

sub _strings {
    my ($self, $slot, $lap, $end, @words) = @_;
    my $file     = $self->{file};
    my $capacity = $file->{capacity};
    my $sequence = $lap * $capacity + $slot + 1;
    my ($after, @found);    # where the message before ends
    for (my $i = 0; $i < @words; $i += 2, $slot++, $sequence++) {
        my ($seen, $place) = @words[$i, $i + 1];
        if ($seen != $sequence || $lap < 0) {
            undef $after;
            # A publisher that died or was stopped leaves what it began, at and beyond the write position.
            my $begun = $seen == 0 || $seen > $end && $seen <= $end + BATCH && ($seen - 1) % $capacity == $slot;
            if    (!$begun)   { push @found, _problem($slot, "has sequence $seen", "$seen") }
            elsif ($lap >= 0) { push @found, { kind => 'torn', key => "$slot torn $seen $end" } }
            next;
        }
        my $length = $place & 0x7fff_ffff;
        my $at     = ($place >> 32) * 8;
        my $stop   = $at + Data::PubSub::Shared::CLI::File::round_up_8($length);
        if ($length > $file->{msg_size} || $stop > $file->{arena_len}) {
            push @found, _problem($slot, "has a message of $length bytes at byte $at of the arena", "$seen $place");
            undef $after;
            next;
        }
        push @found, _problem($slot, "has its message at byte $at, not at $after, behind the last", "$seen $place")
            if defined $after && $at != ($after + $stop - $at > $file->{arena_len} ? 0 : $after);
        $after = $stop;
    }
    return @found;
}

sub _problem {
    my ($slot, $text, $seen) = @_;
    return { kind => 'problem', text => "slot $slot $text", key => "$slot $text $seen" };
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::Slots - private to the command pubsub-shared

=cut
