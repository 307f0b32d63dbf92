#!/usr/bin/env perl
# The same task with this module and with other ways to carry messages between processes: one publisher, and K
# subscribers in processes of their own, each of which checks that it gets every message, in order.
# All in one run on the same host. Run in the built distribution:
#
#     perl -Mblib bench/compare.pl

use 5.022;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use BenchKit qw(alternate now scratch with_commas);
use BenchKit::Crew;
use BenchKit::Messenger;
use Data::PubSub::Shared;
use File::Path qw(make_path remove_tree);
use List::Util qw(max sum);

my $bench = BenchKit->start(
    title => 'The same fan-out by different messengers', rounds => 3,
    options => {
        'messages=i' => 100_000, 'subscribers=i' => 4, 'sizes=s' => '30,256', 'capacity=i' => 0,
        'match=s' => '.',
    },
    quick => { messages => 20_000 },
);
my $messages    = $bench->opt('messages');
my $subscribers = $bench->opt('subscribers');
my $capacity    = $bench->opt('capacity') || $messages;
my $match       = $bench->opt('match');
my @sizes       = split /,/, $bench->opt('sizes');
my $DIGITS      = 10;

my $dir = scratch();

# The current messenger; it is always closed before its directory is removed.
my $at_work;
END { $at_work->close if $at_work }

# Messages of one size; each begins with its number.
sub make_messages {
    my ($size) = @_;
    die "a message has at least $DIGITS bytes\n" if $size < $DIGITS;
    my $rest = substr 'abcdefghijklmnopqrstuvwxyz' x (1 + $size / 26), 0, $size - $DIGITS;
    return [map { sprintf "%0${DIGITS}d%s", $_, $rest } 1 .. $messages];
}

# A subscriber's check: code that takes messages, returns true after the last, and keeps count. It compares
# each message with the expected one, byte by byte.
sub checker {
    my ($texts) = @_;
    my $seen = { got => 0, disorder => 0, damaged => 0, end => 0 };
    my $next = 0;
    my $take = sub {
        for my $message (@_) {
            $next = misfit($seen, $texts, $next, $message) if $message ne $texts->[$next++];
        }
        $seen->{got} += @_;
        return 0 if $next < $messages;
        $seen->{end} = now();
        return 1;
    };
    return ($seen, $take);
}

