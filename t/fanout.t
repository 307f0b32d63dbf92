# Several publishers and several subscribers at the same time: no message is lost or delivered twice, and the messages of
# each publisher arrive in order. In a small ring, lost messages are counted.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

my $PUBLISHERS  = 3;
my $SUBSCRIBERS = 3;
my $EACH        = 4000;             # id * 8000 + sequence must fit in 15 bits
my $END         = 32767;

sub publisher {
    my ($v, $ring, $id) = @_;
    return spawn(sub {
        my ($peer) = @_;
        $peer->hear;
        my $next = 1;
        while ($next <= $EACH) {
            my $count = 1 + $next % 9;
            $count = $EACH - $next + 1 if $count > $EACH - $next + 1;
            my @batch = map { $v->value($id * 8000 + $_) } $next .. $next + $count - 1;
            if   ($count == 1) { $ring->publish(@batch) }
            else               { $ring->publish_multi(@batch) == $count or die 'count' }
            $next += $count;
        }
    });
}

# Reads to the end with all methods in turn; tells (delivered, lost, positions passed).
sub subscriber {
    my ($v, $ring) = @_;
    return spawn(sub {
        my ($peer) = @_;
        my $sub   = $ring->subscribe;
        my $start = $sub->cursor;
        $peer->tell('ready');
        my @last = (0) x $PUBLISHERS;
        my ($delivered, $done, $turn) = (0, 0, 0);
        my $take = sub {
            my ($number) = $_[0] =~ /\A(?:message )?(\d+)\z/ or die "torn: '$_[0]'";
            $delivered++;
            return $done = 1 if $number == $END;
            my ($id, $sequence) = (int($number / 8000), $number % 8000);
            die "unknown: $number" if $id >= $PUBLISHERS || $sequence > $EACH;
            die "publisher $id: $sequence after $last[$id]" if $sequence <= $last[$id];
            $last[$id] = $sequence;
        };
        my @ways = (
            sub { $take->($sub->poll_wait) },
            sub { $take->($_) for $sub->poll_wait_multi(50) },
            sub { $take->($_) for $sub->drain },
            sub { $sub->poll_cb($take) },
            sub { my $message = $sub->poll; $take->($message) if defined $message },
            sub { $take->($_) for $sub->poll_multi(10) },
        );
        until ($done) { $ways[$sub->lag ? $turn++ % @ways : 0]->() }
        die 'messages after the last message' if $sub->lag;
        $peer->tell(join ' ', $delivered, $sub->overflow_count, $sub->cursor - $start);
    });
}

for my $capacity (32768, 64) {
    subtest "capacity $capacity" => sub {
        each_variant(sub {
            my ($v)  = @_;
            my $ring = $v->ring($capacity);
            my @subscribers = map { subscriber($v, $ring) } 1 .. $SUBSCRIBERS;
            $_->hear for @subscribers;
            my @publishers = map { publisher($v, $ring, $_ - 1) } 1 .. $PUBLISHERS;
            $_->tell('go') for @publishers;
            reap('the publishers exit with 0', @publishers);
            $ring->publish($v->value($END));
            my @totals = map { $_->hear // '' } @subscribers;
            reap('subscribers get the messages of each publisher in order, none twice, none torn', @subscribers);

            my $stats = $ring->stats;
            my $sent  = $PUBLISHERS * $EACH + 1;
            is($stats->{publish_ok}, $sent, 'publish_ok counts all messages') if !$stats->{abandoned};
            for my $total (@totals) {
                my ($delivered, $lost, $passed) = split / /, $total;
                is($passed, $stats->{write_pos}, 'a subscriber passes all positions');
                is($delivered + $lost, $passed, 'delivered and lost messages add up to the passed positions')
                    if !$stats->{abandoned};
                cmp_ok($delivered + $lost, '<=', $passed, 'no position is counted twice');
                cmp_ok($delivered + $lost, '>=', $sent,   'all messages are accounted for');
                is($delivered, $sent, 'no message is lost in a large ring') if $capacity > $sent;
            }
        });
    };
}

done_testing;
