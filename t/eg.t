#!/usr/bin/env perl
# The example programs print what they promise.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use PubSubTest;

my $eg = "$FindBin::Bin/../eg";
plan skip_all => 'the examples are missing' if !-d $eg;

# Starts an example; its output is written to files.
sub start {
    my ($name, $arguments, %fd) = @_;
    my $dir = fresh_dir();
    spew("$dir/$_", '') for qw(in out err);
    my %run = (in => "$dir/in", out => "$dir/out", err => "$dir/err", %fd);
    $run{pid} = fork // die "fork: $!";
    if (!$run{pid}) {
        alarm 100;
        open STDIN,  '<',  $run{in}  or die "in: $!";
        open STDOUT, '>>', $run{out} or die "out: $!";
        ref $run{err} ? open STDERR, '>&', $run{err} : open STDERR, '>>', $run{err} or die "err: $!";
        exec $^X, (map {"-I$_"} grep { !ref } @INC), "$eg/$name.pl", @$arguments or die "exec: $!";
    }
    return \%run;
}

# Waits for an example: (wait status, output, errors).
sub finish {
    my ($run) = @_;
    waitpid $run->{pid}, 0;
    return ($?, slurp($run->{out}), ref $run->{err} ? '' : slurp($run->{err}));
}

sub run { return finish(start(@_)) }

