# The rows of baseline.pl: each is a section, a name, the messages of one pass, the pass over the real module
# and the same pass over PubSubBaseline. The two passes of a row are written alike, so that the code around
# the call costs the same. Loaded by baseline.pl once PubSubBaseline has been built; returns the code that
# makes the rows.

use 5.022;
use strict;
use warnings;

use BenchKit ();
use PubSubBaseline;
use Data::PubSub::Shared::Int;
use Data::PubSub::Shared::Int32;
use Data::PubSub::Shared::Int16;
use Data::PubSub::Shared::Num;
use Data::PubSub::Shared::Str;

my $CAPACITY = 65_536;
my $TEXT30   = 'hello world 1234567890 abcdefgh';
my $TEXT256  = 'y' x 256;

sub {
    my ($items) = @_;
    my $baseline = PubSubBaseline->new;
    my $laps    = int($items / $CAPACITY) || 1;
    my $drains  = int($CAPACITY / 100);
    my $batches = int($items / 20) || 1;        # of 100 values
    my $big     = int($items / 2000) || 1;      # of 8,000 values
    my $handler = sub { };
    my @rows;

    # A ring and a subscriber; a full ring and a subscriber at its oldest message.
    my $pair = sub {
        my ($variant) = @_;
        my $ring = BenchKit::warm_ring($variant, $CAPACITY);
        return ($ring, $ring->subscribe);
    };
    my $full = sub {
        my ($variant) = @_;
        my ($ring, $sub) = $pair->($variant);
        $ring->publish($variant eq 'Str' ? $TEXT30 : $_) for 1 .. $CAPACITY;
        return $sub;
    };
    my $row = sub {
        my ($section, $name, $count, $pass, $baseline_pass) = @_;
        push @rows,
            { section => $section, name => $name, count => $count, pass => $pass, baseline => $baseline_pass };
        return;
    };

    for my $variant (qw(Int Int32 Int16)) {
        my ($ring) = $pair->($variant);
        $row->('publish', $variant, $items,
            sub { for my $i (1 .. $items) { $ring->publish($i) } },
            sub { for my $i (1 .. $items) { $baseline->publish($i) } });
    }
    for (['Str, 31 bytes', $TEXT30], ['Str, 256 bytes', $TEXT256]) {
        my ($name, $text) = @$_;
        my ($ring) = $pair->('Str');
        $row->('publish', $name, $items,
            sub { for my $i (1 .. $items) { $ring->publish($text) } },
            sub { for my $i (1 .. $items) { $baseline->publish_str($text) } });
    }

    # The cost of the check for room, which there always is: the baseline is a ring that is not lossless. A reader moves to the
    # end from time to time.
    for (map({ [$_, 42] } qw(Int Int32 Int16)), ['Num', 4.2], ['Str', $TEXT30]) {
        my ($variant, $value) = @$_;
        my @passes = map {
            my $ring = BenchKit::warm_ring($variant, $CAPACITY, $_);
            my $sub  = $ring->subscribe;
            sub { for (1 .. $items / 1000) { $ring->publish($value) for 1 .. 1000; $sub->reset } };
        } 1, 0;
        $row->('publish, lossless', $variant, $items, @passes);
    }

    for my $variant (qw(Int Int32 Int16)) {
        my ($ring, $sub) = $pair->($variant);
        $row->('publish + poll', $variant, $items,
            sub { for my $i (1 .. $items) { $ring->publish($i); $sub->poll } },
            sub { for my $i (1 .. $items) { $baseline->publish($i); $baseline->poll } });
    }
    {
        my ($ring, $sub) = $pair->('Str');
        $row->('publish + poll', 'Str, 31 bytes', $items,
            sub { for my $i (1 .. $items) { $ring->publish($TEXT30); my $got = $sub->poll } },
            sub { for my $i (1 .. $items) { $baseline->publish_str($TEXT30); my $got = $baseline->poll_str } });
    }

    {
        my ($ring, $sub) = $pair->('Int');
        $row->('publish + poll, keywords', 'Int', $items,
            sub { for my $i (1 .. $items) { ps_int_publish $ring, $i; my $got = ps_int_poll $sub } },
            sub { for my $i (1 .. $items) { baseline_publish $baseline, $i; my $got = baseline_poll $baseline } });
    }
    {
        my ($ring, $sub) = $pair->('Int32');
        $row->('publish + poll, keywords', 'Int32', $items,
            sub { for my $i (1 .. $items) { ps_int32_publish $ring, $i; my $got = ps_int32_poll $sub } },
            sub { for my $i (1 .. $items) { baseline_publish $baseline, $i; my $got = baseline_poll $baseline } });
    }
    {
        my ($ring, $sub) = $pair->('Int16');
        $row->('publish + poll, keywords', 'Int16', $items,
            sub { for my $i (1 .. $items) { ps_int16_publish $ring, $i; my $got = ps_int16_poll $sub } },
            sub { for my $i (1 .. $items) { baseline_publish $baseline, $i; my $got = baseline_poll $baseline } });
    }
    {
        my ($ring, $sub) = $pair->('Str');
        $row->('publish + poll, keywords', 'Str, 31 bytes', $items,
            sub { for my $i (1 .. $items) { ps_str_publish $ring, $TEXT30; my $got = ps_str_poll $sub } },
            sub {
                for my $i (1 .. $items) {
                    baseline_publish_str $baseline, $TEXT30;
                    my $got = baseline_poll_str $baseline;
                }
            });
    }

    for my $variant (qw(Int Str)) {
        my (undef, $sub) = $pair->($variant);
        $row->('poll of an empty ring', $variant, $items,
            sub { for my $i (1 .. $items) { $sub->poll } },
            sub { for my $i (1 .. $items) { $baseline->poll_empty } });
    }
    {
        my (undef, $sub) = $pair->('Int');
        $row->('lag', 'Int', $items,
            sub { for my $i (1 .. $items) { $sub->lag } },
            sub { for my $i (1 .. $items) { $baseline->poll } });
    }
    {
        my ($ring)   = $pair->('Int');
        my $notified = int($items / 5) || 1;
        $$baseline = $ring->eventfd;
        my $keep = $ring;
        $row->('publish_notify: two system calls, a look at the eventfd and write(2)', 'Int', $notified,
            sub { for my $i (1 .. $notified) { $keep->publish_notify($i) } },
            sub { for my $i (1 .. $notified) { $baseline->publish_notify($i) } });
    }

    my @numbers = (1 .. 100);
    for my $variant (qw(Int Int32 Int16)) {
        my ($ring) = $pair->($variant);
        $row->('publish_multi of 100', $variant, $batches * 100,
            sub { for (1 .. $batches) { $ring->publish_multi(@numbers) } },
            sub { for (1 .. $batches) { $baseline->publish_multi(@numbers) } });
    }
    {
        my ($ring)  = $pair->('Str');
        my @texts   = map {"msg-$_-payload"} 1 .. 100;
        my $singles = int($items / 100) || 1;
        $row->('publish_multi of 100', 'Str, 13 to 15 bytes', $singles * 100,
            sub { for (1 .. $singles) { $ring->publish_multi(@texts) } },
            sub { for (1 .. $singles) { $baseline->publish_multi_str(@texts) } });
    }
    {
        my ($ring) = $pair->('Int');
        my @many = (1 .. 8000);
        $row->('publish_multi of 8,000', 'Int', $big * 8000,
            sub { for (1 .. $big) { $ring->publish_multi(@many) } },
            sub { for (1 .. $big) { $baseline->publish_multi(@many) } });
    }

    my %format = (Int => 'q', Int32 => 'l', Int16 => 's', Num => 'd');
    for my $variant (qw(Int Int32 Int16 Num)) {
        my ($ring) = $pair->($variant);
        my $bytes  = pack "$format{$variant}*", 1 .. 8000;
        my $width  = length($bytes) / 8000;
        $row->('publish_packed of 8,000', $variant, $big * 8000,
            sub { for (1 .. $big) { $ring->publish_packed($bytes) } },
            sub { for (1 .. $big) { $baseline->publish_packed($bytes, $width) } });
    }
    for my $variant (qw(Int Int32 Int16 Num)) {
        my $sub   = $full->($variant);
        my $width = length pack $format{$variant}, 1;
        $row->('drain_packed of 8,192', $variant, $laps * $CAPACITY,
            sub {
                for (1 .. $laps) { $sub->reset_oldest; for (1 .. $CAPACITY / 8192) { my $got = $sub->drain_packed(8192) } }
            },
            sub { for (1 .. $laps * $CAPACITY / 8192) { my $got = $baseline->drain_packed(8192, $width) } });
    }

    for my $variant (qw(Int Int32 Int16)) {
        my $sub = $full->($variant);
        $row->("drain of $CAPACITY", $variant, $laps * $CAPACITY,
            sub { for (1 .. $laps) { $sub->reset_oldest; my @got = $sub->drain } },
            sub { for (1 .. $laps) { my @got = $baseline->drain($CAPACITY) } });
    }
    {
        my $sub = $full->('Str');
        $row->("drain of $CAPACITY", 'Str, 31 bytes', $laps * $CAPACITY,
            sub { for (1 .. $laps) { $sub->reset_oldest; my @got = $sub->drain } },
            sub { for (1 .. $laps) { my @got = $baseline->drain_str($CAPACITY) } });
    }
    for my $variant (qw(Int Int32 Int16)) {
        my $sub = $full->($variant);
        $row->('drain by 100', $variant, $laps * $drains * 100,
            sub {
                for (1 .. $laps) { $sub->reset_oldest; for (1 .. $drains) { my @got = $sub->drain(100) } }
            },
            sub { for (1 .. $laps) { for (1 .. $drains) { my @got = $baseline->drain(100) } } });
    }
    {
        my $sub = $full->('Str');
        $row->('drain by 100', 'Str, 31 bytes', $laps * $drains * 100,
            sub {
                for (1 .. $laps) { $sub->reset_oldest; for (1 .. $drains) { my @got = $sub->drain(100) } }
            },
            sub { for (1 .. $laps) { for (1 .. $drains) { my @got = $baseline->drain_str(100) } } });
    }

    {
        my $sub = $full->('Int');
        $row->('poll_cb with an empty handler', 'Int', $laps * $CAPACITY,
            sub { for (1 .. $laps) { $sub->reset_oldest; $sub->poll_cb($handler) } },
            sub { for (1 .. $laps) { $baseline->poll_cb($handler, $CAPACITY) } });
    }
    {
        my $sub = $full->('Str');
        $row->('poll_cb with an empty handler', 'Str, 31 bytes', $laps * $CAPACITY,
            sub { for (1 .. $laps) { $sub->reset_oldest; $sub->poll_cb($handler) } },
            sub { for (1 .. $laps) { $baseline->poll_cb_str($handler, $CAPACITY) } });
    }
    return @rows;
};
