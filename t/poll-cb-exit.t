# A callback of poll_cb leaves by other means than a return: `last`, `next`, `goto`, `exit`. Perl may refuse
# that or do it; in both cases the program continues normally, and the message counts as delivered.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

my $prologue = <<'PERL';
    use strict; use warnings; no warnings 'exiting';
    $| = 1;
    require Data::PubSub::Shared;
    my $class = shift;
    my $ring  = $class->new(undef, 8);
    my $sub   = $ring->subscribe;
    $ring->publish_multi(1 .. 3);
    my ($rounds, $handled) = (0, 0);
PERL
my $epilogue = <<'PERL';
    print "handled=$handled lag=", $sub->lag, "\n";
    my @rest = $sub->drain;
    $ring->publish(9);
    print "rest=@rest then=", $sub->poll, "\n";
PERL

my %ways = (
    'last' => 'for (1) { $rounds++; eval { $sub->poll_cb(sub { $handled++; last }); 1 } or last }',
    'last LABEL' => 'OUT: for (1) { $rounds++; eval { $sub->poll_cb(sub { $handled++; last OUT }); 1 } or last }',
    'last, no eval' => 'eval { for (1) { $rounds++; $sub->poll_cb(sub { $handled++; last }) } }; $@ = "";',
    'next' => 'for (1) { $rounds++; eval { $sub->poll_cb(sub { $handled++; next }) } }',
    'goto LABEL' => 'eval { $sub->poll_cb(sub { $handled++; goto OUT }) }; OUT: $rounds++;',
);

for my $v (grep { $_->name =~ /\A(?:Int|Str)\z/ } variants()) {
    for my $way (sort keys %ways) {
        my ($output, $status) = run_perl("$prologue $ways{$way}\n$epilogue", $v->class);
        is($status, 0, $v->name . " $way: the program exits with 0") or diag $output;
        is($output, "handled=1 lag=2\nrest=2 3 then=9\n", $v->name . " $way: one message is delivered, and the program continues");
    }
    for my $case (
        ['return',    '$sub->poll_cb(sub { return $handled++ });', "handled=3 lag=0\nrest= then=9\n"],
        ['goto &sub', 'sub add { $handled += $_[0] } $sub->poll_cb(sub { goto &add });', "handled=6 lag=0\nrest= then=9\n"],
        ['exit', '$sub->poll_cb(sub { print "bye\n"; exit 0 });', "bye\n"],
        ['die',  '$sub->poll_cb(sub { die "out\n" });',           "out\n", 255],
    ) {
        my ($way, $code, $expected, $exit) = @$case;
        my ($output, $status) = run_perl("$prologue $code\n$epilogue", $v->class);
        is($status >> 8, $exit || 0, $v->name . " $way: the program exits as expected") or diag $output;
        is($status & 127, 0, $v->name . " $way: the program is not ended by a signal");
        is($output, $expected, $v->name . " $way: the program prints what is expected");
    }
}

done_testing;
