package PubSubTest::Arguments;

# Unusual arguments for methods, and the arguments that they can replace.

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(strange_values slots mechanisms waits);

package PubSubTest::Tied {
    sub TIESCALAR { my ($class, $code) = @_; return bless { code => $code }, $class }
    sub FETCH     { return $_[0]{code}->() }
    sub STORE     { return }
}

package PubSubTest::Overloaded {
    use overload
        '""'     => sub { $_[0]->() },
        '0+'     => sub { $_[0]->() },
        'bool'   => sub { $_[0]->(); 1 },
        '&{}'    => \&code,
        fallback => 1;

    # The object is code itself, so it is reblessed while its code is called.
    sub code {
        my ($self) = @_;
        bless $self, 'PubSubTest::Bare';
        my $value = eval { $self->() };
        my $error = $@;
        bless $self, __PACKAGE__;
        die $error if $error;
        return sub {$value};
    }
}

package PubSubTest::NoNumber { use overload 'cmp' => sub {0}, fallback => 0 }

package PubSubTest::Arguments;

my $inf = 9**9**9;

# [name, function that returns a reference to the value]; the value itself is passed, not a copy.
sub strange_values {
    my @plain = (
        undef, '', '0', 'abc', '12abc', ' 3', "5\n", "\0", "a\0b", '0x10', '1e3', '0 but true', 'nan', 'inf', '-inf',
        -1, -2**31, -2**63, 2**31 + 5, 2**63, 18446744073709551615, -9223372036854775807, 1e300, -1e300, 0.5, -0.5,
        1e-320, $inf, -$inf, $inf / $inf, !!1, !!0, "\x{263a}", "\xff", v1.2.3, 'x' x 1_000_000,
    );
    my @values = map {
        my $value = $_;
        [(!defined $value ? 'undef' : length $value > 20 ? 'a long string' : $value) => sub { \(my $x = $value) }]
    } @plain;
    push @values,
        ['array ref'           => sub { \[] }],
        ['hash ref'            => sub { \{} }],
        ['code ref'            => sub { \sub {1} }],
        ['scalar ref'          => sub { \\1 }],
        ['regexp'              => sub { \qr/x/ }],
        ['glob'                => sub { \*STDOUT }],
        ['glob ref'            => sub { \\*STDOUT }],
        ['read-only number'    => sub { \-7 }],
        ['read-only string'    => sub { \'text' }],
        ['lvalue substr'       => sub { my $s = 'abcdef'; \substr $s, 1, 3 }],
        ['lvalue beyond'       => sub { my @a; \$a[7] }],
        ['lvalue vec'          => sub { my $s = 'abc'; \vec $s, 1, 8 }],
        ['pos'                 => sub { my $s = 'abc'; \pos $s }],
        ['$1'                  => sub { 'abc' =~ /(b)/; \$1 }],
        ['$!'                  => sub { $! = 2; \$! }],
        ['dualvar'             => sub { require Scalar::Util; \Scalar::Util::dualvar(5, 'text') }],
        ['weak ref'            => sub { my $r = my $t = []; Scalar::Util::weaken($r); \$r }],
        ['tied number'         => sub { tie my $t, 'PubSubTest::Tied', sub {2}; \$t }],
        ['tied undef'          => sub { tie my $t, 'PubSubTest::Tied', sub {undef}; \$t }],
        ['tied text'           => sub { tie my $t, 'PubSubTest::Tied', sub {"t\x{100}"}; \$t }],
        ['tied ref'            => sub { tie my $t, 'PubSubTest::Tied', sub { [] }; \$t }],
        ['tied, ever longer'   => sub { my $s = ''; tie my $t, 'PubSubTest::Tied', sub { $s .= 'xxx' }; \$t }],
        ['tied, dies'          => sub { tie my $t, 'PubSubTest::Tied', sub { die "fetched\n" }; \$t }],
        ['overloaded number'   => sub { \bless sub {3}, 'PubSubTest::Overloaded' }],
        ['overloaded text'     => sub { \bless sub {'3 words'}, 'PubSubTest::Overloaded' }],
        ['overloaded undef'    => sub { \bless sub {undef}, 'PubSubTest::Overloaded' }],
        ['overloaded ref'      => sub { \bless sub { [] }, 'PubSubTest::Overloaded' }],
        ['overloaded, dies'    => sub { \bless sub { die "asked\n" }, 'PubSubTest::Overloaded' }],
        ['overloaded, useless' => sub { \bless [], 'PubSubTest::NoNumber' }];
    return @values;
}

# [ring, sub or class; method; valid arguments; index of the argument to replace]
sub slots {
    my ($v) = @_;
    my $value = $v->value(5);
    my @new = (undef, 8, $v->is_str ? (16, 0600) : 0600);
    my @memfd = ('name', 8, $v->is_str ? 16 : ());
    my @calls = (
        (map { [ring => $_ => [$value]] } qw(publish publish_notify)),
        [ring  => publish_multi => [$value, $value, $value]],
        [ring  => eventfd_set   => [-1]],
        (map { [sub => $_ => [2]] } qw(poll_multi drain drain_notify cursor)),
        (map { [sub => $_ => [0]] } qw(poll_wait latest)),
        ($v->is_str ? [sub => prefix => ['']] : ()),
        [sub   => poll_wait_multi => [1, 0]],
        [sub   => poll_cb         => [sub { }]],
        [sub   => eventfd_set     => [-1]],
        [class => new             => \@new],
        [class => new_memfd       => \@memfd],
        [class => new_from_fd     => [-1]],
        [class => unlink          => ['nothing']],
    );
    return map { my $call = $_; map { [@$call, $_] } 0 .. $#{ $call->[2] } } @calls;
}

# Whether an argument of the method is a timeout.
sub waits { return $_[0] =~ /wait|latest/ }

# [name, function: code -> reference to an argument that runs the code and has the value $value when used];
# the last two run the code from a warning about the argument.
sub mechanisms {
    my ($value) = @_;
    return (
        [tied => sub { my ($code) = @_; tie my $t, 'PubSubTest::Tied', sub { $code->(); $value }; \$t }],
        [overloaded => sub { my ($code) = @_; \bless sub { $code->(); $value }, 'PubSubTest::Overloaded' }],
        [   'tied, overloaded' => sub {
                my ($code) = @_;
                my $object = bless sub { $code->(); $value }, 'PubSubTest::Overloaded';
                tie my $t, 'PubSubTest::Tied', sub {$object};
                \$t;
            }
        ],
        ['warned of: text'  => sub { my ($code) = @_; $SIG{__WARN__} = $code; \(my $x = '2x') }],
        ['warned of: undef' => sub { my ($code) = @_; $SIG{__WARN__} = $code; \(my $x) }],
    );
}

1;
