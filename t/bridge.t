# From a ring over a stream into another ring.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;
use PubSubTest::Redis;
BEGIN { PubSubTest::Redis::needed() }
use PubSubTest::Bridge;

my $redis  = PubSubTest::Redis->start;
my $serial = 0;

# A stream of its own, and the folder for rings and states.
sub scene {
    my $folder = fresh_dir();
    my $stream = 'test' . $serial++;
    return {
        folder => $folder, stream => $stream,
        at     => sub { "$folder/$_[0]" },
        half   => sub {
            my ($half, $ring, @more) = @_;
            return ($half, '--server', $redis->where, '--stream', $stream, '--host', 'a', '--ring', "$folder/$ring",
                '--state', "$folder/$ring.state", @more);
        },
    };
}

sub flags { return [map { utf8::is_utf8($_) ? 1 : 0 } @_] }

each_variant(sub {
    my ($v) = @_;
    plan skip_all => 'no bridge carries them' if $v->is_num;
    for my $pack (1, 20) {
        my $scene   = scene();
        my $out     = $v->class->new($scene->{at}->('out'), 4096);
        my $in      = $v->class->new($scene->{at}->('in'), 4096);
        my $sub     = $in->subscribe;
        my @samples = $v->samples;
        my @early   = (@samples, $v->values(1, 500));
        $out->publish_multi(@early);
        my $up   = bridge($scene->{half}->('up', 'out', '--pack', $pack));
        my $down = bridge($scene->{half}->('down', 'in', '--from', 'start'));
        my @got  = messages_in($sub, scalar @early);
        is_deeply(\@got, \@early, "pack $pack: what the ring held already");
        is_deeply(flags(@got), flags(@early), "pack $pack: with its flags") if $v->is_str;
        for my $round (1 .. 3) {
            my @more = (@samples, $v->values(1000 * $round, 1000 * $round + 5));
            $out->publish($_) for @more;
            is_deeply([messages_in($sub, scalar @more)], \@more, "pack $pack: and what comes, round $round");
        }
        is_deeply([$up->term, $down->term], [0, 0], "pack $pack: the end");
        is($sub->lag, 0, "pack $pack: no message more");

        my @entries  = stream_of($redis, $scene->{stream});
        my ($origin) = $entries[0][1]{o} =~ /\A(a\/out-[0-9a-f]{8}#1)\z/;
        ok(defined $origin, "pack $pack: an origin") or diag $entries[0][1]{o};
        my ($next, $right, %kinds) = (1, 1);
        for my $entry (@entries) {
            my %field = %{ $entry->[1] };
            $right = 0 if delete $field{o} ne $origin || delete $field{s} != $next;
            my ($kind) = keys %field;
            $kinds{$kind}++;
            $next += $kind eq 'I' ? split ' ', $field{I} : $kind =~ /[MU]/ ? (() = unpack '(N/a*)*', $field{$kind}) : 1;
        }
        ok($right, "pack $pack: sequence numbers have no gaps");
        is($next - 1, @early + 3 * (@samples + 6), "pack $pack: one for each message");
        is_deeply([sort keys %kinds], [$v->is_str ? ($pack == 1 ? qw(m u) : qw(M U)) : $pack == 1 ? 'i' : 'I'], "pack $pack: kinds");
        cmp_ok(scalar @entries, '<', $next / 5, "pack $pack: few entries") if $pack > 1;
    }
});

subtest 'three hosts, one order' => sub {
    my $scene = scene();
    my $class = variant('Str')->class;
    my (@out, @subs, @bridges);
    for my $host (qw(a b c)) {
        my $rings = fresh_dir();
        push @out,  $class->new("$rings/out", 2048, 64);
        push @subs, $class->new("$rings/in",  8192, 64)->subscribe;
        push @bridges, bridge('both', '--server', $redis->where, '--stream', $scene->{stream}, '--host', $host,
            '--out', "$rings/out", '--in', "$rings/in", '--state', "$rings/state", '--from', 'start');
    }
    my @kids = map {
        my $who = $_;
        spawn(sub { $out[$who]->publish("$who $_") for 1 .. 1000 });
    } 0 .. 2;
    my @got = map { [messages_in($_, 3000)] } @subs;
    reap('publishers', @kids);
    is_deeply($got[$_], $got[0], "host $_ sees the same order") for 1, 2;
    for my $who (0 .. 2) {
        is_deeply([grep {/^$who /} @{ $got[0] }], [map {"$who $_"} 1 .. 1000], "all of host $who, in its order");
    }
    is_deeply([map { $_->term } @bridges], [0, 0, 0], 'the end');
};

subtest '--skip-own' => sub {
    my $scene = scene();
    my $v     = variant('Int');
    my %ring  = map { $_ => $v->class->new($scene->{at}->($_), 256) } qw(out1 out2 in1 in2);
    my %sub   = map { $_ => $ring{$_}->subscribe } qw(in1 in2);
    my @ups   = map { bridge($scene->{half}->('up', "out$_", '--host', $_ == 1 ? 'me' : 'men')) } 1, 2;
    my @downs = map { bridge($scene->{half}->('down', "in$_", '--from', 'start', '--host', $_ == 1 ? 'me' : 'men', '--skip-own')) } 1, 2;
    $ring{out1}->publish_multi(101 .. 120);
    $ring{out2}->publish_multi(201 .. 220);
    is_deeply([messages_in($sub{in1}, 20)], [201 .. 220], 'all of the others');
    is_deeply([messages_in($sub{in2}, 20)], [101 .. 120], 'there, too');
    $_->term for @ups, @downs;
    is_deeply([map { $_->lag } @sub{qw(in1 in2)}], [0, 0], 'and nothing of our own');
    unlike($_->said, qr/lost/, 'which is no loss') for @downs;
};

subtest '--from' => sub {
    my $scene = scene();
    my $v     = variant('Int');
    my $out   = $v->class->new($scene->{at}->('out'), 256);
    my $up    = bridge($scene->{half}->('up', 'out'));
    my $sub   = sub { $v->class->new($scene->{at}->($_[0]), 256)->subscribe };
    my $all   = $sub->('all');
    my $down  = bridge($scene->{half}->('down', 'all', '--from', 'start'));
    $out->publish_multi(1 .. 10);
    messages_in($all, 10);
    my @entries = stream_of($redis, $scene->{stream});

    my %sub = map { $_ => $sub->($_) } qw(now start id default);
    my @more = (
        bridge($scene->{half}->('down', 'now',   '--from', 'now'))->connected,
        bridge($scene->{half}->('down', 'default'))->connected,
        bridge($scene->{half}->('down', 'start', '--from', 'start')),
        bridge($scene->{half}->('down', 'id',    '--from', $entries[6][0])),
    );
    $out->publish_multi(11 .. 13);
    is_deeply([messages_in($sub{now},     3)], [11 .. 13], 'now');
    is_deeply([messages_in($sub{default}, 3)], [11 .. 13], 'now is the default');
    is_deeply([messages_in($sub{start},  13)], [1 .. 13], 'start');
    is_deeply([messages_in($sub{id},      6)], [8 .. 13], 'behind an identifier');
    is_deeply([map { $_->term } @more], [0, 0, 0, 0], 'they end');
    unlike($_->said, qr/lost/, 'what came before is no loss') for @more;
    is(scalar grep({ $_->lag } values %sub), 0, 'nothing more');

    $out->publish_multi(14 .. 16);
    messages_in($all, 6);
    @more = map { bridge($scene->{half}->('down', $_->[0], '--from', $_->[1])) } ['now', 'now'], ['start', 'start'], ['id', $entries[6][0]];
    is_deeply([messages_in($sub{$_}, 3)], [14 .. 16], "$_: goes on where it was") for qw(now start id);
    $_->term for @more;

    my ($status, $said) = bridge_ends($scene->{half}->('down', 'all2', '--from', 'yesterday', '--variant', 'int', '--capacity', 16));
    is($status, 2, 'from elsewhere');
    like($said, qr/^pubsub-bridge: from must be start, now or an identifier, not 'yesterday'$/m, 'is refused');

    # What the ring held before Up began.
    $up->term;
    my $out2 = $v->class->new($scene->{at}->('out2'), 256);
    $out2->publish_multi(91 .. 95);
    $up = bridge($scene->{half}->('up', 'out2', '--from', 'now'))->connected;
    $out2->publish(96);
    is_deeply([messages_in($all, 1)], [96], 'up --from now');
    $up->term;
    $out2->publish(97);
    $up = bridge($scene->{half}->('up', 'out2', '--from', 'now'));
    is_deeply([messages_in($all, 1)], [97], 'after which it goes on where it was');
    $_->term for $up, $down;
    is($all->lag, 0, 'nothing more');
};

done_testing;
