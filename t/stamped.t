# Stamped rings of strings: each message has its publisher's time and process.

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
    is_deeply([map { $sub->$_ } qw(time time_ns sender)], [undef, undef, undef], 'nothing yet: undef');
    my $before = Time::HiRes::time();
    $ring->publish('one');
    my $after = Time::HiRes::time();
    is($sub->time, undef, 'not before it was read');
    is($sub->poll, 'one', 'the message');
    # A float has microseconds at best.
    cmp_ok($sub->time, '>=', $before - 0.001, 'not before it was published');
    cmp_ok($sub->time, '<=', $after + 0.001,  'nor after');
    cmp_ok(abs($sub->time_ns / 1e9 - $sub->time), '<', 1e-5, 'in nanoseconds, too');
    like($sub->time_ns, qr/\A[0-9]{19}\z/, 'all of them');
    is($sub->sender, $$, 'its sender');
    is($sub->poll, undef, 'a poll of nothing');
    is($sub->sender, $$, 'changes nothing');
};

subtest 'others' => sub {
    my @kids = map { spawn(sub { $ring->publish("by $$"); $_[0]->hear }) } 1 .. 3;
    my @got;
    push @got, $sub->poll_wait(60) . ' ' . $sub->sender while @got < 3;
    is_deeply([sort @got], [sort map { 'by ' . $_->pid . ' ' . $_->pid } @kids], 'each has its own process');
    $_->tell('end') for @kids;
    reap('all end', @kids);
    $ring->publish_multi(map {"m$_"} 1 .. 5);
    my @times;
    $sub->poll_cb(sub { push @times, $sub->time_ns; is($sub->sender, $$, "$_[0]: in poll_cb") });
    is_deeply(\@times, [sort { $a <=> $b } @times], 'a batch: one after the other');
    $ring->publish_multi(qw(a b));
    is_deeply([$sub->drain], [qw(a b)], 'drain');
    my $last = $sub->time_ns;
    $sub->cursor($sub->cursor - 2);
    $sub->poll;
    cmp_ok($sub->time_ns, '<=', $last, 'the stamp is the message\'s, not the read\'s');
    my $read = $v->class->new_readonly($path)->subscribe_all;
    $read->drain;
    is($read->time_ns, $last, 'it is the same for all, also for reading only');
    $ring->publish('forked');
    my $kid = spawn(sub { my ($peer) = @_; $sub->poll; $peer->tell($sub->sender) });
    is($kid->hear, $$, 'a child reads its parent\'s');
    is($kid->end, 0, 'and ends');
};

subtest 'all lengths, and laps' => sub {
    my $wide = $v->class->new(undef, 8, 33, stamped => 1);
    my $all  = $wide->subscribe;
    for my $round (1 .. 5) {
        for my $length (0 .. 33) {
            $wide->publish('x' x $length);
            is($all->poll, "x" x $length, "$length bytes");
            $all->sender == $$ && abs($all->time - time) < 60 or fail("the stamp of $length");
        }
    }
    is($wide->stats->{arena_cap}, (8 + 64) * (8 + 40 + 16), '16 bytes more for each block');
};

subtest 'ready for a prefix, and for latest' => sub {
    my $mine = $ring->subscribe(prefix => 'a');
    $ring->publish_multi(qw(b a1 b a2));
    is($mine->latest, 'a2', 'latest');
    ok($mine->time, 'has its time');
};

subtest 'rings that are not' => sub {
    my $plain = $v->ring(16);
    my $other = $plain->subscribe;
    $plain->publish('x');
    is($other->poll, 'x', 'a message');
    is_deeply([map { $other->$_ } qw(time time_ns sender)], [undef, undef, undef], 'has neither');
    is_deeply([$ring->stats->{stamped}, $plain->stats->{stamped}], [1, 0], 'stats say which');
    croaks_like(sub { variant('Int')->class->new(undef, 8, stamped => 1) }, 'unknown option "stamped"', 'integers are not');
    ok(!variant('Int')->sub_class->can('sender'), 'and have no such methods');
    my $there = fresh_path();
    $v->class->new($there, 16, 20);
    croaks_like(sub { $v->class->new($there, 16, stamped => 1, strict => 1) }, 'stamped was asked for, the ring is not', 'strict');
    is($v->class->new($path)->stats->{stamped}, 1, 'whoever opens one takes it as it is');
};

subtest 'commands' => sub {
    my $where = fresh_path();
    is((cli(qw(create -t str -c 8 --stamped), $where))[0], 0, 'create --stamped');
    is_deeply([cli('pub', $where, 'hello')], [0, '', ''], 'pub');
    like((cli('stat', '-i', 0, $where))[1], qr/^  stamped +yes; the newest message is \S+ old$/m,
        'stat says that the ring is stamped');
    like((cli('stat', '-i', 0, '--json', $where))[1], qr/"age" : [0-9.e-]+,/, 'stat --json gives the age of the newest message');
    like((cli('tail', '--time', $where))[1], qr/\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9} \d+ hello\n\z/, 'tail --time');
    like((cli('tail', '--time', '--json', $where))[1],
        qr/\A\{"time":"[^"]+","sender":\d+,"position":0,"value":"hello"\}\n\z/, 'in JSON');
    my ($status, $out, $err) = cli('tail', '--time', do { $v->class->new(my $other = fresh_path(), 8); $other });
    is($status, 1, 'of a ring that is not');
    like($err, qr/not stamped/, 'is said');
    is((cli('check', $where))[0], 0, 'check');
    is((cli(qw(create -t int -c 8 --stamped), "$where.x"))[0], 2, 'integers');
};

done_testing;
