package Data::PubSub::Shared::Bridge::Down;

# Private to Data::PubSub::Shared::Bridge: from the stream into a ring.
#
# Each batch is written to the state file before it is published, with the ring's write position and all that will be true
# behind it. A process that comes after one that was killed looks which of the messages are in the ring, publishes
# the others, and goes on: nothing is lost and nothing comes twice.

use 5.022;
use strict;
use warnings;

use parent 'Data::PubSub::Shared::Bridge::Half';

use List::Util qw(max min);
use Time::HiRes qw(clock_gettime time CLOCK_MONOTONIC);

use Data::PubSub::Shared;
use Data::PubSub::Shared::Bridge::Entry;

use constant {
    MAX   => 8192,    # messages for one publish_multi
    BLOCK => 0.2,     # seconds, in which no signal is handled
    HOLE  => 0.05,    # seconds, after which a position that a dead publisher left is void for sure
    AUDIT => 2,       # seconds between two looks at what the backend says of all origins
};

sub half {'down'}

sub prepare {
    my ($self) = @_;
    $self->{chunk} = min(MAX, $self->{ring}->capacity);
    $self->{count} = $self->at_once(min($self->option('batch'), $self->{chunk}));
    $self->{fits}  = $self->what_fits;
    $self->{gaps} = Data::PubSub::Shared::Bridge::Options::open_gaps(%{ $self->{option} }) if defined $self->option('gaps');
    # By origin: [epoch, next sequence number, its last entry]. Blind: what came before is not known.
    my $state = $self->{state}->latest // { origins => {}, duplicates => 0, blind => 0 };
    @$self{qw(id origins duplicates blind)} = @$state{qw(id origins duplicates blind)};
    @$self{qw(current pending notes noted)} = ({}, [], $state->{notes} // [], $state->{noted} // 0);
    $self->recover($state) if @{ $state->{chunk} // [] } || @{ $self->{notes} };
    return;
}

# Code that says how many of some messages fit into this ring unchanged; in list context, which.
sub what_fits {
    my ($self) = @_;
    if ($self->{file}->is_str) {
        my $most = $self->{file}{msg_size};
        use bytes;    # text is UTF-8, here as in the ring
        return sub { return grep { length($_) <= $most } @{ $_[0] } };
    }
    my ($least, $largest) = $self->{file}->range;
    no warnings 'numeric';
    return sub { return grep { (0 + $_) eq $_ && $_ >= $least && $_ <= $largest } @{ $_[0] } };
}

# --- Whenever the backend was reached

sub greet {
    my ($self) = @_;
    my $ends = $self->{backend}->ends;
    $self->begin($ends) if !defined $self->{id};
    $self->deliver;    # what could not be remembered before
    $self->expect($ends);
    return $self->settle;
}

# For the first time. What came before `now` is no loss; what came before an identifier is not known.
sub begin {
    my ($self, $ends) = @_;
    my $from = $self->option('from');
    my $start = $self->{backend}->start;
    my $end   = $ends->{last} ne '' ? $ends->{last} : $start;
    my %last = map { my ($epoch, $last) = @{ $ends->{origins}{$_} }; $_ => [$epoch, $last + 1, $end] } keys %{ $ends->{origins} };
    @$self{qw(id origins blind)}
        = $from eq 'now'   ? ($end, \%last, 0)
        : $from eq 'start' ? ($start, {}, 0)
        :                    ($from,  {}, 1);
    $self->remember([], []);
    return;
}

# What the backend says of all origins is true at the stream's present end. Once we are there, every origin must have come to
# that, and what is missing was trimmed: between two reads, too, in which nothing else tells of it.
sub expect {
    my ($self, $ends) = @_;
    $self->{expected} = $ends;
    $self->{audited} = clock_gettime(CLOCK_MONOTONIC);
    return;
}

# Now and then; not before the last such end is reached, but where nothing is left to be read.
sub audit {
    my ($self, $is_idle) = @_;
    return if clock_gettime(CLOCK_MONOTONIC) - $self->{audited} < AUDIT || $self->{expected} && !$is_idle;
    return $self->expect($self->{backend}->ends);
}

sub settle {
    my ($self) = @_;
    my $ends = $self->{expected} or return;
    return if $ends->{last} ne '' && $self->{backend}->is_behind($ends->{last}, $self->{id});
    delete $self->{expected};
    my $found = 0;
    for my $origin (sort keys %{ $ends->{origins} }) {
        my ($epoch, $last) = @{ $ends->{origins}{$origin} };
        my $known = $self->known($origin) or next;
        next if $last < $known->[1];
        $self->gap($origin, 'trimmed', $last + 1 - $known->[1]);
        $self->{origins}{$origin} = [$epoch, $last + 1, $ends->{last} ne '' ? $ends->{last} : $self->{backend}->start];
        $found = 1;
    }
    return if !$found;
    $self->{current} = {};
    return $self->remember([], []);
}

# --- Work

sub work {
    my ($self) = @_;
    my $backend = $self->{backend};
    while (!$self->{stopping}) {
        $self->tick;
        my $entries = $backend->read_after($self->{id}, $self->{count}, BLOCK);
        $self->progress;
        $self->take($entries) if @$entries;
        $self->audit(!@$entries);
        $self->settle;
    }
    return;
}

# Entries into the ring: what is no duplicate, in the stream's order.
sub take {
    my ($self, $entries) = @_;
    my ($current, $producer, $known, @messages, @gaps) = ($self->{current}, '');
    my %before = (current => {}, map { $_ => $self->{$_} } qw(duplicates malformed));
    $before{origins} = { map { $_ => [@{ $self->{origins}{$_} }] } keys %{ $self->{origins} } };
    for my $entry (@$entries) {
        my $field = $entry->[1];
        $known = $current->{ $producer = $field->[1] } if $field->[1] ne $producer;
        # Nearly all: one message, the next one of a producer that has just sent.
        if ($known && @$field == 6 && $field->[3] eq $known->[1] && ($field->[4] eq 'm' || $field->[4] eq 'i')) {
            $known->[1]++;
            $known->[2] = $entry->[0];
            push @messages, $field->[5];
            next;
        }
        ($producer, $known) = ('');    # what is known of it changes
        next if eval { push @messages, $self->messages_of($entry, \@gaps); 1 };
        $self->say("entry $entry->[0] is left out: $@", 'always');
        $self->{malformed}++;
    }
    if (my @missing = grep { !defined $_->[1] } @gaps) {
        # Only the backend knows why. Where it cannot be asked now, these entries have not been read.
        my $first = eval { $self->{backend}->ends->{first} } // do { @$self{ keys %before } = values %before; die $@ };
        $_->[1] = $first eq '' || $self->{backend}->is_behind($first, $_->[3]) ? 'trimmed' : 'backend' for @missing;
    }
    $self->gap(@$_[0 .. 2]) for @gaps;
    my $good = $self->{fits}->(\@messages);
    if ($good != @messages) {
        $self->gap('', 'rejected', @messages - $good);
        @messages = $self->{fits}->(\@messages);
    }
    $self->{id} = $entries->[-1][0];
    $self->{pending} = \@messages;
    return $self->deliver;
}

# The messages of an entry that are to be published. Gaps go to @$gaps: [origin, reason, count]. What was sent before it and
# never came is one without a reason; it was trimmed if the stream begins behind what we read of that origin, the fourth.
sub messages_of {
    my ($self, $entry, $gaps) = @_;
    my $field = $entry->[1];
    my ($o, $producer, $s, $sequence, $kind, $payload) = @$field;
    ($producer, $sequence, $kind, $payload) = in_any_order($field) if @$field != 6 || $o ne 'o' || $s ne 's';
    my ($origin, $epoch) = $producer =~ /\A(.+)#([0-9]{1,15})\z/s or die "no origin\n";
    $sequence =~ /\A[1-9][0-9]{0,15}\z/ or die "no sequence number\n";
    my $is_gap = $kind eq 'g';
    my @messages = $is_gap ? Data::PubSub::Shared::Bridge::Entry::gap_of($payload)
        : Data::PubSub::Shared::Bridge::Entry::messages_of($kind, $payload);
    my $takes = $is_gap ? $messages[1] || 1 : @messages;

    if (my $known = $self->known($origin)) {
        # An epoch begins where the backend knew the one before to end. Only within one do numbers come again.
        my $is_old = $epoch < $known->[0];
        my $duplicates = $is_old ? $takes : $epoch == $known->[0] ? min($takes, max(0, $known->[1] - $sequence)) : 0;
        $self->{duplicates} += $duplicates;
        return if $duplicates == $takes;
        if ($is_gap) { $messages[1] -= $duplicates }
        else         { splice @messages, 0, $duplicates }
        push @$gaps, [$origin, undef, $sequence - $known->[1], $known->[2]] if $sequence > $known->[1];
        delete $self->{current}{"$origin#$known->[0]"};
    }
    my $now = $self->{origins}{$origin} = [$epoch, $sequence + $takes, $entry->[0]];
    if ($is_gap) {
        push @$gaps, [$origin, @messages];
        return;
    }
    return if $self->option('skip_own') && index($origin, $self->option('host') . '/') == 0;
    $self->{current}{$producer} = $now if @$field == 6 && $o eq 'o' && $s eq 's';
    return @messages;
}

# What we know of an origin. One that we have not met begins at 1.
sub known {
    my ($self, $origin) = @_;
    return $self->{origins}{$origin} // ($self->{blind} ? undef : [0, 1, $self->{backend}->start]);
}

sub in_any_order {
    my ($field) = @_;
    my %field = @$field;
    my ($producer, $sequence) = delete @field{qw(o s)};
    defined $producer && defined $sequence or die "no entry of a bridge\n";
    my ($kind) = grep { length == 1 } sort keys %field;
    defined $kind or die "no entry of a bridge\n";
    return ($producer, $sequence, $kind, $field{$kind});
}

# --- Into the ring

# Publishes what is pending, in pieces that are in the ring as a whole, each remembered before.
sub deliver {
    my ($self) = @_;
    my $pending = $self->{pending};
    while (1) {
        my @chunk = splice @$pending, 0, $self->{chunk};
        eval { $self->remember(\@chunk, $pending); 1 } or do { unshift @$pending, @chunk; die $@ };
        $self->{ring}->publish_multi(@chunk) if @chunk;
        $self->{forwarded} += @chunk;
        last if !@$pending;
    }
    return;
}

sub remember {
    my ($self, $chunk, $rest) = @_;
    $self->{state}->put({
        (map { $_ => $self->{$_} } qw(id origins duplicates blind lost notes noted)),
        chunk => $chunk,
        rest  => $rest,
        ring  => $self->ring_id,
        at    => $self->write_pos,
    });
    $self->publish_notes if @{ $self->{notes} };
    return;
}

sub write_pos { my ($self) = @_; return $self->absolute(sub { $self->{ring}->write_pos }) }

# After a process that may have been killed before, in or after the publication of $state->{chunk}.
sub recover {
    my ($self, $state) = @_;
    my @chunk = @{ $state->{chunk} };
    my $base = $self->base;
    if ($state->{ring} eq $self->ring_id && $state->{at} <= $self->write_pos) {
        # What stood there was published, and cleared by somebody.
        splice @chunk, 0, min($base - $state->{at}, scalar @chunk) if $state->{at} < $base;
        my $sub = $self->{ring}->subscribe;
        $sub->cursor(max($state->{at} - $base, 0));
        # Others may publish here, too: ours are found in their order.
        while (@chunk && $sub->lag) {
            my $message = $sub->poll_wait(HOLE) // next;
            shift @chunk if $message eq $chunk[0];
        }
        if (@chunk && $sub->overflow_count) {
            $self->gap('', 'indeterminate', scalar @chunk);
            @chunk = ();
        }
    }
    $self->{pending} = [@chunk, @{ $state->{rest} }];
    return $self->deliver;
}

# --- Gaps

# Counts a gap, and notes it for those who want to know. Both are told when they are remembered.
sub gap {
    my ($self, $origin, $reason, $count) = @_;
    $self->count_lost($reason, $count);
    return if !$self->{gaps};
    push @{ $self->{notes} }, {
        number => ++$self->{noted}, time => 0 + sprintf('%.3f', time), stream => $self->option('stream'),
        origin => $origin, reason => $reason, count => 0 + $count,
    };
    return;
}

sub publish_notes {
    my ($self) = @_;
    for my $note (splice @{ $self->{notes} }) {
        my $text = Data::PubSub::Shared::Bridge::Half::json($note);
        $self->{gaps}->publish($text) if length $text <= $self->{gaps}->msg_size;
    }
    return;
}

# What was published is published: the next process need not look, nor repeat it where it finds another ring.
sub finish {
    my ($self) = @_;
    return if !defined $self->{id};
    $self->deliver if @{ $self->{pending} };
    return $self->remember([], []);
}

sub figures {
    my ($self) = @_;
    return {
        id      => $self->{id},
        origins => scalar keys %{ $self->{origins} },
        duplicates => $self->{duplicates} + 0,
        malformed => ($self->{malformed} // 0) + 0,
    };
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::Bridge::Down - private to Data::PubSub::Shared::Bridge

=cut
