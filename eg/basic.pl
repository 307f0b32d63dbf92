#!/usr/bin/env perl
#
# The first steps: publish and subscribe within one process, then between two.
#
#   perl -Mblib eg/basic.pl

use 5.022;
use strict;
use warnings;

use File::Temp qw(tempdir);
use Pod::Usage;

use Data::PubSub::Shared;

pod2usage(-exitval => @ARGV && $ARGV[0] eq '--help' ? 0 : 2, -verbose => 1) if @ARGV;

# --- One process: a ring of integers in anonymous memory.
my $ring = Data::PubSub::Shared::Int->new(undef, 8);
my $sub  = $ring->subscribe;    # from now on
my $slow = $ring->subscribe;

$ring->publish(42);
$ring->publish_multi(1, 2, 3);
say 'poll:     ', $sub->poll;                    # one message, or undef
say 'drain:    ', join ' ', $sub->drain;         # all messages in the ring
say 'empty:    ', defined $sub->poll ? 'no' : 'yes';
say 'timeout:  ', defined $sub->poll_wait(0.01) ? 'no' : 'yes';

# Reading removes nothing: each subscriber has its own cursor, and a new subscriber can begin with the messages still in the ring.
say 'lag:      ', $slow->lag;
say 'newcomer: ', join ' ', $ring->subscribe_all->drain;

# Publishers do not wait for a slow subscriber. A subscriber that is lapped continues at the oldest message in the ring, and
# counts how many it lost.
$ring->publish($_) for 100 .. 111;
say 'late:     ', join(' ', $slow->drain), ' (', $slow->overflow_count, ' lost)';

# --- The keywords: the same without method calls.
{
    use Data::PubSub::Shared::Int;
    ps_int_publish $ring, 7;
    ps_int_poll $sub while ps_int_lag $sub > 1;
    say 'keyword:  ', ps_int_poll $sub;
}

# --- Two processes: a ring of strings in a file. The first process creates it.
my $path = tempdir(CLEANUP => 1) . '/greetings';
my $pid  = fork // die "fork: $!\n";
if ($pid == 0) {
    my $greetings = Data::PubSub::Shared::Str->new($path, 16, 100);    # 16 messages of up to 100 bytes
    my $reader    = $greetings->subscribe_all;                         # also messages published before
    while (defined(my $text = $reader->poll_wait)) {                   # sleeps until a message arrives
        last if $text eq '';
        say "child:    $text";
    }
    exit 0;
}

my $greetings = Data::PubSub::Shared::Str->new($path, 16, 100);
$greetings->publish_multi('hello', 'world', '');
waitpid $pid, 0;
die "the child failed\n" if $?;
$greetings->unlink;

__END__

=head1 NAME

basic.pl - publish and subscribe, in one process and in two

=head1 SYNOPSIS

    basic.pl [--help]

=cut
