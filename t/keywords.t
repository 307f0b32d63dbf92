# The keywords: syntax, scope, results and errors.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

sub compile {
    my ($v, $body) = @_;
    my %word = map { $_ => $v->keyword($_) } qw(publish poll lag);
    $body =~ s/\b(PUBLISH|POLL|LAG)\b/$word{lc $1}/g;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $code = eval "use @{[$v->class]}; sub { my (\$ps, \$sub, \@v) = \@_; my \%h = (ps => \$ps, sub => \$sub);
        my \@a = (\$ps, \$sub); $body }";
    return $code || do { fail("compiles: $body"); diag($@); sub { } };
}

# [source, result, number of messages left]; run on a ring that holds the values 1 to 3; @v = values 4, 5, ..
my @syntax = (
    ['PUBLISH $ps, $v[0]',                      [1],             4],
    ['PUBLISH($ps, $v[0])',                     [1],             4],
    ['PUBLISH ($ps, $v[0]); 7',                 [7],             4],
    ['PUBLISH $h{ps}, $v[0]; 7',                [7],             4],
    ['PUBLISH $a[0], $v[0]; 7',                 [7],             4],
    ['PUBLISH $ps, $_ for @v[0 .. 2]; 7',       [7],             6],
    ['PUBLISH $ps, 0 ? $v[0] : $v[1]; 7',       [7],             4],
    ['PUBLISH $ps, $v[0] or die; 7',            [7],             4],
    ['my $ok = PUBLISH $ps, $v[0]; $ok ? 7 : 8', [7],            4],
    ['my @r = (PUBLISH($ps, $v[0]), 2); scalar @r', [2],         4],
    ['PUBLISH $ps, POLL $sub; 7',               [7],             3],
    ['PUBLISH($ps, POLL($sub)); 7',             [7],             3],
    ['PUBLISH shift @a, $v[0]; 7',              [7],             4],
    ['PUBLISH do { $ps }, do { $v[0] }; 7',     [7],             4],
    ['if ($ps) { PUBLISH $ps, $v[0] } 7',       [7],             4],
    ['POLL $sub',                               ['v1'],          2],
    ['POLL($sub)',                              ['v1'],          2],
    ['POLL ($sub)',                             ['v1'],          2],
    ['(POLL $sub)',                             ['v1'],          2],
    ['POLL $h{sub}',                            ['v1'],          2],
    ['POLL $a[1]',                              ['v1'],          2],
    ['return POLL $sub',                        ['v1'],          2],
    ['POLL $sub; 7',                            [7],             2],
    ['(POLL $sub, POLL $sub)',                  ['v1', 'v2'],    1],
    ['[POLL $sub, POLL $sub]->[1]',             ['v2'],          1],
    ['POLL($sub) . "-" . POLL($sub)',           ['v1-v2'],       1],
    ['my ($x, $y) = (POLL $sub, POLL $sub); ($y, $x)', ['v2', 'v1'], 1],
    ['map { POLL $sub } 1 .. 3',                ['v1', 'v2', 'v3'], 0],
    ['map { $$_ } map { \POLL $sub } 1 .. 3',   ['v1', 'v2', 'v3'], 0],
    ['my @r; while (defined(my $x = POLL $sub)) { push @r, $x } @r', ['v1', 'v2', 'v3'], 0],
    ['my @r; push @r, POLL $sub for 1 .. 2; @r', ['v1', 'v2'],   1],
    ['my $x = POLL $sub // 0; $x',              ['v1'],          2],
    ['$sub->reset; my $x = POLL $sub // 0; $x', [0],             0],
    ['$sub->reset; POLL $sub',                  [undef],         0],
    ['my %r = (a => POLL $sub, b => POLL $sub); @r{qw(a b)}', ['v1', 'v2'], 1],
    ['"@{[POLL $sub]}"',                        ['v1'],          2],
    ['join "+", POLL $sub, POLL $sub',          ['v1+v2'],       1],
    ['(sub { $_[0] })->(POLL $sub)',            ['v1'],          2],
    ['local $_ = POLL $sub; $_',                ['v1'],          2],
    ['my $f = sub { POLL $_[0] }; ($f->($sub), $f->($sub))', ['v1', 'v2'], 1],
    ['my $f; $f = sub { my $x = POLL $sub; ($x, $_[0] ? $f->($_[0] - 1) : ()) }; $f->(2)', ['v1', 'v2', 'v3'], 0],
    ['LAG $sub',                                [3],             3],
    ['LAG($sub)',                               [3],             3],
    ['LAG($sub) + 1',                           [4],             3],
    ['1 + LAG $sub',                            [4],             3],
    ['(LAG $sub == 3) ? 7 : 8',                 [7],             3],
    ['(LAG $sub, 2)',                           [3, 2],          3],
    ['LAG $sub and 7',                          [7],             3],
    ['!LAG $sub ? 1 : 2',                       [2],             3],
    ['-LAG($sub)',                              [-3],            3],
    ['LAG $sub if 1',                           [3],             3],
    ['my $n = 0; $n += LAG $sub, POLL $sub while LAG $sub; $n', [6], 0],
    ['LAG ($sub) == 3 && 7',                    [7],             3],
    ["LAG\n  # a comment\n  \$sub",             [3],             3],
    ['do { LAG $sub }',                         [3],             3],
);

