package Data::PubSub::Shared::CLI::Space;

# Private to the command pubsub-shared: the free space for a new ring.

use 5.022;
use strict;
use warnings;

use POSIX ();

# Returns (free bytes, where) for a file at this path; nothing if it cannot be determined.
sub free_for {
    my ($path) = @_;
    my ($dir) = $path =~ m{\A(.*/)}s;
    my ($free, $type) = parse(_df($dir // './'));
    return if !defined $free;
    # Files in memory have two limits.
    my $memory = $type =~ /\A(?:tmpfs|ramfs)\z/ ? available_memory() : undef;
    return defined $memory && $memory < $free ? ($memory, 'in memory') : ($free, 'on its file system');
}

# Perl has no statvfs(3).
sub _df {
    my ($dir) = @_;
    my $pid = open(my $out, '-|') // return '';
    if (!$pid) {
        open STDERR, '>', '/dev/null';
        local $ENV{LC_ALL} = 'C';
        { no warnings 'exec'; exec 'df', '-PkT', '--', $dir }
        POSIX::_exit(127);
    }
    local $/;
    return readline($out) // '';
}

# (free bytes, type of the file system) from the output of df -PkT. A ramfs reports a size of 0.
sub parse {
    my ($text) = @_;
    my ($type, $total, $free) = $text =~ /^.*\s(\S+)\s+([0-9]+)\s+[0-9]+\s+(-?[0-9]+)\s+(?:[0-9]+%|-)\s/m or return;
    return $total ? (1024 * ($free > 0 ? $free : 0), $type) : ();
}

sub available_memory {
    open my $in, '<', '/proc/meminfo' or return undef;
    local $/;
    return readline($in) =~ /^MemAvailable:\s*([0-9]+) kB/m ? 1024 * $1 : undef;
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::Space - private to the command pubsub-shared

=cut
