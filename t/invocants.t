# All methods called on values that are not objects of their class: always the same error, never a crash.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

package Text   { use overload '""' => sub {'text'}, '0+' => sub {1}, 'bool' => sub {1}, fallback => 1 }
package Dying  { use overload map { $_ => sub { die "asked\n" } } '""', '0+', 'bool' }
package Deref  { use overload '${}' => sub { $_[0]->() }, fallback => 1 }
package Fetch  { sub TIESCALAR { bless [$_[1]] } sub FETCH { $_[0][0] } sub STORE { } }
package Throw  { sub TIESCALAR { bless [] } sub FETCH { die "fetched\n" } }

package main;

# name => [a value that is not an object of $class]; some are made from a real object.
sub impostors {
    my ($v, $class, $good, @others) = @_;
    my $number = eval { 0 + ($$good // 1) } || 1;
    tie my $tied, 'Fetch', undef;
    tie my $plain, 'Fetch', 'text';
    my %impostor = (
        'undef'             => [undef],
        'empty string'      => [''],
        'class name'        => [$class],
        'string'            => ['something'],
        'number'            => [42],
        'address'           => [0 + $good],
        'scalar ref'        => [\1],
        'ref to object'     => [\$good],
        'array ref'         => [[]],
        'hash ref'          => [{}],
        'code ref'          => [sub { }],
        'regexp'            => [qr/x/],
        'glob'              => [*STDOUT],
        'glob ref'          => [\*STDOUT],
        'IO'                => [*STDOUT{IO}],
        'version string'    => [v1.2.3],
        'blessed scalar'    => [bless \(my $x = 0), $class],
        'blessed address'   => [bless \(my $y = 0 + $good), $class],
        'blessed content'   => [bless \(my $z = $number), $class],
        'blessed undef'     => [bless \(my $u), $class],
        'blessed array'     => [bless [], $class],
        'blessed hash'      => [bless {}, $class],
        'blessed code'      => [bless sub {1}, $class],
        'blessed glob'      => [bless do { local *GLOB; \*GLOB }, $class],
        'blessed regexp'    => [bless qr/y/, $class],
        'blessed ref'       => [bless \(my $r = $good), $class],
        'overloaded'        => [bless [], 'Text'],
        'dying overload'    => [bless [], 'Dying'],
        'dereferencing'     => [bless sub { $good }, 'Deref'],
        'tied to undef'     => [$tied],
        'tied to text'      => [$plain],
        (map { ref() => [$_] } @others),
    );
    return \%impostor;
}

my @warnings;

each_variant(sub {
    my ($v)  = @_;
    my $ring = $v->ring(8);
    my $sub  = $ring->subscribe;
    $ring->publish($v->value(1));
    my @others  = map { $_->ring(8) } grep { $_->name ne $v->name } variants();
    my @foreign = map { ($_, $_->subscribe) } @others;

    local $SIG{__WARN__} = sub { push @warnings, @_ };
    for my $kind (
        [$v->class,     $ring, { $v->ring_methods }, $sub,  'publish'],
        [$v->sub_class, $sub,  { $v->sub_methods },  $ring, 'poll'],
    ) {
        my ($class, $good, $methods, $sibling) = @$kind;
        my $impostors = impostors($v, $class, $good, $sibling, @foreign);
        survives("$class: every method on " . keys(%$impostors) . ' impostors', sub {
            my ($note) = @_;
            for my $method (sort keys %$methods) {
                my $code = $class->can($method);
                for my $name (sort keys %$impostors) {
                    $note->("$method on $name");
                    eval { $code->($impostors->{$name}[0], @{ $methods->{$method} }); 1 }
                        and die "$method on $name: no croak";
                    $@ =~ /\A\Q$class\E->$method: Expected a \Q$class\E object at .+ line \d+/
                        or die "$method on $name: $@";
                }
                tie my $throwing, 'Throw';
                $note->("$method on a tied scalar that dies");
                eval { $code->($throwing, @{ $methods->{$method} }); 1 } and die "$method: no croak";
                $@ eq "fetched\n" or die "$method: $@";
                $note->("$method on nothing");
                eval { $code->(); 1 } and die "$method on nothing: no croak";
                $@ =~ /Usage: |Expected a / or die "$method on nothing: $@";
            }
        });
        tie my $tied, 'Fetch', $good;
        is($tied->capacity, 8, 'a tied scalar that holds an object can be an invocant');
        is($class->can('capacity')->($tied), 8, 'a function accepts the tied scalar, too');
        my $turns = (tied $tied);
        my $fresh = $class eq $v->class ? $v->ring(32) : $v->ring(32)->subscribe;
        $turns->[0] = $fresh;
        is($class->can('capacity')->($tied), 32, 'the tied scalar is fetched at each call');
        $turns->[0] = undef;
        croaks_like(sub { $class->can('capacity')->($tied) }, 'Expected a', 'a tied scalar that holds undef is refused');
        my $reblessed = bless $v->ring(8), 'Elsewhere';
        is(eval { $v->class->can('capacity')->($reblessed); 1 } ? 1 : $@ =~ /Expected a/ ? 1 : 0, 1,
            'an object that was reblessed into another class is refused or works');
    }

    # Destroying objects that the module did not make has no effect.
    bless [], $v->class;
    bless {}, $v->sub_class;
    bless \(my $scalar = 1), $v->class;
    bless sub { $v }, $v->sub_class;
    is($sub->poll, $v->value(1), 'the message is still in the ring');
    is($ring->write_pos, 1, 'nothing was published');
});

is_deeply(\@warnings, [], 'there are no warnings');

done_testing;