# The rows of the table of broadcast: worker => [pid, lines, lost, digest ...].
sub table {
    my ($out) = @_;
    return map { my ($worker, @row) = split; tr/,//d for @row; ($worker => \@row) } $out =~ /^ +(\d+ +\d+ .*)/mg;
}

subtest 'usage' => sub {
    for my $name (qw(basic prefork ticker logtail broadcast)) {
        my ($status, $out) = run($name, ['--help']);
        is($status, 0, "$name --help exits with 0");
        like($out, qr/Usage:.*\Q$name\E\.pl/s, "$name --help prints its usage");
        is((run($name, ['--nonsense']))[0] >> 8, 2, "$name --nonsense exits with 2");
    }
};

subtest 'basic' => sub {
    my ($status, $out, $err) = run('basic', []);
    is($status, 0,  'basic exits with 0');
    is($err,    '', 'basic prints no errors');
    is($out, <<'END', 'basic prints the expected output');
poll:     42
drain:    1 2 3
empty:    yes
timeout:  yes
lag:      4
newcomer: 42 1 2 3
late:     104 105 106 107 108 109 110 111 (8 lost)
keyword:  7
child:    hello
child:    world
END
};

subtest 'prefork' => sub {
    my ($status, $out, $err) = run('prefork', [qw(--requests 3000 --workers 3)]);
    is($status, 0,  'prefork exits with 0');
    is($err,    '', 'prefork prints no errors');
    like($out, qr/^No answer was stale$/m, 'prefork: no answer was stale');
    is(scalar(() = $out =~ /^worker \d+:/mg), 3, 'prefork: each worker reports');

    ($status, $out) = run('prefork', [qw(--requests 3000 --workers 3 --ring-size 2 --keys 5)]);
    is($status, 0, 'prefork with a ring that overflows exits with 0');
    like($out, qr/^No answer was stale$/m, 'prefork with a ring that overflows: no answer was stale');
    like($out, qr/[1-9]\d* times everything/, 'prefork with a ring that overflows: the workers forgot everything');
};

subtest 'ticker' => sub {
    my ($status, $out, $err) = run('ticker', [qw(--trades 20000)]);
    is($status, 0,  'ticker exits with 0');
    is($err,    '', 'ticker prints no errors');
    like($out, qr/^The boards agree with the feed$/m, 'ticker: the boards agree with the feed');
};

subtest 'logtail' => sub {
    my ($status, $out, $err) = run('logtail', []);
    is($status, 0,  'logtail exits with 0');
    is($err,    '', 'logtail prints no errors');
    is(scalar(() = $out =~ /^errors: ERROR/mg), 5, 'logtail finds the errors');
    like($out, qr/^levels: 2000 lines, ERROR 5 INFO 1960 WARN 35$/m, 'logtail counts the levels');

    my $dir = fresh_dir();
    my $ring   = "$dir/ring";
    my $log    = spew("$dir/log", "one\n\nthree\n" . 'x' x 5000 . "\nlast");
    is((run('logtail', ['--ring', $ring, '--publish', $log]))[0], 0, 'logtail --publish of a file exits with 0');
    ($status, $out) = run('logtail', ['--ring', $ring, '--read']);
    is($status, 0, 'logtail --read exits with 0');
    is($out, "one\n\nthree\n" . 'x' x 1023 . "\nlast", 'logtail --read prints each line, and truncates a long line');

    my $reader = start('logtail', ['--ring', "$dir/other", '--read', '--grep', '^t']);
    ($status) = run('logtail', ['--ring', "$dir/other", '--publish'], in => spew("$dir/in", "one\ntwo\nthree\n"));
    is($status, 0, 'logtail --publish of standard input exits with 0');
    is_deeply([finish($reader)], [0, "two\nthree\n", ''], 'logtail --read --grep prints the lines that match');
    is((run('logtail', ['--ring', $ring]))[0] >> 8, 2, 'logtail with a ring and no command exits with 2');
};

subtest 'broadcast' => sub {
    my ($status, $out, $err) = run('broadcast', []);
    is($status, 0,  'broadcast exits with 0 without arguments');
    is($err,    '', 'broadcast prints no errors');
    my %table = table($out);
    is(keys %table, 4, 'broadcast starts four workers');
    cmp_ok($table{1}[1], '>=', 100_000, 'broadcast sends the lines of the library');
    like($out, qr/^Every worker got every line, in order$/m, 'every worker got every line');

    my $dir = fresh_dir();
    my @files  = (
        spew("$dir/a", "one\n\n\0\n" . 'x' x 3000), spew("$dir/b", ''), spew("$dir/c", "\xff\xfe\r\nlast\n"),
    );
    for my $size (2, 3, 100) {
        ($status, $out) = run('broadcast', ['--workers', 2, '--ring-size', $size, @files]);
        is($status, 0, "broadcast of unusual files through a ring of $size exits with 0");
        %table = table($out);
        is_deeply([@{ $table{2} }[1 .. 3]], [6, 0, 'ok'], "broadcast of unusual files through a ring of $size loses no line");
    }
    ($status, $out) = run('broadcast', ["$dir/b"]);
    is($status, 0, 'broadcast of an empty file exits with 0');

    for my $bad (["$dir/none"], [$dir], ['--workers', 0], ['--ring-size', 1]) {
        is((run('broadcast', $bad))[0] >> 8, 2, "broadcast @$bad exits with 2");
    }
};

# A signal may come after broadcast has ended: then again, with more lines. $send gets the pids of publisher and workers.
sub broadcast_and {
    my ($send) = @_;
    my ($status, $out);
    for my $lines (map { 200_000 * 4**$_ } 0 .. 2) {
        my $file = spew(fresh_dir() . '/lines', "line\n" x $lines);
        pipe my $err, my $child_err or die "pipe: $!";
        my $run = start('broadcast', [qw(--progress --workers 2), $file], err => $child_err);
        close $child_err;
        my (@workers) = (readline($err) // '') =~ /(\d+)/g;
        $send->($run->{pid}, @workers);
        1 while readline $err;
        ($status, $out) = finish($run);
        last if $status;
    }
    return ($status, $out);
}

subtest 'broadcast and a killed worker' => sub {
    my ($status, $out) = broadcast_and(sub { kill KILL => $_[1] });
    is($status >> 8, 1, 'broadcast exits with 1 if a worker was killed');
    like($out, qr/^Worker 1: killed by signal 9$/m, 'broadcast reports the killed worker');
    my %table = table($out);
    is($table{2}[3], 'ok', 'the other worker got all lines');
};

subtest 'broadcast and a worker that is stopped' => sub {
    my ($status, $out) = broadcast_and(sub {
        my ($publisher, $slow) = @_;
        kill STOP => $slow;
        until_asleep($publisher);
        kill INT => $publisher;
        kill CONT => $slow;
    });
    is($status >> 8, 130, 'SIGINT while the publisher waits for a stopped worker: broadcast exits with 130');
    my %table = table($out);
    is_deeply([map { @$_[2, 3] } @table{ 1, 2 }], [0, 'ok', 0, 'ok'], 'the workers lost no published line');

    ($status, $out) = broadcast_and(sub {
        my ($publisher, @workers) = @_;
        kill STOP => @workers;
        kill INT  => $publisher;
        until_asleep($publisher);
        kill INT => $publisher;
    });
    is($status >> 8, 130, 'two SIGINTs: broadcast exits with 130');
    like($out, qr/^Worker $_: killed by signal 9$/m, "two SIGINTs: stopped worker $_ is killed") for 1, 2;
};

subtest 'broadcast and SIGINT' => sub {
    my ($status, $out) = broadcast_and(sub { kill INT => @_ });
    is($status >> 8, 130, 'SIGINT: broadcast exits with 130');
    like($out, qr/^Interrupted$/m, 'SIGINT: broadcast reports it');
    my %table = table($out);
    is_deeply([map { $_->[3] } @table{ 1, 2 }], ['ok', 'ok'], 'SIGINT: the workers got all published lines');
    is($table{1}[1], $table{2}[1], 'SIGINT: both workers got the same number of lines');
};

done_testing;
