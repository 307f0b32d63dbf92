#!/usr/bin/env perl
#
# Broadcasts real files, line by line, to several processes, and has each of them prove that it got every line.
#
#   perl -Mblib eg/broadcast.pl                          # the largest files of perl's own library, 4 workers
#   perl -Mblib eg/broadcast.pl --workers 8 /var/log/*.log
#   perl -Mblib eg/broadcast.pl --ring-size 64 --no-pacing FILE...      # watch losses being counted
#
# What to look at:
#   publish_multi, subscribe, poll_wait_multi    one publisher, many workers, no process waits for another
#   make_room                                    pacing: publishers never block by design, so a publisher that must
#                                                not overrun anybody listens to what the workers acknowledge, each
#                                                through a ring of its own
#   read_lines                                   overflow_count and cursor say exactly which messages were lost

use 5.022;
use strict;
use warnings;

use Cwd qw(abs_path);
use Digest::SHA;
use File::Find qw(find);
use Getopt::Long;
use List::Util qw(max min sum0);
use Pod::Usage;
use POSIX qw(WNOHANG);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

use Data::PubSub::Shared;

my %opt = (workers => 4, pacing => 1, progress => -t STDERR);
GetOptions(\%opt, 'workers=i', 'ring-size=i', 'pacing!', 'progress!', 'help') or pod2usage(2);
pod2usage(-exitval => 0, -verbose => 1) if $opt{help};
pod2usage('--workers: at least one')    if $opt{workers} < 1;
pod2usage('--ring-size: at least two')  if ($opt{'ring-size'} // 2) < 2;

my @files  = @ARGV ? @ARGV : library_files(100_000);
my $survey = survey(@files);

# --- The rings: anonymous memory, which the workers inherit.
my $ring_size = $opt{'ring-size'} // ring_size_for($survey->{longest});
my $lines     = Data::PubSub::Shared::Str->new(undef, $ring_size, max(1, $survey->{longest}));
my $numbers   = Data::PubSub::Shared::Int->new(undef, $ring_size);
my $capacity  = $lines->capacity;
my $batch     = max(1, min(256, int($capacity / 4)));    # messages per call, and lines per acknowledgement

my $parent      = $$;
my $published   = 0;      # lines sent so far; line N stands at position N - 1 of its ring
my $again       = 0;      # positions of the numbers that were claimed anew: number N stands at position N - 1, or behind it
my $interrupted = 0;
my @workers     = map { start_worker($_) } 1 .. $opt{workers};

$SIG{INT} = $SIG{TERM} = sub {
    $interrupted++ and kill KILL => map { $_->{pid} } grep { $_->{alive} } @workers;
};

my $started = now();
wait_until_ready();
say STDERR 'workers: ', join ' ', map { $_->{pid} } @workers if $opt{progress};
publish_files();
my $elapsed = now() - $started;

my $failed = report(map { collect($_) } @workers);
exit($interrupted ? 130 : $failed ? 1 : 0);

# --- Publishing ---------------------------------------------------------------------------------------------------

sub publish_files {
    FILE: for my $file (@files) {
        open my $in, '<:raw', $file or die "$file: $!\n";
        until (eof $in) {
            my @lines;
            while (@lines < $batch and defined(my $line = <$in>)) { push @lines, $line }
            make_room(scalar @lines) if $opt{pacing};
            last FILE if $interrupted or !grep { $_->{alive} } @workers;

            # The line before its number: whoever sees the number finds the line in place.
            $lines->publish_multi(@lines);
            $numbers->publish_multi($published + 1 .. $published + @lines);
            $published += @lines;
            progress();
        }
    }
    make_room(1) if $opt{pacing};
    $numbers->publish(-1 - $published);    # the end, and how many there were
    # A publisher that the machine stops for a while between claiming a position and filling it finds that the workers have
    # gone on, and claims another one. A worker that is lapped counts the abandoned one, too.
    $again = $numbers->write_pos - $published - 1;
    progress('done');
    return;
}

# Waits until $n more messages overwrite nothing that a living worker has still to read.
sub make_room {
    my ($n) = @_;
    for my $worker (@workers) {
        while ($worker->{alive} and $numbers->write_pos + $n - $worker->{acked} > $capacity) { hear($worker) }
    }
    return;
}

# A worker's first acknowledgement says that its subscriptions are in place.
sub wait_until_ready {
    for my $worker (@workers) {
        hear($worker) until defined $worker->{acked} or !$worker->{alive};
    }
    return;
}

# Sleeps until this worker acknowledges something; a worker that is gone will not, so look for that now and then.
sub hear {
    my ($worker) = @_;
    my $position = $worker->{acks}->poll_wait(0.2);
    if   (defined $position) { $worker->{acked} = $position }
    else                     { reap() }
    return;
}

sub reap {
    while ((my $pid = waitpid -1, WNOHANG) > 0) { mark_gone($pid, $?) }
    return;
}

sub mark_gone {
    my ($pid, $status) = @_;
    for my $worker (grep { $_->{pid} == $pid } @workers) { @$worker{qw(alive status)} = (0, $status) }
    return;
}

# --- A worker -----------------------------------------------------------------------------------------------------

sub start_worker {
    my ($id) = @_;

    # Of the acknowledgements only the newest counts, so two slots are enough.
    my $acks = Data::PubSub::Shared::Int->new(undef, 2);
    my $self = { id => $id, alive => 1, status => 0, acks => $acks->subscribe_all };
    pipe $self->{report}, my $out or die "pipe: $!\n";
    STDOUT->flush;
    $self->{pid} = fork // die "fork: $!\n";
    if ($self->{pid} == 0) {
        $SIG{INT} = 'IGNORE';    # the publisher decides when it ends
        print {$out} work($acks);
        close $out or die "report: $!\n";
        exit 0;
    }
    close $out;
    return $self;
}

# Reads both rings to the end and returns the report: one line of KEY=VALUE, then one line for each gap.
sub work {
    my ($acks) = @_;
    my $line_sub   = $lines->subscribe;
    my $number_sub = $numbers->subscribe;
    my $sha        = Digest::SHA->new(256);
    my %got        = (lines => 0, numbers => 0, skipped => 0, disorder => 0);
    my ($last, $acked, $end, $started, @gaps) = (0, 0);
    $acks->publish(0);

    until (defined $end) {
        my @numbers = $number_sub->poll_wait_multi($batch, 1);
        $started //= now();
        die "the publisher is gone\n" if !@numbers and getppid() != $parent;
        for my $number (@numbers) {
            if ($number < 0) {
                $end = -1 - $number;
                $got{skipped} += $end - $last;
                last;
            }
            $got{disorder}++ if $number <= $last;
            $got{numbers}++;
            $got{skipped} += $number - $last - 1;
            $last = $number;
        }
        $got{lines} += read_lines($line_sub, $end // $number_sub->cursor, $sha, \@gaps);
        # Of the numbers, of which none is before its line.
        if ($number_sub->cursor - $acked >= $batch) {
            $acked = $number_sub->cursor;
            $acks->publish($acked);
        }
    }
    $got{seconds}      = now() - $started;
    $got{lines_lost}   = $line_sub->overflow_count;
    $got{numbers_lost} = $number_sub->overflow_count;
    $got{digest}       = $sha->hexdigest;
    return join(' ', map {"$_=$got{$_}"} sort keys %got) . "\n", map {"@$_\n"} @gaps;
}

# Adds the lines before position $until to the digest and returns how many there were. Where the ring has lapped us,
# poll goes on at the oldest line still held: the cursor tells which lines that left out.
sub read_lines {
    my ($sub, $until, $sha, $gaps) = @_;
    my $n = 0;
    while ((my $expected = $sub->cursor) < $until) {
        my $line     = $sub->poll // last;
        my $position = $sub->cursor - 1;
        push @$gaps, [$expected + 1, $position] if $position > $expected;    # as line numbers
        $sha->add($line);
        $n++;
    }
    return $n;
}

# --- The proof ----------------------------------------------------------------------------------------------------

# Waits for a worker's report and compares it with the files. Returns a row for the table; its `fault` is empty where
# the proof holds.
sub collect {
    my ($worker) = @_;
    my ($summary, @gaps) = readline $worker->{report};
    if ($worker->{alive}) {
        waitpid $worker->{pid}, 0;
        mark_gone($worker->{pid}, $?);
    }
    my %row    = (id => $worker->{id}, pid => $worker->{pid}, map { split /=/ } split ' ', $summary // '');
    my $status = $worker->{status};
    if ($status or !defined $summary) {
        $row{fault} = $status & 127 ? 'killed by signal ' . ($status & 127) : 'ended with status ' . ($status >> 8);
        return \%row;
    }
    my @lost = map { [split] } @gaps;
    my %gap  = (lines => sum0(map { $_->[1] - $_->[0] + 1 } @lost), numbers => $row{skipped});
    my @fault;
    for my $ring (qw(lines numbers)) {
        my ($got, $lost) = @row{ $ring, "${ring}_lost" };
        my $more = $ring eq 'numbers' ? $again : 0;
        push @fault, "$ring: got $got + lost $lost is not $published" if !within($got + $lost, $published, $more);
        push @fault, "$ring: $gap{$ring} missing, but $lost counted"  if !within($lost, $gap{$ring}, $more);
        push @fault, "$ring: lost $lost in spite of pacing"           if $lost > $more and $opt{pacing};
    }
    push @fault, "numbers out of order: $row{disorder}" if $row{disorder};
    $row{ok} = $row{digest} eq digest_of_files(\@lost);
    push @fault, 'digest differs from the files' if !$row{ok};
    @row{qw(fault lost)} = (join('; ', @fault), \@lost);
    return \%row;
}

sub within {
    my ($n, $least, $more) = @_;
    return $n >= $least && $n <= $least + $more;
}

# SHA-256 of the lines that were published, less the lines in the gaps, taken straight from the files.
sub digest_of_files {
    my ($gaps) = @_;
    return $survey->{digest} if !@$gaps and $published == $survey->{lines};
    my $sha  = Digest::SHA->new(256);
    my @gaps = @$gaps;
    my $number = 0;
    FILE: for my $file (@files) {
        open my $in, '<:raw', $file or die "$file: $!\n";
        while (my $line = <$in>) {
            last FILE if ++$number > $published;
            shift @gaps while @gaps and $gaps[0][1] < $number;
            $sha->add($line) unless @gaps and $gaps[0][0] <= $number;
        }
    }
    return $sha->hexdigest;
}

# Prints the table; returns the number of workers whose proof failed.
sub report {
    my @rows = @_;
    printf "Published %s of %s lines of %d file%s (%s bytes) in %.2f s\n", commas($published),
        commas($survey->{lines}), scalar @files, (@files == 1 ? '' : 's'), commas($survey->{bytes}), $elapsed;
    printf "Rings of %s slots, longest line %s bytes, %s\n\n", commas($capacity), commas($survey->{longest}),
        $opt{pacing} ? 'paced by acknowledgements' : 'not paced';
    my $format = "%6s %8s %12s %12s %12s %12s  %-6s %9s %11s\n";
    printf $format, qw(worker pid lines lost numbers lost digest seconds lines/s);
    for my $row (@rows) {
        if (!defined $row->{digest}) {
            printf "%6d %8d  %s\n", $row->{id}, $row->{pid}, $row->{fault};
            next;
        }
        printf $format, $row->{id}, $row->{pid}, map({ commas($row->{$_}) } qw(lines lines_lost numbers numbers_lost)),
            ($row->{ok} ? 'ok' : 'WRONG'), sprintf('%.2f', $row->{seconds}),
            commas(int($row->{lines} / max($row->{seconds}, 1e-6)));
    }
    print "\n";
    say "Positions of the numbers that were claimed anew, and may count as lost: $again" if $again;
    for my $row (grep { @{ $_->{lost} // [] } } @rows) {
        my @gaps = @{ $row->{lost} };
        printf "Worker %d lost lines %s%s\n", $row->{id}, join(', ', map {"$_->[0]-$_->[1]"} @gaps[0 .. min(4, $#gaps)]),
            @gaps > 5 ? sprintf(' ... (%d gaps)', scalar @gaps) : '';
    }
    my @failed = grep { $_->{fault} } @rows;
    print "Worker $_->{id}: $_->{fault}\n" for @failed;
    print "Interrupted\n" if $interrupted;
    if (!@failed) {
        my $lost = grep { $_->{lines_lost} or $_->{numbers_lost} } @rows;
        say $lost
            ? 'Every worker accounted for every line: got + lost = published, and what it got is intact and in order'
            : 'Every worker got every line, in order';
    }
    return scalar @failed;
}

# --- Files --------------------------------------------------------------------------------------------------------

# Lines, bytes and longest line of the files, and the digest of their bytes.
sub survey {
    my $sha = Digest::SHA->new(256);
    my %sum = (lines => 0, bytes => 0, longest => 0);
    for my $file (@_) {
        fail("$file: not a plain file") if -e $file and !-f _;
        open my $in, '<:raw', $file or fail("$file: $!");
        $sha->addfile($in);
        seek $in, 0, 0 or fail("$file: $!");
        while (my $line = <$in>) {
            $sum{lines}++;
            $sum{bytes} += length $line;
            $sum{longest} = length $line if length $line > $sum{longest};
        }
    }
    return { %sum, digest => $sha->hexdigest };
}

# The largest .pod and .pm files of perl's library, until there are enough lines.
sub library_files {
    my ($want) = @_;
    my %size;
    my @folders = grep { defined and -d } map { abs_path($_) } grep { !ref and -d and $_ ne '.' } @INC;
    find({ no_chdir => 1, wanted => sub { $size{$_} = -s _ if /\.(?:pod|pm)\z/ and lstat and -f _ and -r _ } }, @folders);
    my @files;
    for my $file (sort { $size{$b} <=> $size{$a} or $a cmp $b } keys %size) {
        open my $in, '<:raw', $file or next;
        push @files, $file;
        while (<$in>) { $want-- }
        last if $want <= 0;
    }
    return @files;
}

# A ring's arena takes about one longest line for each slot: stay below 64 MiB unless told otherwise.
sub ring_size_for {
    my ($longest) = @_;
    my $size = 4096;
    $size /= 2 while $size > 16 and $size * $longest > 64 * 2**20;
    return $size;
}

# --- Small change -------------------------------------------------------------------------------------------------

sub progress {
    my ($done) = @_;
    state $shown = 0;
    return if !$opt{progress} or (!$done and now() - $shown < 0.1);
    $shown = now();
    printf STDERR "\r%3d %%  %s lines%s", $survey->{lines} ? 100 * $published / $survey->{lines} : 100,
        commas($published), $done ? "\n" : '';
    return;
}

sub fail {
    my ($message) = @_;
    say STDERR "broadcast.pl: $message";
    exit 2;
}

sub now { return clock_gettime(CLOCK_MONOTONIC) }

sub commas {
    my ($n) = @_;
    1 while $n =~ s/^(\d+)(\d{3})/$1,$2/;
    return $n;
}

__END__

=head1 NAME

broadcast.pl - send files to several processes and prove that each got every line

=head1 SYNOPSIS

    broadcast.pl [--workers N] [--ring-size N] [--no-pacing] [--progress] [FILE...]

=head1 OPTIONS

=over 4

=item B<FILE>...

Plain files to send. Without any: the largest F<.pod> and F<.pm> files of perl's own library, at least 100,000 lines.

=item B<--workers> N

Processes to send them to. Default 4.

=item B<--ring-size> N

Slots of each ring, rounded up to a power of two. Default 4096, less where lines are very long.

=item B<--no-pacing>

Publish as fast as possible. Workers that fall behind lose lines, and account for each of them.

=item B<--progress>

Show progress on STDERR, which is the default where that is a terminal.

=back

Each line goes through a string ring, its running number through an integer ring. Each worker takes a SHA-256 of the
lines that it got; the program compares it with one of the same lines taken straight from the files. Ctrl-C ends the
run after what has been published so far; a second Ctrl-C kills the workers.

The exit status is 0 if the proof of every worker holds, 1 if not, 2 if it could not begin, 130 after
Ctrl-C.

=cut
