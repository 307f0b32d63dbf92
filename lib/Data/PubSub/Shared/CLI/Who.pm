package Data::PubSub::Shared::CLI::Who;

# Private to the command pubsub-shared: `who`, the readers of rings, and `forget`, which removes a named one.

use 5.022;
use strict;
use warnings;

use List::Util qw(max);
use POSIX qw(strftime);

use Data::PubSub::Shared::CLI qw(options usage complain emit emit_text each_path attempt printable text json);
use Data::PubSub::Shared::CLI::File;

sub run {
    my (@paths) = @_;
    my %opt;
    options(\@paths, \%opt, 'json|j');
    usage('missing RING') if !@paths;
    return as_json(@paths) if $opt{json};
    my $shown = 0;
    return each_path(sub {
        my ($path) = @_;
        for my $ring (Data::PubSub::Shared::CLI::File::expand($path)) {
            my $text = as_text(Data::PubSub::Shared::CLI::File->ring($ring));
            emit_text(($shown++ ? "\n" : '') . $text);
        }
    }, @paths);
}

sub as_json {
    my (@paths) = @_;
    my (@rings, $failed);
    for my $path (map { -d ? Data::PubSub::Shared::CLI::File::expand($_) : $_ } @paths) {
        my $data = attempt(sub { as_data(Data::PubSub::Shared::CLI::File->ring($path)) });
        $failed ||= !$data;
        push @rings, $data || { error => text($@ =~ s/\A\Q$path\E: |\n\z//gr), path => text($path) };
    }
    emit(json(\@rings, 1));
    return $failed ? 1 : 0;
}

sub as_data {
    my ($file) = @_;
    return {
        path => text($file->{path}),
        map({ ($_ => $file->{$_}) } qw(variant capacity lossless readers unlisted)),
        listed      => [by_lag($file->readers)],
        waiting_for => [by_lag($file->waiting_for)],
    };
}

# Sorts by lag, the slowest first.
sub by_lag {
    my @sorted = sort { $b->{lag} <=> $a->{lag} || ($a->{name} // '') cmp($b->{name} // '') || $a->{pid} <=> $b->{pid} } @_;
    return @sorted;
}

# Returns characters.
sub as_text {
    my ($file) = @_;
    my @readers = by_lag($file->readers);
    my @slow    = by_lag($file->waiting_for);
    my $text    = sprintf "%s: %s, %s%d messages; %d of %d readers\n", text(printable($file->{path})), $file->{variant},
        $file->{lossless} ? 'lossless, ' : '', $file->{capacity}, scalar @readers, $file->{readers};
    $text .= sprintf "  not listed, because the table was full: %d\n", $file->{unlisted} if $file->{unlisted};
    return $text if !@readers;
    my @rows = (
        [qw(NAME PID LAG LOST DELIVERED STATE SINCE)],
        map { [name_of($_), @$_{qw(pid lag lost delivered)}, state_of($_), date($_->{since})] } @readers,
    );
    my @width = map { my $i = $_; max(map { length $_->[$i] } @rows) } 0 .. 5;
    $text .= sprintf "  %-$width[0]s  %$width[1]s  %$width[2]s  %$width[3]s  %$width[4]s  %-$width[5]s  %s\n", @$_ for @rows;
    return $text if !@slow;
    return $text . '  publishers wait for ' . join(', ', map { name_of($_) . " ($_->{pid})" } @slow) . "\n";
}

sub date { return strftime('%Y-%m-%d %H:%M:%S', localtime $_[0]) }

sub name_of {
    my ($reader) = @_;
    return defined $reader->{name} ? text(printable($reader->{name})) : '-';
}

sub state_of {
    my ($reader) = @_;
    my $state = !defined $reader->{alive} ? 'unknown'
        : $reader->{alive}                ? ($reader->{waits} ? 'asleep' : 'awake')
        : defined $reader->{name}         ? 'away'
        :                                   'dead';
    return $state . ($reader->{lossy} ? ', lossy' : '');
}

# --- forget

sub forget {
    my (@arguments) = @_;
    options(\@arguments, {});
    usage('expected a RING and a NAME') if @arguments != 2;
    my ($path, $name) = @arguments;
    my $ring = Data::PubSub::Shared::CLI::File->ring($path)->attach(1);
    $ring->forget(text($name)) or die "$path: no reader of the name '$name'\n";
    return 0;
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::Who - private to the command pubsub-shared

=cut
