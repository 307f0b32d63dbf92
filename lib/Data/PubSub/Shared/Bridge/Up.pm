package Data::PubSub::Shared::Bridge::Up;

# Private to Data::PubSub::Shared::Bridge: from a ring into the stream.
#
# The ring is the buffer. A batch is taken out of it only when few enough are on their way, and stays here until the backend
# has acknowledged it; what is not acknowledged when a connection is lost, or the backend refuses a batch, goes out again with
# the same numbers. The backend drops what it has, and takes nothing beyond a hole that a refused batch has left. With each
# batch it stores up to where the ring was read, so the next process, whatever became of this one, goes on exactly there, in
# a new epoch in which nothing of this one is accepted any more.

use 5.022;
use strict;
use warnings;

use parent 'Data::PubSub::Shared::Bridge::Half';

use File::Basename qw(basename);
use List::Util qw(min sum0);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

use Data::PubSub::Shared::Bridge::Entry;

use constant {
    WINDOW   => 8,       # batches on their way
    MAX      => 8000,    # messages in a batch
    RINGS    => 8,       # that are remembered as ours
};

# Seconds, for the last messages; the tests give more.
our $FAREWELL = 5;

sub half {'up'}

sub prepare {
    my ($self) = @_;
    my $state = $self->{state}->latest;
    if (!$state) {
        $state = { origin => $self->new_origin, epoch => 0, sequence => 0, position => '' };
        $self->{state}->put($state);
    }
    $self->{$_} = $state->{$_} for qw(origin epoch sequence);
    # The identities of the rings that had this state file, this one last.
    my @rings = @{ $state->{rings} // [$state->{position} =~ /\A(\S+)/] };
    push @rings, $self->ring_id if !@rings || $rings[-1] ne $self->ring_id;
    $self->{rings} = [@rings > RINGS ? @rings[-RINGS .. -1] : @rings];
    $self->{is_str} = $self->{file}->is_str;
    $self->{in_flight} = [];
    $self->{batch} = $self->at_once(min(MAX, $self->option('batch') * $self->option('pack')));
    # Here already, so that `now` is when the process began.
    $self->{sub} = $self->option('from') eq 'now' ? $self->{ring}->subscribe : $self->{ring}->subscribe_all;
    return;
}

# Whenever the backend was reached.
sub greet {
    my ($self) = @_;
    $self->{failure} = undef;
    $self->begin if !$self->{has_begun};
    # A copy, since answers come meanwhile and shorten the list.
    my @again = @{ $self->{in_flight} };
    $self->dispatch($_) for @again;
    return;
}

sub new_origin {
    my ($self) = @_;
    open my $random, '<:raw', '/dev/urandom' or die "/dev/urandom: $!\n";
    read $random, my $bytes, 4;
    my $name = basename($self->option('ring')) =~ s{[\s#/]}{}gr;
    return $self->option('host') . "/$name-" . unpack('H*', $bytes);
}

# Once in the life of the process: who we are, and where the last one was.
sub begin {
    my ($self) = @_;
    my $known = $self->{state}->latest;
    my ($epoch, $sequence, $position, $remembered) =
        $self->{backend}->begin(@$self{qw(origin epoch sequence)}, $known->{position});
    # A ring that never had this state file sends in our name: the file was copied, with a host's image for instance. The
    # two would shut each other out, and each would send all of its ring each time. So we go on where we were, in a new name.
    my ($ring) = $position =~ /\A(\S+)/;
    if ($remembered && defined $ring && !grep { $_ eq $ring } @{ $self->{rings} }) {
        my $new = $self->new_origin;
        $self->say("another ring ($ring) sends as '$self->{origin}': the state file "
            . $self->{state}->path . " was copied; this one is '$new' from now on", 'always');
        # First, since it may fail: then all this comes again.
        $self->{state}->put($known = { %$known, origin => $new, epoch => 0, sequence => 0, rings => $self->{rings} });
        @$self{qw(origin epoch sequence)} = ($new, 0, 0);
        ($epoch, $sequence, $position, $remembered) = $self->{backend}->begin($new, 0, 0, $known->{position});
    }
    # Numbers are not used twice, and what was answered was answered.
    if ($sequence < $known->{sequence}) {
        $self->say(sprintf('the backend has lost the last %d messages that it had acknowledged', $known->{sequence} - $sequence), 'always');
        ($sequence, $position) = @$known{qw(sequence position)};
    }
    elsif (!$remembered && $known->{sequence}) { $self->say('the backend does not remember us', 'always') }
    @$self{qw(epoch sequence confirmed)} = ($epoch, $sequence, $sequence);
    $self->seek($position) if $position ne '';
    @$self{qw(overflow reason has_begun)} = ($self->{sub}->overflow_count, 'restart', 1);
    # The last thing, since it may fail for want of room: then a later record says it.
    return $self->remember($sequence, $self->position, $self->{lost});
}

# Notes how far the ring was read, and returns that: the ring, and a position that never falls.
sub position {
    my ($self) = @_;
    $self->{read} = $self->absolute(sub { $self->{sub}->cursor });
    return $self->ring_id . " $self->{read}";
}

sub remember {
    my ($self, $sequence, $position, $lost) = @_;
    $self->{state}->put({
        (map { $_ => $self->{$_} } qw(origin epoch rings)), sequence => $sequence, position => $position, lost => { %$lost },
    });
    return;
}

# To where the ring was read by the last process.
sub seek {
    my ($self, $position) = @_;
    my ($ring, $absolute) = split / /, $position;
    my $sub = $self->{sub};
    return $self->seek_to($sub, $absolute)
        if $ring eq $self->ring_id && $absolute <= $self->absolute(sub { $sub->write_pos });
    $sub->reset_oldest;
    $self->{owed} = ['replaced', 0];
    $self->count_lost('replaced', 0);
    return;
}

sub work {
    my ($self) = @_;
    my ($sub, $batch) = @$self{qw(sub batch)};
    while (!$self->{stopping}) {
        $self->tick;
        my @messages = $sub->poll_multi($batch);
        if (!@messages) {
            # From here on nothing is lost because nobody was there.
            $self->{reason} = 'overrun' if $sub->overflow_count == $self->{overflow};
            $self->settle(0);
            next if !$self->interruptibly(sub { @messages = $sub->poll_wait_multi($batch, $self->until_tick) });
            if (!@messages) {
                $self->{backend}->check;
                $self->progress;
            }
        }
        $self->send(\@messages);
        $self->settle(WINDOW - 1);
    }
    return;
}

# Gives a batch its numbers and sends it off. The gap that shows now lies before it, or within where it is long.
sub send {
    my ($self, $messages) = @_;
    my $sub = $self->{sub};
    my @content;
    if (my $owed = delete $self->{owed}) { push @content, Data::PubSub::Shared::Bridge::Entry::gap(@$owed) }
    if ((my $lost = $sub->overflow_count - $self->{overflow}) > 0) {
        push @content, Data::PubSub::Shared::Bridge::Entry::gap($self->{reason}, $lost);
        $self->count_lost($self->{reason}, $lost);
        $self->{overflow} += $lost;
    }
    $self->{reason} = 'overrun' if @$messages;
    my $gaps = sum0(map { $_->[1] } @content);
    push @content, Data::PubSub::Shared::Bridge::Entry::content_of($self->{is_str}, $self->option('pack'), $messages);
    my $position = $self->position;
    return if !@content;
    my $batch = {
        sequence => $self->{sequence} + 1, content => \@content, position => $position, count => scalar @$messages,
        lost => { %{ $self->{lost} } },
    };
    $self->{sequence} += $gaps + @$messages;
    $batch->{last} = $self->{sequence};
    push @{ $self->{in_flight} }, $batch;
    return $self->dispatch($batch);
}

sub dispatch {
    my ($self, $batch) = @_;
    $self->{backend}->append(
        origin => $self->{origin}, epoch => $self->{epoch}, maxlen => $self->option('maxlen'),
        acknowledged => $self->{confirmed}, (map { $_ => $batch->{$_} } qw(sequence content position)),
        done => sub { $self->answered($batch, $_[0]) },
    );
    return;
}

# Answers come in the order of the batches. After the first that is no, the others count for nothing: all will be sent again.
sub answered {
    my ($self, $batch, $error) = @_;
    $self->{failure} //= $error;
    return if defined $self->{failure};
    shift @{ $self->{in_flight} };
    $self->{forwarded} += $batch->{count};
    $self->{confirmed}    = $batch->{last};
    $self->{acknowledged} = $batch;
    return;
}

# Waits until at most so many batches are on their way.
sub settle {
    my ($self, $most) = @_;
    $self->{backend}->settle($most);
    if (my $batch = delete $self->{acknowledged}) {
        $self->progress;
        $self->remember(@$batch{qw(last position lost)});
    }
    die "$self->{failure}\n" if defined $self->{failure};
    return;
}

# What was on its way, and what the ring holds at this moment.
sub finish {
    my ($self) = @_;
    my ($backend, $sub) = @$self{qw(backend sub)};
    die "the backend was never reached; unsent messages stay in the ring\n" if !$self->{has_begun};
    die sprintf "%d messages stay in the ring\n", $sub->lag + sum0(map { $_->{count} } @{ $self->{in_flight} })
        if !$backend->is_connected;
    # A wait may have been left just as it had taken messages out, or found that some were lost: both comes again.
    $self->seek_to($sub, $self->{read});
    $self->{overflow} = $sub->overflow_count;
    my $end = $sub->write_pos;
    my $deadline = clock_gettime(CLOCK_MONOTONIC) + $FAREWELL;
    while ($sub->cursor < $end && clock_gettime(CLOCK_MONOTONIC) < $deadline) {
        my @messages = $sub->poll_multi($self->{batch}) or last;
        $self->send(\@messages);
        $self->settle(WINDOW - 1);
    }
    $self->settle(0);
    return;
}

sub figures {
    my ($self) = @_;
    return {
        origin     => $self->{origin},
        epoch      => $self->{epoch} + 0,
        sequence   => $self->{sequence} + 0,
        in_flight  => scalar @{ $self->{in_flight} },
        lag        => $self->{sub}->lag + 0,
    };
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::Bridge::Up - private to Data::PubSub::Shared::Bridge

=cut
