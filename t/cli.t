# The command pubsub-shared: what each command does.

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

# What a new subscriber of the ring gets from the oldest message on.
sub content {
    my ($name) = @_;
    return [variant($name)->class->new($ring{$name})->subscribe_all->drain];
}

sub fails {
    my ($status, $pattern, $name, @command) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($got, $out, $err) = cli(@command);
    is($got, $status, "$name: exit status");
    like($err, qr/\Apubsub-shared: $pattern/, "$name: the message gives the reason");
    unlike($err, qr/ at .+ line \d/, "$name: the message does not name a line of the program");
    return;
}

subtest 'create' => sub {
    for my $v (variants()) {
        my $path = $ring{ $v->name };
        my @size = $v->is_str ? qw(--msg-size 20) : ();
        my ($status, $out, $err) = cli('create', $path, '--variant', $v->name, '--capacity', 10, @size);
        is_deeply([$status, $err], [0, ''], $v->name . ': create exits with 0 and no errors');
        my ($what, $size) = ($v->name, sprintf '%.4g KiB', (-s $path) / 1024);
        like($out, qr/\A\Q$path\E: $what, 16 messages(?: of up to 20 bytes)?, \Q$size\E\n\z/, 'create prints the size of the ring');
        my $ring = $v->class->new($path);
        is($ring->capacity, 16, 'the capacity is rounded up');
        is($ring->msg_size, 20, 'the ring has the given message size') if $v->is_str;
        is((stat $path)[2] & 07777, 0600, 'the default mode is 0600');
    }
    is((cli(qw(create -t str -c 2k -s 1K -m 644), "$dir/other"))[0], 0, 'create accepts short options');
    is((stat "$dir/other")[2] & 07777, 0644, '-m sets the mode');
    is((stat _)[7] > 2 * 1024 * 1024, 1, 'k in a number means 1024');
    is((cli(qw(create -t str -c 2 -p 3), "$dir/few"))[0], 0, 'create accepts -p');
    is(variant('Str')->class->new("$dir/few")->stats->{publishers}, 3, 'the ring has as many spare entries as -p says');
    unlink "$dir/few" or die "unlink: $!";

    fails(1, "\Q$ring{Int}\E: File exists\n", 'create over an existing ring', 'create', $ring{Int}, qw(-t Int -c 8));
    fails(1, '.*No such file or directory$', 'create in a missing directory', 'create', "$dir/no/ring", qw(-t Int -c 8));
    fails(2, '--variant must be Int, Int32', 'create with an unknown variant', 'create', "$dir/x", qw(-t Float -c 8));
    fails(2, '--variant is required', 'create without a variant', 'create', "$dir/x", qw(-c 8));
    fails(2, '--capacity must be a number', 'create with a capacity that is not a number', 'create', "$dir/x", qw(-t Int -c many));
    fails(2, "--capacity must be a number from 1 to 2147483648, not '$_'", "capacity $_", 'create', "$dir/x", '-t', 'Int', '-c', $_)
        for qw(0 3G 4g 99999999999999999999 -1 1.5k);
    fails(2, '--msg-size must be a number from 1 to 2147483647', "message size $_", 'create', "$dir/x", qw(-t Str -c 8 -s), $_)
        for qw(0 2G x);
    fails(2, '--publishers must be a number from 1 to 65536', "publishers $_", 'create', "$dir/x", qw(-t Str -c 8 -p), $_)
        for qw(0 65537 x);
    fails(1, '.*: a ring of 4\\.194e\\+06 TiB would take more than half of',
        'create of a ring larger than half of the space', 'create', "$dir/x",
        qw(-t Str -c 2G -s 2147483647)) if defined Data::PubSub::Shared::CLI::Space::free_for($dir);
    fails(2, 'expected exactly one RING', 'create of two rings', 'create', "$dir/x", "$dir/y", qw(-t Int -c 8));
    fails(2, '--msg-size is for Str', 'create of an Int ring with a message size', 'create', "$dir/x", qw(-t Int -c 8 -s 8));
    fails(2, '--publishers is for Str', 'create of an Int ring with publishers', 'create', "$dir/x", qw(-t Int -c 8 -p 8));
    fails(2, '--mode must be octal', 'create with a mode that is not octal', 'create', "$dir/x", qw(-t Int -c 8 -m 999));
    ok(!-e "$dir/x", 'a create that fails leaves no file');
};

