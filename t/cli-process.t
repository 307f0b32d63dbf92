# The command pubsub-shared as a process: pipes, signals, terminals, and its documentation.

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
    is(read_until($run, qr/\n/), "new\n", 'tail -f prints the last message');
    $ring->publish('next');
    is(read_until($run, qr/\n/), "next\n", 'tail -f prints a message when it is published');
    until_asleep($run->{pid});
    $ring->publish_multi(map {"m$_"} 1 .. 9);
    is(read_until($run, qr/m9\n/), join('', map {"m$_\n"} 1 .. 9), 'tail -f prints several messages');
    is($ring->stats->{sub_waiters}, 0, 'tail -f is not counted as a waiter');
    kill INT => $run->{pid};
    is_deeply([cli_end($run)], [-$INT, ''], 'SIGINT ends tail -f, which prints nothing more');

    $run = cli_start(qw(tail -n 1 -f --json), $path);
    is(decode_json(read_until($run, qr/\n/))->{value}, 'm9', 'tail -f --json prints objects');
    kill TERM => $run->{pid};
    is_deeply([cli_end($run)], [-$TERM, ''], 'SIGTERM ends tail -f --json, which prints nothing more');
};

subtest 'tail of a ring that is removed or replaced' => sub {
    my $class = variant('Int')->class;
    for my $way ('unlink', 'rm') {
        my $path = fresh_path();
        my $ring = $class->new($path, 8);
        my $gone = sub { $way eq 'rm' ? unlink $path : $class->unlink($path) };
        $ring->publish_multi(1, 2);
        my ($once, $on) = map { cli_start('tail', $_, $path) } qw(-f -F);
        is(read_until($_, qr/2\n/), "1\n2\n", "$way: tail prints the messages of the ring") for $once, $on;
        $ring->publish(3);
        $gone->();
        is_deeply([cli_end($once)], [1, "3\npubsub-shared: $path: removed or replaced; nothing more will come\n"],
            "$way: tail -f ends when the ring is removed");
        is(read_until($on, qr/ring\n/), "3\npubsub-shared: $path: removed; waiting for a new ring\n",
            "$way: tail -F waits for a new ring");
        $class->new($path, 16)->publish_multi(4, 5);
        is(read_until($on, qr/5\n/), "pubsub-shared: $path: a new ring\n4\n5\n", "$way: tail -F follows the new ring");
        $gone->();
        read_until($on, qr/waiting for a new ring\n/);
        variant('Str')->class->new($path, 8);
        like(read_until($on, qr/waiting for a new ring\n/), qr/holds a Str ring, opened as Int; waiting/,
            "$way: tail -F waits on if the new ring has another variant");
        close delete $on->{out};
        is((cli_end($on))[0], 0, "$way: tail -F ends when its output is closed");
    }
};

subtest 'the reading end of the output is closed' => sub {
    my $run = cli_start(qw(tail -n 1 -f), $path);
    read_until($run, qr/\n/);
    close delete $run->{out};
    $ring->publish('unread');
    like((cli_end($run))[0], qr/\A(?:0|-$PIPE)\z/, 'tail -f ends at the next message');

    $run = cli_start(qw(tail -n 1 -f), $path);
    read_until($run, qr/\n/);
    close delete $run->{out};
    like((cli_end($run))[0], qr/\A(?:0|-$PIPE)\z/, 'tail -f ends without a message, too');

    $run = cli_start(qw(top -d 0.05), $path);
    like(read_until($run, qr/\n\n/), qr/\ARING .*\n\S+ +Str .*\n\n/, 'top prints tables into a pipe');
    close delete $run->{out};
    is((cli_end($run))[0], -$PIPE, 'top ends with SIGPIPE');

    local $SIG{PIPE} = 'IGNORE';
    $run = cli_start(qw(top -d 0.05), $path);
    read_until($run, qr/\n\n/);
    close delete $run->{out};
    is((cli_end($run))[0], -$PIPE, 'top ends if SIGPIPE is ignored, too');
};

