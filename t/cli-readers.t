# What the command pubsub-shared says of readers: who, forget, stat, stat --prometheus, create --lossless; and that looking
# holds nobody up.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP qw(decode_json encode_json);
use Test::More;

use PubSubTest;
use PubSubTest::Cli;

my $dir = fresh_dir();

# A ring of 16 that is full: `audit` is 16 behind, `lazy`, which is lossy, has lost 3 of 19 and read the rest, `áway` is away.
sub full_ring {
    my ($v, $path) = @_;
    my $ring = $v->class->new($path, 16, lossless => 1, keep => 3600);
    my $lazy = $ring->subscribe(lossy => 1, name => 'lazy');
    $ring->publish_multi($v->values(1, 3));
    my $audit = $ring->subscribe(name => 'audit');
    my $away  = $ring->subscribe(name => 'áway');
    $ring->publish_multi($v->values(4, 19));
    $lazy->drain;
    $lazy->poll;
    undef $away;
    return ($ring, $audit, $lazy);
}

each_variant(sub {
    my ($v)  = @_;
    my $path = "$dir/" . $v->name;
    my ($ring, $audit, $lazy) = full_ring($v, $path);
    my $before = slurp($path);

    subtest 'who' => sub {
        my ($status, $out, $err) = cli('who', $path);
        is_deeply([$status, $err], [0, ''], 'fine');
        my ($head, $titles, @rows) = split /\n/, $out;
        is($head, "$path: ${\$v->name}, lossless, 16 messages; 3 of 64 readers", 'the ring');
        is_deeply([split ' ', $titles], [qw(NAME PID LAG LOST DELIVERED STATE SINCE)], 'titles');
        like(shift @rows, qr/\A  audit +$$ +16 +0 +0  awake +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\z/, 'audit');
        like(shift @rows, qr/\A  \xc3\xa1way +$$ +16 +0 +0  away +\d/, 'away');
        like(shift @rows, qr/\A  lazy +$$ +0 +3 +16  awake, lossy +\d/, 'lossy');
        is_deeply(\@rows, ["  publishers wait for audit ($$), \xc3\xa1way ($$)"], 'for whom publishers wait');
        ($status, $out) = cli('who', '--json', $path, "$dir/none");
        is($status, 1, 'one is not there');
        my ($seen, $none) = @{ decode_json($out) };
        is_deeply($none, { path => "$dir/none", error => 'No such file or directory' }, 'and says so');
        my $by_name = sub { [sort { $a->{name} cmp $b->{name} } map { $_->{since} = int $_->{since}; $_ } @_] };
        is_deeply($by_name->(@{ $seen->{listed} }), $by_name->($ring->readers), 'as the ring says');
        is_deeply([map { $_->{name} } @{ $seen->{waiting_for} }], ['audit', 'áway'], 'and for whom it waits');
        is_deeply([@$seen{qw(path variant capacity lossless readers unlisted)}], [$path, $v->name, 16, 1, 64, 0], 'and the rest');
    };

    subtest 'stat' => sub {
        my ($status, $out, $err) = cli(qw(stat -i0), $path);
        is_deeply([$status, $err], [0, ''], 'fine');
        like($out, qr/^  readers     3 of 64; the slowest is audit, 16 behind; 3 lost\n  lossless    yes, keep 3600 s; full, publishers wait for (?:audit, \xc3\xa1way|\xc3\xa1way, audit)$/m,
            'for people');
        my ($seen) = @{ decode_json((cli(qw(stat --json -i0), $path))[1]) };
        is_deeply([sort map { $_->{name} } @{ $seen->{listed} }], ['audit', 'lazy', 'áway'], 'the table');
        is(scalar @{ $seen->{waiting_for} }, 2, 'two hold');
        like((cli(qw(top -1 -d0.05), $path))[1], qr/ LAG +SLOWEST +LOST .*\n.* 16 +(?:audit|\xc3\xa1way) +3 /, 'top');
    };
    is(slurp($path), $before, 'looking changed nothing') or diag('but the file differs');

    subtest 'tail holds nobody up' => sub {
        my ($status, $out) = cli(qw(tail -n 2), $path);
        is($out, join('', map {"$_\n"} $v->values(18, 19)), 'messages');
        my $other = $v->class->new_memfd('t', 4, lossless => 1);
        my $run   = cli_start(qw(tail -f -n +0), "/proc/$$/fd/" . $other->memfd);
        $other->publish($v->value(1));
        is(readline $run->{out}, $v->value(1) . "\n", 'it follows a lossless ring, for writing');
        is_deeply([map { $_->{lossy} } $other->readers], [1], 'and may be skipped');
        kill STOP => $run->{pid};
        ok($other->try_publish($_), 'nobody waits for it') for $v->values(2, 9);
        kill CONT => $run->{pid};
        kill TERM => $run->{pid};
        cli_end($run);
    };

    subtest 'forget' => sub {
        my ($status, $out, $err) = cli('forget', $path, 'audit');
        is($status, 1, 'one that lives');
        like($err, qr/\Apubsub-shared: reader "audit" lives in process $$\n\z/, 'is not forgotten');
        is_deeply([cli('forget', $path, "\xc3\xa1way")], [0, '', ''], 'one that is away is');
        is_deeply([cli('forget', $path, "\xc3\xa1way")], [1, '', "pubsub-shared: $path: no reader of the name '\xc3\xa1way'\n"], 'once');
        is_deeply([map { $_->{name} } $ring->waiting_for], ['audit'], 'nobody waits for it');
    };
});

