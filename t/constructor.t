# Arguments of the constructors: what is rounded, what is refused and how the refusal reads.

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
        is($class->new(undef, $asked)->capacity, $rounded{$asked}, "capacity $asked");
        is($class->new_memfd('t', $asked)->capacity, $rounded{$asked}, "capacity $asked, memfd");
    }
    is($class->new(undef, '12')->capacity, 16, 'a numeric string will do');

    my $path = fresh_path();
    my $must = 'capacity must be an integer from 1 to 2147483648';
    for my $case (@bad) {
        my ($capacity, $shown) = @$case;
        croaks_like(sub { $class->new($path, $capacity) }, "\Q$class\E->new: $must, not $shown", "new: $shown");
        croaks_like(
            sub { $class->new_memfd('t', $capacity) },
            "\Q$class\E->new_memfd: $must, not $shown", "new_memfd: $shown"
        );
    }
    my $required = 'capacity is required to create a ring';
    croaks_like(sub { $class->new($path) }, $required, 'capacity is missing');
    croaks_like(sub { $class->new($path, $_) }, "$required at \Q$path", 'capacity is ' . ($_ // 'undef')) for undef, 0;
    croaks_like(sub { $class->new(undef, $_) }, $required, 'so is that of an anonymous ring') for undef, 0;
    croaks_like(sub { $class->new_memfd('t', 0) }, "new_memfd: $must, not 0", 'a memfd is always a new ring');
    croaks_like(sub { $class->new($path, 8, undef, undef, undef) }, 'Usage: ', 'too many arguments');
    croaks_like(sub { $class->new_from_fd }, 'Usage: ', 'too few arguments');
    ok(!-e $path, 'and no file was left');

    my @mode = $v->is_str ? (16) : ();
    for my $case ([-1, '-1'], ['abc', '"abc"'], [384.5, '384\.5'], [$nan, '(?i:nan)'], [[], 'a reference']) {
        my ($mode, $shown) = @$case;
        croaks_like(
            sub { $class->new($path, 8, @mode, $mode) },
            "mode must be a non-negative integer, not (?:$shown)", "mode $shown"
        );
    }
    ok(!-e $path, 'no file was left');

    my $ring  = $class->new(undef, 65536);
    my $stats = $ring->stats;
    my $extra = $stats->{mmap_size} - 65536 * $v->slot - ($stats->{arena_cap} || 0);
    cmp_ok($extra, '>', 0, 'the header has a size');
    cmp_ok($extra, '<=', 4096 + 128 * ($stats->{readers} + ($stats->{publishers} // 0)), 'a ring costs its slots, its arena, one page, and a line for each reader, and publisher of strings');

    my $sub = $ring->subscribe;
    isa_ok($ring, $class);
    isa_ok($sub, $v->sub_class);
    is($sub->capacity, 65536, 'the subscriber knows the capacity too');
    is($ring->path, undef, 'an anonymous ring has no path');
    is($ring->memfd, -1, 'and no memfd');
});

subtest 'msg_size' => sub {
    my $class = variant('Str')->class;
    is($class->new(undef, 8)->msg_size, 256, 'default');
    is($class->new(undef, 8, $_)->msg_size, 256, ($_ // 'undef') . ' is the default') for undef, 0;
    is($class->new_memfd('t', 8, @$_)->msg_size, 256, 'default of new_memfd') for [], [undef], [0];
    is($class->new_memfd('t', 8, 99)->msg_size, 99, 'new_memfd takes it');
    for my $size (1, 7, 8, 9, 100_000) {
        my $ring = $class->new(undef, 2, $size);
        is($ring->msg_size, $size, "msg_size $size");
        is($ring->stats->{msg_size}, $size, 'in stats too');
        my $sub = $ring->subscribe;
        $ring->publish_multi('a' x $size, 'b' x $size);
        is_deeply([$sub->drain], ['a' x $size, 'b' x $size], 'two messages of that size');
    }
    my $path = fresh_path();
    my @bad  = ([-1, '-1'], ['abc', '"abc"'], [2.5, '2\.5'], [2**31, '2147483648'], [$inf, '(?i:inf)']);
    for my $case (@bad) {
        my ($size, $shown) = @$case;
        my $must = "msg_size must be an integer from 1 to 2147483647, not $shown";
        croaks_like(sub { $class->new($path, 8, $size) }, $must, "new: $shown");
        croaks_like(sub { $class->new_memfd('t', 8, $size) }, $must, "new_memfd: $shown");
    }
    croaks_like(sub { $class->new(undef, 2**31, 2**31 - 1) }, '->new: ', 'more than any memory');
    croaks_like(sub { $class->new($path, 2**31, 2**31 - 1) }, '->new: ', 'more than any disk');
    ok(!-e $path, 'no file was left');
};

done_testing;
