package XT::Exercise;

# Calls everything in the module once, with valid and invalid arguments, in one process and without
# a test framework, for memory checkers.  perl -MXT::Exercise=run[,VARIANT...] -e 1

use strict;
use warnings;

use Data::PubSub::Shared ();
use File::Temp ();
use PubSubTest::Arguments;
use PubSubTest::Variant;

my $dir;

sub import {
    my ($class, $run, @names) = @_;
    return if !$run;
    each_part(sub { $_[1]->($_[0]) }, @names);
    print "exercised\n";
    return;
}

# Calls the code with each variant (of those names), each part and its name, in a new directory:
# some unusual values are file names.
sub each_part {
    my ($code, @names) = @_;
    my %parts = parts();
    local $SIG{__WARN__} = sub { };
    $dir = File::Temp::tempdir('pubsub-XXXXXXXX', TMPDIR => 1, CLEANUP => 1);
    chdir $dir or die "chdir $dir: $!";
    for my $v (PubSubTest::Variant->all) {
        next if @names && !grep { $_ eq $v->name } @names;
        $code->($v, $parts{$_}, $_) for sort keys %parts;
    }
    chdir '/';
    return;
}

# The code of each part takes a variant.
sub parts {
    return (
        methods   => \&methods,   strange   => \&strange, invocants => \&invocants, meanwhile => \&meanwhile,
        callbacks => \&callbacks, traffic   => \&traffic, keywords  => \&keywords,
        deparse   => \&deparse,
    );
}

sub path { return "$dir/ring-" . $_[0]->name }

sub objects {
    my ($v) = @_;
    my $ring = $v->ring(8);
    my $sub  = $ring->subscribe;
    $ring->publish_multi($v->values(1, 5));
    return ($ring, $sub);
}

# Each method in each context, and with too many and too few arguments.
sub methods {
    my ($v) = @_;
    my %methods = (ring => { $v->ring_methods }, sub => { $v->sub_methods });
    for my $which (0, 1) {
        my $methods = $methods{ (qw(ring sub))[$which] };
        for my $method (sort keys %$methods) {
            my @good = @{ $methods->{$method} };
            my $object = (objects($v))[$which];
            my @list   = eval { $object->$method(@good) };
            my $scalar = eval { $object->$method(@good) };
            eval { $object->$method(@good) };
            eval { $object->$method(@good, 1, 2, 3) };
            eval { $object->$method };
            $object->DESTROY;
            eval { $object->$method(@good) };
        }
    }
    my $path = path($v);
    my $ring = $v->class->new($path, 16, $v->is_str ? (64, 0600) : 0600);
    my $same = $v->class->new($path);
    $same->sync;
    eval { $v->class->new($path, $_) } for 'abc', 0, -1;
    eval { $_->class->new($path) } for PubSubTest::Variant->all;
    eval { $v->class->new("$path/none", 4) };
    my $memfd = $v->class->new_memfd('name', 8);
    my $again = $v->class->new_from_fd($memfd->memfd);
    eval { $v->class->new_from_fd($_) } for -1, 0, 999;
    $ring->eventfd;
    my $sub = $ring->subscribe;
    $ring->publish_notify($v->value(1));
    my @got = $sub->drain_notify;
    $same->unlink;
    return;
}

