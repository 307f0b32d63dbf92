# The account that the storms keep of a subscriber: what it must forgive, and what it must not.

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

# More than half of the numbers that 16 bits have room for.
my $many = 10_000;

my ($account, $sub) = account();
$sub->lose($many);
$account->take(messages($many, $many + 1));
is($account->{backwards}, 0, 'a great loss before the first message is forgiven');

($account, $sub) = account();
$account->take(messages(0, 1));
$sub->lose($many);
$account->take(messages(2, 3, $many + 4, $many + 5));
is($account->{backwards}, 0, 'and one among messages that came together');
$account->take(messages($many + 7, $many + 6));
is($account->{backwards}, 1, 'what comes out of order after it is not');

($account, $sub) = account();
$account->take(messages(0, 1, 1));
is($account->{backwards}, 1, 'nor is what comes twice');

# What a killed publisher had begun may be missing, also for who came after the numbers had begun again.
my $lap = $traffic->modulus;
is($traffic->unaccounted([[0, 5, 3]], [[0, 4, 9]]), 0, 'a gap within what was open');
is($traffic->unaccounted([[0, 5, 3]], [[0, $lap + 4, $lap + 9]]), 0, 'the same by a number a lap ago');
is($traffic->unaccounted([[0, $lap - 2, 5]], [[0, 2 * $lap - 1, 2 * $lap + 2]]), 2, 'one around what was open, where the numbers begin again');
is($traffic->unaccounted([[0, 1, 3]], [[0, $lap - 3, $lap + 3]]), 1, 'and one that began within it');
is($traffic->unaccounted([[0, 5, 3]], [[1, 4, 9], [0, 8, 10], [0, 1, 5]]), 3, 'what was open elsewhere is no reason');

done_testing;
