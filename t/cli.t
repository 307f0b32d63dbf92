# The command pubsub-shared: what each of its commands does.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP qw(decode_json);
use Test::More;

use PubSubTest;
use PubSubTest::Cli;

my $dir = fresh_dir();
my %ring = map { ($_->name => "$dir/" . $_->name) } variants();

# What a subscriber would get from the beginning.
sub content {
    my ($name) = @_;
    return [variant($name)->class->new($ring{$name})->subscribe_all->drain];
}

sub fails {
    my ($status, $pattern, $name, @command) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($got, $out, $err) = cli(@command);
    is($got, $status, "$name: exit status");
    like($err, qr/\Apubsub-shared: $pattern/, "$name: says why");
    unlike($err, qr/ at .+ line \d/, "$name: not where in the program");
    return;
}

subtest 'create' => sub {
    for my $v (variants()) {
        my $path = $ring{ $v->name };
        my @size = $v->is_str ? qw(--msg-size 20) : ();
        my ($status, $out, $err) = cli('create', $path, '--variant', $v->name, '--capacity', 10, @size);
        is_deeply([$status, $err], [0, ''], $v->name);
        my ($what, $size) = ($v->name, sprintf '%.4g KiB', (-s $path) / 1024);
        like($out, qr/\A\Q$path\E: $what, 16 messages(?: of up to 20 bytes)?, \Q$size\E\n\z/, 'says its size');
        my $ring = $v->class->new($path);
        is($ring->capacity, 16, 'rounded up');
        is($ring->msg_size, 20, 'message size') if $v->is_str;
        is((stat $path)[2] & 07777, 0600, 'mode');
    }
    is((cli(qw(create -t str -c 2k -s 1K -m 644), "$dir/other"))[0], 0, 'short options');
    is((stat "$dir/other")[2] & 07777, 0644, 'mode');
    is((stat _)[7] > 2 * 1024 * 1024, 1, 'k is 1024');
    is((cli(qw(create -t str -c 2 -p 3), "$dir/few"))[0], 0, '--publishers');
    is(variant('Str')->class->new("$dir/few")->stats->{publishers}, 3, 'as many as asked for');
    unlink "$dir/few" or die "unlink: $!";

    fails(1, "\Q$ring{Int}\E: File exists\n", 'there already', 'create', $ring{Int}, qw(-t Int -c 8));
    fails(1, '.*No such file or directory$', 'no folder', 'create', "$dir/no/ring", qw(-t Int -c 8));
    fails(2, '--variant must be Int, Int32', 'strange variant', 'create', "$dir/x", qw(-t Float -c 8));
    fails(2, '--variant is required', 'no variant', 'create', "$dir/x", qw(-c 8));
    fails(2, '--capacity must be a number', 'strange capacity', 'create', "$dir/x", qw(-t Int -c many));
    fails(2, "--capacity must be a number from 1 to 2147483648, not '$_'", "capacity $_", 'create', "$dir/x", '-t', 'Int', '-c', $_)
        for qw(0 3G 4g 99999999999999999999 -1 1.5k);
    fails(2, '--msg-size must be a number from 1 to 2147483647', "message size $_", 'create', "$dir/x", qw(-t Str -c 8 -s), $_)
        for qw(0 2G x);
    fails(2, '--publishers must be a number from 1 to 65536', "publishers $_", 'create', "$dir/x", qw(-t Str -c 8 -p), $_)
        for qw(0 65537 x);
    fails(1, '.*: a ring of 4\\.194e\\+06 TiB would take more than half of', 'too much text', 'create', "$dir/x",
        qw(-t Str -c 2G -s 2147483647)) if defined Data::PubSub::Shared::CLI::Space::free_for($dir);
    fails(2, 'expected exactly one RING', 'two rings', 'create', "$dir/x", "$dir/y", qw(-t Int -c 8));
    fails(2, '--msg-size is for Str', 'message size of integers', 'create', "$dir/x", qw(-t Int -c 8 -s 8));
    fails(2, '--publishers is for Str', 'publishers of integers', 'create', "$dir/x", qw(-t Int -c 8 -p 8));
    fails(2, '--mode must be octal', 'strange mode', 'create', "$dir/x", qw(-t Int -c 8 -m 999));
    ok(!-e "$dir/x", 'nothing was made');
};

