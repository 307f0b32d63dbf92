# clear: all before it is discarded, positions start at 0 again, live subscribers go on.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

each_variant(sub {
    my ($v)    = @_;
    my $path   = fresh_path();
    my $ring   = $v->class->new($path, 8);
    my $behind = $ring->subscribe;
    $ring->publish_multi($v->values(1, 11));
    my $current = $ring->subscribe;
    my $part    = $ring->subscribe_all;
    my $ahead   = $ring->subscribe;
    $part->poll_multi(2);
    $ahead->cursor(14);

    is_deeply([$ring->clear], [], 'clear returns nothing');
    is($ring->write_pos, 0, 'write_pos');
    is($ring->stats->{write_pos}, 0, 'write_pos in stats');
    is($ring->stats->{publish_ok}, 0, 'publish_ok in stats');
    my %subs = (behind => $behind, current => $current, part => $part, ahead => $ahead);
    for my $name (sort keys %subs) {
        my $sub = $subs{$name};
        is($sub->write_pos, 0, "$name: write_pos");
        is($sub->lag, 0, "$name: lag");
        ok(!$sub->has_overflow, "$name: no overflow");
        is($sub->poll, undef, "$name: nothing to poll");
        is_deeply([$sub->drain], [], "$name: nothing to drain");
        is($sub->cursor, 0, "$name: cursor");
        is($sub->overflow_count, 0, "$name: a clear is no loss");
    }
    is_deeply([$ring->subscribe_all->drain], [], 'a new subscriber finds nothing old');

    my $other = $v->class->new($path);
    is($other->write_pos, 0, 'another handle sees it too');
    $other->publish_multi($v->values(21, 23));
    for my $name (sort keys %subs) {
        is_deeply([$subs{$name}->drain], [$v->values(21, 23)], "$name: goes on with what comes after the clear");
        is($subs{$name}->cursor, 3, "$name: cursor");
    }
    is($ring->write_pos, 3, 'write_pos counts from the clear');
    is($ring->stats->{publish_ok}, 3, 'and so does publish_ok');

    $behind->cursor(1);
    is_deeply([$behind->drain], [$v->values(22, 23)], 'seeking counts from the clear');
    $behind->reset_oldest;
    is($behind->cursor, 0, 'reset_oldest stops at the clear');
    $ring->publish_multi($v->values(24, 40));
    is_deeply([$behind->drain], [$v->values(33, 40)], 'overflow after a clear');
    is($behind->overflow_count, 12, 'counts from the clear');

    $ring->clear for 1 .. 5;
    $ring->publish($v->value(1));
    is($behind->poll, $v->value(1), 'clearing an empty ring does no harm');
    for my $round (1 .. 50) {
        $ring->publish_multi($v->values(1, $round % 11));
        $ring->clear;
        $ring->publish($v->value($round));
        is_deeply([$current->drain], [$v->value($round)], "round $round") if $round % 2;
    }
    is($current->overflow_count, 0, 'without any loss');
});

subtest 'who waits for a message ahead goes on behind the clear, whether or not that message has come' => sub {
    each_variant(sub {
        my ($v) = @_;
        for my $ahead (3, 9) {
            for my $read (qw(drain poll poll_multi poll_cb)) {
                my $ring = $v->ring(16);
                my $sub  = $ring->subscribe;
                $sub->cursor($ahead);
                $ring->publish_multi($v->values(1, 3));
                $ring->clear;
                $ring->publish_multi($v->values(11, 20));
                is($sub->lag, 10, "$read, from $ahead: lag");
                my @got;
                if    ($read eq 'poll')    { while (defined(my $message = $sub->poll)) { push @got, $message } }
                elsif ($read eq 'poll_cb') { $sub->poll_cb(sub { push @got, $_[0] }) }
                else                       { @got = $sub->$read($read eq 'drain' ? () : 20) }
                is_deeply(\@got, [$v->values(11, 20)], 'each message once');
                is_deeply([$sub->cursor, $sub->overflow_count], [10, 0], 'cursor and losses');
            }
        }
    });
};

subtest 'racing with publishers and subscribers' => sub {
    each_variant(sub {
        my ($v)  = @_;
        my $ring = $v->ring(16);
        my @publishers = map {
            my $id = $_;
            spawn(sub {
                my ($peer) = @_;
                $peer->hear;
                $ring->publish($v->value($id * 8000 + $_)) for 1 .. 4000;
            });
        } 0 .. 2;
        my $reader = spawn(sub {
            my ($peer) = @_;
            my $sub  = $ring->subscribe;
            my %last = (0 => 0, 1 => 0, 2 => 0);
            $peer->tell('ready');
            while (1) {
                my ($number) = $sub->poll_wait =~ /(\d+)/;
                last if $number == 32767;
                my ($id, $sequence) = (int($number / 8000), $number % 8000);
                die "publisher $id: $sequence after $last{$id}" if $sequence <= $last{$id};
                $last{$id} = $sequence;
            }
            die 'lag' if $sub->lag;
        });
        $reader->hear;
        $_->tell('go') for @publishers;
        $ring->clear for 1 .. 2000;
        reap('publishers', @publishers);
        $ring->clear;
        $ring->publish($v->value(32767));
        reap('the reader saw every publisher in order, and the message after the last clear', $reader);
        is($ring->write_pos, 1, 'write_pos counts from the last clear');
    });
};

subtest 'a clear ends no wait' => sub {
    each_variant(sub {
        my ($v)  = @_;
        my $ring = $v->ring(16);
        my $sub  = $ring->subscribe;
        my $kid  = spawn(sub {
            my ($peer) = @_;
            $peer->hear;
            until_asleep(getppid);
            $ring->clear;
            $ring->publish($v->value(5));
        });
        $ring->publish($v->value(1));
        $sub->poll;
        $kid->tell('go');
        is($sub->poll_wait, $v->value(5), 'the message after it does');
        reap('publisher', $kid);
    });
};

done_testing;
