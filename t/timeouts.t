# The timeout of a wait is checked before the ring: its meaning and its errors are the same with and without messages in the
# ring.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Scalar::Util 'dualvar';
use Test::More;
use PubSubTest;

package Seconds { use overload '0+' => sub { ${ $_[0] } }, fallback => 1 }

my ($no, $yes) = (0, 1);
# Timeouts of 0.
my @none = (
    ['!1', !1], ['a false condition', !$yes && 5], ['an empty string', ''], ['0', 0], ['0.0', 0.0], ['"0"', '0'],
    ['"0 but true"', '0 but true'], ['a comparison', $no == $yes], ['dualvar', dualvar(0, 'none')],
    ['an object', bless \(my $zero = 0), 'Seconds'],
);
# [description, value, how the error shows it]
my @refused = (
    ['a word', 'abc', '"abc"'], ['a space', ' ', '" "'], ['half a number', '5s', '"5s"'], ['nan', 'nan' + 0, 'NaN'],
    ['"NaN"', 'NaN', 'NaN'], ['a reference', [], 'a reference'], ['a word with a NUL', "\0", '"\\\\0"'],
);
push @refused, do { no warnings; my $used = 'abc'; my $sum = $used + 1; ['a word that was used as a number', $used, '"abc"'] };

each_variant(sub {
    my ($v)  = @_;
    my $ring = $v->ring(16);
    my $sub  = $ring->subscribe;
    my %wait = (
        poll_wait       => sub { my ($timeout) = @_; return $sub->poll_wait($timeout) },
        poll_wait_multi => sub { my ($timeout) = @_; return ($sub->poll_wait_multi(1, $timeout))[0] },
    );
    for my $method (sort keys %wait) {
        my @warnings;
        local $SIG{__WARN__} = sub { push @warnings, @_ };
        for my $case (@none) {
            my ($what, $timeout) = @$case;
            is($wait{$method}->($timeout), undef, "$method with $what and no message returns undef");
            $ring->publish($v->value(1));
            is($wait{$method}->($timeout), $v->value(1), "$method with $what returns a message that is there");
        }
        is_deeply(\@warnings, [], "$method: there are no warnings");
        for my $case (@refused) {
            my ($what, $timeout, $shown) = @$case;
            my $error = "->$method: timeout must be a number of seconds, not $shown";
            croaks_like(sub { $wait{$method}->($timeout) }, $error, "$method croaks on $what if there is no message");
            $ring->publish($v->value(2));
            croaks_like(sub { $wait{$method}->($timeout) }, $error, "$method croaks on $what if there is a message");
            is($sub->poll, $v->value(2), "$method takes no message if it croaks");
        }
        # The timeout is checked even if the count is 0.
        croaks_like(sub { $sub->poll_wait_multi(0, 'abc') }, 'timeout must be',
            'poll_wait_multi with a count of 0 croaks on a bad timeout');
    }
});

done_testing;
