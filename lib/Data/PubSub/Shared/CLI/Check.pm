package Data::PubSub::Shared::CLI::Check;

# Private to the command pubsub-shared: `check`, whether a ring's file is sound.
#
# A problem is what no sequence of calls, deaths and restarts leaves behind; a note is what one may want
# to know. The slots are looked at in CLI/Slots.pm.

use 5.022;
use strict;
use warnings;

use Data::PubSub::Shared::CLI qw(options usage attempt emit printable text json);
use Data::PubSub::Shared::CLI::File;
use Data::PubSub::Shared::CLI::Slots;

# No Linux has more threads.
use constant MOST_THREADS => 2**22;

sub run {
    my (@paths) = @_;
    my %opt;
    options(\@paths, \%opt, 'all|a', 'quiet|q', 'json|j');
    usage('missing RING') if !@paths;

    my $status = 0;
    my @reports;
    for my $path (map { rings_of($_) } @paths) {
        my $report = ref $path ? $path : examine($path, $opt{all});
        $status = 1 if @{ $report->{problems} };
        if    ($opt{json})   { push @reports, as_data($report) }
        elsif (!$opt{quiet}) { emit(as_text($report)) }
    }
    emit(json(\@reports, 1)) if $opt{json};
    return $status;
}

# Paths; or a report, where a directory cannot be read.
sub rings_of {
    my ($path) = @_;
    my $is_one = \&Data::PubSub::Shared::CLI::File::may_be_one;
    my $found  = attempt(sub { [Data::PubSub::Shared::CLI::File::expand($path, $is_one)] });
    return $found ? @$found : failed($path);
}

