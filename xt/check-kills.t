# `check` while publishers of strings are killed and stopped at any moment: it never reports damage, neither while others
# publish nor while all are stopped or killed.
#
# 150 rounds with XT_QUICK=1, otherwise 3000.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../t/lib";
use Test::More;

use Data::PubSub::Shared::CLI::File;
use PubSubTest;

my $ROUNDS = $ENV{XT_QUICK} ? 150 : 3000;

sub publisher {
    my ($path) = @_;
    return spawn(sub {
        my ($peer) = @_;
        my $ring = Data::PubSub::Shared::Str->new($path);
        $ring->publish('first');
        $peer->tell('busy');
        srand;
        while (getppid != 1) {
            rand() < 0.5 ? $ring->publish('y' x rand 40) : $ring->publish_multi(map { 'z' x rand 40 } 1 .. rand 9);
        }
    });
}

for my $size ([4, 2], [64, 16], [4096, 8]) {
    my ($capacity, $publishers) = @$size;
    subtest "capacity $capacity, $publishers publishers at once" => sub {
        watchdog(600);
        my $path = fresh_path();
        Data::PubSub::Shared::Str->new($path, $capacity, 40, publishers => $publishers);
        my (@kids, %problems, %died);
        my $check = sub {
            my ($state) = @_;
            my $seen = Data::PubSub::Shared::CLI::File->check($path, 'all');
            $problems{"$state: $_"}++ for @{ $seen->{problems} };
            $died{$state}++ if grep {/died in the middle/} @{ $seen->{notes} };
        };
        for my $round (1 .. $ROUNDS) {
            push @kids, publisher($path) while @kids < 3;
            $check->('in use');
            my $what = rand;
            if ($what < 0.4) {
                my ($kid) = splice @kids, rand @kids, 1;
                $kid->kill('KILL');
                $kid->end;
                $check->('one killed');
            }
            elsif ($what < 0.7) {
                $_->kill('STOP') for @kids;
                $check->('all stopped');
                $_->kill('CONT') for @kids;
            }
            elsif ($what < 0.8) {
                $_->kill('KILL') for @kids;
                $_->end for splice @kids;
                $check->('all killed');
            }
        }
        $_->kill('KILL') for @kids;
        $_->end for @kids;
        is_deeply(\%problems, {}, "check finds no problem in $ROUNDS rounds");
        note explain \%died;
    };
}

done_testing;
