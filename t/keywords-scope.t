# Where the keywords are available, and how they are compiled.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use B ();
use B::Concise ();
use B::Deparse ();
use Test::More;
use PubSubTest;

# Is the word a keyword in that source? Called with a subscriber, the code then returns its lag of 1.
sub works {
    my ($source, $sub) = @_;
    no strict;
    no warnings;
    my $code   = eval "package Fresh; $source" or return "no: $@";
    my $result = eval { $code->($sub) };
    return $@ ? "no: $@" : defined $result && $result eq '1' ? 'yes' : 'no';
}

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;
    my $lag   = $v->keyword('lag');
    my $ring  = $v->ring(8);
    my $sub   = $ring->subscribe;
    $ring->publish($v->value(1));
    my $call = "sub { $lag \$_[0] }";

    is(works("use $class; $call", $sub), 'yes', 'use enables the keyword');
    like(works($call, $sub), qr/\Ano/, 'without use, the word is not a keyword');
    like(works("use strict; $call", $sub), qr/\Ano/, 'without use, the word is not a keyword under strict');
    like(works("require $class; $call", $sub), qr/\Ano/, 'require does not enable the keyword');
    like(works("use $class (); $call", $sub), qr/\Ano/, 'an empty import list does not enable the keyword');
    like(works("use $class; no $class; $call", $sub), qr/\Ano/, 'no disables the keyword');
    is(works("use $class; no $class; use $class; $call", $sub), 'yes', 'use enables the keyword again after no');
    is(works("use $class; { no $class; } $call", $sub), 'yes', 'no ends with its block');
    like(works("{ use $class; } $call", $sub), qr/\Ano/, 'use ends with its block');
    is(works("use $class; { { $call } }", $sub), 'yes', 'use applies to inner blocks');
    is(works("use $class; eval q{$call}", $sub), 'yes', 'use applies to a string eval');
    like(works("use $class; eval q{no $class; $call}", $sub), qr/\Ano/, 'no in a string eval applies to it alone');
    is(works("use $class; package Elsewhere; $call", $sub), 'yes', 'use applies to other packages in its scope');
    for my $other (grep { $_->name ne $v->name } variants()) {
        like(works("use @{[$other->class]}; $call", $sub), qr/\Ano/, $other->name . ' does not enable the keyword');
        is(works("use $class; no @{[$other->class]}; $call", $sub), 'yes', $other->name . ' does not disable the keyword');
    }
    is(works("use $class; sub { my \%h = ($lag => 1); \$h{$lag} }", $sub), 'yes', 'a hash key of that name is not a keyword');
    is(works("use $class; sub { \$_[0]->lag }", $sub), 'yes', 'a method of that name is not a keyword');

    for my $wrong ("$lag", "$lag()", "$lag \$_[0] \$_[1]", $v->keyword('publish') . ' $_[0]',
        $v->keyword('publish') . '()', $v->keyword('publish') . '($_[0])', $v->keyword('publish') . '($_[0], 1, 2)')
    {
        no warnings;
        is(eval "use $class; sub { $wrong }", undef, "a syntax error: $wrong");
        like($@, qr/syntax error|parse failed|[Ee]xpected|[Tt]oo (?:many|few)|Not enough/, "the error is named: $wrong");
    }

    for my $name (qw(publish poll lag)) {
        my $word = $v->keyword($name);
        my $body = $name eq 'publish' ? "$word \$x, 1 + \$y" : "$word \$x";
        my $code = eval "use $class; sub { my (\$x, \$y) = \@_; my \$r = $body; return \$r }" or die $@;

        my $ops = '';
        B::Concise::walk_output(\$ops);
        B::Concise::compile('-exec', $code)->();
        like($ops, qr/\b$word\b/, "$word: is an op of that name");
        unlike($ops, qr/entersub|method/, "$word: does not call a sub");

        my @descriptions;
        walk(B::svref_2object($code)->ROOT, sub { push @descriptions, $_[0]->desc if $_[0]->name eq $word });
        is(scalar @descriptions, 1, "$word: compiles to one op");
        unlike($descriptions[0] // '', qr/\A(?:unknown custom operator)?\z/, "$word: the op has a description");

        my @warnings;
        local $SIG{__WARN__} = sub { push @warnings, @_ };
        my $text = B::Deparse->new->coderef2text($code);
        like($text, qr/\b$word\b/, "$word: B::Deparse shows it");
        is_deeply(\@warnings, [], "$word: B::Deparse does not warn");
        my $again = eval "use $class; sub $text";
        is($@, '', "$word: the output of B::Deparse compiles");
    }
});

done_testing;

sub walk {
    my ($op, $visit) = @_;
    return if !$$op;
    $visit->($op);
    return if !($op->flags & B::OPf_KIDS);
    for (my $kid = $op->first; $$kid; $kid = $kid->sibling) { walk($kid, $visit) }
    return;
}