# The report of what just died.
sub failed {
    my ($path) = @_;
    return { path => $path, problems => [$@ =~ s/\A\Q$path\E: |\n\z//gr], notes => [] };
}

sub examine {
    my ($path, $all) = @_;
    my $file = attempt(sub { Data::PubSub::Shared::CLI::File->new($path) }) or return failed($path);
    my %report = (path => $path, problems => [], notes => [], file => $file);
    my @geometry = $file->problems;
    if (@geometry) { push @{ $report{problems} }, @geometry }
    else {
        words($file, \%report);
        disk_space($file, \%report);
        lock_word($file, \%report) if $file->is_str;
        slots($file, \%report, $all) if $file->{raw_pos} < 2**63;
    }
    return \%report;
}

# --- The header

# Bytes of the header that mean something, each from .. to - 1; the others are 0 for ever.
my @USED = ([0, 80], [128, 136], [256, 272], [384, 392], [512, 552]);

sub words {
    my ($file, $report) = @_;
    my $bytes = $file->bytes(0, Data::PubSub::Shared::CLI::File::HEADER_LEN);
    $file->reparse($bytes);
    my $problem = sub { push @{ $report->{problems} }, sprintf shift, @_ };

    my $rest = $bytes;
    substr $rest, $_->[0], $_->[1] - $_->[0], "\0" x ($_->[1] - $_->[0]) for @USED;
    $problem->('byte %d of the header is used by nobody, and is not 0', $-[0]) if $rest =~ /[^\0]/;

    $problem->('the write position is %s: nobody can have published that much', $file->{raw_pos})
        if $file->{raw_pos} >= 2**63;
    # The header was read front to back: a clear meanwhile makes neither of these two true.
    $problem->('the position of the last clear is %s, beyond the write position %s', @$file{qw(base raw_pos)})
        if $file->{base} > $file->{raw_pos} && $file->{base} > $file->reparse->{raw_pos};
    $problem->('%s positions were abandoned, and %s at the last clear', @$file{qw(abandoned abandoned_at_clear)})
        if $file->{abandoned_at_clear} > $file->{abandoned};
    $problem->('%s subscribers sleep, more than a machine can have', $file->{waiters})
        if $file->{waiters} > MOST_THREADS;

    $problem->('byte 516 of the header is used by nobody, and is not 0') if $file->{lock_reserved};
    $problem->('byte 528 of the header is used by nobody, and is not 0') if $file->{lock_reserved_too};
    $problem->('the lock word is %#x, and integers have no lock', $file->{lock}) if $file->{lock} && !$file->is_str;
    push @{ $report->{notes} }, 'not opened since the machine was started' if $file->boot eq 'earlier';
    return;
}

# On a full disk, publishing into a hole is SIGBUS.
sub disk_space {
    my ($file, $report) = @_;
    my $missing = $file->unreserved or return;
    push @{ $report->{notes} }, "$missing of $file->{size} bytes have no disk space (holes, or compressed);"
        . ' opening the ring for publishing reserves what is missing';
    return;
}

sub lock_word {
    my ($file, $report) = @_;
    my $owner = $file->lock_owner;
    my $note  = sub { push @{ $report->{notes} }, sprintf shift, @_ };
    if (!$owner) {
        $note->('a publisher died with the lock in its hands; the next one takes it over')
            if $file->{lock} & Data::PubSub::Shared::CLI::File::OWNER_DIED;
        return;
    }
    return $note->('the lock is still held by a publisher from before the restart; who opens the ring frees it')
        if $file->boot eq 'earlier';
    my ($ours) = (readlink('/proc/self/ns/pid') // '') =~ /(\d+)/;
    return $note->('the lock is held by thread %d of a container, this one or another', $owner)
        if $file->{namespace} && $file->{namespace} != ($ours // 0);
    if (open my $in, '<', "/proc/$owner/stat") {
        my ($name, $state) = (<$in> // '') =~ /\((.*)\) (\S)/s;
        $note->('the lock is held by thread %d (%s), which is stopped: publishers wait', $owner, $name)
            if ($state // '') =~ /[Tt]/;
    }
    elsif ($file->reparse->lock_owner == $owner) {
        $note->('the lock is held by thread %d, which does not exist; the next publisher finds out in 2 s', $owner);
    }
    return;
}

# --- The slots

sub slots {
    my ($file, $report, $all) = @_;
    my $slots = Data::PubSub::Shared::CLI::Slots->new($file);
    my %found = $slots->look($all);
    $report->{checked} = $slots->checked;
    push @{ $report->{problems} }, @{ $found{problems} };
    my ($unfilled, $torn) = @found{qw(unfilled torn)};
    push @{ $report->{notes} },
        $unfilled ? "claimed, but not filled: $unfilled of the positions held"                 : (),
        $torn     ? "half overwritten when a publisher stopped: $torn of the messages held" : ();
    return;
}

# --- What people and programs see

sub as_text {
    my ($report) = @_;
    my ($file, @problems) = ($report->{file}, @{ $report->{problems} });
    my $path = printable($report->{path});
    my $what = '';
    if (defined $report->{checked}) {
        $what = "$file->{variant}, $report->{checked} "
            . ($report->{checked} < $file->{capacity} ? "of $file->{capacity} slots" : 'slots');
    }
    my @lines;
    if    (!@problems)                { @lines = "$path: fine ($what)" }
    elsif (@problems == 1 && !$what)  { @lines = "$path: " . shift @problems }
    else                              { @lines = "$path: damaged ($what)" }
    push @lines, map({"  problem: $_"} @problems), map({"  note: $_"} @{ $report->{notes} });
    return join '', map { printable($_) . "\n" } @lines;
}

sub as_data {
    my ($report) = @_;
    my $file = $report->{file};
    return {
        path     => text($report->{path}),
        fine     => @{ $report->{problems} } ? JSON::PP::false() : JSON::PP::true(),
        problems => [map { text($_) } @{ $report->{problems} }],
        notes    => [map { text($_) } @{ $report->{notes} }],
        defined $report->{checked}
        ? (variant => $file->{variant}, capacity => $file->{capacity}, slots_checked => $report->{checked})
        : (),
    };
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::Check - private to the command pubsub-shared

=cut
