# Arguments whose evaluation destroys, replaces or re-enters the object of the call: the call croaks, or
# returns its result if nothing was destroyed. No freed memory is used.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;
use PubSubTest::Arguments;

# name => [action on the variables of the caller, whether the call must croak after it].
# $h->{ring} and $h->{sub} hold the objects; $h->{it} is the object of the call.
my %actions = (
    'DESTROY'           => [sub { $_[0]{it}->DESTROY }, 1],
    'undef'             => [sub { undef $_[0]{it} }, 1],
    'assign'            => [sub { $_[0]{it} = 'something else' }, 1],
    'new object'        => [sub { $_[0]{it} = $_[0]{spare} }, 1],
    'delete'            => [sub { delete $_[0]{it} }, 0],
    'undef, kept'       => [sub { $_[0]{kept} = $_[0]{it}; undef $_[0]{it} }, 1],
    'empty the hash'    => [sub { %{ $_[0] } = () }, 0],
    'destroy the ring'  => [sub { my ($h) = @_; $h->{ring}->DESTROY if $h->{ring} && $h->{ring} != $h->{it} }, 0],
    'destroy, new ring' => [sub { $_[0]{it}->DESTROY; $_[0]{extra} = $_[0]{v}->ring(8) }, 1],
    're-enter'          => [\&reenter, 0],
    'clear'             => [sub { $_[0]{ring}->clear }, 0],
    'die'               => [sub { die "enough\n" }, 1],
    'overflow'          => [sub { $_[0]{ring}->publish_multi($_[0]{v}->values(1, 30)) }, 0],
);

sub reenter {
    my ($h) = @_;
    $h->{ring}->publish($h->{v}->value(3));
    $h->{sub}->poll;
    $h->{sub}->drain;
    return;
}

# The call on the variable that the action changes, by method, by function and, if there is one, by keyword.
sub ways {
    my ($v, $kind, $method) = @_;
    my $class = $kind eq 'ring' ? $v->class : $v->sub_class;
    my $code  = $class->can($method);
    my @ways  = (
        [method   => sub { my $h = shift; $h->{it}->$method(@_) }],
        [function => sub { my $h = shift; $code->($h->{it}, @_) }],
        [alias    => sub { my $h = shift; $_->$method(@_) for $h->{it} }],
        [list     => sub { my $h = shift; my @all = (1, $h->{it}->$method(@_), 2); @all }],
    );
    if ($method eq 'publish') {
        my $keyword = $v->keyword($method);
        push @ways, [
            keyword => eval("package main; use @{[$v->class]}; sub { $keyword \$_[0]{it}, \$_[1] }")
                || die $@
        ];
    }
    return @ways;
}

my $expected = qr/destroyed|replaced|Expected a|must be|\Aenough|code|file descriptor/i;