each_variant(sub {
    my ($v)  = @_;
    for my $case (@syntax) {
        my ($source, $expected, $left) = @$case;
        my $ring = $v->ring(16);
        my $sub  = $ring->subscribe;
        $ring->publish_multi($v->values(1, 3));
        my @wanted = map { defined ? s/v(\d)/$v->value($1)/ger : undef } @$expected;
        my @got    = eval { compile($v, $source)->($ring, $sub, $v->values(4, 6)) };
        diag($@) if $@;
        is_deeply(\@got, \@wanted, 'result of ' . $source =~ s/\n/ /gr);
        is($sub->lag, $left, "messages left by $source");
    }

    my $ring = $v->ring(16);
    my $sub  = $ring->subscribe;
    my $poll = compile($v, 'POLL $sub');
    my $push = compile($v, 'PUBLISH $ps, $v[0]');
    for my $sample ($v->samples) {
        ok($push->($ring, $sub, $sample), 'publish returns true');
        is($poll->(undef, $sub), $sample, 'poll returns a sample value unchanged');
    }
    my $taken = compile($v, 'my @r; push @r, \(POLL $sub) for 1 .. 3; sub_keep(\@r); map { $$_ } @r');
    { no warnings qw(once redefine); *main::sub_keep = sub { $ring->publish_multi($v->values(7, 9)); $sub->drain } }
    $ring->publish_multi($v->values(1, 3));
    is_deeply([$taken->($ring, $sub)], [$v->values(1, 3)], 'results that are kept do not change');

    my @rings = map { $v->ring(8) } 1 .. 3;
    my @subs  = map { $_->subscribe } @rings;
    $rings[$_]->publish($v->value($_)) for 0 .. 2;
    is_deeply([map { $poll->(undef, $_) } @subs], [$v->values(0, 2)], 'one keyword in the code works on several objects');

    subtest 'wrong arguments croak' => sub {
        my %word = map { $_ => $v->keyword($_) } qw(publish poll lag);
        my ($class, $sub_class) = ($v->class, $v->sub_class);
        my $other = (grep { $_->name ne $v->name } variants())[0]->ring(8);
        my @bad = (undef, '', 'text', 42, [], {}, \1, $other, $other->subscribe);
        push @bad, bless([], $class), bless({}, $sub_class);
        for my $bad (@bad) {
            my $name = $bad // 'undef';
            my $why  = "Expected a \Q$class\E object";
            croaks_like(sub { $push->($bad, undef, $v->value(1)) }, "\\A$word{publish}: $why", "publish croaks on $name");
            $why = "Expected a \Q$sub_class\E object";
            croaks_like(sub { $poll->(undef, $bad) }, "\\A$word{poll}: $why", "poll croaks on $name");
            croaks_like(sub { compile($v, 'LAG $sub')->(undef, $bad) }, "\\A$word{lag}: $why", "lag croaks on $name");
        }
        croaks_like(sub { $poll->(undef, $ring) }, "\\A$word{poll}: Expected a", 'poll croaks on a ring');
        croaks_like(sub { $push->($sub, undef, 1) }, "\\A$word{publish}: Expected a", 'publish croaks on a subscriber');
        my $destroyed = $v->ring(8);
        my $its = $destroyed->subscribe;
        $_->DESTROY for $destroyed, $its;
        my $lag = compile($v, 'LAG $sub');
        my ($no_ring, $no_sub) = map {"Attempted to use a destroyed \Q$_\E object"} $class, $sub_class;
        croaks_like(sub { $push->($destroyed, undef, 1) }, "\\A$word{publish}: $no_ring", 'publish croaks on a destroyed ring');
        croaks_like(sub { $poll->(undef, $its) },     "\\A$word{poll}: $no_sub",     'poll croaks on a destroyed subscriber');
        croaks_like(sub { $lag->(undef, $its) },      "\\A$word{lag}: $no_sub",      'lag croaks on a destroyed subscriber');
        if ($v->is_str) {
            croaks_like(
                sub { $push->($ring, undef, 'x' x 257) },
                "\\A$word{publish}: message too long \\(257 > 256\\)", 'publish croaks on a long message'
            );
        }
        is($sub->lag, 0, 'the calls that croak publish nothing');
    };

    subtest 'tied arguments' => sub {
        package Once { sub TIESCALAR { bless [$_[1], 0] } sub FETCH { $_[0][1]++; $_[0][0] } }
        package main;
        tie my $tied_ring,  'Once', $ring;
        tie my $tied_sub,   'Once', $sub;
        tie my $tied_value, 'Once', $v->value(5);
        my $direct = eval "use @{[$v->class]}; sub { @{[$v->keyword('publish')]} \$_[0], \$_[1] }";
        my $taker  = eval "use @{[$v->class]}; sub { @{[$v->keyword('poll')]} \$_[0] }";
        my $behind = eval "use @{[$v->class]}; sub { @{[$v->keyword('lag')]} \$_[0] }";
        ok($direct->($tied_ring, $tied_value), 'publish accepts a tied ring and a tied value');
        is($behind->($tied_sub), 1, 'lag accepts a tied subscriber');
        is($taker->($tied_sub), $v->value(5), 'poll accepts a tied subscriber');
        is((tied $tied_ring)->[1],  1, 'the ring is fetched once');
        is((tied $tied_value)->[1], 1, 'the value is fetched once');
        is((tied $tied_sub)->[1],   2, 'the subscriber is fetched once by each keyword');
    };
});

done_testing;
