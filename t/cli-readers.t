# What the command pubsub-shared shows about readers: who, forget, stat, stat --prometheus, create --lossless. No publisher
# ever waits for a process that only looks.

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
        is_deeply([$status, $err], [0, ''], 'who exits with 0 and no errors');
        my ($head, $titles, @rows) = split /\n/, $out;
        is($head, "$path: ${\$v->name}, lossless, 16 messages; 3 of 64 readers", 'who describes the ring');
        is_deeply([split ' ', $titles], [qw(NAME PID LAG LOST DELIVERED STATE SINCE)], 'who prints column titles');
        like(shift @rows, qr/\A  audit +$$ +16 +0 +0  awake +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\z/, 'who lists a reader that is awake');
        like(shift @rows, qr/\A  \xc3\xa1way +$$ +16 +0 +0  away +\d/, 'who lists a reader that is away');
        like(shift @rows, qr/\A  lazy +$$ +0 +3 +16  awake, lossy +\d/, 'who lists a lossy reader');
        is_deeply(\@rows, ["  publishers wait for audit ($$), \xc3\xa1way ($$)"], 'who lists the readers that publishers wait for');
        ($status, $out) = cli('who', '--json', $path, "$dir/none");
        is($status, 1, 'who exits with 1 if one of the rings is missing');
        my ($seen, $none) = @{ decode_json($out) };
        is_deeply($none, { path => "$dir/none", error => 'No such file or directory' }, 'who --json reports the missing ring');
        my $by_name = sub { [sort { $a->{name} cmp $b->{name} } map { $_->{since} = int $_->{since}; $_ } @_] };
        is_deeply($by_name->(@{ $seen->{listed} }), $by_name->($ring->readers), 'who --json agrees with readers of the ring');
        is_deeply([map { $_->{name} } @{ $seen->{waiting_for} }], ['audit', 'áway'],
            'who --json lists the readers that publishers wait for');
        is_deeply([@$seen{qw(path variant capacity lossless readers unlisted)}], [$path, $v->name, 16, 1, 64, 0],
            'who --json describes the ring');
    };

    subtest 'stat' => sub {
        my ($status, $out, $err) = cli(qw(stat -i0), $path);
        is_deeply([$status, $err], [0, ''], 'stat exits with 0 and no errors');
        like($out, qr/^  readers     3 of 64; the slowest is audit, 16 behind; 3 lost\n  lossless    yes, keep 3600 s; full, publishers wait for (?:audit, \xc3\xa1way|\xc3\xa1way, audit)$/m,
            'stat prints the slowest reader and the readers that publishers wait for');
        my ($seen) = @{ decode_json((cli(qw(stat --json -i0), $path))[1]) };
        is_deeply([sort map { $_->{name} } @{ $seen->{listed} }], ['audit', 'lazy', 'áway'], 'stat --json lists the readers');
        is(scalar @{ $seen->{waiting_for} }, 2, 'stat --json lists both readers that publishers wait for');
        like((cli(qw(top -1 -d0.05), $path))[1], qr/ LAG +SLOWEST +LOST .*\n.* 16 +(?:audit|\xc3\xa1way) +3 /,
            'top shows the slowest reader and the lost messages');
    };
    is(slurp($path), $before, 'who, stat and top do not change the file') or diag('but the file differs');

    subtest 'publishers do not wait for tail' => sub {
        my ($status, $out) = cli(qw(tail -n 2), $path);
        is($out, join('', map {"$_\n"} $v->values(18, 19)), 'tail prints the last messages');
        my $other = $v->class->new_memfd('t', 4, lossless => 1);
        my $run   = cli_start(qw(tail -f -n +0), "/proc/$$/fd/" . $other->memfd);
        $other->publish($v->value(1));
        is(readline $run->{out}, $v->value(1) . "\n", 'tail -f follows a lossless ring');
        is_deeply([map { $_->{lossy} } $other->readers], [1], 'tail -f is a lossy reader');
        kill STOP => $run->{pid};
        ok($other->try_publish($_), 'publishers do not wait for a stopped tail') for $v->values(2, 9);
        kill CONT => $run->{pid};
        kill TERM => $run->{pid};
        cli_end($run);
    };

    subtest 'forget' => sub {
        my ($status, $out, $err) = cli('forget', $path, 'audit');
        is($status, 1, 'forget of a reader that is alive exits with 1');
        like($err, qr/\Apubsub-shared: reader "audit" lives in process $$\n\z/, 'forget of a reader that is alive prints why');
        is_deeply([cli('forget', $path, "\xc3\xa1way")], [0, '', ''], 'forget of a reader that is away exits with 0');
        is_deeply([cli('forget', $path, "\xc3\xa1way")], [1, '', "pubsub-shared: $path: no reader of the name '\xc3\xa1way'\n"],
            'forget of an unknown name exits with 1');
        is_deeply([map { $_->{name} } $ring->waiting_for], ['audit'], 'publishers no longer wait for the forgotten reader');
    };
});

