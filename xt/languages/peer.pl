# examples/peer.rs in Perl.
use strict;
use warnings;

use Data::PubSub::Shared;

my ($what, $kind, $path, $id, $count) = @ARGV;
my $ring = "Data::PubSub::Shared::$kind"->new($path, 0);

sub say_now {
    my ($line) = @_;
    syswrite(STDOUT, "$line\n") // die "stdout: $!";
    return;
}

if ($what eq 'publish') {
    my $first = $id << 32;
    for my $number ($first .. $first + $count - 1) {
        $ring->publish($kind eq 'Str' ? "$number " . 'x' x ($number % 50) : $number);
        say_now($number);
    }
    exit;
}

my $sub = $ring->subscribe_all;
say_now('ready');
my ($received, $told) = (0, 0);
while (1) {
    my $message = $sub->poll_wait // die 'no message';
    my ($position, $lost) = ($sub->cursor - 1, $sub->overflow_count);
    say_now('L ' . ($lost - $told)) if $lost > $told;
    $told = $lost;
    last if $message eq '-1';
    $received++;
    say_now("P $position $message");
}
say_now("A $received $told");
