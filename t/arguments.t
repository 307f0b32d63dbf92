# Each argument of each method combined with each unusual value: an error or a result, and the
# object still works.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;
use PubSubTest::Arguments;

package Counted { sub TIESCALAR { bless [$_[1], 0] } sub FETCH { $_[0][1]++; $_[0][0] } }

package main;

each_variant(sub {
    my ($v)    = @_;
    my @values = strange_values();
    my @slots  = slots($v);
    my $where  = fresh_dir();

    survives(@slots . ' arguments, each with ' . @values . ' values: errors or results', sub {
        my ($note) = @_;
        local $SIG{__WARN__} = sub { };
        my @bad;
        chdir $where or die $!;
        for my $slot (@slots) {
            my ($kind, $method, $good, $place) = @$slot;
            for my $strange (@values) {
                my ($name, $make) = @$strange;
                $note->("$kind $method, argument $place: $name");
                my $ring = $v->ring(8);
                my $sub  = $ring->subscribe;
                $ring->publish($v->value(1));
                my $value     = $make->();
                my @arguments = @$good;
                my $target    = { ring => $ring, sub => $sub, class => $v->class }->{$kind};
                my $result    = eval { call($target, $method, $value, $place, @arguments); 1 };
                my $error     = $@;
                my $cell      = "$method, argument $place, $name";
                push @bad, "$cell: unexpected error: $error"
                    if !$result && $error !~ / at .+ line \d+\.?$|\A(?:fetched|asked)\n/;
                push @bad, "$cell: a prefix without a cause: $error" if $error =~ /: at .+ line/;
                next if $kind eq 'class';
                $sub->prefix(undef) if $method eq 'prefix';
                $sub->reset;
                $ring->publish($v->value(2));
                my $got = $sub->poll;
                push @bad, "$cell: the ring gives $got" if $got ne $v->value(2);
            }
        }
        die map {"$_\n"} @bad if @bad;
    });

    subtest 'each argument is fetched once' => sub {
        chdir $where or die $!;
        for my $slot (@slots) {
            my ($kind, $method, $good, $place) = @$slot;
            next if $method eq 'new_from_fd';
            my $ring = $v->ring(8);
            my $sub  = $ring->subscribe;
            $ring->publish($v->value(1));
            tie my $value, 'Counted', $good->[$place];
            call({ ring => $ring, sub => $sub, class => $v->class }->{$kind}, $method, \$value, $place, @$good);
            is((tied $value)->[1], 1, "$method fetches argument $place once");
        }
        chdir '/' or die $!;
    };

    my %variadic = (publish_multi => 1);
    my ($ring, $sub) = ($v->ring(8));
    $sub = $ring->subscribe;
    my %optional = (drain => 1, drain_notify => 1, poll_wait => 1, poll_wait_multi => 1, cursor => 1, wait_for_readers => 1);
    for my $kind ([$ring, $v->class, { $v->ring_methods }], [$sub, $v->sub_class, { $v->sub_methods }]) {
        my ($object, $class, $methods) = @$kind;
        for my $method (grep { !$variadic{$_} } sort keys %$methods) {
            my @arguments = @{ $methods->{$method} };
            my $usage     = "Usage: \Q$class\E::$method\\(";
            croaks_like(sub { $object->$method(@arguments, 1, 2, 3) }, $usage, "$method croaks on too many arguments");
            next if !@arguments || $optional{$method};
            croaks_like(sub { $object->$method }, $usage, "$method croaks on too few arguments");
        }
    }
});

done_testing;

# Calls the method with the value itself, not a copy, as argument $place.
sub call {
    my ($target, $method, $value, $place, @a) = @_;
    return $target->$method($$value, @a[1 .. $#a]) if $place == 0;
    return $target->$method($a[0], $$value, @a[2 .. $#a]) if $place == 1;
    return $target->$method(@a[0, 1], $$value, @a[3 .. $#a]) if $place == 2;
    return $target->$method(@a[0 .. 2], $$value);
}
