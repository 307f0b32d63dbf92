package Data::PubSub::Shared::CLI::Text;

# Private to the commands pubsub-shared and pubsub-bridge: how both understand numbers, and put errors.

use 5.022;
use strict;
use warnings;

use Exporter 'import';

our @EXPORT_OK = qw(cause number);

my %TIMES = ('' => 1, k => 2**10, M => 2**20, G => 2**30);

# A whole number, perhaps with a suffix; undef for anything else.
sub number {
    my ($text) = @_;
    my ($number, $unit) = $text =~ /\A([0-9]+)([kMG]?)\z/ or return undef;
    return $number * $TIMES{$unit};
}

# What an error says. What the rings croak loses who croaked, and where in this program.
sub cause {
    my ($text) = @_;
    $text =~ s/\AData::PubSub::Shared::\S+: (.*) at \S+ line \d+\.?\n?\z/$1/s;
    return $text =~ s/\n*\z//r;
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::Text - private to the commands pubsub-shared and pubsub-bridge

=cut
