# The command pubsub-shared among other processes: pipes, signals, a terminal, and its documentation.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP qw(decode_json);
use Pod::Checker ();
use POSIX ();
use Test::More;

use PubSubTest;
use PubSubTest::Cli;

my ($INT, $PIPE, $TERM) = map { POSIX->can("SIG$_")->() } qw(INT PIPE TERM);

my $path = fresh_path();
my $ring = variant('Str')->class->new($path, 64, 64);

subtest 'tail -f' => sub {
    $ring->publish_multi('old', 'new');
    my $run = cli_start(qw(tail -n 1 -f), $path);
    is(read_until($run, qr/\n/), "new\n", 'what is there');
    $ring->publish('next');
    is(read_until($run, qr/\n/), "next\n", 'what comes, as it comes');
    until_asleep($run->{pid});
    $ring->publish_multi(map {"m$_"} 1 .. 9);
    is(read_until($run, qr/m9\n/), join('', map {"m$_\n"} 1 .. 9), 'several');
    is($ring->stats->{sub_waiters}, 0, 'without being seen');
    kill INT => $run->{pid};
    is_deeply([cli_end($run)], [-$INT, ''], 'Ctrl-C ends it, silently');

    $run = cli_start(qw(tail -n 1 -f --json), $path);
    is(decode_json(read_until($run, qr/\n/))->{value}, 'm9', '--json');
    kill TERM => $run->{pid};
    is_deeply([cli_end($run)], [-$TERM, ''], 'so does SIGTERM');
};

subtest 'tail of a ring that is removed, or replaced' => sub {
    my $class = variant('Int')->class;
    for my $way ('unlink', 'rm') {
        my $path = fresh_path();
        my $ring = $class->new($path, 8);
        my $gone = sub { $way eq 'rm' ? unlink $path : $class->unlink($path) };
        $ring->publish_multi(1, 2);
        my ($once, $on) = map { cli_start('tail', $_, $path) } qw(-f -F);
        is(read_until($_, qr/2\n/), "1\n2\n", "$way: what is there") for $once, $on;
        $ring->publish(3);
        $gone->();
        is_deeply([cli_end($once)], [1, "3\npubsub-shared: $path: removed or replaced; nothing more will come\n"], '-f ends');
        is(read_until($on, qr/ring\n/), "3\npubsub-shared: $path: removed; waiting for a new ring\n", '-F waits');
        $class->new($path, 16)->publish_multi(4, 5);
        is(read_until($on, qr/5\n/), "pubsub-shared: $path: a new ring\n4\n5\n", 'and goes on');
        $gone->();
        read_until($on, qr/waiting for a new ring\n/);
        variant('Str')->class->new($path, 8);
        like(read_until($on, qr/waiting for a new ring\n/), qr/holds a Str ring, opened as Int; waiting/, 'what is there now is no such');
        close delete $on->{out};
        is((cli_end($on))[0], 0, 'ends when nobody reads');
    }
};

subtest 'readers that go' => sub {
    my $run = cli_start(qw(tail -n 1 -f), $path);
    read_until($run, qr/\n/);
    close delete $run->{out};
    $ring->publish('nobody reads this');
    like((cli_end($run))[0], qr/\A(?:0|-$PIPE)\z/, 'tail ends at the next message');

    $run = cli_start(qw(tail -n 1 -f), $path);
    read_until($run, qr/\n/);
    close delete $run->{out};
    like((cli_end($run))[0], qr/\A(?:0|-$PIPE)\z/, 'and without one');

    $run = cli_start(qw(top -d 0.05), $path);
    like(read_until($run, qr/\n\n/), qr/\ARING .*\n\S+ +Str .*\n\n/, 'top writes tables into pipes');
    close delete $run->{out};
    is((cli_end($run))[0], -$PIPE, 'and ends');

    local $SIG{PIPE} = 'IGNORE';
    $run = cli_start(qw(top -d 0.05), $path);
    read_until($run, qr/\n\n/);
    close delete $run->{out};
    is((cli_end($run))[0], -$PIPE, 'also where SIGPIPE is ignored');
};

