package Data::PubSub::Shared::Bridge::Half;

# Private to Data::PubSub::Shared::Bridge: what the halves of a bridge have in common. That is the life of the process:
# begin, work until the backend is away, pause, begin again; signals; what it says about itself.
#
# A half gives: prepare (once), greet (each time the backend was reached), work (until stop, or dies), finish, and figures.

use 5.022;
use strict;
use warnings;

use JSON::PP ();
use List::Util qw(max min);
use Scalar::Util qw(weaken);
use Time::HiRes qw(clock_gettime time CLOCK_MONOTONIC);

use Data::PubSub::Shared;
use Data::PubSub::Shared::Bridge::Options;
use Data::PubSub::Shared::Bridge::State;
use Data::PubSub::Shared::CLI::File;

use constant {
    FIRST_PAUSE => 0.05,         # seconds, before the second attempt to reach the backend
    LAST_PAUSE  => 5,
    TICK        => 1,            # seconds between two looks at the clock
    LOAD        => 4_000_000,    # bytes, for one order or answer, unless one message is longer
};

my $STOP = \'stop';

sub new {
    my ($class, %given) = @_;
    my $on_status = delete $given{on_status};
    my %option = Data::PubSub::Shared::Bridge::Options::complete($class->half, %given);
    my $self = bless { option => \%option, failures => 0, started_at => time, waited => 0, stopping => 0 }, $class;
    $self->{on_status} = $on_status;
    $self->{state}  = Data::PubSub::Shared::Bridge::State->new($option{state});
    $self->{ring}   = Data::PubSub::Shared::Bridge::Options::open_ring(%option);
    $self->{file}   = Data::PubSub::Shared::CLI::File->ring($option{ring});
    $self->claim_ring;
    $self->{lost}   = { %{ ($self->{state}->latest // {})->{lost} // {} } };
    weaken(my $weak = $self);
    $self->{backend} = Data::PubSub::Shared::Bridge::Options::require_backend($option{backend})->new(
        server => $option{server}, stream => $option{stream}, timeout => $option{timeout},
        waiting => sub { $weak->{waited} = $_[0]; $weak->tick },
        Data::PubSub::Shared::Bridge::Options::credentials($option{credentials}),
    );
    $self->prepare;
    return $self;
}

sub option { return $_[0]{option}{ $_[1] } }

# --- The ring

# At most so many messages at once, that all of them together are no burden even if each is as long as it may be.
sub at_once {
    my ($self, $most) = @_;
    return $most if !$self->{file}->is_str;
    return max(1, min($most, int(LOAD / $self->{file}{msg_size})));
}

# A position that never falls, whoever clears the ring. Two looks at the base, lest a clear comes between.
sub absolute {
    my ($self, $position) = @_;
    while (1) {
        my $base = $self->base;
        my $relative = $position->();
        return $base + $relative if $self->base == $base;
    }
}

# Has a subscriber go on at such a position, or behind what was cleared since.
sub seek_to {
    my ($self, $sub, $absolute) = @_;
    while (1) {
        my $base = $self->base;
        $sub->cursor(max($absolute - $base, 0));
        return if $self->base == $base;
    }
}

sub base { return $_[0]{ring}->_base }

# Which ring it is: its inode, which another ring may have later, and when that was made.
sub ring_id { return $_[0]{ring}->_identity }

# In a ring that is both sent and received into, each message would return forever.
sub claim_ring {
    my ($self) = @_;
    # Two that send one ring into one stream are two origins: everything would come twice.
    my $where = $self->option('stream') . ' at ' . $self->option('server');
    my $answer = $self->{ring}->_claim_role($self->half, $self->half eq 'up' ? $where : ()) or return;
    die $self->option('ring') . ": another process fills this ring from a stream\n" if $answer eq 'taken';
    die $self->option('ring') . ": another process sends this ring into stream $where\n" if $answer eq 'doubled';
    die $self->option('ring') . ": is both sent and received into: each message would return forever;"
        . " publish to one ring (up) and read another (down)\n";
}

# Whoever opens the path later has another ring than we, or none: then this process ends, and the next one opens or makes
# that. A ring that is not there may be about to be created again; it is gone when it is missed a second time.
sub look_at_ring {
    my ($self) = @_;
    my $now = Data::PubSub::Shared::CLI::File::id_of(lstat $self->option('ring'));
    my $gone = defined $now ? $now ne $self->{file}{id} && 'was replaced by another ring' : $self->{missed}++ && 'was removed';
    $self->{missed} = 0 if defined $now;
    @$self{qw(gone stopping)} = ($gone, 1) if $gone;
    return;
}

# --- Life

# Until a stop is requested; true if all that had been read was delivered. Dies where going on makes no sense, and then
# the status says why.
sub run {
    my ($self) = @_;
    my $all;
    return $all if eval { $all = $self->live; 1 };
    my $error = $@;
    $self->{last_error} = ref $error ? 'ended' : $error =~ s/\s+\z//r;
    $self->{backend}->close;
    $self->tick('now');
    die $error;
}

sub live {
    my ($self) = @_;
    local $SIG{TERM} = local $SIG{INT} = sub { $self->stop };
    local $SIG{USR1} = sub { $self->say($self->summary, 'always') };
    local $SIG{PIPE} = 'IGNORE';
    $self->say("starting: ring @{[ $self->option('ring') ]}, stream @{[ $self->option('stream') ]} at @{[ $self->option('server') ]}");
    $self->tick('now');
    my $done = 0;
    until ($done || $self->{stopping}) {
        $done = eval {
            $self->{backend}->connect;
            $self->greet;
            $self->say($self->{was_connected}++ ? 'reconnected' : 'connected');
            $self->work;
            1;
        } or $self->trouble($@);
    }
    my $all = eval { $self->finish; 1 } || ($self->say("could not finish: $@", 'always'), 0)[1];
    $self->{state}->sync;
    $self->tick('now');
    $self->say('stopped: ' . $self->summary);
    $self->{backend}->close;
    die $self->option('ring') . ": $self->{gone}\n" if $self->{gone};
    return $all;
}

sub stop {
    my ($self) = @_;
    $self->{stopping} = 1;
    die $STOP if $self->{interruptible};
    return;
}

# Runs code that may be left in the middle when a stop is requested. False where that happened.
sub interruptibly {
    my ($self, $code) = @_;
    return 0 if $self->{stopping};
    # Within the eval, whose end ends it: no signal may die a moment later.
    my $lived = eval { local $self->{interruptible} = 1; $code->(); 1 };
    die $@ if !$lived && !(ref $@ && $@ == $STOP);
    return $lived;
}

# After a lost connection or an error answer: reports it, and pauses; exponential backoff with jitter.
sub trouble {
    my ($self, $error) = @_;
    $self->{backend}->close;
    $self->{waited} = 0;
    die $error if ref $error;
    if (defined(my $why = $self->{backend}->hopeless($error))) { die "$why\n" }
    $self->{last_error} = $error =~ s/\s+\z//r;
    my $pause = min(LAST_PAUSE, FIRST_PAUSE * 2**min($self->{failures}, 20)) * (0.5 + rand);
    $self->{failures}++;
    # The quiet one says it once, until things work again.
    $self->say(sprintf('%s; next attempt in %.1f s', $self->{last_error}, $pause), !$self->{told}{ $self->{last_error} }++);
    $self->tick;
    my $end = clock_gettime(CLOCK_MONOTONIC) + $pause;
    while ((my $left = $end - clock_gettime(CLOCK_MONOTONIC)) > 0) {
        $self->interruptibly(sub { select undef, undef, undef, min($left, TICK) }) or last;
        $self->tick;
    }
    return;
}

# The backend did what it was asked.
sub progress { my ($self) = @_; @$self{qw(failures told)} = (0, {}); return }

# --- What it says

# One line on standard error.
sub say {
    my ($self, $text, $always) = @_;
    return if $self->option('quiet') && !$always;
    $text =~ s/\s+\z//;
    print STDERR sprintf("pubsub-bridge %s %s: %s\n", $self->half, $self->option('stream'), $text);
    return;
}

# Counts lost messages; says so at the next tick, because in an overload there is news a thousand times a second.
sub count_lost {
    my ($self, $reason, $count) = @_;
    $self->{lost}{$reason} += $count;
    $self->{news}{$reason} += $count;
    return;
}

sub until_tick {
    my ($self) = @_;
    return max(0.001, min(TICK, $self->{ticked} + TICK - clock_gettime(CLOCK_MONOTONIC)));
}

sub tick {
    my ($self, $now) = @_;
    my $time = clock_gettime(CLOCK_MONOTONIC);
    my $seconds = $time - ($self->{ticked} // $time - TICK);
    return if !$now && $seconds < TICK;
    $self->look_at_ring;
    $self->{state}->sync_in_time;
    my $news = delete $self->{news} // {};
    $self->say("lost $news->{$_} messages: " . $self->reason($_), 'always') for sort keys %$news;
    my ($forwarded, $before) = ($self->{forwarded} // 0, $self->{forwarded_before} // 0);
    $self->{rate} = ($forwarded - $before) / ($seconds || 1);
    @$self{qw(ticked forwarded_before)} = ($time, $forwarded);
    $self->{on_status}->($self->status, $self) if $self->{on_status};
    write_status($self->option('status'), $self->status) if defined $self->option('status');
    return;
}

my %REASON = (
    overrun       => 'their ring was overrun before they could be sent',
    restart       => 'their ring was overrun while the bridge was not running',
    replaced      => 'their ring was replaced; how many it still held is not known',
    trimmed       => 'the stream was trimmed before they could be read',
    backend       => 'the backend has lost them',
    rejected      => 'they do not fit into the ring',
    indeterminate => 'after a restart it was not clear whether they had been delivered',
);
sub reason { return $REASON{ $_[1] } // $_[1] }

# What is known of it, for programs. A server that owes an answer for a second may be gone.
sub status {
    my ($self) = @_;
    my $is_late = $self->{waited} > TICK;
    return {
        direction  => $self->half,
        ring       => $self->option('ring'),
        stream     => $self->option('stream'),
        server     => $self->option('server'),
        pid        => $$ + 0,
        time       => 0 + sprintf('%.3f', time),
        started_at => 0 + sprintf('%.3f', $self->{started_at}),
        connected  => $self->{backend}->is_connected && !$is_late ? JSON::PP::true : JSON::PP::false,
        failures   => $self->{failures} + 0,
        error      => $is_late ? sprintf('no answer from the server for %d s', $self->{waited}) : $self->{last_error},
        forwarded  => ($self->{forwarded} // 0) + 0,
        rate       => 0 + sprintf('%.0f', $self->{rate} // 0),
        lost       => { map { $_ => $self->{lost}{$_} + 0 } keys %{ $self->{lost} } },
        %{ $self->figures },
    };
}

sub summary {
    my ($self) = @_;
    my $status = $self->status;
    my %lost   = %{ $status->{lost} };
    return join ', ', ($status->{connected} ? 'connected' : 'not connected'), "$status->{forwarded} messages",
        "$status->{rate}/s", (map {"$lost{$_} lost ($_)"} sort keys %lost),
        ($status->{duplicates} ? "$status->{duplicates} duplicates dropped" : ());
}

# As JSON. What are bytes here are names, which are UTF-8 outside.
sub json {
    my ($data, %how) = @_;
    my $json = JSON::PP->new->utf8->canonical;
    $json->pretty if $how{pretty};
    return $json->encode(text_in($data));
}

sub text_in {
    my ($data) = @_;
    return { map { text_in($_) } %$data } if ref $data eq 'HASH';
    return $data if ref $data || !defined $data;
    my $text = $data;    # a copy, lest a number becomes a text
    return $text =~ /[^\0-\x7f]/ && !utf8::is_utf8($text) && utf8::decode($text) ? $text : $data;
}

# Replaces the file, so that no reader sees half of it. What goes wrong there is no reason to stop.
sub write_status {
    my ($path, $status) = @_;
    my $new = "$path.$$.new";
    my $lived = eval {
        open my $out, '>', $new or die "$!\n";
        print {$out} json($status, pretty => 1);
        close $out or die "$!\n";
        rename $new, $path or die "$!\n";
        1;
    };
    return 1 if $lived;
    print STDERR "pubsub-bridge: status $path: $@";
    unlink $new;
    return 0;
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::Bridge::Half - private to Data::PubSub::Shared::Bridge

=cut
