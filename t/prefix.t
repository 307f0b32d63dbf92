# Subscribers to strings that begin with a prefix: what they get, what is counted, and that nothing wakes for the rest.

use strict;
use warnings;
use utf8;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

my $v = variant('Str');

# delivered + lost + filtered + skipped = positions passed.
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
    subtest $only ? 'for reading only' : 'what is delivered' => sub {
        my $ring = $v->class->new(my $path = fresh_path(), 64);
        my $from = $only ? $v->class->new_readonly($path) : $ring;
        my @all  = (qw(prices.a news.1 prices prices. news x), '', 'prices.b');
        my %subs = map { ref $_ ? "@$_" : $_ => $from->subscribe(prefix => $_) } 'prices.', ['prices.', 'news'], '', 'none';
        $ring->publish_multi(@all);
        is_deeply([$subs{'prices.'}->drain],      [qw(prices.a prices. prices.b)],             'one prefix');
        is_deeply([$subs{'prices. news'}->drain], [qw(prices.a news.1 prices. news prices.b)], 'two');
        is_deeply([$subs{''}->drain],             \@all,                                       'the empty one: everything');
        is_deeply([$subs{none}->drain],           [],                                          'one that none has');
        is($subs{none}->filtered, @all, 'counts all');
        is($subs{none}->lag,      0,    'which are passed');
        is($subs{'prices.'}->filtered, 5, 'as many as were passed');
        accounts_for($subs{'prices.'}, 0, 3, 'the account');
        is_deeply([$from->subscribe_all(prefix => 'news')->drain(1)], ['news.1'], 'subscribe_all');
        is($ring->subscribe_all->filtered, 0, 'without a prefix nothing is');
    };
}

subtest 'another wish' => sub {
    my $ring = $v->ring(64);
    my $sub  = $ring->subscribe;
    my $send = sub { $ring->publish_multi(qw(a1 b1 a2 c1)) };
    for my $wish (['a', qw(a1 a2)], [['b', 'c'], qw(b1 c1)], [undef, qw(a1 b1 a2 c1)], ['b', 'b1']) {
        my ($prefix, @wanted) = @$wish;
        is_deeply([$sub->prefix($prefix)], [], 'returns nothing');
        $send->();
        is_deeply([$sub->drain], \@wanted, 'as it is now');
    }
    $send->();
    $sub->prefix('c');
    is_deeply([$sub->drain], ['c1'], 'of what is there already, too');
    $sub->prefix('none');
    $send->();
    is($sub->poll, undef, 'passed');
    $sub->prefix(undef);
    is($sub->poll, undef, 'and not brought back');
    accounts_for($sub, 0, 2 + 2 + 4 + 1 + 1, 'the account');

    my $fh = $sub->fh;
    $sub->prefix('none');
    $send->();
    ok(!readable($fh), 'nothing to read');
    $sub->prefix('b');
    $send->();
    until_readable($fh);
    is((grep { $_ ne 'b1' } $sub->drain), 0, 'the handle follows, for what is wanted now');

    my $other = $ring->subscribe(prefix => 'a');
    $ring->publish_multi(qw(a b));
    my @got;
    $other->poll_cb(sub { push @got, $_[0]; $other->prefix('b') });
    is_deeply(\@got, [qw(a b)], 'changed by the handler');
    for my $wrong ([{}, 'a reference'], [[], 'an empty list'], [[undef], 'undef']) {
        ok(!eval { $other->prefix($wrong->[0]); 1 }, 'refused');
        like($@, qr/->prefix: prefix must be a string or a list of strings, not \Q$wrong->[1]\E at /, 'and says why');
    }
    $ring->publish('b1');
    is($other->poll, 'b1', 'and changes nothing');
    ok(!variant('Int')->ring(8)->subscribe->can('prefix'), 'strings only');
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
        is_deeply(\@got, [qw(a1 a2)], $name);
        $sub->poll;
        is($sub->filtered - $filtered, 4, 'and the rest is counted');
    }
    my $ended = $ring->write_pos;
    is($sub->position, $ended - 3, 'position: of the last one');
    $send->();
    is($sub->latest,  'a2', 'latest: the newest that matches');
    is($sub->skipped, 3,    'others are skipped');
    is($sub->latest,  undef, 'and there is no newer one');
    is($sub->filtered, 4 * (keys %way) + 2, 'so those behind it are passed');
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
            is_deeply([$ring->subscribe_all(prefix => $same)->drain], \@expected, "prefix '$shown', as perl compares: " . @expected);
        }
    }
};

subtest 'length' => sub {
    my $ring = $v->class->new(undef, 64, 40);
    my @messages = map { 'x' x $_ } 0 .. 40;
    for my $length (0 .. 17, 39, 40, 41, 100) {
        $ring->clear;
        $ring->publish_multi(@messages);
        my $sub = $ring->subscribe_all(prefix => 'x' x $length);
        is_deeply([$sub->drain], [grep { length >= $length } @messages], "a prefix of $length bytes");
        $ring->publish(('x' x $length) . 'y', ) if $length < 40;
        $ring->publish(('x' x ($length - 1)) . 'y') if $length && $length <= 40;
        is_deeply([$sub->drain], $length < 40 ? [('x' x $length) . 'y'] : [], 'to its last byte');
    }
};