# Describes an unexpected message, and returns the number of the next expected one.
sub misfit {
    my ($seen, $texts, $next, $message) = @_;
    my ($number) = $message =~ /^([0-9]{$DIGITS})/;
    if (!$number or $message ne ($texts->[$number - 1] // '')) {
        $seen->{damaged}++;
        return $next;
    }
    $seen->{disorder}++ if $number < $next;
    return $number;
}

sub run {
    my ($class, $size, $texts) = @_;
    my $own = "$dir/run";
    make_path($own);
    my $messenger = $at_work = $class->new(
        size => $size, count => $messages, subscribers => $subscribers, dir => $own, capacity => $capacity,
    );
    $messenger->prepare;
    my $crew = BenchKit::Crew->start($subscribers, sub {
        my ($member, $index) = @_;
        my ($seen, $take) = checker($texts);
        $member->await;
        $messenger->open_subscriber($index);
        $member->arrive;
        $messenger->receive($take);
        return $seen;
    });
    $messenger->open_publisher;
    $crew->release;
    $crew->gather;
    $messenger->await_subscribers;

    my $begin = now();
    $messenger->publish_all($texts);
    my $published = now() - $begin;
    my @results   = $crew->results;
    my $delivered = max(map { $_->{end} } @results) - $begin;
    $messenger->close;
    undef $at_work;
    remove_tree($own);

    my %sum = map { my $key = $_; ($key => sum(map { $_->{$key} } @results)) } qw(got disorder damaged);
    my $title = $class->title;
    die "$title: messages came out of order\n"  if $sum{disorder};
    die "$title: messages came damaged\n"       if $sum{damaged};
    return {
        publish => $messages / $published / 1e3, deliver => $sum{got} / $delivered / 1e3,
        lost => $messages * $subscribers - $sum{got},
    };
}

my (@classes, @skipped);
for my $class (grep { $_->title =~ /$match/i } BenchKit::Messenger->all) {
    my $reason = $class->missing;
    if (defined $reason) { push @skipped, { name => $class->title, reason => $reason } }
    else                 { push @classes, $class }
}

my (%texts, @jobs);
for my $size (@sizes) {
    $texts{$size} = make_messages($size);
    push @jobs, map {
        my $class = $_;
        ["$class $size" => sub { run($class, $size, $texts{$size}) }];
    } @classes;
}
my $figures = alternate($bench->opt('rounds'), @jobs);

for my $size (@sizes) {
    my $ours = $figures->{"BenchKit::Messenger::Shared $size"};
    for my $class (@classes) {
        my $of = $figures->{"$class $size"};
        $bench->row(
            section => "messages of $size bytes", name => $class->title, size => $size, %$of,
            ($ours ? (times => $ours->{deliver}{median} / $of->{deliver}{median}) : ()),
        );
    }
}
my ($each, $slots) = map { with_commas($_) } $messages, $capacity;
my $enough = $capacity < $messages ? 'fewer than there are messages' : 'so that nothing can be lost';
$bench->note(<<"NOTES");
$each messages to $subscribers subscribers. delivered: all deliveries together over the time from the
first publish to the moment when the last subscriber had the last message. ours / its: how many times
as many deliveries a second Data::PubSub::Shared::Str makes, one publish a message.

The messages are made beforehand. Every subscriber compares every message, whole, with the one that
has to come next, which is part of the time; one out of order or damaged ends the benchmark.

The ring has $slots slots, $enough. It never holds a publisher back, and each message goes to memory
that was not used before. The lossless ring has 4,096 slots, and holds the publisher back when a subscriber is slow, as pipes, sockets, queues and ZeroMQ (XPUB with NODROP) do: none of them loses anything. Redis keeps what a subscriber
has not yet taken, without limit here. Redis Streams: a consumer group for each subscriber, 100 messages a read, all
acknowledged.

Redis: a server of its own on a Unix socket, nothing saved, commands in pipelines of 1,000. Pipes:
messages of fixed length, read 64 KiB at a time. Queues: the depth that the system grants.
NOTES
my @versions = map { $_->version // () } @classes;
$bench->note('Versions: ' . join('; ', @versions) . '.') if @versions;
$bench->note("Left out: $_->{name}: $_->{reason}.") for @skipped;
$bench->finish(
    [name => 'messenger'], [publish => 'published k/s', '%.0f'],
    [spread => 'spread', BenchKit::spread('publish')],
    [deliver => 'delivered k/s', '%.0f'], [spread => 'spread', BenchKit::spread('deliver')],
    [times => 'ours / its', '%.1f'], [lost => 'lost', '%d'],
);

__END__

=head1 NAME

compare.pl - comparison of this module with pipes, sockets, message queues, Redis and ZeroMQ

=head1 SYNOPSIS

    perl -Mblib bench/compare.pl [--quick] [--rounds N] [--messages N] [--subscribers K] [--sizes 30,256]
        [--match REGEX] [--capacity N] [--json[=FILE] [--force]]

=head1 DESCRIPTION

Messengers whose perl module or server is not installed are skipped, and the output names the Debian
package: F<redis-server> and F<libredis-fast-perl> for Redis, F<libzmq-ffi-perl> for ZeroMQ. Only Unix
sockets in a scratch directory are opened, and the Redis server is stopped at the end.

=head1 OPTIONS

=over 4

=item --messages N, --subscribers K, --sizes LIST

Messages of a run, subscribers, and message sizes in bytes. Default: 100,000 (20,000 with C<--quick>), 4,
and 30,256.

=item --match REGEX

Only the messengers whose name matches.

=item --capacity N

Slots of the ring. Default: one for each message.

=item --rounds N

How often each messenger has its turn; the median is printed. Default: 3; with C<--quick> 1.

=back

=cut
