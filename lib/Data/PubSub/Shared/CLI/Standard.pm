package Data::PubSub::Shared::CLI::Standard;

# Private to the command pubsub-shared: the three standard streams, which the caller may have closed
# (`<&-` in a shell).
# The next file that is opened then gets the number: the script, which perl reads; a module, which stays open, since perl
# counts two handles for that number; a ring; a connection. Reading standard input then reads the text of the script,
# and an error message is written into a ring. So these numbers are occupied by files that cannot be read or written as expected,
# and the calls fail as for a closed descriptor. glibc does the same for programs with more privileges than their
# caller (csu/check_fds.c).
#
# The script itself gets the lowest closed number. It occupies the others in a BEGIN block, before it loads anything; this module
# occupies the script's own number, once the script has been read.

use 5.022;
use strict;
use warnings;

use Fcntl qw(O_RDONLY O_WRONLY);
use POSIX ();

sub occupy {
    # The scripts end with __END__, so perl leaves them open as DATA.
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