subtest 'a full disk' => sub {
    -c '/dev/full' or plan skip_all => 'no /dev/full';
    for my $command ([qw(stat -i 0), $path], ['tail', $path], ['--help'], ['--version']) {
        my $run    = fresh_dir();
        my $status = system 'sh', '-c', '"$@" > /dev/full 2> ' . "$run/err", 'sh', @COMMAND, @$command;
        is($status >> 8, 1, "$command->[0] to a full disk exits with 1");
        is(slurp("$run/err"), "pubsub-shared: write: No space left on device\n", "$command->[0] to a full disk prints why");
    }
};

subtest 'pub' => sub {
    my $sub = $ring->subscribe;
    my $run = cli_start('pub', $path);
    print { $run->{in} } "one\ntw";
    is($sub->poll_wait(60), 'one', 'pub publishes a line as soon as it is complete');
    print { $run->{in} } "o\nthree";
    is($sub->poll_wait(60), 'two', 'pub publishes a line that came in parts');
    close delete $run->{in};
    is($sub->poll_wait(60), 'three', 'pub publishes a last line without a newline');
    is_deeply([cli_end($run)], [0, ''], 'pub exits with 0 at the end of its input');
    is($sub->poll, undef, 'pub publishes nothing else');

    $run = cli_start('pub', $path);
    print { $run->{in} } "one\ntw";
    is($sub->poll_wait(60), 'one', 'pub publishes the first line');
    kill INT => $run->{pid};
    is_deeply([cli_end($run)], [-$INT, ''], 'SIGINT ends pub');
    is($sub->poll, undef, 'an incomplete line is not published after SIGINT');
};

subtest 'from ring to ring' => sub {
    my $other = fresh_path();
    my $copy  = variant('Str')->class->new($other, 64, 64);
    my @messages = ("a\nb", "\1", "\xff", '', 'end');
    $ring->clear;
    $ring->publish_multi(@messages);
    my $tail = join ' ', map {"'$_'"} @COMMAND, qw(tail -0 --raw), $path;
    my $pub  = join ' ', map {"'$_'"} @COMMAND, qw(pub -0),        $other;
    is(system("$tail | $pub"), 0, 'tail -0 | pub -0 exits with 0');
    is_deeply([$copy->subscribe_all->drain], \@messages, 'tail -0 | pub -0 copies messages unchanged');
};

subtest 'bench' => sub {
    my $run = cli_start(qw(bench --quick));
    like(read_until($run, qr/^ok /m), qr/^ok +Int: publish and poll /m, 'bench prints its first result');
    read_until($run, qr/one reader/);
    kill INT => $run->{pid};
    # Its output ends when the last child has ended.
    is((cli_end($run))[0], -$INT, 'SIGINT ends bench and its children');
};