# Each argument of each call replaced by each unusual value.
sub strange {
    my ($v) = @_;
    for my $slot (slots($v)) {
        my ($what, $method, $good, $at) = @$slot;
        for my $strange (strange_values()) {
            my ($ring, $sub) = objects($v);
            my @arguments = @$good;
            splice @arguments, $at, 1, $strange->[1]->();
            my $it = $what eq 'ring' ? $ring : $what eq 'sub' ? $sub : $v->class;
            my $value = splice @arguments, $at, 1;
            # Timeouts that would wait forever are left out.
            next if waits($method) && $strange->[0] !~ /abc|nan|ref|dies/;
            next if $method =~ /new/ && $at == 1 && $strange->[0] =~ /2147|\d{10}|1e|e\+/;
            $at == 0 ? eval { my @x = $it->$method($$value, @arguments) }
                : eval { my @x = $it->$method(@arguments[0 .. $at - 1], $$value, @arguments[$at .. $#arguments]) };
        }
    }
    return;
}

sub invocants {
    my ($v) = @_;
    my ($ring, $sub) = objects($v);
    my @bad = (
        undef, '', 'text', 7, [], {}, \my $x, sub { }, qr/x/, *STDOUT, \*STDOUT, $v->class, bless([], $v->class),
        bless(\my $y, $v->sub_class), bless({}, 'Other'), map { ($_->ring(4), $_->ring(4)->subscribe) } PubSubTest::Variant->all,
    );
    my %ring = $v->ring_methods;
    my %sub  = $v->sub_methods;
    for my $bad (@bad) {
        for my $method (sort keys %ring) { eval { $v->class->can($method)->($bad, @{ $ring{$method} }) } }
        for my $method (sort keys %sub)  { eval { $v->sub_class->can($method)->($bad, @{ $sub{$method} }) } }
        eval { $v->class->can('DESTROY')->($bad) };
    }
    return;
}

# Arguments whose evaluation destroys, replaces or re-enters the object, or overflows the ring.
sub meanwhile {
    my ($v) = @_;
    for my $slot (slots($v)) {
        my ($what, $method, $good, $at) = @$slot;
        next if $what eq 'class' || waits($method) && $at == 1;
        for my $mechanism (mechanisms($good->[$at])) {
            my ($ring, $sub, @kept);
            my @actions = (
                sub { $_[0]->DESTROY if ref $_[0] }, sub { undef $_[0] }, sub { $_[0] = $ring },
                sub { push @kept, $_[0]; undef $_[0] }, sub { die "enough\n" },
                sub { $ring && $ring->publish_multi($v->values(1, 30)) }, sub { $sub && $sub->drain },
                sub { $ring->clear if $ring },
            );
            for my $action (@actions) {
                ($ring, $sub) = objects($v);
                my $it = $what eq 'ring' ? $ring : $sub;
                local $SIG{__WARN__} = sub { };    # some mechanisms set their own
                my @before    = @$good[0 .. $at - 1];
                my @after     = @$good[$at + 1 .. $#$good];
                my $argument  = $mechanism->[1]->(sub { $action->($it) });
                eval { my @x = $it->$method(@before, $$argument, @after) };
            }
        }
    }
    return;
}

sub callbacks {
    my ($v) = @_;
    my ($ring, $sub);
    my @handlers = (
        sub { die "x\n" }, sub { undef $sub }, sub { $sub->DESTROY if $sub }, sub { $ring->publish($v->value(2)) },
        sub { undef $ring }, sub { $sub->poll }, sub { $sub = $ring->subscribe }, sub { $_[0] = 1 }, sub { undef @_ },
        sub { no warnings; last }, sub { my @deep = map { [$_] } 1 .. 50 }, sub { $sub->poll_cb(sub { }) if $sub },
        sub { undef $ring; undef $sub },
    );
    for my $handler (@handlers) {
        ($ring, $sub) = objects($v);
        eval { for (1) { $sub->poll_cb($handler) } };
    }
    return;
}

# Batches of all sizes, overflow, clear, cursor; for strings all lengths, of bytes and of characters.
sub traffic {
    my ($v) = @_;
    my $ring = $v->is_str ? $v->class->new(undef, 16, 300) : $v->ring(16);
    my $sub  = $ring->subscribe;
    my @value = $v->is_str ? (map { ('x' x $_, "\x{263a}" x ($_ / 3)) } 0 .. 70, 299, 300) : (map { $_, -$_ } 0 .. 70);
    for my $value (@value) {
        $ring->publish($value);
        my $got = $sub->poll;
        $got eq ($v->is_str ? $value : $value) or die "$got is not $value";
    }
    eval { $ring->publish('x' x 301) } if $v->is_str;
    for my $count (0, 1, 2, 255, 256, 257, 1000, 8192, 8193) {
        eval { $ring->publish_multi(map { $v->value($_ % 100) } 1 .. $count) };
        my @some = $sub->poll_multi(3);
        my @more = $sub->drain;
        push @more, $sub->poll_wait_multi(5, 0);
    }
    for my $position (0, 1, 5, 1 << 40, 9223372036854775807) {
        $sub->cursor($position);
        $ring->publish($v->value(1));
        my $got = $sub->poll_wait(0);
    }
    $ring->clear;
    $sub->reset, $sub->reset_oldest;
    my $outlives = $ring->subscribe_all;
    undef $ring;
    my @rest = $outlives->drain;
    return;
}

sub keywords {
    my ($v) = @_;
    my ($ring, $sub) = objects($v);
    my ($publish, $poll, $lag) = map { $v->keyword($_) } qw(publish poll lag);
    my $code = eval "use @{[$v->class]}; sub { $publish \$_[0], \$_[2]; my \@x = ($lag(\$_[1]), $poll \$_[1]); \$x[0] }" or die $@;
    $code->($ring, $sub, $v->value(4));
    for my $bad (undef, 'x', [], $ring, $sub, bless({}, $v->class)) {
        eval { $code->($bad, $sub, 1) };
        eval { $code->($ring, $bad, 1) };
        eval { $code->($ring, $sub, $bad) };
    }
    eval "use @{[$v->class]}; $publish";
    return;
}

# The keywords in B::Deparse.
sub deparse {
    my ($v) = @_;
    require B::Deparse;
    my ($publish, $poll, $lag) = map { $v->keyword($_) } qw(publish poll lag);
    my $code = eval "use @{[$v->class]}; sub { $publish \$_[0], \$_[2]; $lag(\$_[1]) + $poll \$_[1] }" or die $@;
    my $text = B::Deparse->new->coderef2text($code);
    return;
}

1;
