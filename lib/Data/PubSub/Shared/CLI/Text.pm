package Data::PubSub::Shared::CLI::Text;

# Private to the command pubsub-shared: parses numbers and formats errors.

use 5.022;
use strict;
use warnings;

use Exporter 'import';

our @EXPORT_OK = qw(cause decimal double number without_place);

my %TIMES = ('' => 1, k => 2**10, m => 2**20, g => 2**30);

# A whole number with an optional suffix, in upper or lower case; undef for anything else.
sub number {
    my ($text) = @_;
    my ($number, $unit) = $text =~ /\A([0-9]{1,18})([kmg]?)\z/i or return undef;
    return undef if length $unit && length $number > 10;
    return $number * $TIMES{ lc $unit };
}

# A number with or without a fraction, not negative; undef for anything else.
sub decimal { return $_[0] =~ /\A(?:\d+\.?\d*|\.\d+)\z/a ? $_[0] : undef }

# A number in 64 bits, as in a ring, regardless of this perl's numbers.
sub double { return unpack 'd', pack 'd', $_[0] }

# The cause of an error. Removes the method and the place in this program from errors of rings.
sub cause {
    my ($text) = @_;
    $text = without_place($text) if $text =~ s/\AData::PubSub::Shared::\S+: //;
    return $text =~ s/\n*\z//r;
}

# A text without the ` at FILE line N` that perl appended, and the text after it. A file's name may contain anything, even blanks
# and ` at `, so it is searched among the files that perl has loaded.
sub without_place {
    my ($text) = @_;
    my $files = join '|', map { quotemeta } grep { defined && !ref } values %INC, $0, '-e';
    return $text =~ s/,?\s+at (?:$files|\(eval [0-9]+\)) line [0-9]+\b.*\z//sr;
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::Text - private to the command pubsub-shared

=cut
