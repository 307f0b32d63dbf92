package Data::PubSub::Shared::CLI::Check;

# Private to the command pubsub-shared: `check` looks for damage in a ring's file.
#
# A problem is a state that no sequence of calls, deaths and restarts leaves behind; a note is a harmless state
# of interest. The core finds both, in src/system/check.rs.

use 5.022;
use strict;
use warnings;

use Data::PubSub::Shared::CLI qw(options usage attempt emit printable text json);
use Data::PubSub::Shared::CLI::File;

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

# Returns paths, or a report if a directory cannot be read.
sub rings_of {
    my ($path) = @_;
    my $is_one = \&Data::PubSub::Shared::CLI::File::may_be_one;
    my $found  = attempt(sub { [Data::PubSub::Shared::CLI::File::expand($path, $is_one)] });
    return $found ? @$found : failed($path);
}

# A report of the error in $@.
sub failed {
    my ($path) = @_;
    return { path => $path, problems => [$@ =~ s/\A\Q$path\E: |\n\z//gr], notes => [] };
}

sub examine {
    my ($path, $all) = @_;
    return attempt(sub { Data::PubSub::Shared::CLI::File->check($path, $all) }) || failed($path);
}

# --- Output for people and programs

sub as_text {
    my ($report) = @_;
    my @problems = @{ $report->{problems} };
    my $path = printable($report->{path});
    my $what = '';
    if (defined $report->{checked}) {
        $what = "$report->{variant}, $report->{checked} "
            . ($report->{checked} < $report->{capacity} ? "of $report->{capacity} slots" : 'slots');
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
    return {
        path     => text($report->{path}),
        fine     => @{ $report->{problems} } ? JSON::PP::false() : JSON::PP::true(),
        problems => [map { text($_) } @{ $report->{problems} }],
        notes    => [map { text($_) } @{ $report->{notes} }],
        defined $report->{checked}
        ? (variant => $report->{variant}, capacity => $report->{capacity}, slots_checked => $report->{checked})
        : (),
    };
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::Check - private to the command pubsub-shared

=cut
