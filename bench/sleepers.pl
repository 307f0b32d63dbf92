#!/usr/bin/env perl
# One publish while many subscribers sleep: what it costs the publisher, and how soon the first, the median and the last of
# them have the message; beside a publisher that writes to a pipe for each. Run in the built distribution:
#
#     perl -Mblib bench/sleepers.pl

use 5.022;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use BenchKit qw(alternate median now_ns with_commas);
use BenchKit::Crew;
use Data::PubSub::Shared;
use Time::HiRes qw(sleep);

my $bench = BenchKit->start(
    title => 'A publish to many sleeping subscribers', rounds => 5,
    options => { 'messages=i' => 100, 'gap=i' => 20_000 },
    quick => { messages => 20 },
);
my $messages = $bench->opt('messages');
my $gap      = $bench->opt('gap') / 1e6;

my @COUNTS   = (1, 4, 16, 64, 256);
my $PATIENCE = 60;    # seconds in poll_wait before giving up

# A message is the time of its publish. Returns how to send one, and how the member of a number receives.
sub ring_line {
    my $ring = Data::PubSub::Shared::Int->new(undef, 1024);
    my $sub;
    return (
        sub { $ring->publish($_[0]) },
        sub { $sub //= $ring->subscribe; return sub { $sub->poll_wait($PATIENCE) // die "nothing came\n" } },
    );
}

sub pipes_line {
    my ($count) = @_;
    my @pipes = map { pipe(my $in, my $out) or die "pipe: $!\n"; [$in, $out] } 1 .. $count;
    return (
        sub { my $bytes = pack 'q', $_[0]; syswrite $_->[1], $bytes for @pipes },
        sub {
            my ($in) = @{ $pipes[$_[0]] };
            return sub { sysread $in, my $bytes, 8 or die "nothing came\n"; return unpack 'q', $bytes };
        },
    );
}

my %LINES = (ring => \&ring_line, pipes => \&pipes_line);

# The publisher sleeps between the messages, so that all subscribers do, too.
sub publishes {
    my ($kind, $count) = @_;
    my ($send, $receiver) = $LINES{$kind}->($count);
    my $crew = BenchKit::Crew->start($count, sub {
        my ($member, $index) = @_;
        my $receive = $receiver->($index);
        $member->arrive;
        return [map { my $sent = $receive->(); now_ns() - $sent } 1 .. $messages];
    });
    $crew->gather;
    my @cost;
    for (1 .. $messages) {
        sleep $gap;
        my $begin = now_ns();
        $send->($begin);
        push @cost, now_ns() - $begin;
    }
    my @took  = $crew->results;
    my @order = map { my $message = $_; [sort { $a <=> $b } map { $_->[$message] } @took] } 0 .. $messages - 1;
    my $in_us = sub { return median(@_) / 1e3 };
    return {
        publish => $in_us->(@cost),
        first   => $in_us->(map { $_->[0] } @order),
        middle  => $in_us->(map { $_->[$#$_ / 2] } @order),
        last    => $in_us->(map { $_->[-1] } @order),
    };
}

my @SECTIONS = (['a ring, poll_wait', 'ring'], ['a pipe each, sysread', 'pipes']);
my @jobs;
for my $count (@COUNTS) {
    push @jobs, map { my $kind = $_->[1]; ["$kind $count" => sub { publishes($kind, $count) }] } @SECTIONS;
}
my $figures = alternate($bench->opt('rounds'), @jobs);
for my $section (@SECTIONS) {
    my ($title, $kind) = @$section;
    $bench->row(section => $title, name => $_, %{ $figures->{"$kind $_"} }) for @COUNTS;
}
my ($number, $pause) = (with_commas($messages), $bench->opt('gap'));
$bench->note(<<"NOTES");
Microseconds. $number messages a round, one every $pause us, while all subscribers sleep; each figure is the median over the
messages. publish: what the publisher's call takes. The first, the median and the last of the subscribers: from before that call
until it has the message. With more subscribers than CPUs they wait for each other, however they are woken.
NOTES
$bench->finish(
    [name => 'subscribers'], ['publish', 'publish', '%.1f'], ['first', 'first', '%.1f'], ['middle', 'median', '%.1f'],
    ['last', 'last', '%.1f'],
);

__END__

=head1 NAME

sleepers.pl - one publish while many subscribers sleep

=head1 SYNOPSIS

    perl -Mblib bench/sleepers.pl [--quick] [--rounds N] [--messages N] [--gap MICROSECONDS]
        [--json[=FILE] [--force]]

=head1 OPTIONS

=over 4

=item --messages N

Messages of a run. Default: 100; with C<--quick> 20.

=item --gap MICROSECONDS

The publisher's pause between them. Default: 20,000.

=item --rounds N

How often everything is measured. Default: 5; with C<--quick> once.

=back

=cut