subtest 'who else' => sub {
    my ($status, $out, $err) = cli('who', $dir);
    is($status, 0, 'a directory');
    is(scalar(() = $out =~ /^\S+: \w+, lossless, 16 messages; /mg), 5, 'each ring in it');
    my $path = fresh_path();
    my $ring = variant('Int')->class->new($path, 16, readers => 1);
    is((cli('who', $path))[1], "$path: Int, 16 messages; 0 of 1 readers\n", 'nobody');
    my $kid = spawn(sub { my $sub = $ring->subscribe; $_[0]->tell('ready'); $sub->poll_wait });
    $kid->hear;
    select undef, undef, undef, 0.001 until ($ring->readers)[0]{waits};
    my $more = $ring->subscribe;
    like((cli('who', $path))[1], qr/; 1 of 1 readers\n  not listed, .*: 1\n.*\n  - +${\$kid->pid} .* asleep /, 'asleep; no room');
    $kid->kill('KILL');
    $kid->end;
    like((cli('who', $path))[1], qr/ ${\$kid->pid} .* dead /, 'dead, and left alone');
    ($status, $out, $err) = cli('who', "$dir/none", $path);
    is($status, 1, 'one is not there');
    is($err, "pubsub-shared: $dir/none: No such file or directory\n", 'and says so');
    like($out, qr/\A\Q$path\E: /, 'the other is shown');
    spew("$dir/text", 'nothing of the kind');
    like((cli('who', "$dir/text"))[2], qr/too small for a ring file/, 'no ring');
    for my $case (['missing RING', 'who'], ['expected a RING and a NAME', 'forget', $path], ['expected a RING and a NAME', qw(forget a b c)]) {
        my ($why, @arguments) = @$case;
        ($status, $out, $err) = cli(@arguments);
        is($status, 2, "@arguments");
        like($err, qr/\Apubsub-shared: $why\n/, $why);
    }
};

subtest 'create' => sub {
    my $path = fresh_path();
    is_deeply([cli('create', $path, qw(-t Str -c 64 -s 8 --lossless --keep 1.5 --readers 3))],
        [0, "$path: Str, lossless, 64 messages of up to 8 bytes, 14.88 KiB\n", ''], 'a lossless ring');
    my $stats = variant('Str')->class->new($path)->stats;
    is_deeply([@$stats{qw(lossless keep readers mmap_size)}], [1, 1.5, 3, 15232], 'is one');
    $path = fresh_path();
    is((cli('create', $path, qw(-t Int -c 64 --readers 0)))[1], "$path: Int, 64 messages, 5 KiB\n", 'without a table');
    for my $case (
        ['--keep is for --lossless', qw(-t Int -c 8 --keep 1)],
        ['--keep must be a number of seconds up to 4294967, not \'x\'', qw(-t Int -c 8 -l -k x)],
        ['--keep must be a number of seconds up to 4294967, not \'4294968\'', qw(-t Int -c 8 -l -k 4294968)],
        ['--readers must be a number from 0 to 65535, not \'65536\'', qw(-t Int -c 8 -r 65536)],
        ['--readers must be a number from 1 to 65535, not \'0\'', qw(-t Int -c 8 -l -r 0)],
    ) {
        my ($why, @options) = @$case;
        my $bad = fresh_path();
        my ($status, undef, $err) = cli('create', $bad, @options);
        is($status, 2, "@options");
        like($err, qr/\Apubsub-shared: \Q$why\E\n/, $why);
        ok(!-e $bad, 'nothing is made');
    }
};