subtest 'who of directories and of rings that are not lossless' => sub {
    my ($status, $out, $err) = cli('who', $dir);
    is($status, 0, 'who accepts a directory');
    is(scalar(() = $out =~ /^\S+: \w+, lossless, 16 messages; /mg), 5, 'who prints each ring of the directory');
    my $path = fresh_path();
    my $ring = variant('Int')->class->new($path, 16, readers => 1);
    is((cli('who', $path))[1], "$path: Int, 16 messages; 0 of 1 readers\n", 'who of a ring without readers');
    my $kid = spawn(sub { my $sub = $ring->subscribe; $_[0]->tell('ready'); $sub->poll_wait });
    $kid->hear;
    select undef, undef, undef, 0.001 until ($ring->readers)[0]{waits};
    my $more = $ring->subscribe;
    like((cli('who', $path))[1], qr/; 1 of 1 readers\n  not listed, .*: 1\n.*\n  - +${\$kid->pid} .* asleep /,
        'who shows a sleeping reader, and counts readers without an entry');
    $kid->kill('KILL');
    $kid->end;
    like((cli('who', $path))[1], qr/ ${\$kid->pid} .* dead /, 'who shows a killed reader and does not free its entry');
    ($status, $out, $err) = cli('who', "$dir/none", $path);
    is($status, 1, 'who exits with 1 if one of the rings is missing');
    is($err, "pubsub-shared: $dir/none: No such file or directory\n", 'who reports the missing ring');
    like($out, qr/\A\Q$path\E: /, 'who shows the other ring');
    spew("$dir/text", 'nothing of the kind');
    like((cli('who', "$dir/text"))[2], qr/too small for a ring file/, 'who refuses a file that is not a ring');
    for my $case (['missing RING', 'who'], ['expected a RING and a NAME', 'forget', $path], ['expected a RING and a NAME', qw(forget a b c)]) {
        my ($why, @arguments) = @$case;
        ($status, $out, $err) = cli(@arguments);
        is($status, 2, "the status of '@arguments' is 2");
        like($err, qr/\Apubsub-shared: $why\n/, "'@arguments' prints: $why");
    }
};

subtest 'create --lossless, --keep and --readers' => sub {
    my $path = fresh_path();
    is_deeply([cli('create', $path, qw(-t Str -c 64 -s 8 --lossless --keep 1.5 --readers 3))],
        [0, "$path: Str, lossless, 64 messages of up to 8 bytes, 14.88 KiB\n", ''], 'create makes a lossless ring');
    my $stats = variant('Str')->class->new($path)->stats;
    is_deeply([@$stats{qw(lossless keep readers mmap_size)}], [1, 1.5, 3, 15232], 'the ring has the given properties');
    $path = fresh_path();
    is((cli('create', $path, qw(-t Int -c 64 --readers 0)))[1], "$path: Int, 64 messages, 5 KiB\n",
        'create --readers 0 makes a ring without a table of readers');
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
        is($status, 2, "create @options exits with 2");
        like($err, qr/\Apubsub-shared: \Q$why\E\n/, "create @options prints: $why");
        ok(!-e $bad, "create @options leaves no file");
    }
};

my ($python) = grep { system(qq{$_ -c 'import prometheus_client' >/dev/null 2>&1}) == 0 } qw(python3 /usr/bin/python3);

# Metric families with their samples, as read by the Prometheus parser for Python.
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
    is_deeply([$status, $err], [1, ''], 'stat exits with 1 if one of the rings is missing');
    my $families = parsed($out);
    my %value;
    for my $family (@$families) {
        my ($name, $type, $help, $samples) = @$family;
        like($help, qr/\.\z/, "$name has a help text");
        like($type, qr/\A(?:gauge|counter)\z/, "$name is a gauge or a counter");
        for (@$samples) {
            my ($sample, $labels, $number) = @$_;
            is($sample =~ /_total\z/ ? 'counter' : 'gauge', $type,
                "the name of $sample agrees with its type") if $sample !~ /_(?:max|up)\z/;
            my $key = join ' ', $sample, map {"$_=$labels->{$_}"} sort keys %$labels;
            ok(!exists $value{$key}, "no sample of $name appears twice");
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
    ok(!exists $value{"pubsub_ring_leaked_blocks $int variant=Int"}, 'a metric that a variant does not have is left out');
    SKIP: {
        my ($promtool) = grep {-x} map {"$_/promtool"} split /:/, $ENV{PATH};
        skip 'no promtool', 1 if !$promtool;
        my $file = spew(fresh_dir() . '/metrics', $out);
        is(`$promtool check metrics < $file 2>&1`, '', 'promtool accepts the output');
    }
    my ($bad, undef, $why) = cli(qw(stat --prometheus --json), "$dir/Int");
    is($bad, 2, 'stat --prometheus --json exits with 2');
    like($why, qr/expected --json or --prometheus, not both/, 'stat --prometheus --json prints why');
};

done_testing;
