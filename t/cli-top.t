# The table of `pubsub-shared top` and `stat --table`: what a narrow terminal shows, and the figures.

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
        'without a width, the table has all columns');
    for my $columns (40, 60, 72, 80, 90, 120, 200) {
        my ($titles, @rows) = table($columns);
        cmp_ok((sort { $b <=> $a } map { length } $titles, @rows)[0], '<=', $columns, "at a width of $columns, no line is longer");
        is(index($all =~ s/ +/ /gr, $titles =~ s/ +/ /gr), 0, "at a width of $columns, the table has the first columns");
        like($rows[0], qr/a +Int\b/, "at a width of $columns, a row shows name and type");
        like($rows[1], qr/\S*long-name +Int\b/, "at a width of $columns, a long name is cut at its beginning");
        like($rows[2], qr/caf\x{e9}-\x{263a} +Int\b/, "at a width of $columns, a name with other characters is shown");
        is(index($_, 'Int'), index($rows[0], 'Int'), "at a width of $columns, the columns are aligned") for @rows;
        like($titles, qr/\ARING +TYPE +RATE\/S +LAP +USED +SLOTS +WAITERS/,
            "at a width of $columns, the most important columns are there") if $columns >= 60;
    }
};

subtest 'used' => sub {
    my ($ring, $path) = ($ring{a}, "$dir/a");
    my $used = sub { my (undef, $row) = table(); (split ' ', $row)[4] };
    is($used->(), 0, 'USED of an empty ring is 0');
    $ring->publish_multi(1 .. 10);
    is($used->(), 10, 'USED counts the messages');
    $ring->publish_multi(1 .. 100);
    is($used->(), 64, 'USED is at most the capacity');
    $ring->clear;
    is($used->(), 0, 'USED is 0 after clear');
};

subtest 'waiters' => sub {
    my $kid = spawn(sub {
        my $sub = variant('Int')->class->new("$dir/a")->subscribe;
        $sub->poll_wait;
    });
    select undef, undef, undef, 0.001 until $ring{a}->stats->{sub_waiters};
    my (undef, $row) = table();
    is((split ' ', $row)[6], 1, 'WAITERS counts a sleeping subscriber');
    $ring{a}->publish(1);
    is($kid->end, 0, 'the subscriber exits with 0');
};

subtest 'age' => sub {
    my $ring = variant('Str')->class->new(my $path = "$dir/stamped", 64, 100, stamped => 1);
    my $age = sub { (split ' ', (Data::PubSub::Shared::CLI::Sample->take($path)->table)[1])[10] };
    is($age->(), '-', 'AGE of an empty stamped ring is -');
    my $begin = time;
    $ring->publish_multi(qw(older newer));
    like($age->(), qr/\A(?:\d+\.\d|\d+)(?:ms|s|m)\z/, 'AGE of a stamped ring is that of the newest message');
    my ($row) = Data::PubSub::Shared::CLI::Sample->take($path)->rows;
    ok($row->{age} >= 0 && $row->{age} <= time - $begin + 1, 'the age counts from the publish');
    is_deeply([map { defined } map { $_->{name} } @{ $row->{readers} }], [], 'measuring the age registers no reader');
    my (undef, $row_of_int) = table();
    is((split ' ', $row_of_int)[10], '-', 'AGE of a ring without stamps is -');
};

subtest 'lap' => sub {
    my $row = sub { return { rate => $_[0], file => { capacity => 1000 } } };
    is(Data::PubSub::Shared::CLI::Sample::lap($row->($_->[0])), $_->[1], "lap is $_->[2]")
        for [undef, undef, 'undefined without a rate'], [0, undef, 'undefined at a rate of 0'], [500, 2,
            'the number of seconds for all slots'];
    my $duration = \&Data::PubSub::Shared::CLI::Sample::duration;
    my %shown = (0.00001 => '0.0ms', 0.0025 => '2.5ms', 0.25 => '250ms', 1 => '1.0s', 9.94 => '9.9s', 59 => '59s', 90 => '1.5m',
        7200 => '2.0h', 86400 => '1d', 1e8 => '1157d', 1e10 => '>27y');
    is($duration->($_), $shown{$_}, "$_ s are shown as $shown{$_}") for sort { $a <=> $b } keys %shown;
    is($duration->(undef), '-', 'an unknown duration is shown as -');
    my @long = grep { length $duration->($_) > 5 } map { 10**($_ / 7) } -40 .. 80;
    is_deeply(\@long, [], 'no duration takes more than five columns');
};

done_testing;