each_variant(sub {
    my ($v)   = @_;
    my @slots = grep { $_->[0] ne 'class' } slots($v);
    survives(@slots . ' arguments: no action crashes', sub {
        my ($note) = @_;
        my %bad;    # complaint => the first combination with it
        for my $slot (@slots) {
            my ($kind, $method, $good, $place) = @$slot;
            for my $mechanism (mechanisms(waits($method) ? 0 : 2)) {
                my ($how, $make) = @$mechanism;
                for my $action (sort keys %actions) {
                    my ($do, $must_croak) = @{ $actions{$action} };
                    for my $way (ways($v, $kind, $method)) {
                        my $cell = "$kind $method, argument $place, $way->[0], $how, $action";
                        $note->($cell);
                        my ($ring, $done) = ($v->ring(8), 0);
                        my %h = (v => $v, ring => $ring, sub => $ring->subscribe);
                        $h{spare} = $kind eq 'ring' ? $v->ring(8) : $ring->subscribe;
                        $h{it}    = $h{$kind};
                        delete $h{$kind} if $action !~ /re-enter|clear|overflow|ring/;
                        $ring->publish($v->value(1));
                        undef $ring;
                        my $value = $make->(sub { return if $done++; $do->(\%h) });
                        my @a = @$good;
                        my $lived = eval {
                            if ($place == 0) { $way->[1]->(\%h, $$value, @a[1 .. $#a]) }
                            else { $way->[1]->(\%h, @a[0 .. $place - 1], $$value, @a[$place + 1 .. $#a]) }
                            1;
                        };
                        my $error = $@;
                        my $bad = sub { $bad{"$kind $method, $how: $_[0]"} //= $cell };
                        $SIG{__WARN__} = sub { $bad->($_[0] =~ s/0x\w+|at .+? line.*//gsr) };
                        $bad->("the argument is not evaluated") if !$done && $how !~ /warned/;
                        $bad->("the argument is fetched $done times") if $done > 1 && $how eq 'tied';
                        $bad->("no croak") if $done && $must_croak && $lived;
                        $bad->($error) if !$lived && $error !~ $expected;
                    }
                }
            }
        }
        die "\n", map {"$_ (first: $bad{$_})\n"} sort keys %bad if %bad;
    });
});

# What a ring delivers for these values if nothing interferes.
sub delivered {
    my ($v, @values) = @_;
    my $ring = $v->ring(64);
    my $sub  = $ring->subscribe;
    $ring->publish_multi(@values);
    return $sub->drain;
}

# The stack does not count references to its values: arguments that free other arguments.
subtest 'arguments that free other arguments' => sub {
    each_variant(sub {
        my ($v) = @_;
        for my $mechanism (mechanisms($v->value(2))) {
            my ($how, $make) = @$mechanism;
            survives("$how: no argument that was freed is used", sub {
                local $SIG{__WARN__};
                for my $round (1 .. 50) {
                    my $ring  = $v->ring(64);
                    my $sub   = $ring->subscribe;
                    my @array = map { "$_" x 3 } 1 .. 20;
                    my %hash  = map { $_ => "1$_" } 1 .. 9;
                    my @right = delivered($v, $array[0], @array, values %hash);
                    my $value = $make->(sub { @array = (); %hash = (); my @other = map { "7$_" } 1 .. 50 });
                    my $count = eval { $ring->publish_multi($array[0], $$value, @array, values %hash, $$value) };
                    die "count: $count" if defined $count && $count != 32;
                    $ring->publish($v->value(9));
                    my @got = $sub->drain;
                    pop @got eq $v->value(9) or die 'the message published last is not the last one';
                    next if !defined $count;
                    splice @got, $_, 1 for -1, 1;
                    "@got" eq "@right" or die "got @got";
                }
            });
        }
    });
};

# [object, method, its arguments, code for its result]: each argument in turn frees all others, and their memory is reused.
subtest 'arguments of other methods that free each other' => sub {
    my $v       = variant('Str');
    my $text    = 'some text';
    my $of_ring = sub { my ($result) = @_; my $s = $result->stats; return join ' ', @$s{qw(capacity msg_size publishers readers keep)} };
    my $of_sub  = sub {
        my ($sub, $ring) = @_;
        $ring->publish_multi('no', "$text, too");
        return join '|', $sub->name, $sub->poll, map { $_->{lossy} } $ring->readers;
    };
    my $plain   = sub { my ($result) = @_; return $result };
    my @sizes   = (8, 32, publishers => 20, readers => 3, lossless => 1, keep => 2);
    my @cases   = (
        [class => new       => [undef, @sizes], $of_ring],
        [class => new_memfd => ['name', @sizes], $of_ring],
        [ring  => subscribe => [lossy => 1, name => $text, prefix => $text], $of_sub],
        [ring  => subscribe => [prefix => [$text, 'some'], name => $text], $of_sub],
        [ring  => publish_wait => [$text, 1], sub { return $_[1]->subscribe_all->poll }],
        [sub   => poll_wait_multi => [1, 1], $plain],
        [sub   => poll_cb => [sub { $text .= $_[0] }, 1], sub { return substr $text, 9 }],
    );
    for my $case (@cases) {
        my ($kind, $method, $arguments, $told) = @$case;
        my $call = sub {
            my $ring = $v->ring;
            my $sub  = $ring->subscribe;
            $text = 'some text';
            $ring->publish('x') if $kind eq 'sub';
            my %it = (ring => $ring, sub => $sub, class => $v->class);
            return $told->(scalar $it{$kind}->$method(@_), $ring);
        };
        my $right    = $call->(@$arguments);
        my $has_list = grep { ref eq 'ARRAY' } @$arguments;
        survives("$method: no argument that was freed is used", sub {
            for my $place (grep { defined $arguments->[$_] && ref $arguments->[$_] ne 'CODE' } 0 .. $#$arguments) {
                my $good = $arguments->[$place];
                my @given = map { ref eq 'ARRAY' ? [@$_] : ref || !defined ? $_ : "$_" } @$arguments;
                my (@other, $freed);
                my $free = sub {
                    @{ $given[$_] } = () for grep { ref $given[$_] eq 'ARRAY' } 0 .. $#given;
                    @given = ();
                    $freed = @other = map { 'junk' x $_ } 1 .. 200;
                    return $good;
                };
                if   (ref $good) { $given[$place] = [bless(sub { $free->(); 'some' }, 'PubSubTest::Overloaded'), 'other', $text] }
                else             { tie $given[$place], 'PubSubTest::Tied', $free }
                my $got = eval { $call->(@given) } // $@;
                die "argument $place: got '$got', not '$right'" if $got ne $right && !($has_list && $got =~ /must be a string/);
                die "argument $place was not evaluated" if !$freed;
            }
        });
    }
};

subtest 'a list of prefixes that is freed during the call' => sub {
    my $sub  = variant('Str')->ring->subscribe;
    survives('prefix with a list whose last reference is dropped during the call', sub {
        my $list = ['a', undef, 'c'];
        $list->[1] = bless sub { undef $list; my @other = map { [1 .. $_] } 1 .. 100; 'b' }, 'PubSubTest::Overloaded';
        $sub->prefix($list);
    });
};

done_testing;
