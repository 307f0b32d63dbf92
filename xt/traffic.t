# The account of a subscriber that storms use: which gaps it accepts, and which it reports.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT::Traffic;
use PubSubTest;
use Test::More;

{
    package LossySub;
    sub new { return bless { lost => 0 }, shift }
    sub lose { my ($self, $count) = @_; $self->{lost} += $count; return }
    sub overflow_count { return $_[0]{lost} }
    sub cursor { return 0 }
}

my $traffic = XT::Traffic->new(variant('Int16'));

sub account {
    my $sub = LossySub->new;
    my $account = XT::Traffic::Account->new($traffic, $sub);
    $account->expect(0, 0);
    return ($account, $sub);
}

sub messages { return map { $traffic->encode(0, $_) } @_ }

# More than half of the numbers that fit into 16 bits.
my $many = 10_000;

my ($account, $sub) = account();
$sub->lose($many);
$account->take(messages($many, $many + 1));
is($account->{backwards}, 0, 'a large loss before the first message is accepted');

($account, $sub) = account();
$account->take(messages(0, 1));
$sub->lose($many);
$account->take(messages(2, 3, $many + 4, $many + 5));
is($account->{backwards}, 0, 'a large loss between messages of one list is accepted');
$account->take(messages($many + 7, $many + 6));
is($account->{backwards}, 1, 'a message out of order is reported');

($account, $sub) = account();
$account->take(messages(0, 1, 1));
is($account->{backwards}, 1, 'a message that comes twice is reported');

# Messages of a killed publisher may be missing, also for subscribers that started after the numbers have wrapped.
my $lap = $traffic->modulus;
is($traffic->unaccounted([[0, 5, 3]], [[0, 4, 9]]), 0, 'a gap within open numbers is accepted');
is($traffic->unaccounted([[0, 5, 3]], [[0, $lap + 4, $lap + 9]]), 0, 'a gap within open numbers of the last lap is accepted');
is($traffic->unaccounted([[0, $lap - 2, 5]], [[0, 2 * $lap - 1, 2 * $lap + 2]]), 2,
    'of a gap around open numbers at the wrap, the others are reported');
is($traffic->unaccounted([[0, 1, 3]], [[0, $lap - 3, $lap + 3]]), 1,
    'of a gap that begins within open numbers, the others are reported');
is($traffic->unaccounted([[0, 5, 3]], [[1, 4, 9], [0, 8, 10], [0, 1, 5]]), 3, 'a gap elsewhere is reported');

done_testing;
