# Keywords are parsed as calls of functions with a prototype: parentheses, commas, precedence, and errors.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

use Data::PubSub::Shared::Int;

# The result of a function body on a ring with the messages 1, 2 and 3; or its compilation error.
sub outcome {
    my ($body, $ring, $sub) = @_;
    my $code = eval "sub { my (\$r, \$s, \$x, \$y, \@a) = \@_; my \%h = (r => \$r); my \$f = '$0'; \n$body }"
        or return $@;
    my @got = eval { $code->($ring, $sub, 3, 4, 7, 8) };
    return $@ || join ' ', map { $_ // 'undef' } @got;
}

sub fresh {
    my $ring = Data::PubSub::Shared::Int->new(undef, 16);
    my $sub  = $ring->subscribe;
    $ring->publish_multi(1, 2, 3);
    return ($ring, $sub);
}

# The body with keywords, and with functions that have the same prototype.
sub by_keyword  { my ($body) = @_; return $body =~ s/\b(publish|poll|lag)\b/ps_int_$1/gr }
sub by_function { my ($body) = @_; return $body =~ s/\b(publish|poll|lag)\b/f_$1/gr }
sub f_publish ($$) { my ($ring, $value) = @_; return $ring->publish($value) }
sub f_poll ($) { my ($sub) = @_; return $sub->poll }
sub f_lag ($)  { my ($sub) = @_; return $sub->lag }

# [body, result, published messages]
my @calls = (
    # a parenthesis that is part of the value
    ['publish $r, ($x + $y) * 2',                    '1',      '14'],
    ['publish $r, ($x + $y) * 2 or die',             '1',      '14'],
    ['publish $r, (($x) + ($y)) * (2)',              '1',      '14'],
    ['publish($r, ($x + $y) * 2)',                   '1',      '14'],
    ['publish ($r, ($x + $y) * 2); 5',               '5',      '14'],
    ['publish($r, (stat $f)[7])',                    '1',      -s $0],
    ['publish $r, (stat $f)[7]',                     '1',      -s $0],
    ['publish $r, ($x, $y)[1]',                      '1',      '4'],
    ['publish $r, ($x)',                             '1',      '3'],
    ['publish $r, -($x)',                            '1',      '-3'],
    ['publish +($r), $x',                            '1',      '3'],
    ['publish $r, ($x == 3 ? 5 : 6)',                '1',      '5'],
    ['publish $r, $x == 3 ? 5 : 6',                  '1',      '5'],
    ['publish $r, ($x) ? 5 : 6',                     '1',      '5'],
    ['publish($r, $x ? ($y) : (6))',                 '1',      '4'],
    ['publish $r, $x || 9',                          '1',      '3'],
    ['publish $r, my $z = 6; $z',                    '6',      '6'],
    ['publish $r, do { $x + 1 }',                    '1',      '4'],
    ['publish $r, sub { $_[0] * 2 }->($y)',          '1',      '8'],
    # commas
    ['publish($r, 5,)',                              '1',      '5'],
    ['publish($r, 5, )',                             '1',      '5'],
    ['publish($r,, 5)',                              '1',      '5'],
    ['publish $r => 5',                              '1',      '5'],
    ['publish($r => 5)',                             '1',      '5'],
    ['publish $r=>5',                                '1',      '5'],
    ['[publish $r, 5,]->[0]',                        '1',      '5'],
    # operators and modifiers after the call
    ['publish($r, 5) and 8',                         '8',      '5'],
    ['publish($r, 5) + 1',                           '2',      '5'],
    ['publish $r, 5 and 8',                          '8',      '5'],
    ['publish $r, $_ for 5, 6; 9',                   '9',      '5 6'],
    ['publish $r, 5 if $x; 9',                       '9',      '5'],
    ['publish $r, 5 unless $x; 9',                   '9',      ''],
    ['if (publish $r, 5) { 7 }',                     '7',      '5'],
    ['(publish($r, 5), 2)',                          '1 2',    '5'],
    ['!publish($r, 5) || 6',                         '6',      '5'],
    # white space
    ["publish\n  # a comment, (with) parens\n \$r # and one\n , # and one\n 5",    '1', '5'],
    ["publish # a comment (\n (\n # one (\n\$r\n # two\n,\n# three )\n5\n# four\n)", '1', '5'],
    ["publish\t(\$r,5)",                             '1',      '5'],
    ["publish \$r, <<E;\n12\nE\n8",                  '8',      '12'],
    ["publish(\$r, <<E);\n12\nE\n8",                 '8',      '12'],
    # nested calls
    ['publish $r, poll $s',                          '1',      '1'],
    ['publish($r, poll($s) + poll $s)',              '1',      '3'],
    ['publish $r, (poll $s) * (lag $s)',             '1',      '2'],
    ['publish($r, lag($s,))',                        '1',      '3'],
    ['publish $h{r}, publish $r, 6',                 '1',      '6 1'],
    # calls with one argument
    ['poll($x ? $s : $r)',                           '1',      ''],
    ['poll($x ? $s : ($r))',                         '1',      ''],
    ['poll(0 ? $r : $s)',                            '1',      ''],
    ['poll(($s))',                                   '1',      ''],
    ['poll ((($s)))',                                '1',      ''],
    ['poll($s,)',                                    '1',      ''],
    ['poll(my $z = $s)',                             '1',      ''],
    ['poll($s or die)',                              '1',      ''],
    ['poll(shift @{[$s]})',                          '1',      ''],
    ['poll $s || die',                               '1',      ''],
    ['poll $s // 9',                                 '1',      ''],
    ['poll($s) . "x"',                               '1x',     ''],
    ['(poll($s), poll $s, 9)',                       '1 2 9',  ''],
    ['lag $s == 3',                                  '1',      ''],
    ['lag $s < 3 ? 1 : 2',                           '2',      ''],
    ['lag $s, 2, "x"',                               '3 2 x',  ''],
    ['lag($s), 2, "x"',                              '3 2 x',  ''],
    ['lag($s) == 3, 2',                              '1 2',    ''],
    ['lag ($s) + 1',                                 '4',      ''],
    ['1 + lag $s',                                   '4',      ''],
    ['-lag $s',                                      '-3',     ''],
    ['lag $s ? 5 : 6',                               '5',      ''],
    ['lag $s && 5',                                  '5',      ''],
    ['lag $s .. 4',                                  '3 4',    ''],
    ["lag # (\n (\n\$s # )\n)\n == 3",               '1',      ''],
    ['lag poll { $s } if 0; 5',                      '5',      ''],
    ['lag +($x ? $s : $r)',                          '3',      ''],
    ['sort { $a <=> $b } (lag $s, poll $s)',         '1 3',    ''],
);

for my $call (@calls) {
    my ($body, $returns, $published) = @$call;
    my $name = $body =~ s/\s+/ /gr;
    for my $how (\&by_keyword, \&by_function) {
        my ($ring, $sub) = fresh();
        my $after = $ring->subscribe;
        no warnings;
        my $got = outcome($how->($body), $ring, $sub);
        is(join(' / ', $got, $after->drain), join(' / ', $returns, split / /, $published), 'call: ' . $how->($name));
    }
}

# [body, text of the error]; the error names the line of the call.
my $few  = 'Not enough arguments for ps_int_\w+';
my $many = 'Too many arguments for ps_int_\w+';
my @wrong = (
    ['poll',               $few],
    ['poll;',              $few],
    ['poll()',             $few],
    ['(poll)',             $few],
    ['lag( )',             $few],
    ['lag == 3',           '.'],
    ['publish',            $few],
    ['publish()',          $few],
    ['publish $r',         $few],
    ['publish $r,',        $few],
    ['publish($r)',        $few],
    ['publish($r,)',       $few],
    ['publish ($r), 5',    $few],
    ['publish(f())',       $few],
    ['poll($s, 1)',        $many],
    ['lag($s, $s, $s)',    $many],
    ['publish($r, 1, 2)',  $many],
    ['publish($r, 1, @a)', $many],
    ['poll($s',            'syntax error|Missing right'],
    ['publish($r, 1',      'syntax error|Missing right'],
    ['publish($r; 1)',     'Not enough|syntax error'],
    ['publish($r, 1 or 2)', 'syntax error'],
    ['publish($r, 1 +)',   'syntax error'],
    ['poll $nowhere',      'Global symbol "\$nowhere" requires'],
    ['publish $r, $nowhere + 1', 'Global symbol "\$nowhere" requires'],
);
# Lists, which would be the count or the last item as a scalar; the last column is the first perl with this syntax.
push @wrong, map { [$_->[0], "Type of arg $_->[1] to ps_int_\\w+ must be scalar \\(not $_->[2]\\)"] } grep { $] >= ($_->[3] // 0) } (
    ['publish $r, @a',               2, 'private array'],
    ['publish $r, (@a)',             2, 'private array'],
    ['publish($r, @a)',              2, 'private array'],
    ['publish $r, my @z',            2, 'private array'],
    ['publish $r, %h',               2, 'private hash'],
    ['publish $r, @{[1]}',           2, 'array dereference'],
    ['publish $r, @$x',              2, 'array dereference'],
    ['publish $r, @ARGV',            2, 'array dereference'],
    ['publish $r, $x->' . '@*',           2, 'array dereference', 5.024],
    ['publish $r, %ENV',             2, 'hash dereference'],
    ['publish $r, @a[0, 1]',         2, 'array slice'],
    ['publish $r, @h{1, 2}',         2, 'hash slice'],
    ['publish $r, @$x{1, 2}',        2, 'hash slice'],
    ['publish $r, %a[0, 1]',         2, '.*array slice'],
    ['publish $r, %h{1, 2}',         2, '.*hash slice'],
    ['publish $r, (f())[0, 1]',      2, 'list slice'],
    ['publish $r, (f())[@a]',        2, 'list slice'],
    ['publish $r, (f())[0 .. 1]',    2, 'list slice'],
    ['publish $r, (1, 2)',           2, 'list'],
    ['publish $r, (f(), $x)',        2, 'list'],
    ['publish $r, ()',               2, 'stub'],
    ['publish $r, 1 .. 3',           2, 'range'],
    ['publish @a, 1',                1, 'private array'],
    ['publish(@a, 1)',               1, 'private array'],
    ['poll @a',                      1, 'private array'],
    ['poll(@a)',                     1, 'private array'],
    ['poll((1, 2))',                 1, 'list'],
    ['lag %h',                       1, 'private hash'],
);
for my $case (@wrong) {
    my ($body, $says) = @$case;
    my ($ring, $sub) = fresh();
    no warnings;
    like(outcome(by_keyword($body), $ring, $sub), qr/\A(?s:.*)(?:$says)(?s:.*) at \(eval \d+\) line [23]/,
        "compilation error: $body");
    is($sub->lag, 3, "'$body' publishes nothing");
}

# The count of a list can be published if the program asks for it.
my ($ring, $sub) = fresh();
for my $count ('scalar(@a)', 'scalar @a', '@a + 0', '0 + @a', '$#a + 1', '()= f(1)', '@a ? 2 : 3', 'keys %{{ a => 1, b => 2 }}') {
    $sub->reset;
    is(outcome(by_keyword("publish \$r, $count"), $ring, $sub), 1, "publish \$r, $count publishes");
    is($sub->poll, 2, "$count publishes the count");
}
sub f { return (4, 5) }

done_testing;
