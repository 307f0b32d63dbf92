# Subscribers with a prefix: what they get, what is counted, and that other messages do not wake them.

use strict;
use warnings;
use utf8;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

my $v = variant('Str');

# Checks that delivered + lost + filtered + skipped = positions passed.
sub account {
    my ($sub, $start, $got) = @_;
    return ($got + $sub->overflow_count + $sub->filtered + $sub->skipped, $sub->cursor - $start);
}

sub accounts_for {
    my ($sub, $start, $got, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($sum, $passed) = account($sub, $start, $got);
    return is($sum, $passed, $name);
}

for my $only (0, 1) {
    subtest $only ? 'prefixes on a read-only handle' : 'prefixes on a writable handle' => sub {
        my $ring = $v->class->new(my $path = fresh_path(), 64);
        my $from = $only ? $v->class->new_readonly($path) : $ring;
        my @all  = (qw(prices.a news.1 prices prices. news x), '', 'prices.b');
        my %subs = map { ref $_ ? "@$_" : $_ => $from->subscribe(prefix => $_) } 'prices.', ['prices.', 'news'], '', 'none';
        $ring->publish_multi(@all);
        is_deeply([$subs{'prices.'}->drain],      [qw(prices.a prices. prices.b)],
            'a subscriber with one prefix gets the messages with it');
        is_deeply([$subs{'prices. news'}->drain], [qw(prices.a news.1 prices. news prices.b)],
            'a subscriber with two prefixes gets the messages with either');
        is_deeply([$subs{''}->drain],             \@all,
            'the empty prefix matches all messages');
        is_deeply([$subs{none}->drain],           [],
            'a prefix that does not match gets nothing');
        is($subs{none}->filtered, @all, 'filtered counts all messages if none matches');
        is($subs{none}->lag,      0,    'lag is 0 after messages that do not match');
        is($subs{'prices.'}->filtered, 5, 'filtered counts the messages that do not match');
        accounts_for($subs{'prices.'}, 0, 3, 'delivered and filtered messages add up');
        is_deeply([$from->subscribe_all(prefix => 'news')->drain(1)], ['news.1'], 'subscribe_all accepts a prefix');
        is($ring->subscribe_all->filtered, 0, 'filtered is 0 without a prefix');
    };
}

subtest 'prefix changes the prefix' => sub {
    my $ring = $v->ring(64);
    my $sub  = $ring->subscribe;
    my $send = sub { $ring->publish_multi(qw(a1 b1 a2 c1)) };
    for my $wish (['a', qw(a1 a2)], [['b', 'c'], qw(b1 c1)], [undef, qw(a1 b1 a2 c1)], ['b', 'b1']) {
        my ($prefix, @wanted) = @$wish;
        is_deeply([$sub->prefix($prefix)], [], 'prefix returns nothing');
        $send->();
        is_deeply([$sub->drain], \@wanted, 'after the change, messages with the new prefix are delivered');
    }
    $send->();
    $sub->prefix('c');
    is_deeply([$sub->drain], ['c1'], 'the new prefix applies to messages that are already in the ring');
    $sub->prefix('none');
    $send->();
    is($sub->poll, undef, 'poll returns undef if no message matches');
    $sub->prefix(undef);
    is($sub->poll, undef, 'messages that were filtered are not delivered after the prefix is removed');
    accounts_for($sub, 0, 2 + 2 + 4 + 1 + 1, 'delivered and filtered messages add up after the changes');

    my $fh = $sub->fh;
    $sub->prefix('none');
    $send->();
    ok(!readable($fh), 'the handle is not readable if no message matches');
    $sub->prefix('b');
    $send->();
    until_readable($fh);
    is((grep { $_ ne 'b1' } $sub->drain), 0, 'after the change, the handle becomes readable for the new prefix');

    my $other = $ring->subscribe(prefix => 'a');
    $ring->publish_multi(qw(a b));
    my @got;
    $other->poll_cb(sub { push @got, $_[0]; $other->prefix('b') });
    is_deeply(\@got, [qw(a b)], 'a callback may change the prefix');
    for my $wrong ([{}, 'a reference'], [[], 'an empty list'], [[undef], 'undef']) {
        ok(!eval { $other->prefix($wrong->[0]); 1 }, "prefix($wrong->[1]) croaks");
        like($@, qr/->prefix: prefix must be a string or a list of strings, not \Q$wrong->[1]\E at /,
            "prefix($wrong->[1]) prints why");
    }
    $ring->publish('b1');
    is($other->poll, 'b1', 'a call that croaks does not change the prefix');
    ok(!variant('Int')->ring(8)->subscribe->can('prefix'), 'subscribers of integers have no method prefix');
};

subtest 'all ways to read' => sub {
    my $ring = $v->ring(64);
    my $sub  = $ring->subscribe(prefix => 'a');
    my $send = sub { $ring->publish_multi(qw(b a1 b a2 b b)) };
    my %way  = (
        poll            => sub { map { $sub->poll // () } 1 .. 3 },
        poll_multi      => sub { ($sub->poll_multi(1), $sub->poll_multi(5)) },
        drain           => sub { $sub->drain },
        drain_notify    => sub { $sub->drain_notify },
        poll_wait       => sub { map { $sub->poll_wait(0) // () } 1 .. 3 },
        poll_wait_multi => sub { $sub->poll_wait_multi(5, 0) },
        poll_cb         => sub { my @got; $sub->poll_cb(sub { push @got, $_[0] }); @got },
        each            => sub { my @got; $sub->each(sub { push @got, $_[0] }, 0); @got },
        keyword         => sub { use Data::PubSub::Shared::Str; map { (ps_str_poll $sub) // () } 1 .. 3 },
    );
    for my $name (sort keys %way) {
        $send->();
        my ($filtered, @got) = ($sub->filtered, $way{$name}->());
        is_deeply(\@got, [qw(a1 a2)], "$name returns the messages that match");
        $sub->poll;
        is($sub->filtered - $filtered, 4, "$name: filtered counts the other messages");
    }
    my $ended = $ring->write_pos;
    is($sub->position, $ended - 3, 'position is that of the last delivered message');
    $send->();
    is($sub->latest,  'a2', 'latest returns the newest message that matches');
    is($sub->skipped, 3,    'latest counts passed messages as skipped');
    is($sub->latest,  undef, 'latest returns undef if there is no newer message that matches');
    is($sub->filtered, 4 * (keys %way) + 2, 'messages after the newest match are filtered');
};

subtest 'characters and bytes' => sub {
    my $ring = $v->ring(64);
    my @texts = ('é', 'été', '☺ wide', 'plain', "\xc3\xa9");
    my @both;
    for my $text (@texts) {
        utf8::upgrade(my $characters = $text);
        push @both, $characters;
        my $bytes = $text;
        push @both, $bytes if utf8::downgrade($bytes, 1);
    }
    $ring->publish_multi(@both);
    for my $prefix ('é', "\xe9", '☺', 'p', "\xc3", '', 'été') {
        for my $upgrade (0, 1) {
            my $same = $prefix;
            $upgrade ? utf8::upgrade($same) : utf8::downgrade($same, 1);
            my @expected = grep { substr($_, 0, length $same) eq $same } @both;
            my $shown = join ' ', map { sprintf '%x', ord } split //, $same;
            is_deeply([$ring->subscribe_all(prefix => $same)->drain], \@expected,
                "prefix '$shown' matches as perl compares strings: " . @expected);
        }
    }
};

subtest 'prefixes of all lengths' => sub {
    my $ring = $v->class->new(undef, 64, 40);
    my @messages = map { 'x' x $_ } 0 .. 40;
    for my $length (0 .. 17, 39, 40, 41, 100) {
        $ring->clear;
        $ring->publish_multi(@messages);
        my $sub = $ring->subscribe_all(prefix => 'x' x $length);
        is_deeply([$sub->drain], [grep { length >= $length } @messages],
            "a prefix of $length bytes matches messages that are as long or longer");
        $ring->publish(('x' x $length) . 'y', ) if $length < 40;
        $ring->publish(('x' x ($length - 1)) . 'y') if $length && $length <= 40;
        is_deeply([$sub->drain], $length < 40 ? [('x' x $length) . 'y'] : [],
            "a prefix of $length bytes is compared to its last byte");
    }
};

subtest 'a subscriber that is lapped' => sub {
    my $ring = $v->ring(16);
    my $sub  = $ring->subscribe(prefix => 'a');
    $ring->publish($_ % 10 ? "b$_" : "a$_") for 1 .. 100;
    my @got = $sub->drain;
    is_deeply(\@got, [qw(a90 a100)], 'after an overflow, the messages that are left and match are delivered');
    is($sub->overflow_count, 84, 'overwritten messages count as lost');
    is($sub->filtered, 14, 'the other messages count as filtered');
    accounts_for($sub, 0, 2, 'delivered, lost and filtered messages add up');
    $sub->cursor(0);
    $ring->publish('a');
    is_deeply([$sub->drain], [qw(a90 a100 a)], 'the prefix stays after a change of the cursor');
    $ring->clear;
    $ring->publish_multi(qw(b a));
    is_deeply([$sub->drain], ['a'], 'the prefix stays after clear');
};

subtest 'many messages that do not match' => sub {
    my $ring = $v->class->new(undef, 2**17, 8);
    my $sub  = $ring->subscribe(prefix => 'a');
    $ring->publish_multi([('b') x 100_000, 'a']);
    is($sub->poll, 'a', 'poll finds a match after 100000 other messages');
    is($sub->filtered, 100_000, 'filtered counts these messages');
    $ring->publish_multi([('b') x 100_000, 'a', 'b']);
    is_deeply([$sub->drain], ['a'], 'drain finds a match after 100000 other messages');
};

subtest 'messages that do not match end no wait' => sub {
    my $ring = $v->ring(64);
    my $sub  = $ring->subscribe(prefix => 'a');
    my $fh   = $sub->fh;
    $ring->publish('b') for 1 .. 20;
    is($sub->poll_wait(0.001), undef, 'poll_wait times out if no message matches');
    ok(!readable($fh), 'the handle is not readable if no message matches');
    $ring->publish_multi(qw(b a b a));
    until_readable($fh);
    is($sub->poll, 'a', 'poll returns the first match');
    ok(readable($fh), 'the handle is readable for the second match');
    is($sub->poll, 'a', 'poll returns the second match');
    ok(!readable($fh), 'the handle is not readable after the last match');
    is_deeply([$sub->filtered, $sub->lag], [22, 0], 'filtered counts the other messages and lag is 0');

    my $kid = spawn(sub {
        my ($peer) = @_;
        my $own = $ring->subscribe(prefix => 'a');
        $peer->tell('ready');
        $peer->tell($own->poll_wait(60));
        $peer->tell($own->filtered);
    });
    $kid->hear;
    until_asleep($kid->pid);
    $ring->publish('b') for 1 .. 3;
    $ring->publish('a!');
    is($kid->hear, 'a!', 'poll_wait in another process returns only the match');
    is($kid->hear, 3, 'filtered in that process counts the other messages');
    is($kid->end, 0, 'that process exits with 0');
};

subtest 'busy publishers' => sub {
    my $ring = $v->class->new(undef, 16, 64);
    my $sub  = $ring->subscribe(prefix => 'want');
    my @kids = map { my $id = $_; spawn(sub {
        for my $n (1 .. 3000) { $ring->publish($n % 3 ? 'other' x ($n % 9) : "want $id $n " . 'x' x ($n % 40)) }
    }) } 0, 1;
    my ($got, $wrong, @last, $ended) = (0, 0, 0, 0);
    while (1) {
        my $over = !grep { kill 0, $_->pid } @kids;
        for my $message ($sub->poll_wait_multi(50, 0.01)) {
            my ($id, $n, $x) = $message =~ /\Awant ([01]) (\d+) (x*)\z/;
            $wrong++ if !defined $n || $n % 3 || length $x != $n % 40 || $n <= $last[$id];
            $last[$id] = $n if defined $n;
            $got++;
        }
        $ended ||= !grep { !$_->{done} && !($_->{done} = waitpid($_->pid, 1) == $_->pid) } @kids;
        last if $ended && !$sub->lag;
    }
    is($wrong, 0, 'delivered messages are whole, match and are in order');
    accounts_for($sub, 0, $got + $ring->stats->{abandoned},
        'delivered, lost and filtered messages add up') if !$ring->stats->{abandoned};
    cmp_ok($got + $sub->overflow_count + $sub->filtered, '<=', $ring->write_pos, 'not more messages were counted than published');
};

# Publishers wait for readers that may still want the messages to be overwritten, and not for filtered messages.
subtest 'a lossless ring' => sub {
    my $ring = $v->class->new(undef, 16, 64, lossless => 1);
    for my $how (qw(poll_wait each fh set)) {
        my $kid = spawn(sub {
            my ($peer) = @_;
            my $sub = $ring->subscribe(prefix => 'a');
            my $fh  = $how eq 'fh'  ? $sub->fh                              : undef;
            my $set = $how eq 'set' ? Data::PubSub::Shared::Set->new($sub) : undef;
            $peer->tell('ready');
            my ($got, $last) = (0, '');
            until ($last eq 'a end') {
                if    ($how eq 'poll_wait') { $last = $sub->poll_wait; $got++ }
                elsif ($how eq 'each')      { $got += $sub->each(sub { ($last = $_[0]) ne 'a end' }) }
                else {
                    $fh ? until_readable($fh) : $set->wait;
                    for ($sub->drain) { $last = $_; $got++ }
                }
            }
            $peer->tell(join ' ', $got, $sub->filtered, $sub->overflow_count);
        });
        $kid->hear;
        $ring->publish($_ % 50 ? "b $_" : "a $_") for 1 .. 1000;
        $ring->publish('a end');
        is($kid->hear, '21 980 0', "$how: the reader gets all matches, and no publisher waits forever");
        is($kid->end, 0, "$how: the reader exits with 0");
    }
    my $sub = $ring->subscribe(prefix => 'a');
    my ($reader) = $ring->readers;
    $ring->publish_multi(qw(b a b));
    $sub->drain;
    my ($now) = $ring->readers;
    is_deeply([map { $now->{$_} - $reader->{$_} } qw(position delivered lost)], [3, 1, 0],
        'the table of readers counts the delivered messages');
    $ring->publish_multi(qw(a1 a2 a3));
    is($sub->latest, 'a3', 'latest returns the newest match');
    ($now) = $ring->readers;
    is_deeply([map { $now->{$_} - $reader->{$_} } qw(position delivered lost)], [6, 2, 0],
        'the table of readers does not count skipped messages as delivered');
};

subtest 'arguments' => sub {
    my $ring = $v->ring;
    for my $bad ([], [undef], undef, {}, ['a', []]) {
        croaks_like(sub { $ring->subscribe(prefix => $bad) }, 'subscribe: prefix must be a string or a list of strings, not ',
            'subscribe croaks on prefix ' . ((explain($bad))[0] // 'undef'));
    }
    croaks_like(sub { $ring->subscribe('prefix') }, 'Usage: .*::subscribe\(', 'subscribe croaks on an option without a value');
    croaks_like(sub { $ring->subscribe_all(prefxi => 'a') }, 'subscribe_all: unknown option "prefxi"; known: lossy, name, prefix',
        'subscribe_all croaks on an unknown option');
    croaks_like(sub { variant('Int')->ring->subscribe(prefix => 'a') }, 'unknown option "prefix"; known: lossy, name(?= at)',
        'subscribers of integers have no option prefix');
    my $text = Text->new('b');
    my $sub  = $ring->subscribe(prefix => [7, $text]);
    $ring->publish_multi(qw(71 b1 c));
    is_deeply([$sub->drain], [qw(71 b1)], 'numbers and objects are used as strings');
    my $prefix = 'x';
    my $other  = $ring->subscribe(prefix => $prefix);
    $prefix = 'y';
    $ring->publish_multi(qw(y x));
    is_deeply([$other->drain], ['x'], 'the prefix is copied');
};

package Text { use overload '""' => sub { $_[0][0] }, fallback => 1; sub new { bless [$_[1]], $_[0] } }

done_testing;
