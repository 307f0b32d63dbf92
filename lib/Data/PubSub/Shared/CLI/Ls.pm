package Data::PubSub::Shared::CLI::Ls;

# Private to the command pubsub-shared: `ls`, the rings of a directory.

use 5.022;
use strict;
use warnings;

use Data::PubSub::Shared::CLI qw(options usage each_path emit printable in_bytes json text);
use Data::PubSub::Shared::CLI::File;

# The usual directory of rings.
use constant USUAL => '/dev/shm';

sub run {
    my (@paths) = @_;
    my %opt;
    options(\@paths, \%opt, 'json|j');
    @paths = USUAL if !@paths;
    my @found;
    my $status = each_path(sub { push @found, map { Data::PubSub::Shared::CLI::File->ring($_) } Data::PubSub::Shared::CLI::File::expand($_[0]) }, @paths);
    emit($opt{json} ? json([map { as_data($_) } @found], 1) : join '', map { line($_) } @found);
    return $status;
}

sub line {
    my ($file) = @_;
    return sprintf "%-5s %10d  %10s  %s %-8s  %s\n", $file->{variant}, $file->{capacity}, in_bytes($file->{size}), mode($file),
        owner($file), printable($file->{path});
}

sub as_data {
    my ($file) = @_;
    return {
        path => text($file->{path}), mode => mode($file), owner => text(owner($file)), size => $file->{size},
        map { $_ => $file->{$_} } qw(variant capacity), $file->is_str ? 'msg_size' : (),
    };
}

sub mode  { return sprintf '%04o', $_[0]{mode} }
sub owner { return getpwuid($_[0]{uid}) // $_[0]{uid} }

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::Ls - private to the command pubsub-shared

=cut
