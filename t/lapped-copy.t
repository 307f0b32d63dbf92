# A publisher that is so busy that it overwrites each string while it is copied: no read call takes long because of it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

use constant SIZE => 8 << 20;

my $v = variant('Str');

for my $capacity (2, 4) {
    my $path = fresh_path();
    my $ring = $v->class->new($path, $capacity, SIZE);
    my $kid  = spawn(sub {
        my ($peer) = @_;
        my $mine = $v->class->new($path);
        my @big  = map { chr(97 + $_) x SIZE } 0 .. 2;
        my $n    = 0;
        $mine->publish($big[$n++ % 3]) for 1 .. $capacity;
        $peer->tell('busy');
        $mine->publish($big[$n++ % 3]) while 1;
    });
    is($kid->hear, 'busy', "$capacity slots: the publisher is busy");

    my %calls = (
        'poll'                       => sub { $_[0]->poll },
        'poll_wait(0)'               => sub { $_[0]->poll_wait(0) },
        'poll_wait(0.01)'            => sub { $_[0]->poll_wait(0.01) },
        'poll_wait_multi(2, 0.01)'   => sub { $_[0]->poll_wait_multi(2, 0.01) },
        'poll_multi(2)'              => sub { $_[0]->poll_multi(2) },
        'drain'                      => sub { $_[0]->drain },
        'drain_notify'               => sub { $_[0]->drain_notify },
        'poll_cb'                    => sub { my @got; $_[0]->poll_cb(sub { push @got, $_[0] }); @got },
    );
    my %torn;
    for my $name (sort keys %calls) {
        my $sub   = $ring->subscribe_all;
        my $start = $sub->cursor;
        my $got   = 0;
        for (1 .. 5) {
            for my $message (grep {defined} $calls{$name}->($sub)) {
                $got++;
                $torn{$name}++ if length $message != SIZE || $message ne substr($message, 0, 1) x SIZE;
            }
        }
        is($sub->cursor - $start, $got + $sub->overflow_count, "$name returns, and delivered and lost messages add up");
    }
    is_deeply(\%torn, {}, 'no message is torn');

    # The handler sends the signal again: so it runs wherever a call checks for signals.
    for my $wait ('poll_wait', 'poll_wait_multi') {
        my $sub   = $ring->subscribe;
        my $times = 0;
        local $SIG{USR1} = sub { ++$times < 10 ? kill USR1 => $$ : die "enough\n" };
        kill USR1 => $$;
        my $ended = !eval { $sub->$wait($wait eq 'poll_wait' ? () : 1) while 1; 1 };
        is("$ended $times $@", "1 10 enough\n", "$wait without a timeout handles signals");
    }
    kill KILL => $kid->pid;
    $kid->end;
}

done_testing;
