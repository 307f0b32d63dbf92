#!/usr/bin/env perl
# How soon a message on one of many rings wakes the process that watches all of them, beside one that watches a single ring;
# and what watching costs in threads, descriptors, memory and CPU time. Run in the built distribution:
#
#     perl -Mblib bench/watch.pl

use 5.022;
use strict;
use warnings;

use FindBin;
use IO::Poll qw(POLLIN);
use lib "$FindBin::Bin/lib";

use BenchKit qw(alternate now now_ns percentile with_commas);
use BenchKit::Crew;
use Data::PubSub::Shared;
use Time::HiRes qw(clock_gettime CLOCK_PROCESS_CPUTIME_ID sleep);

my $bench = BenchKit->start(
    title => 'Watching many rings', rounds => 5,
    options => { 'messages=i' => 500, 'gap=i' => 2_000 },
    quick => { messages => 100 },
);
my $messages = $bench->opt('messages');
my $gap      = $bench->opt('gap') / 1e6;

# Without names.
sub rings {
    my ($count) = @_;
    return map { Data::PubSub::Shared::Int->new(undef, 8) } 1 .. $count;
}

sub status {
    my ($key) = @_;
    open my $in, '<', '/proc/self/status' or die "/proc/self/status: $!\n";
    my ($value) = join('', <$in>) =~ /^$key:\s*(\d+)/m;
    return $value;
}

sub entries { return scalar(() = glob "/proc/self/$_[0]/*") }

# The messages are the times of their publishes, on rings in random order. The publisher sleeps between them, so that the
# watching process does, too. Each ring has had a message before: the first on a ring is later, because both processes touch its
# memory for the first time.
sub wakes {
    my ($how, $count) = @_;
    my @rings = rings($count);
    my $crew  = BenchKit::Crew->start(1, sub {
        my ($member) = @_;
        my %before = (fd => entries('fd'), task => entries('task'), rss => status('VmRSS'));
        my @subs = map { $_->subscribe } @rings;
        my $set  = Data::PubSub::Shared::Set->new(@subs);
        my $wait = sub { return $set->wait };
        if ($how eq 'fh') {
            my $poll = IO::Poll->new;
            $poll->mask($set->fh => POLLIN);
            $wait = sub { $poll->poll; return $set->wait(0) };
        }
        elsif ($how eq 'handles') {
            my %sub_of = map { fileno $_->fh => $_ } @subs;
            my $poll   = IO::Poll->new;
            $poll->mask($_->fh => POLLIN) for @subs;
            $wait = sub { $poll->poll; return map { $sub_of{ fileno $_ } } $poll->handles(POLLIN) };
        }
        $member->arrive;
        my $warm = 0;
        while ($warm < $count) { $warm += () = $_->drain for $wait->() }
        my %cost = (
            threads => entries('task') - $before{task}, descriptors => entries('fd') - $before{fd},
            kib => status('VmRSS') - $before{rss},
        );
        $member->arrive;
        my $cpu = clock_gettime(CLOCK_PROCESS_CPUTIME_ID);
        my @took;
        while (@took < $messages) {
            for my $sub ($wait->()) {
                my $got = $sub->poll // next;
                push @took, now_ns() - $got;
            }
        }
        $cpu = clock_gettime(CLOCK_PROCESS_CPUTIME_ID) - $cpu;
        my @sorted = sort { $a <=> $b } @took;
        return { %cost, cpu => $cpu / $messages * 1e6, map { ("p$_" => percentile(\@sorted, $_) / 1e3) } 50, 90 };
    });
    $crew->gather;
    $_->publish(0) for @rings;
    $crew->gather;
    for (1 .. $messages) {
        sleep $gap;
        $rings[rand @rings]->publish(now_ns());
    }
    my ($figures) = $crew->results;
    return $figures;
}

my @WAYS = (
    ['$set->wait',              wait    => 1, 100, 500, 1000],
    ['a set\'s fh and poll(2)', fh      => 1, 100, 500, 1000],
    ['a handle each, poll(2)',  handles => 1, 100],
);
my @jobs;
for my $way (@WAYS) {
    my (undef, $how, @counts) = @$way;
    push @jobs, map { my $count = $_; ["$how $count" => sub { wakes($how, $count) }] } @counts;
}
my $figures = alternate($bench->opt('rounds'), @jobs);
for my $way (@WAYS) {
    my ($title, $how, @counts) = @$way;
    my $single = $figures->{"$how 1"}{p50}{median};
    for my $count (@counts) {
        my $of = $figures->{"$how $count"};
        $bench->row(section => $title, name => "$count " . ($count == 1 ? 'ring' : 'rings'), %$of,
            ratio => { median => $of->{p50}{median} / $single });
    }
}
my ($number, $pause) = (with_commas($messages), $bench->opt('gap'));
$bench->note(<<"NOTES");
Microseconds from before the publish until the woken process has read the message; $number messages a round, one every
$pause us, each on a random ring, so that the watching process sleeps in between. x single: the median as a multiple of that
with one ring, all measured in turn in one run. Threads, descriptors and resident memory are what watching adds to the
process: subscribers, set and handles; CPU: its CPU time for a message, in microseconds.
NOTES
$bench->finish(
    [name => 'watched'],
    ['p50', 'median', '%.1f'], ['p90', '90 %', '%.1f'], ['ratio', 'x single', '%.2f'], ['cpu', 'CPU', '%.1f'],
    ['threads', 'threads', '%d'], ['descriptors', 'descriptors', '%d'], ['kib', 'KiB', '%d'],
);

__END__

=head1 NAME

watch.pl - how soon a message on one of many rings wakes the process that watches them

=head1 SYNOPSIS

    perl -Mblib bench/watch.pl [--quick] [--rounds N] [--messages N] [--gap MICROSECONDS]
        [--json[=FILE] [--force]]

=head1 OPTIONS

=over 4

=item --messages N

Messages of a round. Default: 500; with C<--quick> 100.

=item --gap MICROSECONDS

The publisher's sleep between messages. Default: 2000.

=item --rounds N

How often each row is measured. Default: 5; with C<--quick> 1.

=back

=cut