subtest 'a full disk' => sub {
    -c '/dev/full' or plan skip_all => 'no /dev/full';
    for my $command ([qw(stat -i 0), $path], ['tail', $path], ['--help'], ['--version']) {
        my $run    = fresh_dir();
        my $status = system 'sh', '-c', '"$@" > /dev/full 2> ' . "$run/err", 'sh', @COMMAND, @$command;
        is($status >> 8, 1, "$command->[0]: exit status");
        is(slurp("$run/err"), "pubsub-shared: write: No space left on device\n", 'says why');
    }
};

subtest 'pub' => sub {
    my $sub = $ring->subscribe;
    my $run = cli_start('pub', $path);
    print { $run->{in} } "one\ntw";
    is($sub->poll_wait(60), 'one', 'a line goes out as it comes');
    print { $run->{in} } "o\nthree";
    is($sub->poll_wait(60), 'two', 'a line that came in parts');
    close delete $run->{in};
    is($sub->poll_wait(60), 'three', 'a last line without its end');
    is_deeply([cli_end($run)], [0, ''], 'then it ends');
    is($sub->poll, undef, 'nothing else was published');

    $run = cli_start('pub', $path);
    print { $run->{in} } "one\ntw";
    is($sub->poll_wait(60), 'one', 'a line');
    kill INT => $run->{pid};
    is_deeply([cli_end($run)], [-$INT, ''], 'Ctrl-C');
    is($sub->poll, undef, 'half a line is none');
};

subtest 'from ring to ring' => sub {
    my $other = fresh_path();
    my $copy  = variant('Str')->class->new($other, 64, 64);
    my @messages = ("a\nb", "\1", "\xff", '', 'end');
    $ring->clear;
    $ring->publish_multi(@messages);
    my $tail = join ' ', map {"'$_'"} @COMMAND, qw(tail -0 --raw), $path;
    my $pub  = join ' ', map {"'$_'"} @COMMAND, qw(pub -0),        $other;
    is(system("$tail | $pub"), 0, 'tail -0 | pub -0');
    is_deeply([$copy->subscribe_all->drain], \@messages, 'the same messages');
};

subtest 'bench' => sub {
    my $run = cli_start(qw(bench --quick));
    like(read_until($run, qr/^ok /m), qr/^ok +Int: publish and poll /m, 'begins');
    read_until($run, qr/one reader/);
    kill INT => $run->{pid};
    # The end of the output comes when the last child has gone.
    is((cli_end($run))[0], -$INT, 'Ctrl-C ends it and its children');
};