subtest 'pub' => sub {
    my %limit = (Int => '9223372036854775807', Int32 => '2147483647', Int16 => '32767');
    for my $name (sort keys %limit) {
        my $most  = $limit{$name};
        my $least = '-' . $most =~ s/7\z/8/r;
        is_deeply([cli('pub', $ring{$name}, 7, $least, $most, '-0', '+08')], [0, '', ''], "$name: pub accepts values as arguments");
        is_deeply([cli(\" 3\n-4 \n5", 'pub', $ring{$name})], [0, '', ''], "$name: pub accepts values as lines");
        is_deeply(content($name), [7, $least, $most, 0, 8, 3, -4, 5], "$name: the ring holds these values");
        fails(2, "not an? .*integer: '\Q$_\E'", "$name: pub of '$_'", 'pub', $ring{$name}, 1, $_)
            for $most =~ s/7\z/8/r, $least =~ s/8\z/9/r, '1e3', '';
        fails(1, "line 2: not an integer: 'x'", "$name: pub --strict of a bad line", \"9\nx\n10\n", 'pub',
            '--strict', $ring{$name});
        is(content($name)->[-1], 9, "$name: lines before the bad line are published");
        is(@{ content($name) }, 9, "$name: the bad line and the lines after it are not published");
    }
    is_deeply([cli('pub', $ring{Str}, '--', 'a b', '', "n\nl", '--help')], [0, '', ''], 'Str: pub accepts values as arguments');
    is_deeply([cli(\"x\n\nlast", 'pub', $ring{Str})], [0, '', ''], 'Str: pub accepts values as lines');
    is_deeply([cli(\"1\n2\0\0", 'pub', '-0', $ring{Str})], [0, '', ''], 'Str: pub -0 reads values that end in NUL');
    is_deeply(content('Str'), ['a b', '', "n\nl", '--help', 'x', '', 'last', "1\n2", ''], 'Str: the ring holds these values');
    fails(2, 'message too long \(21 > 20\)', 'Str: pub of a long argument', 'pub', $ring{Str}, 'x' x 21);
    fails(1, 'line 1: message too long \(21 > 20\)', 'Str: pub --strict of a long line', \('y' x 21), 'pub',
        '--strict', $ring{Str});
    is_deeply([cli(\'', 'pub', $ring{Str})], [0, '', ''], 'Str: pub of empty input exits with 0');
    is(@{ content('Str') }, 9, 'Str: pub of empty input publishes nothing');

    my $many = join '', map {"$_\n"} 1 .. 20_000;
    is((cli(\$many, 'pub', "$dir/other"))[0], 0, 'pub accepts twenty thousand lines');
    is_deeply([(cli('tail', "$dir/other"))[1] =~ /\d+/g], [19_991 .. 20_000], 'tail prints the last ten of them');
    fails(1, 'No such file|.*No such file', 'pub to a missing ring', 'pub', "$dir/none", 1);
    fails(2, 'missing RING', 'pub without arguments', 'pub');
};