subtest 'pub' => sub {
    my %limit = (Int => '9223372036854775807', Int32 => '2147483647', Int16 => '32767');
    for my $name (sort keys %limit) {
        my $most  = $limit{$name};
        my $least = '-' . $most =~ s/7\z/8/r;
        is_deeply([cli('pub', $ring{$name}, 7, $least, $most, '-0', '+08')], [0, '', ''], "$name: arguments");
        is_deeply([cli(\" 3\n-4 \n5", 'pub', $ring{$name})], [0, '', ''], "$name: lines");
        is_deeply(content($name), [7, $least, $most, 0, 8, 3, -4, 5], 'are in the ring');
        fails(2, "not an? .*integer: '\Q$_\E'", "$name: '$_'", 'pub', $ring{$name}, 1, $_)
            for $most =~ s/7\z/8/r, $least =~ s/8\z/9/r, '1e3', '';
        fails(1, "line 2: not an integer: 'x'", "$name: a line", \"9\nx\n10\n", 'pub', '--strict', $ring{$name});
        is(content($name)->[-1], 9, 'lines before a wrong one are published');
        is(@{ content($name) }, 9, 'and nothing else');
    }
    is_deeply([cli('pub', $ring{Str}, '--', 'a b', '', "n\nl", '--help')], [0, '', ''], 'Str: arguments');
    is_deeply([cli(\"x\n\nlast", 'pub', $ring{Str})], [0, '', ''], 'Str: lines');
    is_deeply([cli(\"1\n2\0\0", 'pub', '-0', $ring{Str})], [0, '', ''], 'Str: -0');
    is_deeply(content('Str'), ['a b', '', "n\nl", '--help', 'x', '', 'last', "1\n2", ''], 'are in the ring');
    fails(2, 'message too long \(21 > 20\)', 'Str: too long', 'pub', $ring{Str}, 'x' x 21);
    fails(1, 'line 1: message too long \(21 > 20\)', 'Str: line too long', \('y' x 21), 'pub', '--strict', $ring{Str});
    is_deeply([cli(\'', 'pub', $ring{Str})], [0, '', ''], 'Str: nothing');
    is(@{ content('Str') }, 9, 'and nothing else');

    my $many = join '', map {"$_\n"} 1 .. 20_000;
    is((cli(\$many, 'pub', "$dir/other"))[0], 0, 'many lines');
    is_deeply([(cli('tail', "$dir/other"))[1] =~ /\d+/g], [19_991 .. 20_000], 'the last of them');
    fails(1, 'No such file|.*No such file', 'no ring', 'pub', "$dir/none", 1);
    fails(2, 'missing RING', 'no argument', 'pub');
};

subtest 'tail' => sub {
    my $v    = variant('Str');
    my $path = fresh_path();
    my $ring = $v->class->new($path, 16, 64);
    $ring->publish_multi(map {"m$_"} 0 .. 19);
    my $before = slurp($path);
    my $why   = 'overwritten before they were read, or never finished by their publisher';
    my $lines = sub { join '', map {"m$_\n"} @_ };
    is_deeply([cli('tail', $path)],              [0, $lines->(10 .. 19), ''], 'the last ten');
    is_deeply([cli(qw(tail -n 3), $path)],       [0, $lines->(17 .. 19), ''], '-n 3');
    is_deeply([cli(qw(tail -n0), $path)],        [0, '', ''], '-n 0');
    is_deeply([cli(qw(tail -n 99), $path)],      [0, $lines->(4 .. 19), ''], '-n 99: what is held');
    is_deeply([cli(qw(tail -n +18), $path)],     [0, $lines->(18, 19), ''], '-n +18');
    is_deeply([cli(qw(tail --lines=+20), $path)], [0, '', ''], 'beyond the end');
    is_deeply([cli(qw(tail -n +1), $path)],
        [0, $lines->(4 .. 19), "pubsub-shared: missed 3 messages: $why\n"],
        'overwritten ones');
    ok(slurp($path) eq $before, 'the file is as it was');

    my @strange = ("a\nb", "\e[1m\x07", "\xff\xfe", "caf\xc3\xa9", "\x{263a}\x{202e}", "tab\t\\", '');
    $ring->publish_multi(@strange);
    is((cli(qw(tail -n 7), $path))[1], join('', map {"$_\n"} 'a\nb', '\e[1m\x07', '\xff\xfe', "caf\xc3\xa9",
        "\xe2\x98\xba\\x{202e}", "tab\t\\", ''), 'one line each, harmless to a terminal');
    utf8::encode(my $raw = join '', map { utf8::is_utf8($_) ? "$_\n" : '' } @strange);
    is((cli(qw(tail -rn 7), $path))[1], join('', map { utf8::is_utf8($_) ? $raw : "$_\n" } @strange), '--raw');
    is((cli(qw(tail -0rn 2), $path))[1], "tab\t\\\0\0", '--null');
    my @json = map { decode_json($_) } split /\n/, (cli(qw(tail --json -n 7), $path))[1];
    is_deeply([map { $_->{position} } @json], [20 .. 26], '--json: positions');
    is_deeply([map { $_->{value} } @json],
        ["a\nb", "\e[1m\x07", undef, "caf\xe9", "\x{263a}\x{202e}", "tab\t\\", ''], 'values');
    is($json[2]{base64}, '//4=', 'bytes that are no text');

    for my $v (grep { $_->is_int } variants()) {
        is((cli(qw(tail -n 2), $ring{ $v->name }))[1], "5\n9\n", $v->name);
        @json = map { decode_json($_)->{value} } split /\n/, (cli(qw(tail -n 2 -j), $ring{ $v->name }))[1];
        is_deeply(\@json, [5, 9], $v->name . ' --json');
    }
    fails(2, 'expected --raw or --json, not both', 'both', 'tail', '--raw', '--json', $path);
    fails(2, '--lines must be a number', "-n $_", 'tail', '-n', $_, $path) for qw(x 1x ++1 +), '';
    fails(2, 'unknown option: x', 'unknown option', 'tail', '-x', $path);
};