subtest 'top on a terminal' => sub {
    my ($script) = grep {-x} map {"$_/script"} split /:/, $ENV{PATH};
    $script or plan skip_all => 'script(1) is not here';
    system("$script -qec true /dev/null >/dev/null 2>&1") == 0 or plan skip_all => 'there are no terminals here';
    local @ENV{qw(TERM SHELL)} = ('xterm', '/bin/sh');
    my $folder = fresh_dir();
    variant('Int')->class->new("$folder/$_", 8) for 1 .. 30;
    my $command = join ' ', map {"'$_'"} @COMMAND, qw(top -d 0.05), $folder;
    my $shell = "stty rows 10 cols 90; $command; s=\$?; stty -a; exit \$s";
    my $start = sub { cli_start('script', '-qefc', $shell, '/dev/null') };

    my $run  = $start->();
    my $seen = read_until($run, qr/\e\[J.*\e\[H.*\e\[J/s);
    my ($first) = $seen =~ /\e\[H(.*?)\e\[J/s;
    like($seen, qr/\A.*?\e\[\?1049h\e\[\?25l/s, 'the alternate screen, no cursor');
    my @lines = split /\r\r?\n/, $first // '';
    is(@lines, 10, 'fills the screen');
    like($lines[0], qr/^[\d:]{8}  30 rings, /, 'a summary');
    like($lines[1], qr/^\e\[7mRING +TYPE .* WAITERS.*\e\[m\e\[K$/, 'titles');
    like($lines[2], qr/^\S+\/1 +Int +- +- +0 +8 +0\b.*\e\[K$/, 'a ring');
    like($lines[9], qr/^\.\.\. and 23 more/, 'those for which there is no room');
    is(scalar(grep { length(s/\e\[[\d?]*[A-Za-z]//gr) > 90 } @lines), 0, 'no line is too long');
    print { $run->{in} } 'q';
    my ($status, $rest) = cli_end($run);
    is($status, 0, 'q ends it');
    like($rest, qr/\e\[\?25h\e\[\?1049l/, 'the screen as it was');
    like($rest, qr/(?<!-)icanon/, 'and the keyboard');

    $run = $start->();
    read_until($run, qr/\e\[J/);
    print { $run->{in} } "\cC";
    (undef, $rest) = cli_end($run);
    like($rest, qr/\e\[\?25h\e\[\?1049l/, 'the same by Ctrl-C');
};

subtest 'help' => sub {
    my %help = map { ($_ => (cli_end(cli_start('help', $_)))[1]) } qw(stat top tail pub create unlink check bench);
    for my $name (sort keys %help) {
        like($help{$name}, qr/^\s+pubsub-shared $name /m, "help $name");
    }
    my ($status, $out) = cli_end(cli_start(qw(tail --help)));
    is($status, 0, 'tail --help');
    is($out, $help{tail}, 'is the same');
    ($status, $out) = cli_end(cli_start('--help'));
    is($status, 0, '--help');
    like($out, qr/^Usage:.*pubsub-shared \Q$_\E /s, "mentions $_") for sort keys %help;
    like((cli_end(cli_start('--version')))[1], qr/\Apubsub-shared [\d.]+ \(perl [\d.]+\)\n\z/, '--version');
    like((cli_end(cli_start('--man')))[1], qr/^EXIT STATUS\n.*^SEE ALSO\n/ms, '--man');
    is_deeply([cli_end(cli_start('frobnicate'))],
        [2, "pubsub-shared: unknown command 'frobnicate'\nTry: pubsub-shared --help\n"], 'unknown command');
    is((cli_end(cli_start()))[0], 2, 'no command');

    my $checker = Pod::Checker->new(-quiet => 1);
    open my $null, '>', \my $complaints;
    $checker->parse_from_file($SCRIPT, $null);
    is($checker->num_errors + $checker->num_warnings, 0, 'the POD is well-formed') or diag $complaints;

    SKIP: {
        my $completion = "$FindBin::Bin/../completion/pubsub-shared.bash";
        skip 'no bash, or no completion', 1
            if !-e $completion || system "bash -c 'type compgen complete' >/dev/null 2>&1";
        my $complete = sub {
            my ($index, @words) = @_;
            my $program = 'source "$1"; COMP_CWORD=$2; shift 2; COMP_WORDS=("$@"); '
                . '_pubsub_shared; echo "${COMPREPLY[@]}"';
            open my $out, '-|', 'bash', '-c', $program, 'bash', $completion, $index, @words or die "bash: $!";
            return join '', <$out>;
        };
        is($complete->(1, 'pubsub-shared', 'c'), "create clear check\n", 'completion of commands');
        is($complete->(3, qw(pubsub-shared create -t I)), "Int Int32 Int16\n", 'of variants');
        is($complete->(2, 'pubsub-shared', 'stat', $path), "$path\n", 'of paths');
        for my $name (sort keys %help) {
            my %documented = map { ($_ => 1) } $help{$name} =~ /^ +(?:-\w, )?(--[\w-]+)/mg, '--help';
            my %offered = map { ($_ => 1) } split ' ', $complete->(2, 'pubsub-shared', $name, '--');
            is_deeply(\%offered, \%documented, "of the options of $name");
        }
    }
};

done_testing;
