# What a bridge writes into the entries of a stream, and what it takes for an entry.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

use Data::PubSub::Shared::Bridge::Entry;

# Kind, number of messages, payload, and so on for each entry, in one flat list.
sub flat { return [map { my ($kind, $takes, $payloads) = @$_; map { ($kind, $takes, $_) } @$payloads } @_] }

sub content { return flat(Data::PubSub::Shared::Bridge::Entry::content_of(@_)) }

# The entries of a content, [kind, number of messages, payload].
sub entries_in { my @flat = @{ content(@_) }; my @entries; push @entries, [splice @flat, 0, 3] while @flat; return @entries }

# The messages that come out again, with the kind of each entry.
sub there_and_back {
    my (@arguments) = @_;
    my (@messages, @kinds);
    for my $entry (entries_in(@arguments)) {
        my ($kind, $count, $payload) = @$entry;
        push @kinds, $kind;
        is(utf8::is_utf8($payload) ? 1 : 0, 0, 'a payload is bytes') if utf8::is_utf8($payload);
        my @own = Data::PubSub::Shared::Bridge::Entry::messages_of($kind, $payload);
        is(scalar @own, $count, 'an entry holds as many as it says') if @own != $count;
        push @messages, @own;
    }
    return (\@messages, join '', @kinds);
}

sub flags { return [map { utf8::is_utf8($_) ? 1 : 0 } @_] }

my $upgraded = "plain";
utf8::upgrade($upgraded);
my $latin = "\xe9t\xe9";
utf8::upgrade($latin);

subtest 'layout' => sub {
    is_deeply(content(1, 1, ['a', "\xff\0"]), ['m', 1, 'a', 'm', 1, "\xff\0"], 'bytes');
    is_deeply(content(1, 1, ["\x{263a}", $latin]), ['u', 1, "\xe2\x98\xba", 'u', 1, "\xc3\xa9t\xc3\xa9"], 'text is UTF-8');
    is_deeply(content(1, 3, ['a', '', 'bcd', 'e']),
        ['M', 3, "\0\0\0\1a\0\0\0\0\0\0\0\3bcd", 'M', 1, "\0\0\0\1e"], 'packs of bytes');
    is_deeply(content(1, 9, ["\x{e9}", "\x{263a}"]), ['M', 1, "\0\0\0\1\xe9", 'U', 1, "\0\0\0\3\xe2\x98\xba"], 'a pack is of one kind');
    is_deeply(content(0, 1, [0, -5]), ['i', 1, 0, 'i', 1, -5], 'integers');
    is_deeply(content(0, 2, [0, -5, 7]), ['I', 2, '0 -5', 'I', 1, '7'], 'packs of integers');
    is_deeply(content(1, 5, []), [], 'no messages, no entries');
    is_deeply(flat(Data::PubSub::Shared::Bridge::Entry::gap('overrun', 7)), ['g', 7, 'overrun 7'], 'a gap');
    is_deeply(flat(Data::PubSub::Shared::Bridge::Entry::gap('replaced', 0)), ['g', 1, 'replaced 0'], 'one of unknown length');
    is_deeply([Data::PubSub::Shared::Bridge::Entry::gap_of('overrun 7')], ['overrun', 7], 'and back');
};

for my $pack (1, 2, 3, 20, 8000) {
    subtest "there and back, pack $pack" => sub {
        for my $v (grep { !$_->is_num } variants()) {
            my @samples = ($v->samples) x 4;
            my ($back, $kinds) = there_and_back($v->is_str, $pack, \@samples);
            is_deeply($back, \@samples, $v->name . ': the same messages');
            is_deeply(flags(@$back), flags(@samples), $v->name . ': and flags') if $v->is_str;
            like($kinds, $v->is_str ? ($pack == 1 ? qr/\A[mu]+\z/ : qr/\A[MU]+\z/) : ($pack == 1 ? qr/\Ai+\z/ : qr/\AI+\z/),
                $v->name . ': the kinds');
        }
        my @mixed = ('bytes', $upgraded, $latin, "\xe9", '', do { my $empty = ''; utf8::upgrade($empty); $empty }, "\x{10ffff}",
            "\0" x 5, '0', ' ', "a\nb");
        my @before = map { my $copy = $_; $copy } @mixed;
        my ($back) = there_and_back(1, $pack, \@mixed);
        is_deeply($back, \@mixed, 'text and bytes among each other');
        is_deeply(flags(@$back), flags(@mixed), 'whose flags stay');
        is_deeply(flags(@mixed), flags(@before), 'what was given is left alone');

        my @random = map { join '', map { chr int rand(2) ? rand 256 : rand 0xd7ff } 1 .. rand 9 } 1 .. 300;
        ($back) = there_and_back(1, $pack, \@random);
        is_deeply($back, \@random, 'random ones');
        is_deeply(flags(@$back), flags(@random), 'and their flags');
    };
}

subtest 'what is no entry' => sub {
    my $dies = sub {
        my ($kind, $payload, $pattern, $name) = @_;
        my @got = eval { Data::PubSub::Shared::Bridge::Entry::messages_of($kind, $payload) };
        like($@, $pattern, $name);
        is(scalar @got, 0, "$name: no messages");
    };
    $dies->('x', 'y', qr/\Aan entry of unknown kind 'x'\n\z/, 'another kind');
    $dies->('g', 'overrun 7', qr/\Aan entry of unknown kind 'g'\n\z/, 'a gap is no message');
    $dies->('', 'y', qr/\Aan entry of unknown kind ''\n\z/, 'no kind');
    $dies->($_, '', qr/\Aan entry of kind '$_' that holds no message\n\z/, "an empty $_") for qw(I M U);
    $dies->('M', "\0\0\0\5abc", qr/\Aan entry of kind 'M' that holds no message\n\z/, 'a pack that ends too early');
    $dies->('M', "\0\0\0\1abc", qr/\Aan entry of kind 'M' that holds no message\n\z/, 'a pack with a rest');
    $dies->('U', "\0\0", qr/\Aan entry of kind 'U' that holds no message\n\z/, 'half a length');
    $dies->('M', "\xff\xff\xff\xffa", qr/\Aan entry of kind 'M' that holds no message\n\z/, 'a huge length');
    for my $bad ('', 'overrun', 'overrun x', 'Overrun 1', 'overrun 1 ', 'overrun -1', "overrun 1\n", 'overrun ' . '1' x 19, ' 1') {
        my @got = eval { Data::PubSub::Shared::Bridge::Entry::gap_of($bad) };
        is($@, "a gap that says '$bad'\n", "no gap: '$bad'");
    }
    my ($text) = Data::PubSub::Shared::Bridge::Entry::messages_of('u', "\xff\xfe");
    is($text, "\xff\xfe", 'text that is no UTF-8 comes as bytes');
    ok(!utf8::is_utf8($text), 'without the flag');
};

done_testing;
