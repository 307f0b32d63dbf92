# Very many positions that killed publishers have claimed: every call handles signals while it passes them, and no call
# reports an empty ring before it has passed all of them.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

use constant { WRITE_POS => 128, DEAD => 3 * 65536 + 5 };

my @keyword_poll = map {
    my ($class, $poll) = ($_->class, $_->keyword('poll'));
    eval "use $class; sub { $poll \$_[0] }" || die $@;
} grep { !$_->is_str } variants();

for my $v (grep { !$_->is_str } variants()) {
    my $poll_by_keyword = shift @keyword_poll;
    my %calls = (
        poll            => sub { $_[0]->poll },
        keyword         => $poll_by_keyword,
        'poll_wait(0)'  => sub { $_[0]->poll_wait(0) },
        poll_wait       => sub { $_[0]->poll_wait },
        poll_wait_multi => sub { ($_[0]->poll_wait_multi(5))[0] },
        'poll_wait_multi(5, 0)' => sub { ($_[0]->poll_wait_multi(5, 0))[0] },
        drain           => sub { ($_[0]->drain)[0] },
        'drain(1)'      => sub { ($_[0]->drain(1))[0] },
        drain_notify    => sub { ($_[0]->drain_notify)[0] },
        poll_cb         => sub { my $got; $_[0]->poll_cb(sub { $got = $_[0] }); $got },
    );

    # A ring with DEAD claims that are never filled, and one message after them.
    my $with_dead = sub {
        my $path = fresh_path();
        my $ring = $v->class->new($path, 4 * 65536);
        poke($path, WRITE_POS, pack 'Q', DEAD);
        $ring->publish($v->value(7));
        return $ring;
    };

    for my $name (sort keys %calls) {
        subtest $v->name . " $name" => sub {
            my $ring = $with_dead->();
            my $sub  = $ring->subscribe_all;
            my ($got, %at);

            # The handler sends the signal again: so it runs wherever a call checks for signals.
            my $again = 1;
            local $SIG{USR1} = sub { $at{ $sub->cursor }++; kill USR1 => $$ if $again };
            kill USR1 => $$;
            my ($nothing_at, $tries) = (0, 0);
            until (defined($got = $calls{$name}->($sub))) {
                $nothing_at = $sub->cursor and last;
                $tries++;
            }
            $again = 0;
            is($got, $v->value(7), 'the message after the claims is found');
            is($nothing_at, 0, 'a call returns undef only before the first claim is abandoned');
            cmp_ok(scalar(grep { $_ > 0 && $_ < DEAD } keys %at), '>=', 2, 'signals are handled while claims are passed');
            is_deeply([$sub->cursor, $sub->overflow_count, $sub->lag], [DEAD + 1, 0, 0],
                'cursor, overflow_count and lag after the message');
            is($ring->stats->{abandoned}, DEAD, 'all claims are counted as abandoned');

            # The claims are marked as abandoned by now.
            $sub->reset_oldest;
            is($calls{$name}->($sub), $v->value(7), 'the message after abandoned positions is found by one call');

            $sub->reset_oldest;
            local $SIG{USR1} = sub { $sub->cursor ? die "enough\n" : kill USR1 => $$ };
            kill USR1 => $$;
            ok(!eval { $calls{$name}->($sub); 1 }, 'an exception of a handler ends the call');
            is($@, "enough\n", 'the exception is passed on unchanged');
            cmp_ok($sub->cursor, '<', DEAD, 'the call ends before the last claim');
            $SIG{USR1} = 'IGNORE';
            is($calls{$name}->($sub), $v->value(7), 'the next call finds the message');
        };
    }

    subtest $v->name . ' with several messages after the claims' => sub {
        my $ring = $with_dead->();
        my $sub  = $ring->subscribe;
        $ring->publish($v->value(8));
        my $reader = $ring->subscribe_all;
        is($reader->poll_wait, $v->value(7), 'poll_wait returns the first message');
        is_deeply([$reader->drain], [$v->value(8)], 'drain returns the second message');
        is_deeply([$sub->drain],    [$v->value(8)], 'a subscriber after the claims gets the second message');
    };

    subtest $v->name . ' and a handler that destroys the subscriber' => sub {
        my $sub = $with_dead->()->subscribe_all;
        $sub->poll_wait;
        $sub->reset_oldest;
        local $SIG{USR1} = sub { $sub->cursor ? $sub->DESTROY : kill USR1 => $$ };
        kill USR1 => $$;
        croaks_like(sub { $sub->poll }, 'destroyed during the call', 'poll croaks');
    };

    subtest $v->name . ' and a handle for event loops' => sub {
        my $ring = $with_dead->();
        my $sub  = $ring->subscribe_all;
        until_readable($sub->fh);
        is($sub->poll, $v->value(7), 'the handle becomes readable for the message after the claims');
        ok(!readable($sub->fh), 'the handle is not readable after the message');
        $sub->reset_oldest;
        until_readable($sub->fh);
        is($sub->poll, $v->value(7), 'the handle becomes readable for the message after abandoned positions');
    };
}

done_testing;
