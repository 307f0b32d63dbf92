# Strings: any bytes, the UTF-8 flag, and limits.

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
        ok($ring->publish($messages{$name}), "$name: publish returns true");
        same(scalar $sub->poll, $messages{$name}, $name);
    }
    my @names = sort keys %messages;
    is($ring->publish_multi(@messages{@names}), @names, 'publish_multi returns the number of strings');
    my @got = $sub->drain;
    same($got[$_], $messages{ $names[$_] }, "drained $names[$_]") for 0 .. $#names;
};

subtest 'limits' => sub {
    for my $size (1, 5, 8, 9, 256) {
        my $ring = $class->new(undef, 4, $size);
        my $sub  = $ring->subscribe;
        my $most = 'm' x $size;
        $ring->publish($most);
        is($sub->poll, $most, "a string of $size bytes fits msg_size $size");

        my $more = $size + 1;
        my $why  = "\Q$class\E->\\w+: message too long \\($more > $size\\)";
        croaks_like(sub { $ring->publish("${most}m") }, $why, "msg_size $size: publish croaks on $more bytes");
        croaks_like(sub { $ring->publish_notify("${most}m") }, $why, "msg_size $size: publish_notify croaks on $more bytes");
        croaks_like(sub { $ring->publish_multi('', $most, "${most}m", '') }, $why,
            "msg_size $size: publish_multi croaks on $more bytes");
        is($ring->write_pos, 1, 'calls that croak do not move the write position');
        is($sub->poll, undef, 'calls that croak deliver nothing');
        is($ring->stats->{publish_ok}, 1, 'calls that croak are not counted');
    }
    my $ring = $class->new(undef, 4, 8);
    my $sub  = $ring->subscribe;
    croaks_like(sub { $ring->publish("\x{263a}" x 3) }, 'message too long \(9 > 8\)', 'the limit counts bytes, not characters');
    utf8::upgrade(my $upgraded = "\xe9" x 5);
    croaks_like(sub { $ring->publish($upgraded) }, 'message too long \(10 > 8\)',
        'the limit counts the bytes of the string in memory');
    $ring->publish("\xe9" x 8);
    is($sub->poll, "\xe9" x 8, 'a string of eight bytes fits');
    croaks_like(sub { $ring->publish('x' x 10_000_000) }, 'message too long \(10000000 > 8\)',
        'publish croaks on ten million bytes');
};

subtest 'sequences of sizes that fill the arena in different ways' => sub {
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
        is($sub->overflow_count, 0, "capacity $capacity: no message is lost");
    }
};

subtest 'values that are not strings' => sub {
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
        is($sub->poll, "$value", "$name is published as a string");
    }
    { no warnings; $ring->publish(undef); }
    is($sub->poll, '', 'undef is published as an empty string');
    my @warned;
    { local $SIG{__WARN__} = sub { push @warned, @_ }; $ring->publish(undef); }
    like("@warned", qr/uninitialized/, 'undef causes the usual warning');
    $sub->drain;

    tie my $tied, 'Counted', "t\x{263a}";
    $ring->publish($tied);
    same(scalar $sub->poll, "t\x{263a}", 'a tied scalar');
    is((tied $tied)->[1], 1, 'a tied scalar is fetched once');
    $ring->publish_multi($tied, 'between', $tied);
    is_deeply([$sub->drain], ["t\x{263a}", 'between', "t\x{263a}"], 'publish_multi accepts tied scalars');
    is((tied $tied)->[1], 3, 'publish_multi fetches a tied scalar once for each argument');

    my $small  = $class->new(undef, 4, 10);
    my $reader = $small->subscribe;
    my $text   = Text->new;
    $small->publish($text);
    is($reader->poll, 'xxx', 'an overloaded object is published as its string');
    is($text->[0], 1, 'the object is converted once');
    croaks_like(sub { $small->publish($text) }, 'message too long \(23 > 10\)', 'the length of the first conversion is checked');
    is($small->publish_multi(Text->new, 'a'), 2, 'publish_multi accepts an overloaded object');
    is_deeply([$reader->drain], ['xxx', 'a'], 'publish_multi converts the object once');
    is($small->publish('same'), 1, 'publish returns true again'), is($reader->poll, 'same',
        'poll returns the same string again') for 1 .. 2;

    my $got = do { $small->publish('first'); $reader->poll };
    $small->publish('other') for 1 .. 8;
    is($got, 'first', 'a message that was polled is a copy');
};

done_testing;
