# The table of `pubsub-shared top` and `stat --table`: what a narrow terminal shows, and figures that mean something.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use PubSubTest;
use PubSubTest::Cli;

use Data::PubSub::Shared::CLI::Sample;

my $dir = fresh_dir();
my @names = ('a', 'a-ring-with-a-rather-long-name', "caf\xc3\xa9-\xe2\x98\xba");
my %ring  = map { ($_ => variant('Int')->class->new("$dir/$_", 64)) } @names;

sub table {
    my ($columns) = @_;
    return Data::PubSub::Shared::CLI::Sample->take(map {"$dir/$_"} @names)->table($columns);
}

subtest 'columns' => sub {
    my ($all) = table();
    is_deeply([split ' ', $all], [qw(RING TYPE RATE/S LAP USED SLOTS WAITERS LAG SLOWEST LOST AGE POSITION RECOV ABAND LEAKED PUBLISHERS)],
        'all of them');
    for my $columns (40, 60, 72, 80, 90, 120, 200) {
        my ($titles, @rows) = table($columns);
        cmp_ok((sort { $b <=> $a } map { length } $titles, @rows)[0], '<=', $columns, "$columns columns");
        is(index($all =~ s/ +/ /gr, $titles =~ s/ +/ /gr), 0, 'the most important ones');
        like($rows[0], qr/a +Int\b/, 'name and type, first of all');
        like($rows[1], qr/\S*long-name +Int\b/, 'the end of a long name');
        like($rows[2], qr/caf\x{e9}-\x{263a} +Int\b/, 'other characters');
        is(index($_, 'Int'), index($rows[0], 'Int'), 'below each other') for @rows;
        like($titles, qr/\ARING +TYPE +RATE\/S +LAP +USED +SLOTS +WAITERS/, 'what is always there') if $columns >= 60;
    }
};

subtest 'used' => sub {
    my ($ring, $path) = ($ring{a}, "$dir/a");
    my $used = sub { my (undef, $row) = table(); (split ' ', $row)[4] };
    is($used->(), 0, 'an empty ring');
    $ring->publish_multi(1 .. 10);
    is($used->(), 10, 'some messages');
    $ring->publish_multi(1 .. 100);
    is($used->(), 64, 'as many as it holds');
    $ring->clear;
    is($used->(), 0, 'none after a clear');
};

subtest 'waiters' => sub {
    my $kid = spawn(sub {
        my $sub = variant('Int')->class->new("$dir/a")->subscribe;
        $sub->poll_wait;
    });
    select undef, undef, undef, 0.001 until $ring{a}->stats->{sub_waiters};
    my (undef, $row) = table();
    is((split ' ', $row)[6], 1, 'a subscriber that sleeps');
    $ring{a}->publish(1);
    is($kid->end, 0, 'wakes');
};

subtest 'age' => sub {
    my $ring = variant('Str')->class->new(my $path = "$dir/stamped", 64, 100, stamped => 1);
    my $age = sub { (split ' ', (Data::PubSub::Shared::CLI::Sample->take($path)->table)[1])[10] };
    is($age->(), '-', 'no message');
    my $begin = time;
    $ring->publish_multi(qw(older newer));
    like($age->(), qr/\A(?:\d+\.\d|\d+)(?:ms|s|m)\z/, 'of the newest one');
    my ($row) = Data::PubSub::Shared::CLI::Sample->take($path)->rows;
    ok($row->{age} >= 0 && $row->{age} <= time - $begin + 1, 'since it was published');
    is_deeply([map { defined } map { $_->{name} } @{ $row->{readers} }], [], 'nobody is seen to read it');
    my (undef, $row_of_int) = table();
    is((split ' ', $row_of_int)[10], '-', 'unknown where messages have no time');
};

subtest 'lap' => sub {
    my $row = sub { return { rate => $_[0], file => { capacity => 1000 } } };
    is(Data::PubSub::Shared::CLI::Sample::lap($row->($_->[0])), $_->[1], $_->[2])
        for [undef, undef, 'without a rate'], [0, undef, 'where nothing is published'], [500, 2, 'seconds for all slots'];
    my $duration = \&Data::PubSub::Shared::CLI::Sample::duration;
    my %shown = (0.00001 => '0.0ms', 0.0025 => '2.5ms', 0.25 => '250ms', 1 => '1.0s', 9.94 => '9.9s', 59 => '59s', 90 => '1.5m',
        7200 => '2.0h', 86400 => '1d', 1e8 => '1157d', 1e10 => '>27y');
    is($duration->($_), $shown{$_}, $shown{$_}) for sort { $a <=> $b } keys %shown;
    is($duration->(undef), '-', 'unknown');
    my @long = grep { length $duration->($_) > 5 } map { 10**($_ / 7) } -40 .. 80;
    is_deeply(\@long, [], 'never more than five columns');
};

done_testing;