my ($python) = grep { system(qq{$_ -c 'import prometheus_client' >/dev/null 2>&1}) == 0 } qw(python3 /usr/bin/python3);

# Families with their samples, as Prometheus' own parser for Python has them.
sub parsed {
    my ($text) = @_;
    my $file = spew(fresh_dir() . '/metrics', $text);
    open my $out, '-|', $python, '-c', <<'END', $file or die "$python: $!";
import json, sys
from prometheus_client.parser import text_string_to_metric_families as parse
text = open(sys.argv[1], encoding="utf-8").read()
print(json.dumps([[f.name, f.type, f.documentation, [[s.name, s.labels, s.value] for s in f.samples]] for f in parse(text)]))
END
    my $json = do { local $/; <$out> };
    close $out;
    die "the parser: $?" if $?;
    return decode_json($json);
}

subtest 'stat --prometheus' => sub {
    plan skip_all => 'python3 with its module prometheus_client is not installed' if !defined $python;
    # Names that must be escaped.
    my $odd  = "$dir/odd \"name\"\\\n\xc3\xa4\xff";
    my $ring = variant('Str')->class->new($odd, 16, 8);
    my @subs = map { $ring->subscribe } 1 .. 3;
    push @subs, $ring->subscribe(name => "a\"b\\c\nd\x{263a}");
    $ring->publish_multi(map {"m$_"} 1 .. 20);
    $subs[1]->drain;
    $subs[1]->poll;
    $ring->clear;
    my ($status, $out, $err) = cli(qw(stat --prometheus), "$dir/Int", "$dir/none", $odd);
    is_deeply([$status, $err], [1, ''], 'one ring is not there');
    my $families = parsed($out);
    my %value;
    for my $family (@$families) {
        my ($name, $type, $help, $samples) = @$family;
        like($help, qr/\.\z/, "$name has a help");
        like($type, qr/\A(?:gauge|counter)\z/, 'and a type');
        for (@$samples) {
            my ($sample, $labels, $number) = @$_;
            is($sample =~ /_total\z/ ? 'counter' : 'gauge', $type, "$sample is named as its type") if $sample !~ /_(?:max|up)\z/;
            my $key = join ' ', $sample, map {"$_=$labels->{$_}"} sort keys %$labels;
            ok(!exists $value{$key}, 'once');
            $value{$key} = $number;
        }
    }
    my ($int, $shown) = ("ring=$dir/Int", "ring=$dir/odd \"name\"\\\\n\\xc3\\xa4\\xff");
    my %expected = (
        "pubsub_ring_up $int"                              => 1,
        "pubsub_ring_up ring=$dir/none"                    => 0,
        "pubsub_ring_capacity $int variant=Int"            => 16,
        "pubsub_ring_published_total $int variant=Int"     => 19,
        "pubsub_ring_lossless $int variant=Int"            => 1,
        "pubsub_ring_published_total $shown variant=Str"   => 20,
        "pubsub_ring_used $shown variant=Str"              => 0,
        "pubsub_ring_publishers_max $shown variant=Str"    => 64,
        "pubsub_ring_readers $shown variant=Str"           => 4,
        "pubsub_reader_lost_total pid=$$ $shown"           => 4,
        "pubsub_reader_delivered_total pid=$$ $shown"      => 16,
        "pubsub_reader_lag pid=$$ $shown"                  => 0,
        "pubsub_reader_alive name=a\"b\\c\\nd\x{263a} $shown" => 1,
    );
    is($value{$_}, $expected{$_}, s/[^ -~]/?/gr) for sort keys %expected;
    ok(!exists $value{"pubsub_ring_leaked_blocks $int variant=Int"}, 'what a ring has not, is not there');
    SKIP: {
        my ($promtool) = grep {-x} map {"$_/promtool"} split /:/, $ENV{PATH};
        skip 'no promtool', 1 if !$promtool;
        my $file = spew(fresh_dir() . '/metrics', $out);
        is(`$promtool check metrics < $file 2>&1`, '', 'promtool has no complaints');
    }
    my ($bad, undef, $why) = cli(qw(stat --prometheus --json), "$dir/Int");
    is($bad, 2, 'two forms');
    like($why, qr/expected --json or --prometheus, not both/, 'are refused');
};

done_testing;
