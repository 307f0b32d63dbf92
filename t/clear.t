# clear: earlier messages are discarded, positions start at 0 again, and subscribers continue.

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
    is($ring->write_pos, 0, 'write_pos is 0 after clear');
    is($ring->stats->{write_pos}, 0, 'write_pos in stats is 0 after clear');
    is($ring->stats->{publish_ok}, 0, 'publish_ok in stats is 0 after clear');
    my %subs = (behind => $behind, current => $current, part => $part, ahead => $ahead);
    for my $name (sort keys %subs) {
        my $sub = $subs{$name};
        is($sub->write_pos, 0, "$name: write_pos is 0");
        is($sub->lag, 0, "$name: lag is 0");
        ok(!$sub->has_overflow, "$name: has_overflow is false");
        is($sub->poll, undef, "$name: poll returns undef");
        is_deeply([$sub->drain], [], "$name: drain returns nothing");
        is($sub->cursor, 0, "$name: cursor is 0");
        is($sub->overflow_count, 0, "$name: discarded messages do not count as lost");
    }
    is_deeply([$ring->subscribe_all->drain], [], 'subscribe_all after clear finds no old message');

    my $other = $v->class->new($path);
    is($other->write_pos, 0, 'another handle sees write_pos 0');
    $other->publish_multi($v->values(21, 23));
    for my $name (sort keys %subs) {
        is_deeply([$subs{$name}->drain], [$v->values(21, 23)], "$name: the subscriber gets messages published after clear");
        is($subs{$name}->cursor, 3, "$name: the cursor counts from the clear");
    }
    is($ring->write_pos, 3, 'write_pos counts from the clear');
    is($ring->stats->{publish_ok}, 3, 'publish_ok counts from the clear');

    $behind->cursor(1);
    is_deeply([$behind->drain], [$v->values(22, 23)], 'cursor(1) is the second message after the clear');
    $behind->reset_oldest;
    is($behind->cursor, 0, 'reset_oldest sets the cursor to the clear');
    $ring->publish_multi($v->values(24, 40));
    is_deeply([$behind->drain], [$v->values(33, 40)], 'after clear and an overflow, drain returns the messages that are left');
    is($behind->overflow_count, 12, 'overflow_count counts from the clear');

    $ring->clear for 1 .. 5;
    $ring->publish($v->value(1));
    is($behind->poll, $v->value(1), 'a publish after several clears is delivered');
    for my $round (1 .. 50) {
        $ring->publish_multi($v->values(1, $round % 11));
        $ring->clear;
        $ring->publish($v->value($round));
        is_deeply([$current->drain], [$v->value($round)], "round $round: the message after clear is delivered") if $round % 2;
    }
    is($current->overflow_count, 0, 'repeated clears lose no message');
});

subtest 'a cursor ahead of the write position continues after clear' => sub {
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
                is($sub->lag, 10, "$read, from $ahead: lag counts the messages after the clear");
                my @got;
                if    ($read eq 'poll')    { while (defined(my $message = $sub->poll)) { push @got, $message } }
                elsif ($read eq 'poll_cb') { $sub->poll_cb(sub { push @got, $_[0] }) }
                else                       { @got = $sub->$read($read eq 'drain' ? () : 20) }
                is_deeply(\@got, [$v->values(11, 20)], "$read, from $ahead: each message after the clear is delivered once");
                is_deeply([$sub->cursor, $sub->overflow_count], [10, 0],
                    "$read, from $ahead: the cursor counts from the clear, and no message is lost");
            }
        }
    });
};

subtest 'clear races with publishers and a subscriber' => sub {
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
        reap('the publishers exit with 0', @publishers);
        $ring->clear;
        $ring->publish($v->value(32767));
        reap('the reader gets the messages of each publisher in order, and the last message', $reader);
        is($ring->write_pos, 1, 'write_pos counts from the last clear');
    });
};

subtest 'clear does not end a wait' => sub {
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
        is($sub->poll_wait, $v->value(5), 'poll_wait returns the message after the clear');
        reap('the publisher exits with 0', $kid);
    });
};

done_testing;
