package Data::PubSub::Shared::CLI::Top;

# Private to the command pubsub-shared: `top`, rings as they change.

use 5.022;
use strict;
use warnings;

use List::Util qw(sum0);
use POSIX qw(strftime);
use Time::HiRes qw(clock_gettime sleep CLOCK_MONOTONIC);

use Data::PubSub::Shared::CLI qw(options usage count emit_text flush);
use Data::PubSub::Shared::CLI::Sample;
use Data::PubSub::Shared::CLI::Terminal;
use Data::PubSub::Shared::CLI::Text qw(decimal);

sub run {
    my (@paths) = @_;
    my %opt = (delay => 1);
    options(\@paths, \%opt, 'delay|d=s', 'once|1', 'batch|b=s');
    usage('missing RING') if !@paths;
    usage("--delay must be a number of seconds from 0.05 on, not '$opt{delay}'")
        if (decimal($opt{delay}) // 0) < 0.05 || $opt{delay} > 86400;
    $opt{batch} = count('--batch', $opt{batch}, 1, 1 << 53) if defined $opt{batch};

    return batch(\@paths, $opt{delay}, 1)           if $opt{once};
    return batch(\@paths, $opt{delay}, $opt{batch}) if $opt{batch} || !-t STDOUT || ($ENV{TERM} // 'dumb') eq 'dumb';
    return live(\@paths, $opt{delay});
}

# Writes $count tables one below the other, or without end.
sub batch {
    my ($paths, $delay, $count) = @_;
    my $before = Data::PubSub::Shared::CLI::Sample->take(@$paths);
    my $due    = clock_gettime(CLOCK_MONOTONIC);
    my $status = 0;
    for (my $i = 0; !$count || $i < $count; $i++) {
        $due += $delay;
        my $left = $due - clock_gettime(CLOCK_MONOTONIC);
        sleep $left if $left > 0;
        my $sample = Data::PubSub::Shared::CLI::Sample->take(@$paths)->compare($before);
        emit_text(join '', $i ? "\n" : '', map {"$_\n"} $sample->table);
        flush();
        $status = $sample->errors ? 1 : 0;
        $before = $sample;
    }
    return $status;
}

sub live {
    my ($paths, $delay) = @_;
    my $terminal = Data::PubSub::Shared::CLI::Terminal->new;
    my $lived    = eval { watch($terminal, $paths, $delay); 1 };
    my $error    = $@;
    $terminal->leave;
    die $error if !$lived;
    return 0;
}

sub watch {
    my ($terminal, $paths, $delay) = @_;
    my $before = Data::PubSub::Shared::CLI::Sample->take(@$paths);
    my $shown  = $before;
    while (1) {
        my $due = clock_gettime(CLOCK_MONOTONIC) + $delay;
        my $key;
        until (defined $key) {
            $terminal->draw(screen($shown, $delay));
            $key = $terminal->wait_for_key($due);
            return if $key eq 'q';
            # If the size has changed, draw the same figures again.
            undef $key if $key ne ' ' && clock_gettime(CLOCK_MONOTONIC) < $due;
        }
        $shown  = Data::PubSub::Shared::CLI::Sample->take(@$paths)->compare($before);
        $before = $shown;
    }
}

sub screen {
    my ($sample, $delay) = @_;
    my ($columns, $lines) = Data::PubSub::Shared::CLI::Terminal::size();
    my @rows  = $sample->rows;
    my $count = @rows == 1 ? '1 ring' : @rows . ' rings';
    my $total = Data::PubSub::Shared::CLI::Sample::short(sum0 map { $_->{rate} // 0 } @rows);
    my ($titles, @table) = $sample->table($columns);
    my $head = sprintf '%s  %s, %s messages/s, every %s s  (q: quit, space: now)',
        strftime('%H:%M:%S', localtime), $count, $total, $delay;
    my $room = $lines - 2;
    if (@table > $room) {
        my $hidden = @table - $room + 1;
        @table = (@table[0 .. $room - 2], "... and $hidden more");
    }
    # A tab highlights the line.
    return ($head, "\t$titles", @table);
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::Top - private to the command pubsub-shared

=cut