subtest 'stat' => sub {
    for my $v (variants()) {
        my $path = fresh_path();
        my $ring = $v->class->new($path, 16);
        $ring->publish_multi($v->values(1, 20));
        $ring->clear;
        $ring->publish_multi($v->values(1, 5));
        my $before = slurp($path);
        my ($status, $out, $err) = cli(qw(stat --json -i 0.01), $path);
        is_deeply([$status, $err], [0, ''], $v->name);
        my ($seen) = @{ decode_json($out) };
        my $stats = $ring->stats;
        $stats->{waiters} = delete $stats->{sub_waiters};
        is_deeply({ map { ($_ => $seen->{$_}) } keys %$stats }, $stats, 'the same as the ring says');
        is_deeply([@$seen{qw(path variant used mode rate lap)}], [$path, $v->name, 5, '0600', 0, undef], 'and more');
        is_deeply([grep { /boot|lock/ } keys %$seen], [], 'nothing of locks');
        ok($seen->{interval} >= 0.01, 'the interval');
        ok(slurp($path) eq $before, 'the file is as it was');

        my $name = $v->name;
        like((cli(qw(stat -i 0), $path))[1],
            qr/\A\Q$path\E\n  variant +$name \(.*^  position +5\n  used +5 messages\n  rate +not measured\n.*^  waiters +0\n/ms,
            'for people');
        my $blocks = $v->is_str ? qr/0 +64/ : qr/- +-/;
        like((cli(qw(stat -ti0), $path))[1], qr/\ARING +TYPE .*\n\Q$path\E +$name +- +- +5 +16 +0 +- +- +0 +- +5 +0 +0 +$blocks\n\z/,
            '--table');
        like((cli(qw(stat -i 0), $path))[1], qr/^  leaked +0 blocks\n  publishers +up to 64 at once\n/m, 'spare blocks') if $v->is_str;
    }
    my ($status, $out, $err) = cli(qw(stat -i 0), $dir, "$dir/none", $ring{Int});
    is($status, 1, 'one of them is not there');
    is(scalar(() = $out =~ /^\//mg), 7, 'the others are shown');
    is($err, "pubsub-shared: $dir/none: No such file or directory\n", 'and this is said');
    my $data = decode_json((cli(qw(stat --json -i 0), "$dir/none"))[1]);
    is_deeply($data, [{ path => "$dir/none", error => 'No such file or directory' }], 'in JSON');
    fails(2, '--interval must be a number', 'interval', 'stat', '-i', 'x', $dir);
};

subtest 'the rate' => sub {
    my $path = fresh_path();
    my $ring = variant('Int')->class->new($path, 1024);
    my $kid  = spawn(sub {
        my ($peer) = @_;
        my $mine = variant('Int')->class->new($path);
        $peer->tell('ready');
        while (1) { $mine->publish_multi(1 .. 100) for 1 .. 10; select undef, undef, undef, 0.001 }
    });
    $kid->hear;
    my ($seen) = @{ decode_json((cli(qw(stat --json -i 0.05), $path))[1]) };
    my ($table) = (cli(qw(top --once -d 0.05), $path))[1];
    $kid->kill('KILL');
    $kid->end;
    cmp_ok($seen->{rate}, '>', 0, 'of a ring that is used');
    cmp_ok($seen->{lap}, '>', 0, 'and the time of a lap');
    like($table, qr/^\Q$path\E +Int +[1-9][\d.]*[kMG]? +[\d.]+[a-z]+ +1024 +1024 /m, 'in top');
};

subtest 'top' => sub {
    my ($status, $out, $err) = cli(qw(top -d 0.05 -b 3), $dir, "$dir/none");
    is($status, 1, 'one is not there');
    my @tables = split /\n\n/, $out;
    is(@tables, 3, 'three tables');
    my $whole = qr/\ARING +TYPE .*\n(?:\S+ +Int.*\n){3}\S+ +Num.*\n\S+ +Str.*\n\S+other +Str.*\n\S+none +No such file or directory\n?\z/;
    like($_, $whole, 'whole') for @tables;
    is((cli(qw(top -1 -d .05), $dir))[0], 0, '--once');
    fails(2, '--batch must be a number from 1', "-b $_", 'top', '-b', $_, $dir) for 0, 'x', '1.5';
    fails(2, '--delay', 'delay', 'top', '-d', 0, $dir);
};

subtest 'rings without a path' => sub {
    my $ring = variant('Str')->class->new_memfd('nameless', 8, 16);
    $ring->publish_multi('a', 'b');
    my $path = "/proc/$$/fd/" . $ring->memfd;
    is_deeply([cli('tail', $path)], [0, "a\nb\n", ''], 'tail');
    is((cli('pub', $path, 'c'))[0], 0, 'pub');
    is(($ring->subscribe_all->drain)[-1], 'c', 'arrives');
    is((cli(qw(stat -i 0), $path))[0], 0, 'stat');
    is((cli('check', $path))[0], 0, 'check');
    my $link = fresh_path();
    symlink $ring{Int}, $link or die "symlink: $!";
    fails(1, '.*symbolic links are refused', 'other links', 'tail', $link);
};

subtest "other people's rings" => sub {
    my @nobody = nobody() or plan skip_all => 'needs root';
    my $folder = public_dir();
    my %path = map { ($_ => "$folder/$_") } qw(open closed);
    variant('Int')->class->new($path{open},   8, 0644)->publish_multi(1 .. 3);
    variant('Int')->class->new($path{closed}, 8, 0600);
    is_deeply([cli_as(\@nobody, 'tail', $path{open})], [0, "1\n2\n3\n", ''], 'tail');
    is((cli_as(\@nobody, @$_, $path{open}))[0], 0, $_->[0]) for [qw(stat -i 0)], ['check'], [qw(top -1 -d .05)];
    my ($status, undef, $err) = cli_as(\@nobody, 'pub', $path{open}, 4);
    is($status, 1, 'pub needs the right to write');
    like($err, qr/Permission denied$/, 'and says so');
    for my $command (['tail'], [qw(stat -i 0)]) {
        ($status, undef, $err) = cli_as(\@nobody, @$command, $path{closed});
        is($status, 1, "$command->[0] of a closed one");
        is($err, "pubsub-shared: $path{closed}: Permission denied\n", 'says why');
    }
    is((cli_as(\@nobody, 'unlink', $path{open}))[0], 1, 'unlink');
    ok(-e $path{open}, 'is not possible');
};

subtest 'unlink' => sub {
    my $other = spew(fresh_path(), 'something else');
    fails(1, '.*does not look like a ring', 'something else', 'unlink', $other);
    ok(-e $other, 'stays');
    my ($status, undef, $err) = cli('unlink', "$dir/none", $ring{Int});
    is($status, 1, 'one is not there');
    is($err, "pubsub-shared: $dir/none: No such file or directory\n", 'is said');
    ok(!-e $ring{Int}, 'the other one goes');
    is_deeply([cli('unlink', '-f', "$dir/none", $other)], [0, '', ''], '--force');
    ok(!-e $other, 'removes what it is told to');
    fails(1, '.*(?:Is a directory|does not look)', 'a directory', 'unlink', $dir);
};

subtest 'bench' => sub {
    my @results;
    Data::PubSub::Shared::CLI::Bench::tests(0.01, sub { push @results, {@_} });
    is(@results, 15, 'tests');
    is($_->{problem}, undef, $_->{test}) for @results;
    fails(2, "unexpected argument 'x'", 'argument', 'bench', 'x');
};

done_testing;
