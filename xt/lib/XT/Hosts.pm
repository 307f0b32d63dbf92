package XT::Hosts;

# Three hosts, a, b and c, with two rings each and a bridge between them; who publishes there, and the account of what came.
# Every message says which host sent it as which number. What an IN ring holds at the end is all that came: it never goes
# round.

use strict;
use warnings;

use JSON::PP   ();
use List::Util qw(max sum0);
use POSIX      ();
use Test::More;

use PubSubTest;
use PubSubTest::Bridge;
use XT;
use XT::Board;

use constant { HOSTS => [qw(a b c)], IN => 1 << 19 };

# On the board, behind the numbers sent by each host: they are to stop.
use constant STOP => 3;

# server: where it is; variant: its name; out: capacity of the OUT rings; options: more arguments of all halves, and up:
# of that one; apart: true where the halves are no children of one supervisor; start: code that starts bridges, where it is
# not PubSubTest::Bridge::bridge.
sub new {
    my ($class, %how) = @_;
    my $self = bless {
        variant => 'Int', out => 1 << 17, options => [], up => [], start => \&bridge, %how,
        folder => fresh_dir(), board => XT::Board->new(4), process => {}, faults => 0, recoveries => [],
    }, $class;
    my $v    = $self->{v} = variant($self->{variant});
    my @size = $v->is_str ? 64 : ();
    for my $host (@{ +HOSTS }) {
        $self->{out_ring}{$host} = $v->class->new("$self->{folder}/$host.out", $self->{out}, @size);
        $self->{in_ring}{$host}  = $v->class->new("$self->{folder}/$host.in",  IN, @size);
        $self->{gaps}{$host}     = variant('Str')->class->new("$self->{folder}/$host.gaps", 1 << 14, 512);
    }
    # Nothing is lost before the bridges have begun, and they know their rings.
    $self->start($_) for $self->names;
    for my $who (0 .. 2) {
        $self->{out_ring}{ HOSTS->[$who] }->publish($self->encode($who, 1));
        $self->{board}->set($who, 1);
    }
    $self->patiently('the beginning', sub { !grep { $_->write_pos < 3 } values %{ $self->{in_ring} } });
    for my $who (0 .. 2) { push @{ $self->{publishers} }, $self->publisher($who) }
    return $self;
}

#--- Bridges, by name: `a`, or `a up` and `a down` where they are apart

sub names { my ($self) = @_; return $self->{apart} ? map { ("$_ up", "$_ down") } @{ +HOSTS } : @{ +HOSTS } }

sub halves_of { my ($name) = @_; return $name =~ / (.*)/ ? $1 : qw(up down) }

sub start {
    my ($self, $name) = @_;
    my ($host, $half) = split / /, $name;
    my $folder = $self->{folder};
    my @common = ('--server', $self->{server}, '--stream', 'storm', '--host', $host, '--status', "$folder/$name.status",
        @{ $self->{options} });
    my @down = ('--from', 'start', '--gaps', "$folder/$host.gaps");
    my @arguments = !$half
        ? ('both', @common, @{ $self->{up} }, @down, '--out', "$folder/$host.out", '--in', "$folder/$host.in",
            '--state', "$folder/$host.state")
        : $half eq 'up'
        ? ('up', @common, @{ $self->{up} }, '--ring', "$folder/$host.out", '--state', "$folder/$host.state.up")
        : ('down', @common, @down, '--ring', "$folder/$host.in", '--state', "$folder/$host.state.down");
    $self->{process}{$name} = $self->{start}->(@arguments);
    return;
}

# Ends one, by this signal, and starts it again: its exit status.
sub again {
    my ($self, $name, $signal) = @_;
    my $status = $self->{process}{$name}->signal($signal)->end;
    $self->start($name);
    return $status;
}

#--- Those who publish

sub encode {
    my ($self, $who, $number) = @_;
    return $self->{v}->is_str ? "$who $number " . chr(97 + $number % 26) x ($number % 41) : $who << 40 | $number;
}

# (who, number); nothing where it is not what was sent.
sub decode {
    my ($self, $message) = @_;
    my ($who, $number) = $self->{v}->is_str ? $message =~ /\A([012]) ([0-9]+) / : ($message >> 40, $message & (1 << 40) - 1);
    return defined $who && $self->encode($who, $number) eq $message ? ($who, $number) : ();
}

sub publisher {
    my ($self, $who) = @_;
    my $ring = $self->{out_ring}{ HOSTS->[$who] };
    return spawn(sub {
        XT::in_storm();
        my $board  = $self->{board}->attach;
        my $number = $board->get($who);
        until ($board->get(STOP)) {
            my $count = 1 + random(12);
            $ring->publish_multi(map { $self->encode($who, $number + $_) } 1 .. $count);
            $number += $count;
            $board->set($who, $number);
            select undef, undef, undef, 0.002 + rand 0.004;
        }
    });
}

#--- Faults