subtest 'tail' => sub {
    my $v    = variant('Str');
    my $path = fresh_path();
    my $ring = $v->class->new($path, 16, 64);
    $ring->publish_multi(map {"m$_"} 0 .. 19);
    my $before = slurp($path);
    my $why   = 'overwritten before they were read, or never finished by their publisher';
    my $lines = sub { join '', map {"m$_\n"} @_ };
    is_deeply([cli('tail', $path)],              [0, $lines->(10 .. 19), ''], 'tail prints the last ten messages');
    is_deeply([cli(qw(tail -n 3), $path)],       [0, $lines->(17 .. 19), ''], 'tail -n 3 prints the last three');
    is_deeply([cli(qw(tail -n0), $path)],        [0, '', ''], 'tail -n 0 prints nothing');
    is_deeply([cli(qw(tail -n 99), $path)],      [0, $lines->(4 .. 19), ''], 'tail -n 99 prints all that the ring holds');
    is_deeply([cli(qw(tail -n +18), $path)],     [0, $lines->(18, 19), ''], 'tail -n +18 prints the messages from position 18 on');
    is_deeply([cli(qw(tail --lines=+20), $path)], [0, '', ''], 'tail --lines=+20 at the end of the ring prints nothing');
    is_deeply([cli(qw(tail -n +1), $path)],
        [0, $lines->(4 .. 19), "pubsub-shared: missed 3 messages: $why\n"],
        'tail -n +1 counts the overwritten messages');
    ok(slurp($path) eq $before, 'tail does not change the file');

    my @strange = ("a\nb", "\e[1m\x07", "\xff\xfe", "caf\xc3\xa9", "\x{263a}\x{202e}", "tab\t\\", '');
    $ring->publish_multi(@strange);
    is((cli(qw(tail -n 7), $path))[1], join('', map {"$_\n"} 'a\nb', '\e[1m\x07', '\xff\xfe', "caf\xc3\xa9",
        "\xe2\x98\xba\\x{202e}", "tab\t\\", ''), 'each message is one line without control characters');
    utf8::encode(my $raw = join '', map { utf8::is_utf8($_) ? "$_\n" : '' } @strange);
    is((cli(qw(tail -rn 7), $path))[1], join('', map { utf8::is_utf8($_) ? $raw : "$_\n" } @strange),
        'tail --raw prints messages unchanged');
    is((cli(qw(tail -0rn 2), $path))[1], "tab\t\\\0\0", 'tail --null ends messages with NUL');
    my @json = map { decode_json($_) } split /\n/, (cli(qw(tail --json -n 7), $path))[1];
    is_deeply([map { $_->{position} } @json], [20 .. 26], 'tail --json gives the positions');
    is_deeply([map { $_->{value} } @json],
        ["a\nb", "\e[1m\x07", undef, "caf\xe9", "\x{263a}\x{202e}", "tab\t\\", ''], 'tail --json gives the values');
    is($json[2]{base64}, '//4=', 'tail --json gives malformed UTF-8 as base64');

    for my $v (grep { $_->is_int } variants()) {
        is((cli(qw(tail -n 2), $ring{ $v->name }))[1], "5\n9\n", $v->name . ': tail prints the values');
        @json = map { decode_json($_)->{value} } split /\n/, (cli(qw(tail -n 2 -j), $ring{ $v->name }))[1];
        is_deeply(\@json, [5, 9], $v->name . ': tail --json gives the values');
    }
    fails(2, 'expected --raw or --json, not both', 'tail --raw --json', 'tail', '--raw', '--json', $path);
    fails(2, '--lines must be a number', "tail -n $_", 'tail', '-n', $_, $path) for qw(x 1x ++1 +), '';
    fails(2, 'unknown option: x', 'tail with an unknown option', 'tail', '-x', $path);
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
        is_deeply([$status, $err], [0, ''], $v->name . ': stat exits with 0 and no errors');
        my ($seen) = @{ decode_json($out) };
        my $stats = $ring->stats;
        $stats->{waiters} = delete $stats->{sub_waiters};
        is_deeply({ map { ($_ => $seen->{$_}) } keys %$stats }, $stats, 'stat --json agrees with stats of the ring');
        is_deeply([@$seen{qw(path variant used mode rate lap)}], [$path, $v->name, 5, '0600', 0, undef],
            'stat --json gives path, variant, used, mode, rate and lap');
        is_deeply([grep { /boot|lock/ } keys %$seen], [], 'stat --json does not mention locks');
        ok($seen->{interval} >= 0.01, 'stat --json gives the interval');
        ok(slurp($path) eq $before, 'stat does not change the file');

        my $name = $v->name;
        like((cli(qw(stat -i 0), $path))[1],
            qr/\A\Q$path\E\n  variant +$name \(.*^  position +5\n  used +5 messages\n  rate +not measured\n.*^  waiters +0\n/ms,
            'stat prints a description of the ring');
        my $blocks = $v->is_str ? qr/0 +64/ : qr/- +-/;
        like((cli(qw(stat -ti0), $path))[1], qr/\ARING +TYPE .*\n\Q$path\E +$name +- +- +5 +16 +0 +- +- +0 +- +5 +0 +0 +$blocks\n\z/,
            'stat --table prints a row for the ring');
        like((cli(qw(stat -i 0), $path))[1], qr/^  leaked +0 blocks\n  publishers +up to 64 at once\n/m,
            'stat prints the leaked blocks of a Str ring') if $v->is_str;
    }
    my ($status, $out, $err) = cli(qw(stat -i 0), $dir, "$dir/none", $ring{Int});
    is($status, 1, 'stat exits with 1 if one of the rings is missing');
    is(scalar(() = $out =~ /^\//mg), 7, 'stat shows the other rings');
    is($err, "pubsub-shared: $dir/none: No such file or directory\n", 'stat reports the missing ring');
    my $data = decode_json((cli(qw(stat --json -i 0), "$dir/none"))[1]);
    is_deeply($data, [{ path => "$dir/none", error => 'No such file or directory' }], 'stat --json reports the missing ring');
    fails(2, '--interval must be a number', 'stat with a bad interval', 'stat', '-i', 'x', $dir);
};

subtest 'stat and top measure the rate' => sub {
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
    cmp_ok($seen->{rate}, '>', 0, 'stat shows the rate of a ring in use');
    cmp_ok($seen->{lap}, '>', 0, 'stat shows the time of a lap');
    like($table, qr/^\Q$path\E +Int +[1-9][\d.]*[kMG]? +[\d.]+[a-z]+ +1024 +1024 /m, 'top shows the rate and the time of a lap');
};

subtest 'top' => sub {
    my ($status, $out, $err) = cli(qw(top -d 0.05 -b 3), $dir, "$dir/none");
    is($status, 1, 'top exits with 1 if one of the rings is missing');
    my @tables = split /\n\n/, $out;
    is(@tables, 3, 'top -b 3 prints three tables');
    my $whole = qr/\ARING +TYPE .*\n(?:\S+ +Int.*\n){3}\S+ +Num.*\n\S+ +Str.*\n\S+other +Str.*\n\S+none +No such file or directory\n?\z/;
    like($_, $whole, 'each table has a row for each ring, the missing one included') for @tables;
    is((cli(qw(top -1 -d .05), $dir))[0], 0, 'top --once exits with 0');
    fails(2, '--batch must be a number from 1', "top -b $_", 'top', '-b', $_, $dir) for 0, 'x', '1.5';
    fails(2, '--delay', 'top with a delay of 0', 'top', '-d', 0, $dir);
};

subtest 'rings without a path' => sub {
    my $ring = variant('Str')->class->new_memfd('nameless', 8, 16);
    $ring->publish_multi('a', 'b');
    my $path = "/proc/$$/fd/" . $ring->memfd;
    is_deeply([cli('tail', $path)], [0, "a\nb\n", ''], 'tail reads a memfd ring');
    is((cli('pub', $path, 'c'))[0], 0, 'pub accepts a memfd ring');
    is(($ring->subscribe_all->drain)[-1], 'c', 'the memfd ring gets the published message');
    is((cli(qw(stat -i 0), $path))[0], 0, 'stat accepts a memfd ring');
    is((cli('check', $path))[0], 0, 'check accepts a memfd ring');
    my $link = fresh_path();
    symlink $ring{Int}, $link or die "symlink: $!";
    fails(1, '.*symbolic links are refused', 'tail of a symbolic link', 'tail', $link);
};

subtest "rings of another user" => sub {
    my @nobody = nobody() or plan skip_all => 'needs root';
    my $shared = public_dir();
    my %path = map { ($_ => "$shared/$_") } qw(open closed);
    variant('Int')->class->new($path{open},   8, 0644)->publish_multi(1 .. 3);
    variant('Int')->class->new($path{closed}, 8, 0600);
    is_deeply([cli_as(\@nobody, 'tail', $path{open})], [0, "1\n2\n3\n", ''], 'another user may tail a ring of mode 0644');
    is((cli_as(\@nobody, @$_, $path{open}))[0], 0, "another user may run $_->[0] on a ring of mode 0644")
        for [qw(stat -i 0)], ['check'], [qw(top -1 -d .05)];
    my ($status, undef, $err) = cli_as(\@nobody, 'pub', $path{open}, 4);
    is($status, 1, 'pub to a read-only ring exits with 1');
    like($err, qr/Permission denied$/, 'pub to a read-only ring prints why');
    for my $command (['tail'], [qw(stat -i 0)]) {
        ($status, undef, $err) = cli_as(\@nobody, @$command, $path{closed});
        is($status, 1, "$command->[0] of an unreadable ring exits with 1");
        is($err, "pubsub-shared: $path{closed}: Permission denied\n", "$command->[0] of an unreadable ring prints why");
    }
    is((cli_as(\@nobody, 'unlink', $path{open}))[0], 1, 'unlink of a ring in a directory of another user exits with 1');
    ok(-e $path{open}, 'that ring is not removed');
};

subtest 'unlink' => sub {
    my $other = spew(fresh_path(), 'something else');
    fails(1, '.*does not look like a ring', 'unlink of a file that is not a ring', 'unlink', $other);
    ok(-e $other, 'unlink does not remove a file that is not a ring');
    my ($status, undef, $err) = cli('unlink', "$dir/none", $ring{Int});
    is($status, 1, 'unlink exits with 1 if one of the rings is missing');
    is($err, "pubsub-shared: $dir/none: No such file or directory\n", 'unlink reports the missing ring');
    ok(!-e $ring{Int}, 'unlink removes the other ring');
    is_deeply([cli('unlink', '-f', "$dir/none", $other)], [0, '', ''], 'unlink --force ignores missing files');
    ok(!-e $other, 'unlink --force removes a file that is not a ring');
    fails(1, '.*(?:Is a directory|does not look)', 'unlink of a directory', 'unlink', $dir);
};

subtest 'bench' => sub {
    my @results;
    Data::PubSub::Shared::CLI::Bench::tests(0.01, sub { push @results, {@_} });
    is(@results, 15, 'bench runs all its tests');
    is($_->{problem}, undef, "bench: $_->{test} works") for @results;
    fails(2, "unexpected argument 'x'", 'bench with an argument', 'bench', 'x');
};

done_testing;
