#!/usr/bin/env perl
# The latency of a message between two processes: one-way and round trip, for a subscriber
# that sleeps in poll_wait and for one that spins on poll, compared with a pipe on the same host. Run in the
# built distribution:
#
#     perl -Mblib bench/latency.pl

use 5.022;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use BenchKit qw(alternate now_ns paced percentile ring_class scratch with_commas);
use BenchKit::Crew;
use Data::PubSub::Shared;

my $bench = BenchKit->start(
    title => 'Latency between two processes', rounds => 5,
    options => { 'messages=i' => 5_000, 'round-trips=i' => 20_000, 'gap=i' => 200 },
    quick => { messages => 1_000, 'round-trips' => 3_000 },
);
my $messages = $bench->opt('messages');
my $trips    = $bench->opt('round-trips');
my $gap      = $bench->opt('gap') / 1e6;

my @PERCENTILES = (50, 90, 99, 99.9, 100);
my $PATIENCE    = 60;      # seconds in poll_wait before giving up
my $WARM_UP     = 100;     # first messages that do not count

my $dir = scratch();

# -- means of transport: each gives back a sender and a receiver of one number, as code --------------

# A ring; the receiver sleeps in poll_wait or spins on poll. In Str the number goes as its digits.
sub ring_line {
    my ($variant, $how, $path) = @_;
    my $class = ring_class($variant);
    $class->new($path, 4096);
    return {
        sender => sub {
            my $ring = $class->new($path, 4096);
            return sub { $ring->publish($_[0]) };
        },
        receiver => sub {
            my $sub   = $class->new($path, 4096)->subscribe;
            my $sleep = sub { $sub->poll_wait($PATIENCE) // die "nothing came\n" };
            my $spin  = sub {
                my $message;
                1 until defined($message = $sub->poll);
                return $message;
            };
            return $how eq 'sleeping' ? $sleep : $spin;
        },
        close => sub { $class->unlink($path) },
    };
}

# The host's own wake-up time: eight bytes through a pipe.
sub pipe_line {
    pipe(my $in, my $out) or die "pipe: $!\n";
    return {
        sender   => sub { sub { syswrite $out, pack 'q', $_[0] } },
        receiver => sub {
            sub { sysread $in, my $bytes, 8 or die "nothing came\n"; unpack 'q', $bytes }
        },
        close => sub { close $_ for $in, $out },
    };
}

my %lines = (
    'Int, sleeping' => sub { ring_line('Int', 'sleeping', "$dir/$_[0]") },
    'Int, spinning' => sub { ring_line('Int', 'spinning', "$dir/$_[0]") },
    'Str, sleeping' => sub { ring_line('Str', 'sleeping', "$dir/$_[0]") },
    'Str, spinning' => sub { ring_line('Str', 'spinning', "$dir/$_[0]") },
    'pipe'          => sub { pipe_line() },
);
my @names = sort { ($a eq 'pipe') <=> ($b eq 'pipe') or $a cmp $b } keys %lines;

# -- the two measurements -------------------------------------------------------------------------

# Figures of a list of nanoseconds, in microseconds.
sub figures {
    my @sorted = sort { $a <=> $b } @_;
    return { map { ("p$_" => percentile(\@sorted, $_) / 1e3) } @PERCENTILES };
}

# The message is the time of its own publish; the publisher pauses between messages, so a sleeping
# subscriber sleeps again each time.
sub one_way {
    my ($name) = @_;
    my $line = $lines{$name}->('there');
    my $crew = BenchKit::Crew->start(1, sub {
        my ($member) = @_;
        my $receive = $line->{receiver}->();
        $member->arrive;
        my @took;
        for (1 .. $messages + $WARM_UP) {
            my $sent = $receive->();
            push @took, now_ns() - $sent;
        }
        return figures(@took[$WARM_UP .. $#took]);
    });
    my $send = $line->{sender}->();
    $crew->gather;
    paced($messages + $WARM_UP, $gap, sub { $send->(now_ns()) });
    my ($figures) = $crew->results;
    $line->{close}->();
    return $figures;
}

# A number is returned before the next one is sent.
sub round_trip {
    my ($name) = @_;
    my ($there, $back) = map { $lines{$name}->($_) } qw(there back);
    my $crew = BenchKit::Crew->start(1, sub {
        my ($member) = @_;
        my $receive = $there->{receiver}->();
        my $send    = $back->{sender}->();
        $member->arrive;
        $send->($receive->()) for 1 .. $trips + $WARM_UP;
        return {};
    });
    my $send    = $there->{sender}->();
    my $receive = $back->{receiver}->();
    $crew->gather;
    my @took;
    for my $number (1 .. $trips + $WARM_UP) {
        my $sent = now_ns();
        $send->($number);
        my $got = $receive->();
        push @took, now_ns() - $sent;
        die "$got came back instead of $number\n" if $got != $number;
    }
    $crew->results;
    $_->{close}->() for $there, $back;
    return figures(@took[$WARM_UP .. $#took]);
}

my @sections = (
    ["one way, a message every @{[ $bench->opt('gap') ]} us", 'oneway', \&one_way],
    ['there and back', 'roundtrip', \&round_trip],
);
my @jobs;
for my $section (@sections) {
    my ($title, $kind, $code) = @$section;
    push @jobs, map { my $name = $_; ["$kind: $name" => sub { $code->($name) }] } @names;
}
my $figures = alternate($bench->opt('rounds'), @jobs);

for my $section (@sections) {
    my ($title, $kind) = @$section;
    $bench->row(section => $title, name => $_, kind => $kind, %{ $figures->{"$kind: $_"} }) for @names;
}
my ($oneway, $roundtrips) = map { with_commas($_) } $messages, $trips;
$bench->note(<<"NOTES");
Microseconds. One way: $oneway messages a round; there and back: $roundtrips. Each percentile is taken
within a round; the median of the rounds is printed, and for max the largest.

sleeping: the subscriber blocks in poll_wait, which looks a little while before it sleeps. spinning:
it calls poll in a loop and keeps a CPU busy. pipe: eight bytes by syswrite and sysread, as the
measure of this host's own wake-up time.

One way, the clock is read before publishing and after the message has arrived, by the monotonic clock
that both processes share. The publisher keeps its CPU busy between messages instead of
sleeping. A reading of the clock through perl is part of each figure.
NOTES
$bench->finish(
    [name => 'subscriber'],
    (map { ["p$_" => $_, '%.2f'] } grep { $_ < 100 } @PERCENTILES),
    [p100 => 'max', sub { sprintf '%.2f', $_[0]{p100}{max} }],
);

__END__

=head1 NAME

latency.pl - the latency of messages between two processes

=head1 SYNOPSIS

    perl -Mblib bench/latency.pl [--quick] [--rounds N] [--messages N] [--round-trips N]
        [--gap MICROSECONDS] [--json[=FILE] [--force]]

=head1 OPTIONS

=over 4

=item --messages N, --round-trips N

Messages of a run one way, and round trips of a run. Default: 5,000 and 20,000; with C<--quick> 1,000 and
3,000.

=item --gap MICROSECONDS

The publisher's pause between messages one way. Default: 200.

=item --rounds N

How often each row is measured. Default: 5; with C<--quick> 1.

=back

=cut
