# Arguments of the constructors: which values are rounded, which are refused, and with which message.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

my $nan = 9**9**9 / 9**9**9;
my $inf = 9**9**9;

my %rounded = (1 => 2, 2 => 2, 3 => 4, 4 => 4, 5 => 8, 8 => 8, 1000 => 1024, 1024 => 1024, 1025 => 2048);
my @bad = (
    [-1, '-1'], ['abc', '"abc"'], ['', '""'], ['10abc', '"10abc"'], [10.5, '10\.5'],
    [$nan, '(?i:nan)'], [$inf, '(?i:inf)'], [-$inf, '(?i:-inf)'], ['nan', '"?(?i:nan)'],
    [2**31 + 1, '2147483649'], [1e300, '1e\+?300'], [18446744073709551615, '18446744073709551615'],
    [-9223372036854775807, '-9223372036854775807'],
);

each_variant(sub {
    my ($v) = @_;
    my $class = $v->class;

    for my $asked (sort { $a <=> $b } keys %rounded) {
        is($class->new(undef, $asked)->capacity, $rounded{$asked}, "new rounds capacity $asked to $rounded{$asked}");
        is($class->new_memfd('t', $asked)->capacity, $rounded{$asked}, "new_memfd rounds capacity $asked to $rounded{$asked}");
    }
    is($class->new(undef, '12')->capacity, 16, 'a numeric string is accepted as capacity');

    my $path = fresh_path();
    my $must = 'capacity must be an integer from 1 to 2147483648';
    for my $case (@bad) {
        my ($capacity, $shown) = @$case;
        croaks_like(sub { $class->new($path, $capacity) }, "\Q$class\E->new: $must, not $shown", "new croaks on capacity $shown");
        croaks_like(
            sub { $class->new_memfd('t', $capacity) },
            "\Q$class\E->new_memfd: $must, not $shown", "new_memfd croaks on capacity $shown"
        );
    }
    my $required = 'capacity is required to create a ring';
    croaks_like(sub { $class->new($path) }, $required, 'new of a missing file croaks without a capacity');
    croaks_like(sub { $class->new($path, $_) }, "$required at \Q$path", 'new of a missing file croaks on capacity ' . ($_ // 'undef')) for undef, 0;
    croaks_like(sub { $class->new(undef, $_) }, $required, 'new of an anonymous ring croaks without a capacity') for undef, 0;
    croaks_like(sub { $class->new_memfd('t', 0) }, "new_memfd: $must, not 0", 'new_memfd croaks on capacity 0');
    croaks_like(sub { $class->new($path, 8, undef, undef, undef) }, 'Usage: ', 'new croaks on too many arguments');
    croaks_like(sub { $class->new_from_fd }, 'Usage: ', 'new_from_fd croaks on too few arguments');
    ok(!-e $path, 'the refused calls left no file');

    my @mode = $v->is_str ? (16) : ();
    for my $case ([-1, '-1'], ['abc', '"abc"'], [384.5, '384\.5'], [$nan, '(?i:nan)'], [[], 'a reference']) {
        my ($mode, $shown) = @$case;
        croaks_like(
            sub { $class->new($path, 8, @mode, $mode) },
            "mode must be a non-negative integer, not (?:$shown)", "new croaks on mode $shown"
        );
    }
    ok(!-e $path, 'a refused mode leaves no file');

    my $ring  = $class->new(undef, 65536);
    my $stats = $ring->stats;
    my $extra = $stats->{mmap_size} - 65536 * $v->slot - ($stats->{arena_cap} || 0);
    cmp_ok($extra, '>', 0, 'a ring has a header');
    cmp_ok($extra, '<=', 4096 + 128 * ($stats->{readers} + ($stats->{publishers} // 0)),
        'a ring takes its slots, its arena, one page, and a line for each reader and each publisher of strings');

    my $sub = $ring->subscribe;
    isa_ok($ring, $class);
    isa_ok($sub, $v->sub_class);
    is($sub->capacity, 65536, 'the subscriber returns the capacity of its ring');
    is($ring->path, undef, 'path of an anonymous ring is undef');
    is($ring->memfd, -1, 'memfd of an anonymous ring is -1');
});

subtest 'msg_size' => sub {
    my $class = variant('Str')->class;
    is($class->new(undef, 8)->msg_size, 256, 'the default msg_size is 256');
    is($class->new(undef, 8, $_)->msg_size, 256, ($_ // 'undef') . ' means the default msg_size') for undef, 0;
    is($class->new_memfd('t', 8, @$_)->msg_size, 256, 'the default msg_size of new_memfd is 256') for [], [undef], [0];
    is($class->new_memfd('t', 8, 99)->msg_size, 99, 'new_memfd takes a msg_size');
    for my $size (1, 7, 8, 9, 100_000) {
        my $ring = $class->new(undef, 2, $size);
        is($ring->msg_size, $size, "the ring has msg_size $size");
        is($ring->stats->{msg_size}, $size, "stats show msg_size $size");
        my $sub = $ring->subscribe;
        $ring->publish_multi('a' x $size, 'b' x $size);
        is_deeply([$sub->drain], ['a' x $size, 'b' x $size], "messages of $size bytes are delivered");
    }
    my $path = fresh_path();
    my @bad  = ([-1, '-1'], ['abc', '"abc"'], [2.5, '2\.5'], [2**31, '2147483648'], [$inf, '(?i:inf)']);
    for my $case (@bad) {
        my ($size, $shown) = @$case;
        my $must = "msg_size must be an integer from 1 to 2147483647, not $shown";
        croaks_like(sub { $class->new($path, 8, $size) }, $must, "new croaks on msg_size $shown");
        croaks_like(sub { $class->new_memfd('t', 8, $size) }, $must, "new_memfd croaks on msg_size $shown");
    }
    croaks_like(sub { $class->new(undef, 2**31, 2**31 - 1) }, '->new: ', 'new croaks on an anonymous ring larger than memory');
    croaks_like(sub { $class->new($path, 2**31, 2**31 - 1) }, '->new: ', 'new croaks on a file larger than the disk');
    ok(!-e $path, 'the refused calls left no file');
};

done_testing;
