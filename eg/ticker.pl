#!/usr/bin/env perl
# A stock ticker over several rings: a feed publishes trades, a board shows the last price of each symbol, and a
# board that starts in the middle has every price at once.
#
#   perl -Mblib eg/ticker.pl
#   perl -Mblib eg/ticker.pl --trades 500000
# Points of interest:
#   %price    one small integer ring for each symbol: its newest message is the last price
#   $tape     a string ring with the symbols as they trade, on which the boards sleep
#   board     a board needs only the last price: it drains and keeps the newest. If the tape has lapped
#             it (overflow_count has increased), it reads the prices of all symbols.

use 5.022;
use strict;
use warnings;

use Getopt::Long;
use Pod::Usage;

use Data::PubSub::Shared;

my %opt = (trades => 50_000);
GetOptions(\%opt, 'trades=i', 'help') or pod2usage(2);
pod2usage(-exitval => 0, -verbose => 1) if $opt{help};

my %opening = (ACME => 120_50, BRIO => 8_75, CORA => 43_10, DELO => 310_00, EZRA => 1_99);    # in cents
my @symbols = sort keys %opening;
my $BELL    = '';                                                                             # the market closes

my $tape  = Data::PubSub::Shared::Str->new(undef, 1024, 16);
my %price = map { $_ => Data::PubSub::Shared::Int->new(undef, 16) } @symbols;
$price{$_}->publish($opening{$_}) for @symbols;

my %board = (board => start_board());
my %last  = feed();
my $wrong = 0;
for my $name (sort keys %board) {
    my $board = $board{$name};
    chomp(my ($opened, $closed) = map { $_ // 'nothing' } scalar <$board>, scalar <$board>);
    close $board or $wrong++;
    printf "%-8s opened with %s\n%-8s closed with %s\n", $name, $opened, '', $closed;
    $wrong++ if $closed ne quote(%last);
}
printf "%-8s closed with %s\n", 'feed', quote(%last);
say $wrong ? 'FAILED' : 'The boards agree with the feed';
exit($wrong ? 1 : 0);

# A random walk. Returns the last prices.
sub feed {
    my %cents = %opening;
    srand 42;
    for my $n (1 .. $opt{trades}) {
        my $symbol = $symbols[ rand @symbols ];
        $cents{$symbol} += int(rand 21) - 10;
        $cents{$symbol} = 1 if $cents{$symbol} < 1;
        $price{$symbol}->publish($cents{$symbol});    # the price first, so that a reader of the symbol finds it
        $tape->publish($symbol);
        $board{newcomer} = start_board() if $n == int($opt{trades} / 2);
    }
    $tape->publish($BELL);
    return %cents;
}

# Forks a board; returns the handle that reads what it prints.
sub start_board {
    my $pid = open(my $out, '-|') // die "fork: $!\n";
    return $out if $pid;
    board();
    exit 0;
}

sub board {
    my $traded = $tape->subscribe_all;
    my %quotes = map { $_ => $price{$_}->subscribe_all } @symbols;
    my %seen;
    my $look = sub {
        for my $symbol (@_) {
            my @new = $quotes{$symbol}->drain;
            $seen{$symbol} = $new[-1] if @new;
        }
    };

    $look->(@symbols);    # all last prices, from before this board started
    say quote(%seen);

    my $lost = 0;
    while (my @names = $traded->poll_wait_multi(256, 60)) {
        my $bell = $names[-1] eq $BELL;
        pop @names if $bell;
        if ($traded->overflow_count > $lost) {
            $lost  = $traded->overflow_count;
            @names = @symbols;
        }
        my %traded = map { $_ => 1 } @names;
        $look->(keys %traded);
        if ($bell) {
            say quote(%seen);
            return;
        }
    }
    die "no trade for a minute\n";
}

sub quote {
    my %cents = @_;
    return join '  ', map { sprintf '%s %.2f', $_, $cents{$_} / 100 } sort keys %cents;
}

__END__

=head1 NAME

ticker.pl - last prices through several rings

=head1 SYNOPSIS

    ticker.pl [--trades N]

=head1 OPTIONS

=over 4

=item B<--trades> N

Trades until the market closes. Default 50,000.

=back

=cut