# Returns once messages have come into each IN ring, and notes how long that took.
sub until_progress {
    my ($self, @hosts) = @_;
    my $begun = now();
    my @rings = @{ $self->{in_ring} }{ @hosts ? @hosts : @{ +HOSTS } };
    my @before = map { $_->write_pos } @rings;
    $self->patiently('progress', sub { !grep { $rings[$_]->write_pos <= $before[$_] } 0 .. $#rings });
    push @{ $self->{recoveries} }, now() - $begun;
    return;
}

# Waits for something; says what the bridges say where that takes very long.
sub patiently {
    my ($self, $what, $code) = @_;
    my $late = now() + 60;
    until_true(sub {
        return 1 if $code->();
        if (now() > $late) {
            $late = now() + 1000;
            diag("still waiting for $what\n", map { "--- $_\n" . substr $self->{process}{$_}->said, -1500 } $self->names);
        }
        return 0;
    });
    return;
}

#--- The account

# Ends the storm, and tests that all is as it must be: nothing twice, one order, and all that did not come counted. allowed:
# reasons of losses; stream: code for all messages in the order of the stream, where it has them. What was lost, by reason.
sub account {
    my ($self, %how) = @_;
    my @hosts = @{ +HOSTS };
    $self->{board}->set(STOP, 1);
    reap('the publishers end', @{ $self->{publishers} });
    my @sent = $self->{board}->get(0, 3);
    # A last message of each, which nothing can happen to any more.
    my %last;
    for my $who (0 .. 2) {
        my $message = $self->encode($who, ++$sent[$who]);
        $self->{out_ring}{ $hosts[$who] }->publish($message);
        $last{$message} = 1;
    }
    my %got  = map { $_ => [] } @hosts;
    my %sub  = map { $_ => $self->{in_ring}{$_}->subscribe_all } @hosts;
    my %seen;
    $self->patiently('the end', sub {
        for my $host (@hosts) {
            my @new = $sub{$host}->drain;
            $seen{$host} += grep { $last{$_} } @new;
            push @{ $got{$host} }, @new;
        }
        return !grep { $_ < 3 } values %seen;
    });
    # Those that a supervisor left when it was killed may do the work still.
    $self->patiently('all to be connected', sub {
        for my $name ($self->names) {
            my $said = $self->{process}{$name}->said;
            $said =~ /^pubsub-bridge $_ storm: connected$/m or return 0 for halves_of($name);
        }
        return 1;
    });
    my %status = map { $_ => $self->{process}{$_}->term } $self->names;
    is_deeply(\%status, { map { $_ => 0 } $self->names }, 'the bridges end');
    push @{ $got{$_} }, $sub{$_}->drain for @hosts;

    my (%lost, %place);
    for my $host (@hosts) {
        my ($strange, $double, @delivered, @highest) = (0, 0, 0, 0, 0);
        my $at = 0;
        for my $message (@{ $got{$host} }) {
            my ($who, $number) = $self->decode($message);
            if (!defined $who) { $strange++; next }
            $double++ if $number <= ($highest[$who] // 0);
            $highest[$who] = $number;
            $delivered[$who]++;
            $place{$host}{$message} = $at++;
        }
        is("$strange $double", '0 0', "$host: nothing strange, nothing twice or out of order");
        my ($lost, $reasons) = $self->lost_of($host);
        is_deeply([map { ($delivered[$_] // 0) + $lost->{ $hosts[$_] } } 0 .. 2], \@sent, "$host: delivered + lost = published")
            or diag("delivered @delivered; sent @sent; lost ", JSON::PP->new->canonical->encode($reasons));
        is($lost->{''}, 0, "$host: no loss without an origin");
        my $said = $self->status_of($host);
        is_deeply($said, $reasons, "$host: what the status says was lost is what was passed on");
        is_deeply([grep { my $reason = $_; !grep { $_ eq $reason } @{ $how{allowed} // [] } } sort keys %$reasons], [],
            "$host: losses are for the expected reasons");
        $lost{$_} += $reasons->{$_} for keys %$reasons;
        $lost{messages} += @{ $got{$host} };
    }
    for my $pair ([qw(a b)], [qw(b c)], [qw(a c)]) {
        my ($one, $two) = @$pair;
        my @places = grep {defined} map { $place{$one}{$_} } @{ $got{$two} };
        is(scalar(grep { $places[$_] < $places[ $_ - 1 ] } 1 .. $#places), 0, "$one and $two see one order");
    }
    if (my $stream = $how{stream} && $how{stream}->()) {
        my $next = 0;
        my %at = map { $_ => $next++ } @$stream;
        for my $host (@hosts) {
            my @places = map { $at{$_} // -1 } @{ $got{$host} };
            is(scalar(grep { $places[$_] <= ($_ ? $places[ $_ - 1 ] : -1) } 0 .. $#places), 0, "$host: which is that of the stream");
        }
    }
    if (!@{ $how{allowed} // [] }) {
        ok(join(' ', @{ $got{$_} }) eq join(' ', @{ $got{a} }), "$_ has what a has") for qw(b c);
    }
    delete @$self{qw(process out_ring in_ring gaps)};
    return { sent => sum0(@sent), worst => max(@{ $self->{recoveries} }), %lost };
}

# What a host was told about losses: by host that sent, and by reason.
sub lost_of {
    my ($self, $host) = @_;
    my (%lost, %reasons, %seen);
    $lost{$_} = 0 for '', @{ +HOSTS };
    for my $note (map { JSON::PP::decode_json($_) } $self->{gaps}{$host}->subscribe_all->drain) {
        next if $seen{ $note->{number} }++;
        my ($origin) = split m{/}, $note->{origin};
        $lost{ $origin // '' } += $note->{count};
        $reasons{ $note->{reason} } += $note->{count};
    }
    return (\%lost, \%reasons);
}

sub status_of {
    my ($self, $host) = @_;
    my $status = $self->{apart} ? read_status("$self->{folder}/$host down.status")
        : read_status("$self->{folder}/$host.status")->{bridges}{storm}{down};
    return $status->{lost};
}

1;
