# Stamped rings of strings: each message has the time and the process id of its publisher.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Time::HiRes ();
use PubSubTest;
use PubSubTest::Cli;

my $v    = variant('Str');
my $path = fresh_path();
my $ring = $v->class->new($path, 16, 20, stamped => 1);
my $sub  = $ring->subscribe;


subtest 'one message' => sub {
    is_deeply([map { $sub->$_ } qw(time time_ns sender)], [undef, undef, undef],
        'time, time_ns and sender are undef before the first message');
    my $before = Time::HiRes::time();
    $ring->publish('one');
    my $after = Time::HiRes::time();
    is($sub->time, undef, 'time is undef before the message is read');
    is($sub->poll, 'one', 'poll returns the message');
    # A float has a precision of microseconds at best.
    cmp_ok($sub->time, '>=', $before - 0.001, 'time is not before the publish');
    cmp_ok($sub->time, '<=', $after + 0.001,  'time is not after the publish');
    cmp_ok(abs($sub->time_ns / 1e9 - $sub->time), '<', 1e-5, 'time_ns agrees with time');
    like($sub->time_ns, qr/\A[0-9]{19}\z/, 'time_ns is in nanoseconds');
    is($sub->sender, $$, 'sender is the process id of the publisher');
    is($sub->poll, undef, 'a second poll returns undef');
    is($sub->sender, $$, 'a poll without a message does not change sender');
};

subtest 'messages of other processes' => sub {
    my @kids = map { spawn(sub { $ring->publish("by $$"); $_[0]->hear }) } 1 .. 3;
    my @got;
    push @got, $sub->poll_wait(60) . ' ' . $sub->sender while @got < 3;
    is_deeply([sort @got], [sort map { 'by ' . $_->pid . ' ' . $_->pid } @kids], 'sender of each message is its publisher');
    $_->tell('end') for @kids;
    reap('the publishers exit with 0', @kids);
    $ring->publish_multi(map {"m$_"} 1 .. 5);
    my @times;
    $sub->poll_cb(sub { push @times, $sub->time_ns; is($sub->sender, $$, "sender of $_[0] in poll_cb") });
    is_deeply(\@times, [sort { $a <=> $b } @times], 'the times of a batch do not decrease');
    $ring->publish_multi(qw(a b));
    is_deeply([$sub->drain], [qw(a b)], 'drain returns both messages');
    my $last = $sub->time_ns;
    $sub->cursor($sub->cursor - 2);
    $sub->poll;
    cmp_ok($sub->time_ns, '<=', $last, 'time_ns belongs to the message, not to the read');
    my $read = $v->class->new_readonly($path)->subscribe_all;
    $read->drain;
    is($read->time_ns, $last, 'a read-only subscriber gets the same time');
    $ring->publish('forked');
    my $kid = spawn(sub { my ($peer) = @_; $sub->poll; $peer->tell($sub->sender) });
    is($kid->hear, $$, 'a child gets the sender of a message of its parent');
    is($kid->end, 0, 'the child exits with 0');
};

subtest 'messages of all lengths' => sub {
    my $wide = $v->class->new(undef, 8, 33, stamped => 1);
    my $all  = $wide->subscribe;
    for my $round (1 .. 5) {
        for my $length (0 .. 33) {
            $wide->publish('x' x $length);
            is($all->poll, "x" x $length, "a stamped message of $length bytes");
            $all->sender == $$ && abs($all->time - time) < 60 or fail("the stamp of $length");
        }
    }
    is($wide->stats->{arena_cap}, (8 + 64) * (8 + 40 + 16), 'a stamp takes 16 bytes of each block');
};

subtest 'prefixes and latest' => sub {
    my $mine = $ring->subscribe(prefix => 'a');
    $ring->publish_multi(qw(b a1 b a2));
    is($mine->latest, 'a2', 'latest returns the newest message that matches');
    ok($mine->time, 'time of that message is defined');
};

subtest 'rings that are not stamped' => sub {
    my $plain = $v->ring(16);
    my $other = $plain->subscribe;
    $plain->publish('x');
    is($other->poll, 'x', 'poll returns the message');
    is_deeply([map { $other->$_ } qw(time time_ns sender)], [undef, undef, undef], 'time, time_ns and sender are undef');
    is_deeply([$ring->stats->{stamped}, $plain->stats->{stamped}], [1, 0], 'stats show which rings are stamped');
    croaks_like(sub { variant('Int')->class->new(undef, 8, stamped => 1) }, 'unknown option "stamped"',
        'rings of integers have no option stamped');
    ok(!variant('Int')->sub_class->can('sender'), 'subscribers of integers have no method sender');
    my $there = fresh_path();
    $v->class->new($there, 16, 20);
    croaks_like(sub { $v->class->new($there, 16, stamped => 1, strict => 1) }, 'stamped was asked for, the ring is not',
        'opening another ring as stamped and strict croaks');
    is($v->class->new($path)->stats->{stamped}, 1, 'opening a stamped ring needs no option');
};

subtest 'commands' => sub {
    my $where = fresh_path();
    is((cli(qw(create -t str -c 8 --stamped), $where))[0], 0, 'create --stamped exits with 0');
    is_deeply([cli('pub', $where, 'hello')], [0, '', ''], 'pub exits with 0');
    like((cli('tail', '--time', $where))[1], qr/\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9} \d+ hello\n\z/,
        'tail --time prints time, sender and message');
    like((cli('tail', '--time', '--json', $where))[1],
        qr/\A\{"time":"[^"]+","sender":\d+,"position":0,"value":"hello"\}\n\z/,
            'tail --time --json gives time, sender and message');
    my ($status, $out, $err) = cli('tail', '--time', do { $v->class->new(my $other = fresh_path(), 8); $other });
    is($status, 1, 'tail --time of a ring without stamps exits with 1');
    like($err, qr/not stamped/, 'tail --time of a ring without stamps prints why');
    like((cli('stat', '-i', 0, $where))[1], qr/^  stamped +yes; the newest message is \S+ old$/m,
        'stat says that the ring is stamped');
    like((cli('stat', '-i', 0, '--json', $where))[1], qr/"age" : [0-9.e-]+,/, 'stat --json gives the age of the newest message');
    is((cli('check', $where))[0], 0, 'check of a stamped ring exits with 0');
    is((cli(qw(create -t int -c 8 --stamped), "$where.x"))[0], 2, 'create --stamped of an Int ring exits with 2');
};

done_testing;
