package Data::PubSub::Shared::CLI::Standard;

# Private to the command pubsub-shared: the three standard streams, which the caller may have closed
# (`<&-` in a shell).
#
# The next file that is opened then gets the number: the script, which perl reads; a module, which stays open, since perl
# counts two handles at that number; a ring; a connection. What one takes for standard input is the text of the script,
# and a complaint goes into a ring. So these numbers are occupied by what can be neither read nor written as expected,
# and the calls fail as they do on a closed descriptor. The idea is that of glibc for programs with more rights than their
# caller (csu/check_fds.c).
#
# The script opens the lowest of the closed ones. It occupies the others in a BEGIN block, before it loads anything; what is
# here occupies the script's own, once it has been read.

use 5.022;
use strict;
use warnings;

use Fcntl qw(O_RDONLY O_WRONLY);
use POSIX ();

sub occupy {
    # The text of the scripts ends with __END__: perl leaves them open as DATA.
    my $number = *main::DATA{IO} && fileno *main::DATA;
    return if !defined $number || $number > 2;
    my $null = POSIX::open('/dev/null', $number == 0 ? O_WRONLY : O_RDONLY) // die "/dev/null: $!\n";
    POSIX::dup2($null, $number) // die "dup2: $!\n";
    POSIX::close($null);
    return;
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::Standard - private to the command pubsub-shared

=cut
