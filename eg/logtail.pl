#!/usr/bin/env perl
# Follows a log: one process reads it and publishes its lines, and any number of other processes select lines.
#
#   perl -Mblib eg/logtail.pl                              # a generated log, two readers
#
# In different terminals; readers may start and end at any time:
#
#   perl -Mblib eg/logtail.pl --ring /dev/shm/log.ring --publish --follow /var/log/syslog
#   perl -Mblib eg/logtail.pl --ring /dev/shm/log.ring --read
#   perl -Mblib eg/logtail.pl --ring /dev/shm/log.ring --read --grep 'error|warn'
#   some-program 2>&1 | perl -Mblib eg/logtail.pl --ring /dev/shm/log.ring --publish
# Points of interest:
#   publish_log    lines longer than a message are cut; an empty message, which cannot be a line, ends the log
#   read_log       sleeps in poll_wait_multi, and reports when it was lapped

use 5.022;
use strict;
use warnings;

use File::Temp qw(tempdir);
use Getopt::Long;
use Pod::Usage;

use Data::PubSub::Shared;

my $MSG_SIZE = 1024;    # bytes of a line that are kept, including its newline
my $LINES    = 4096;    # lines that a reader may be behind

my %opt;
GetOptions(\%opt, 'ring=s', 'publish', 'read', 'follow', 'grep=s', 'help') or pod2usage(2);
pod2usage(-exitval => 0, -verbose => 1) if $opt{help};
pod2usage('--publish or --read: one of them, with --ring') if $opt{ring} ? !($opt{publish} xor $opt{read}) : %opt;
$| = 1;

if    (!$opt{ring})   { demo() }
elsif ($opt{publish}) { publish_log($opt{ring}, open_log(@ARGV)) }
else                  { read_log($opt{ring}, $opt{grep} // '', sub { print $_[0] }) }

sub open_log {
    my ($file) = @_;
    if (!defined $file or $file eq '-') {
        # If the caller has closed it, perl has opened this program itself with its number.
        die "standard input is closed\n" if fileno DATA == fileno STDIN;
        return \*STDIN;
    }
    my $in;
    if ($opt{follow}) { open $in, '-|', qw(tail -n +1 -F --), $file or die "tail: $!\n" }
    else              { open $in, '<', $file or die "$file: $!\n" }
    return $in;
}

# Publishes line by line until the end of the file, or Ctrl-C.
sub publish_log {
    my ($path, $in) = @_;
    my $ring    = Data::PubSub::Shared::Str->new($path, $LINES, $MSG_SIZE);
    my $longest = $ring->msg_size;    # an existing ring keeps its own size
    my $stop    = 0;
    $ring->clear;                     # discard the messages of an earlier log
    binmode $in;
    local $SIG{INT} = sub { $stop = 1; close $in };
    while (!$stop and defined(my $line = <$in>)) {
        $line = substr($line, 0, $longest - 1) . "\n" if length $line > $longest;
        $ring->publish($line);
    }
    $ring->publish('');
    return;
}

# Passes each line that matches to $code, until the log ends. Returns how many matched.
sub read_log {
    my ($path, $pattern, $code) = @_;
    my $ring = Data::PubSub::Shared::Str->new($path, $LINES, $MSG_SIZE);
    my $sub  = $ring->subscribe_all;
    my ($matched, $lost) = (0, 0);
    while (1) {
        my @lines = $sub->poll_wait_multi(256);
        if ((my $now = $sub->overflow_count) > $lost) {
            $code->(sprintf "[%d lines lost]\n", $now - $lost);
            $lost = $now;
        }
        for my $line (@lines) {
            return $matched if $line eq '';
            next            if $line !~ $pattern;
            $matched++;
            $code->($line);
        }
    }
}

# A log of 2,000 lines, a reader that prints the errors, and one that counts the levels.
sub demo {
    my $dir = tempdir(CLEANUP => 1);
    open my $log, '>', "$dir/log" or die "$dir/log: $!\n";
    for my $n (1 .. 2000) {
        my $level = $n % 400 == 0 ? 'ERROR' : $n % 50 == 0 ? 'WARN' : 'INFO';
        print {$log} "$level request $n took " . $n * 7 % 90 . " ms\n";
    }
    close $log or die "$dir/log: $!\n";

    my @readers = (
        sub { read_log("$dir/ring", '^ERROR', sub { print "errors: $_[0]" }) },
        sub {
            my %seen;
            my $n = read_log("$dir/ring", '', sub { $seen{ (split ' ', $_[0])[0] }++ });
            say join ' ', "levels: $n lines,", map {"$_ $seen{$_}"} sort keys %seen;
        },
    );
    my @pids;
    for my $reader (@readers) {
        my $pid = fork // die "fork: $!\n";
        push @pids, $pid;
        next if $pid;
        $reader->();
        exit 0;
    }
    publish_log("$dir/ring", open_log("$dir/log"));
    for my $pid (@pids) {
        waitpid $pid, 0;
        die "a reader failed\n" if $?;
    }
    return;
}

__END__

=head1 NAME

logtail.pl - one process publishes the lines of a log, others read them

=head1 SYNOPSIS

    logtail.pl
    logtail.pl --ring PATH --publish [--follow] [FILE]
    logtail.pl --ring PATH --read [--grep PATTERN]

=head1 OPTIONS

=over 4

=item B<--ring> PATH

The file that publisher and readers share; the first process creates it. It is not removed at the end: remove it yourself.

=item B<--publish>

Publish the lines of FILE, or of standard input.

=item B<--follow>

Go on as FILE grows, until Ctrl-C.

=item B<--read>

Print the lines in the ring and new lines, until the log ends.

=item B<--grep> PATTERN

Only lines that match this regular expression.

=back

=cut
