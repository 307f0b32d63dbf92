#!/usr/bin/env perl
# A prefork server whose workers each keep a cache of their own. A worker that changes a record publishes its key;
# before every request, each worker removes the keys that were published since its last request from its cache.
#
#   perl -Mblib eg/prefork.pl
#   perl -Mblib eg/prefork.pl --workers 8 --requests 50000
#   perl -Mblib eg/prefork.pl --ring-size 4          # overflows: a worker that lost keys clears its cache
#
# Points of interest:
#   forget_stale    drain before use; clear the cache when overflow_count has increased
#   put             change first, then publish: once publish has returned, no worker serves the old value again
#
# The client checks every answer: a stale one ends the program with status 1.

use 5.022;
use strict;
use warnings;

use File::Temp qw(tempdir);
use Getopt::Long;
use IO::Select;
use IO::Socket::UNIX;
use Pod::Usage;

use Data::PubSub::Shared;

my %opt = (workers => 4, requests => 10_000, keys => 50, 'ring-size' => 64);
GetOptions(\%opt, 'workers=i', 'requests=i', 'keys=i', 'ring-size=i', 'help') or pod2usage(2);
pod2usage(-exitval => 0, -verbose => 1) if $opt{help};
for my $name (qw(workers requests keys)) {
    pod2usage("--$name: at least one") if $opt{$name} < 1;
}

my $dir   = tempdir(CLEANUP => 1);    # the database: a file for each key
my $parent   = $$;
my $stale    = Data::PubSub::Shared::Str->new(undef, $opt{'ring-size'}, 64);    # keys; the workers inherit it
my $listener = IO::Socket::UNIX->new(Local => "$dir/socket", Listen => $opt{workers}) or die "listen: $!\n";

pipe my $lifeline, my $server_lives or die "pipe: $!\n";    # closes when the server ends, for any reason
my @workers = map { start_worker() } 1 .. $opt{workers};
close $lifeline;

my $wrong = client();
close $server_lives;
for my $pid (@workers) {
    waitpid $pid, 0;
    $wrong++ if $?;
}
say $wrong ? "FAILED: $wrong" : 'No answer was stale';
exit($wrong ? 1 : 0);

# --- The server ---------------------------------------------------------------------------------------------------

sub start_worker {
    my $pid = fork // die "fork: $!\n";
    return $pid if $pid;
    close $server_lives;
    serve();
    exit 0;
}

sub serve {
    my $worker = { cache => {}, stale => $stale->subscribe, lost => 0, map { $_ => 0 } qw(hits misses forgotten flushes) };
    my $select = IO::Select->new($listener, $lifeline);
    $listener->blocking(0);    # another worker may be faster
    while (my @ready = $select->can_read) {
        last if grep { $_ == $lifeline } @ready;
        my $client = $listener->accept or next;
        $client->blocking(1);
        while (my $request = <$client>) {
            forget_stale($worker);
            my ($verb, $key, $value) = split ' ', $request;
            my $answer = $verb eq 'GET' ? get($worker, $key) : put($key, $value);
            print {$client} "$answer\n";
            $client->flush;
        }
    }
    STDOUT->printflush(sprintf "worker %d: %d hits, %d misses, %d keys forgotten, %d times everything (%d keys lost)\n",
        $$, @$worker{qw(hits misses forgotten flushes lost)});
    return;
}

# Removes the keys that others changed since the last request. After an overflow any key may have been lost: clear the cache, as
# for a key that was too long for a message.
sub forget_stale {
    my ($worker) = @_;
    my @keys = $worker->{stale}->drain;
    my $lost = $worker->{stale}->overflow_count;
    if ($lost > $worker->{lost} or grep { $_ eq '' } @keys) {
        $worker->{lost}  = $lost;
        $worker->{cache} = {};
        $worker->{flushes}++;
    }
    elsif (@keys) {
        $worker->{forgotten} += grep { defined } delete @{ $worker->{cache} }{@keys};
    }
    return;
}

# If another worker replaces the value after we have read it, it publishes the key afterwards, and the next request removes
# the value from the cache.
sub get {
    my ($worker, $key) = @_;
    my $cache = $worker->{cache};
    if (exists $cache->{$key}) {
        $worker->{hits}++;
    }
    else {
        $worker->{misses}++;
        $cache->{$key} = load($key);
    }
    return $cache->{$key};
}

sub put {
    my ($key, $value) = @_;
    store($key, $value);
    # The next request of every worker sees it. If a key does not fit into a message, the empty key means all keys.
    eval { $stale->publish($key); 1 } or $stale->publish('');
    return 'ok';
}

# --- The database -------------------------------------------------------------------------------------------------

sub load {
    my ($key) = @_;
    open my $in, '<', "$dir/$key" or return 'none';
    return scalar <$in>;
}

sub store {
    my ($key, $value) = @_;
    open my $out, '>', "$dir/$key.$$" or die "$key: $!\n";
    print {$out} $value;
    close $out or die "$key: $!\n";
    rename "$dir/$key.$$", "$dir/$key" or die "$key: $!\n";
    return;
}

# --- The client: one connection to each worker, one request in ten a change. Returns the number of stale answers.

sub client {
    my @connections = map { IO::Socket::UNIX->new(Peer => "$dir/socket") or die "connect: $!\n" } @workers;
    my %expected;
    my ($changes, $wrong) = (0, 0);
    srand 1;
    for my $n (1 .. $opt{requests}) {
        my $connection = $connections[ rand @connections ];
        my $key        = 'key' . int rand $opt{keys};
        my $change     = rand() < 0.1;
        my $request    = $change ? "PUT $key value$n" : "GET $key";
        $connection->printflush("$request\n");
        my $answer = <$connection> // die "a worker is gone\n";
        chomp $answer;
        my $right = $change ? 'ok' : $expected{$key} // 'none';
        if ($change) { $expected{$key} = "value$n"; $changes++ }
        if ($answer ne $right) {
            $wrong++;
            say "STALE: $request gave $answer, not $right";
        }
    }
    say "$opt{requests} requests to $opt{workers} workers, $changes of them changes";
    STDOUT->flush;
    return $wrong;
}

__END__

=head1 NAME

prefork.pl - a prefork server whose workers tell one another which keys to drop from their caches

=head1 SYNOPSIS

    prefork.pl [--workers N] [--requests N] [--keys N] [--ring-size N]

=head1 OPTIONS

=over 4

=item B<--workers> N

Processes that serve. Default 4.

=item B<--requests> N

Requests that the client sends. Default 10,000.

=item B<--keys> N

Different keys that it asks for. Default 50.

=item B<--ring-size> N

Keys that the ring holds. Default 64.

=back

=cut