subtest 'top on a terminal' => sub {
    my ($script) = grep {-x} map {"$_/script"} split /:/, $ENV{PATH};
    $script or plan skip_all => 'script(1) is not installed';
    system("$script -qec true /dev/null >/dev/null 2>&1") == 0 or plan skip_all => 'no terminal can be opened';
    local @ENV{qw(TERM SHELL)} = ('xterm', '/bin/sh');
    my $rings = fresh_dir();
    variant('Int')->class->new("$rings/$_", 8) for 1 .. 30;
    my $command = join ' ', map {"'$_'"} @COMMAND, qw(top -d 0.05), $rings;
    my $shell = "stty rows 10 cols 90; $command; s=\$?; stty -a; exit \$s";
    my $start = sub { cli_start('script', '-qefc', $shell, '/dev/null') };

    my $run  = $start->();
    my $seen = read_until($run, qr/\e\[J.*\e\[H.*\e\[J/s);
    my ($first) = $seen =~ /\e\[H(.*?)\e\[J/s;
    like($seen, qr/\A.*?\e\[\?1049h\e\[\?25l/s, 'top switches to the alternate screen and hides the cursor');
    my @lines = split /\r\r?\n/, $first // '';
    is(@lines, 10, 'top fills the screen');
    like($lines[0], qr/^[\d:]{8}  30 rings, /, 'the first line is a summary');
    like($lines[1], qr/^\e\[7mRING +TYPE .* WAITERS.*\e\[m\e\[K$/, 'the second line has the column titles');
    like($lines[2], qr/^\S+\/1 +Int +- +- +0 +8 +0\b.*\e\[K$/, 'the third line shows the first ring');
    like($lines[9], qr/^\.\.\. and 23 more/, 'the last line counts the rings that do not fit');
    is(scalar(grep { length(s/\e\[[\d?]*[A-Za-z]//gr) > 90 } @lines), 0, 'no line is longer than the screen is wide');
    print { $run->{in} } 'q';
    my ($status, $rest) = cli_end($run);
    is($status, 0, 'the key q ends top');
    like($rest, qr/\e\[\?25h\e\[\?1049l/, 'top restores the screen and the cursor');
    like($rest, qr/(?<!-)icanon/, 'top restores the terminal settings');

    $run = $start->();
    read_until($run, qr/\e\[J/);
    print { $run->{in} } "\cC";
    (undef, $rest) = cli_end($run);
    like($rest, qr/\e\[\?25h\e\[\?1049l/, 'SIGINT ends top, which restores the screen and the cursor');
};

subtest 'help' => sub {
    my %help = map { ($_ => (cli_end(cli_start('help', $_)))[1]) } qw(stat top tail pub create unlink check bench);
    for my $name (sort keys %help) {
        like($help{$name}, qr/^\s+pubsub-shared $name /m, "help $name shows its usage");
    }
    my ($status, $out) = cli_end(cli_start(qw(tail --help)));
    is($status, 0, 'tail --help exits with 0');
    is($out, $help{tail}, 'tail --help prints the same as help tail');
    ($status, $out) = cli_end(cli_start('--help'));
    is($status, 0, '--help exits with 0');
    like($out, qr/^Usage:.*pubsub-shared \Q$_\E /s, "--help mentions $_") for sort keys %help;
    like((cli_end(cli_start('--version')))[1], qr/\Apubsub-shared [\d.]+ \(perl [\d.]+\)\n\z/, '--version prints the versions');
    like((cli_end(cli_start('--man')))[1], qr/^EXIT STATUS\n.*^SEE ALSO\n/ms, '--man prints the manual');
    is_deeply([cli_end(cli_start('frobnicate'))],
        [2, "pubsub-shared: unknown command 'frobnicate'\nTry: pubsub-shared --help\n"], 'an unknown command is an error');
    is((cli_end(cli_start()))[0], 2, 'a missing command is an error');

    my $checker = Pod::Checker->new(-quiet => 1);
    open my $null, '>', \my $complaints;
    $checker->parse_from_file($SCRIPT, $null);
    is($checker->num_errors + $checker->num_warnings, 0, 'the POD has no errors and warnings') or diag $complaints;

    SKIP: {
        my $completion = "$FindBin::Bin/../completion/pubsub-shared.bash";
        skip 'bash or the completion script is missing', 1
            if !-e $completion || system "bash -c 'type compgen complete' >/dev/null 2>&1";
        my $complete = sub {
            my ($index, @words) = @_;
            my $program = 'source "$1"; COMP_CWORD=$2; shift 2; COMP_WORDS=("$@"); '
                . '_pubsub_shared; echo "${COMPREPLY[@]}"';
            open my $out, '-|', 'bash', '-c', $program, 'bash', $completion, $index, @words or die "bash: $!";
            return join '', <$out>;
        };
        is($complete->(1, 'pubsub-shared', 'c'), "create clear check\n", 'completion of commands');
        is($complete->(3, qw(pubsub-shared create -t I)), "Int Int32 Int16\n", 'completion of variants');
        is($complete->(2, 'pubsub-shared', 'stat', $path), "$path\n", 'completion of paths');
        for my $name (sort keys %help) {
            my %documented = map { ($_ => 1) } $help{$name} =~ /^ +(?:-\w, )?(--[\w-]+)/mg, '--help';
            my %offered = map { ($_ => 1) } split ' ', $complete->(2, 'pubsub-shared', $name, '--');
            is_deeply(\%offered, \%documented, "completion offers the documented options of $name");
        }
    }
};

done_testing;
