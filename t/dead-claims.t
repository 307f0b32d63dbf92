# Very many positions whose publishers died: no call passes them all without looking after signals, and none says that there is
# nothing while it has not seen all.

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

    # A ring in which as many claims are dead as said, with a message behind them.
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

            # Comes again as soon as it was handled: so it is handled wherever a call looks after signals.
            my $again = 1;
            local $SIG{USR1} = sub { $at{ $sub->cursor }++; kill USR1 => $$ if $again };
            kill USR1 => $$;
            my ($nothing_at, $tries) = (0, 0);
            until (defined($got = $calls{$name}->($sub))) {
                $nothing_at = $sub->cursor and last;
                $tries++;
            }
            $again = 0;
            is($got, $v->value(7), 'the message behind them is found');
            is($nothing_at, 0, 'nothing is said to be there only before the first claim is given up');
            cmp_ok(scalar(grep { $_ > 0 && $_ < DEAD } keys %at), '>=', 2, 'signals are handled on the way');
            is_deeply([$sub->cursor, $sub->overflow_count, $sub->lag], [DEAD + 1, 0, 0], 'the account');
            is($ring->stats->{abandoned}, DEAD, 'all are counted');

            # Void by now, for whoever comes later.
            $sub->reset_oldest;
            is($calls{$name}->($sub), $v->value(7), 'and found at once, where they are void already');

            $sub->reset_oldest;
            local $SIG{USR1} = sub { $sub->cursor ? die "enough\n" : kill USR1 => $$ };
            kill USR1 => $$;
            ok(!eval { $calls{$name}->($sub); 1 }, 'a handler that dies ends the call');
            is($@, "enough\n", 'with its own error');
            cmp_ok($sub->cursor, '<', DEAD, 'before the end');
            $SIG{USR1} = 'IGNORE';
            is($calls{$name}->($sub), $v->value(7), 'and the next call goes on');
        };
    }

    subtest $v->name . ' with messages among them' => sub {
        my $ring = $with_dead->();
        my $sub  = $ring->subscribe;
        $ring->publish($v->value(8));
        my $reader = $ring->subscribe_all;
        is($reader->poll_wait, $v->value(7), 'the first');
        is_deeply([$reader->drain], [$v->value(8)], 'the others');
        is_deeply([$sub->drain],    [$v->value(8)], 'for somebody who is beyond them, too');
    };

    subtest $v->name . ' and a handler that destroys the subscriber' => sub {
        my $sub = $with_dead->()->subscribe_all;
        $sub->poll_wait;
        $sub->reset_oldest;
        local $SIG{USR1} = sub { $sub->cursor ? $sub->DESTROY : kill USR1 => $$ };
        kill USR1 => $$;
        croaks_like(sub { $sub->poll }, 'destroyed during the call', 'is told');
    };

    subtest $v->name . ' and a handle for event loops' => sub {
        my $ring = $with_dead->();
        my $sub  = $ring->subscribe_all;
        until_readable($sub->fh);
        is($sub->poll, $v->value(7), 'the message');
        ok(!readable($sub->fh), 'nothing more');
        $sub->reset_oldest;
        until_readable($sub->fh);
        is($sub->poll, $v->value(7), 'behind void positions, too');
    };
}

done_testing;
