# Strings: any bytes, the flag of their encoding, and their limits.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

package Counted { sub TIESCALAR { bless [$_[1], 0] } sub FETCH { $_[0][1]++; $_[0][0] } }
package Text {
    use overload '""' => sub { 'x' x (3 + 20 * $_[0][0]++) }, fallback => 1;
    sub new { bless [0], $_[0] }
}

package main;

my $class = variant('Str')->class;

sub same {
    my ($got, $expected, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($got, $expected, $name);
    is(utf8::is_utf8($got), utf8::is_utf8($expected), "$name: its UTF-8 flag");
    return;
}

subtest 'bytes and characters' => sub {
    my $ring = $class->new(undef, 16);
    my $sub  = $ring->subscribe;
    utf8::upgrade(my $upgraded = "caf\xe9");
    utf8::upgrade(my $flagged  = 'ascii');
    utf8::upgrade(my $nothing  = '');
    my %messages = (
        empty      => '',              'empty, flagged' => $nothing,
        plain      => 'plain',         'plain, flagged' => $flagged,
        latin1     => "caf\xe9",       'latin1, flagged' => $upgraded,
        wide       => "\x{263a}",      'beyond the BMP' => "\x{1f600} smile",
        NULs       => "\0a\0\0b\0",    'every byte' => join('', map {chr} 0 .. 255),
        newline    => "a\n",           'beyond Unicode' => do { no warnings; chr 0x7fff_ffff },
        digits     => '0 but true',    'UTF-8 bytes' => "\xe2\x98\xba",
    );
    for my $name (sort keys %messages) {
        ok($ring->publish($messages{$name}), "$name: publish is true");
        same(scalar $sub->poll, $messages{$name}, $name);
    }
    my @names = sort keys %messages;
    is($ring->publish_multi(@messages{@names}), @names, 'publish_multi counts');
    my @got = $sub->drain;
    same($got[$_], $messages{ $names[$_] }, "drained $names[$_]") for 0 .. $#names;
};

subtest 'limits' => sub {
    for my $size (1, 5, 8, 9, 256) {
        my $ring = $class->new(undef, 4, $size);
        my $sub  = $ring->subscribe;
        my $most = 'm' x $size;
        $ring->publish($most);
        is($sub->poll, $most, "$size bytes fit in $size");

        my $more = $size + 1;
        my $why  = "\Q$class\E->\\w+: message too long \\($more > $size\\)";
        croaks_like(sub { $ring->publish("${most}m") }, $why, "$more bytes do not");
        croaks_like(sub { $ring->publish_notify("${most}m") }, $why, 'nor with publish_notify');
        croaks_like(sub { $ring->publish_multi('', $most, "${most}m", '') }, $why, 'nor in a batch');
        is($ring->write_pos, 1, 'nothing of it was published');
        is($sub->poll, undef, 'nothing of it arrives');
        is($ring->stats->{publish_ok}, 1, 'nothing of it is counted');
    }
    my $ring = $class->new(undef, 4, 8);
    my $sub  = $ring->subscribe;
    croaks_like(sub { $ring->publish("\x{263a}" x 3) }, 'message too long \(9 > 8\)', 'bytes count, not characters');
    utf8::upgrade(my $upgraded = "\xe9" x 5);
    croaks_like(sub { $ring->publish($upgraded) }, 'message too long \(10 > 8\)', 'as they are in memory');
    $ring->publish("\xe9" x 8);
    is($sub->poll, "\xe9" x 8, 'eight bytes');
    croaks_like(sub { $ring->publish('x' x 10_000_000) }, 'message too long \(10000000 > 8\)', 'far too long');
};

subtest 'sizes that fill the arena in all ways' => sub {
    for my $capacity (2, 4) {
        my $ring = $class->new(undef, $capacity, 40);
        my $sub  = $ring->subscribe;
        my $all  = $ring->subscribe_all;
        my (@last, @bad);
        my $number = 0;
        for my $length (40, 1, 40, 33, 40, 0, 8, 40, (map { ($_ * 7) % 41 } 0 .. 200), (0, 40) x 20, 40, 40, 40) {
            my $message = substr chr(33 + $number++ % 90) x 40, 0, $length;
            $ring->publish($message);
            push @last, $message;
            shift @last if @last > $capacity;
            push @bad, $number if ($sub->poll // 'none') ne $message;
            $all->reset_oldest;
            push @bad, "held at $number" if join('|', $all->drain) ne join('|', @last);
        }
        is_deeply(\@bad, [], "capacity $capacity: the last $capacity messages are always whole");
        is($sub->overflow_count, 0, 'and none is lost');
    }
};

subtest 'what becomes a string' => sub {
    my $ring = $class->new(undef, 16);
    my $sub  = $ring->subscribe;
    my $reference = [];
    my @values = (
        [integer     => 42],         ['negative fraction' => -1.5],     ['large number'     => 1e100],
        [true        => !!1],        [false               => !!0],      ['unsigned integer' => 18446744073709551615],
        [reference   => $reference], ['glob reference'    => \*STDOUT], [glob               => *STDOUT],
        [expression  => qr/x/],      ['version string'    => v1.22.333],
    );
    for (@values) {
        my ($name, $value) = @$_;
        $ring->publish($value);
        is($sub->poll, "$value", $name);
    }
    { no warnings; $ring->publish(undef); }
    is($sub->poll, '', 'undef');
    my @warned;
    { local $SIG{__WARN__} = sub { push @warned, @_ }; $ring->publish(undef); }
    like("@warned", qr/uninitialized/, 'with the usual warning');
    $sub->drain;

    tie my $tied, 'Counted', "t\x{263a}";
    $ring->publish($tied);
    same(scalar $sub->poll, "t\x{263a}", 'a tied scalar');
    is((tied $tied)->[1], 1, 'is fetched once');
    $ring->publish_multi($tied, 'between', $tied);
    is_deeply([$sub->drain], ["t\x{263a}", 'between', "t\x{263a}"], 'in publish_multi');
    is((tied $tied)->[1], 3, 'once for each argument');

    my $small  = $class->new(undef, 4, 10);
    my $reader = $small->subscribe;
    my $text   = Text->new;
    $small->publish($text);
    is($reader->poll, 'xxx', 'an overloaded object');
    is($text->[0], 1, 'is asked once');
    croaks_like(sub { $small->publish($text) }, 'message too long \(23 > 10\)', 'measured by that answer');
    is($small->publish_multi(Text->new, 'a'), 2, 'in publish_multi');
    is_deeply([$reader->drain], ['xxx', 'a'], 'asked once too');
    is($small->publish('same'), 1, 'publish'), is($reader->poll, 'same', 'poll') for 1 .. 2;

    my $got = do { $small->publish('first'); $reader->poll };
    $small->publish('other') for 1 .. 8;
    is($got, 'first', 'a message polled is a copy');
};

done_testing;