subtest 'a subscriber that is lapped' => sub {
    my $ring = $v->ring(16);
    my $sub  = $ring->subscribe(prefix => 'a');
    $ring->publish($_ % 10 ? "b$_" : "a$_") for 1 .. 100;
    my @got = $sub->drain;
    is_deeply(\@got, [qw(a90 a100)], 'what is left and matches');
    is($sub->overflow_count, 84, 'what was overwritten unseen is lost');
    is($sub->filtered, 14, 'the rest filtered');
    accounts_for($sub, 0, 2, 'the account');
    $sub->cursor(0);
    $ring->publish('a');
    is_deeply([$sub->drain], [qw(a90 a100 a)], 'after a seek it wants the same');
    $ring->clear;
    $ring->publish_multi(qw(b a));
    is_deeply([$sub->drain], ['a'], 'and after a clear');
};

subtest 'many that do not match' => sub {
    my $ring = $v->class->new(undef, 2**17, 8);
    my $sub  = $ring->subscribe(prefix => 'a');
    $ring->publish_multi([('b') x 100_000, 'a']);
    is($sub->poll, 'a', 'poll gets beyond them');
    is($sub->filtered, 100_000, 'and counts them');
    $ring->publish_multi([('b') x 100_000, 'a', 'b']);
    is_deeply([$sub->drain], ['a'], 'drain too');
};

subtest 'nothing wakes for the rest' => sub {
    my $ring = $v->ring(64);
    my $sub  = $ring->subscribe(prefix => 'a');
    my $fh   = $sub->fh;
    $ring->publish('b') for 1 .. 20;
    is($sub->poll_wait(0.001), undef, 'poll_wait does not return');
    ok(!readable($fh), 'the handle is not readable');
    $ring->publish_multi(qw(b a b a));
    until_readable($fh);
    is($sub->poll, 'a', 'but for what matches');
    ok(readable($fh), 'there is another one');
    is($sub->poll, 'a', 'which comes');
    ok(!readable($fh), 'then no more');
    is_deeply([$sub->filtered, $sub->lag], [22, 0], 'all are accounted for');

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
    is($kid->hear, 'a!', 'a sleeper sleeps on');
    is($kid->hear, 3, 'and counts');
    is($kid->end, 0, 'and ends');
};

subtest 'beside busy publishers' => sub {
    my $ring = $v->class->new(undef, 16, 64);
    my $sub  = $ring->subscribe(prefix => 'want');
    my @kids = map { my $who = $_; spawn(sub {
        for my $n (1 .. 3000) { $ring->publish($n % 3 ? 'other' x ($n % 9) : "want $who $n " . 'x' x ($n % 40)) }
    }) } 0, 1;
    my ($got, $wrong, @last, $ended) = (0, 0, 0, 0);
    while (1) {
        my $over = !grep { kill 0, $_->pid } @kids;
        for my $message ($sub->poll_wait_multi(50, 0.01)) {
            my ($who, $n, $x) = $message =~ /\Awant ([01]) (\d+) (x*)\z/;
            $wrong++ if !defined $n || $n % 3 || length $x != $n % 40 || $n <= $last[$who];
            $last[$who] = $n if defined $n;
            $got++;
        }
        $ended ||= !grep { !$_->{done} && !($_->{done} = waitpid($_->pid, 1) == $_->pid) } @kids;
        last if $ended && !$sub->lag;
    }
    is($wrong, 0, 'what comes is whole, wanted and in order');
    accounts_for($sub, 0, $got + $ring->stats->{abandoned}, 'the account') if !$ring->stats->{abandoned};
    cmp_ok($got + $sub->overflow_count + $sub->filtered, '<=', $ring->write_pos, 'no more than there was');
};

# Publishers wait for whoever may still want what they would overwrite, and not for what was passed.
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
        is($kid->hear, '21 980 0', "$how: all that is wanted, and no publisher waits for ever");
        is($kid->end, 0, 'ends well');
    }
    my $sub = $ring->subscribe(prefix => 'a');
    my ($reader) = $ring->readers;
    $ring->publish_multi(qw(b a b));
    $sub->drain;
    my ($now) = $ring->readers;
    is_deeply([map { $now->{$_} - $reader->{$_} } qw(position delivered lost)], [3, 1, 0], 'the table of readers counts what it got');
    $ring->publish_multi(qw(a1 a2 a3));
    is($sub->latest, 'a3', 'latest');
    ($now) = $ring->readers;
    is_deeply([map { $now->{$_} - $reader->{$_} } qw(position delivered lost)], [6, 2, 0], 'what it skips is not delivered');
};

subtest 'arguments' => sub {
    my $ring = $v->ring;
    for my $bad ([], [undef], undef, {}, ['a', []]) {
        croaks_like(sub { $ring->subscribe(prefix => $bad) }, 'subscribe: prefix must be a string or a list of strings, not ', explain($bad));
    }
    croaks_like(sub { $ring->subscribe('prefix') }, 'Usage: .*::subscribe\(', 'a name alone');
    croaks_like(sub { $ring->subscribe_all(prefxi => 'a') }, 'subscribe_all: unknown option "prefxi"; known: lossy, name, prefix', 'another name');
    croaks_like(sub { variant('Int')->ring->subscribe(prefix => 'a') }, 'unknown option "prefix"; known: lossy, name(?= at)', 'integers have none');
    my $text = Text->new('b');
    my $sub  = $ring->subscribe(prefix => [7, $text]);
    $ring->publish_multi(qw(71 b1 c));
    is_deeply([$sub->drain], [qw(71 b1)], 'numbers and objects are what they are as strings');
    my $prefix = 'x';
    my $other  = $ring->subscribe(prefix => $prefix);
    $prefix = 'y';
    $ring->publish_multi(qw(y x));
    is_deeply([$other->drain], ['x'], 'a copy is taken');
};

package Text { use overload '""' => sub { $_[0][0] }, fallback => 1; sub new { bless [$_[1]], $_[0] } }

done_testing;
