#!/usr/bin/env perl
# Broadcasts real files, line by line, to several processes, and checks that each process got every line.
#
#   perl -Mblib eg/broadcast.pl                          # the largest files of perl's own library, 4 workers
#   perl -Mblib eg/broadcast.pl --workers 8 /var/log/*.log
#   perl -Mblib eg/broadcast.pl --ring-size 16 FILE...   # a small ring: the publisher waits often
# Points of interest:
#   lossless => 1    the publisher waits for the slowest live worker. While it waits, Ctrl-C works
#   $ring->readers   how far each worker has read: --progress shows the slowest
#   work             makes one subscriber in each process, so that the ring lists it

use 5.022;
use strict;
use warnings;

use Cwd qw(abs_path);
use Digest::SHA;
use File::Find qw(find);
use Getopt::Long;
use List::Util qw(max min);
use Pod::Usage;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

use Data::PubSub::Shared;

my %opt = (workers => 4, progress => -t STDERR);
GetOptions(\%opt, 'workers=i', 'ring-size=i', 'progress!', 'help') or pod2usage(2);
pod2usage(-exitval => 0, -verbose => 1) if $opt{help};
pod2usage('--workers: at least one')    if $opt{workers} < 1;
pod2usage('--ring-size: at least two')  if ($opt{'ring-size'} // 2) < 2;

my @files  = @ARGV ? @ARGV : library_files(100_000);
my $survey = survey(@files);

# Anonymous memory, which the workers inherit. The table of readers has an entry for each of them.
my $size = $opt{'ring-size'} // ring_size_for($survey->{longest});
my $ring = Data::PubSub::Shared::Str->new(undef, $size, max(1, $survey->{longest}), lossless => 1, readers => $opt{workers});
my $batch = max(1, min(256, int($ring->capacity / 4)));    # lines per call
my $END   = '';                                            # no line is empty: it has its newline

my $parent    = $$;
my $published = 0;
my $interrupted = 0;
my @workers     = map { start_worker($_) } 1 .. $opt{workers};

# The first signal does not end the publisher's wait: it first publishes the batch that it has begun.
$SIG{INT} = $SIG{TERM} = sub { $interrupted++ and kill KILL => map { $_->{pid} } @workers };

my $started = now();
readline $_->{report} for @workers;                        # each reports that it has subscribed
say STDERR 'workers: ', join ' ', map { $_->{pid} } @workers if $opt{progress};
publish_files();
my $elapsed = now() - $started;

my $failed = report(map { collect($_) } @workers);
exit($interrupted ? 130 : $failed ? 1 : 0);

# --- The publisher

sub publish_files {
    FILE: for my $file (@files) {
        open my $in, '<:raw', $file or die "$file: $!\n";
        until (eof $in) {
            my @lines;
            while (@lines < $batch and defined(my $line = <$in>)) { push @lines, $line }
            last FILE if $interrupted;
            $published += $ring->publish_multi(@lines);
            progress();
        }
    }
    $ring->publish($END);
    progress('done');
    return;
}

# --- A worker

sub start_worker {
    my ($id) = @_;
    pipe my $report, my $out or die "pipe: $!\n";
    STDOUT->flush;
    my $pid = fork // die "fork: $!\n";
    if (!$pid) {
        $SIG{INT} = 'IGNORE';    # the publisher decides when it ends
        $out->autoflush(1);
        work($id, $out);
        exit 0;
    }
    return { id => $id, pid => $pid, report => $report };
}

# Reads to the end, and reports in one line of KEY=VALUE.
sub work {
    my ($id, $out) = @_;
    my $sub = $ring->subscribe(name => "worker $id");
    say {$out} 'ready';
    my ($sha, $lines, $began, $end) = (Digest::SHA->new(256), 0);
    until ($end) {
        my @lines = $sub->poll_wait_multi($batch, 1);
        die "the publisher is gone\n" if !@lines and getppid() != $parent;
        $began //= now() if @lines;
        $end = @lines && $lines[-1] eq $END and pop @lines;
        $sha->add(@lines);
        $lines += @lines;
    }
    printf {$out} "lines=%d lost=%d seconds=%f digest=%s\n", $lines, $sub->overflow_count, now() - $began, $sha->hexdigest;
    return;
}

# --- The check

# Waits for a worker and compares its report with the files. Returns a row for the table; its `fault` is empty if they agree.
sub collect {
    my ($worker) = @_;
    my %row = (%$worker, map { split /=/ } split ' ', readline($worker->{report}) // '');
    waitpid $worker->{pid}, 0;
    $row{fault} = $? & 127 ? 'killed by signal ' . ($? & 127)
        : $? || !$row{digest}           ? 'ended with status ' . ($? >> 8)
        : $row{lost}                    ? "lost $row{lost} lines"
        : $row{lines} != $published     ? "got $row{lines} of $published lines"
        : $row{digest} ne files_digest() ? 'digest differs from the files'
        :                                 '';
    return \%row;
}

# SHA-256 of the published lines, read from the files.
sub files_digest {
    return $survey->{digest} if $published == $survey->{lines};
    my ($sha, $left) = (Digest::SHA->new(256), $published);
    for my $file (@files) {
        open my $in, '<:raw', $file or die "$file: $!\n";
        while ($left and defined(my $line = <$in>)) { $sha->add($line); $left-- }
    }
    return $sha->hexdigest;
}

# Prints the table; returns the number of workers whose check failed.
sub report {
    my (@rows) = @_;
    printf "Published %s of %s lines of %d file%s (%s bytes) in %.2f s\n", commas($published),
        commas($survey->{lines}), scalar @files, (@files == 1 ? '' : 's'), commas($survey->{bytes}), $elapsed;
    printf "A lossless ring of %s slots, longest line %s bytes\n\n", commas($ring->capacity), commas($survey->{longest});
    my $format = "%6s %8s %12s %8s  %-6s %9s %11s\n";
    printf $format, qw(worker pid lines lost digest seconds lines/s);
    for my $row (grep { $_->{digest} } @rows) {
        printf $format, @$row{qw(id pid)}, commas($row->{lines}), $row->{lost}, ($row->{fault} ? 'WRONG' : 'ok'),
            sprintf('%.2f', $row->{seconds}), commas(int($row->{lines} / max($row->{seconds}, 1e-6)));
    }
    print "\n";
    # A publisher that is stopped for a while between claiming a position and filling it claims another one.
    my $abandoned = $ring->stats->{abandoned};
    say "Positions that were claimed again: $abandoned" if $abandoned;
    my @failed = grep { $_->{fault} } @rows;
    print "Worker $_->{id}: $_->{fault}\n" for @failed;
    print "Interrupted\n" if $interrupted;
    say 'Every worker got every line, in order' if !@failed;
    return scalar @failed;
}

# --- Files

# Lines, bytes and longest line of the files, and the digest of their bytes.
sub survey {
    my $sha = Digest::SHA->new(256);
    my %sum = (lines => 0, bytes => 0, longest => 0);
    for my $file (@_) {
        fail("$file: not a plain file") if -e $file and !-f _;
        open my $in, '<:raw', $file or fail("$file: $!");
        while (my $line = <$in>) {
            $sha->add($line);
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
    my @found;
    for my $file (sort { $size{$b} <=> $size{$a} or $a cmp $b } keys %size) {
        open my $in, '<:raw', $file or next;
        push @found, $file;
        while (<$in>) { $want-- }
        last if $want <= 0;
    }
    return @found;
}

# A ring's arena takes about one longest line for each slot: stay below 64 MiB unless told otherwise.
sub ring_size_for {
    my ($longest) = @_;
    my $size = 4096;
    $size /= 2 while $size > 16 and $size * $longest > 64 * 2**20;
    return $size;
}

# --- Helpers

sub progress {
    my ($done) = @_;
    state $shown = 0;
    return if !$opt{progress} or (!$done and now() - $shown < 0.1);
    $shown = now();
    my ($slowest) = sort { $b->{lag} <=> $a->{lag} } $ring->readers;
    printf STDERR "\r%3d %%  %s lines%s%s", $survey->{lines} ? 100 * $published / $survey->{lines} : 100, commas($published),
        $slowest ? sprintf(', %s is %d behind  ', $slowest->{name}, $slowest->{lag}) : '', $done ? "\n" : '';
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

    broadcast.pl [--workers N] [--ring-size N] [--progress] [FILE...]

=head1 OPTIONS

=over 4

=item B<FILE>...

Plain files to send. Without any: the largest F<.pod> and F<.pm> files of perl's own library, at least 100,000 lines.

=item B<--workers> N

Processes to send them to. Default 4.

=item B<--ring-size> N

Slots of the ring, rounded up to a power of two. Default 4096, less if lines are very long.

=item B<--progress>

Show progress, and the slowest worker, on STDERR. Default: only if STDERR is a terminal.

=back

The lines go through a lossless ring. Each worker takes a SHA-256 of the lines that it got; the program compares
it with one of the same lines read from the files. Ctrl-C ends the run after the lines that have been published
so far; a second Ctrl-C kills the workers.

The exit status is 0 if the proof of every worker holds, 1 if not, 2 if it could not begin, 130 after
Ctrl-C.

=cut
