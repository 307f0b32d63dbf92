#!/usr/bin/env perl
# The examples do what they say.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use PubSubTest;

my $eg = "$FindBin::Bin/../eg";
plan skip_all => 'the examples are not here' if !-d $eg;

# Starts an example; its output goes to files.
sub start {
    my ($name, $arguments, %fd) = @_;
    my $folder = fresh_dir();
    spew("$folder/$_", '') for qw(in out err);
    my %run = (in => "$folder/in", out => "$folder/out", err => "$folder/err", %fd);
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

# Waits for it: (wait status, output, errors).
sub finish {
    my ($run) = @_;
    waitpid $run->{pid}, 0;
    return ($?, slurp($run->{out}), ref $run->{err} ? '' : slurp($run->{err}));
}

sub run { return finish(start(@_)) }

# The rows of broadcast's table: worker => [pid, lines, lost, digest ...].
sub table {
    my ($out) = @_;
    return map { my ($worker, @row) = split; tr/,//d for @row; ($worker => \@row) } $out =~ /^ +(\d+ +\d+ .*)/mg;
}

subtest 'usage' => sub {
    for my $name (qw(basic prefork ticker logtail broadcast)) {
        my ($status, $out) = run($name, ['--help']);
        is($status, 0, "$name --help");
        like($out, qr/Usage:.*\Q$name\E\.pl/s, 'says how to call it');
        is((run($name, ['--nonsense']))[0] >> 8, 2, "$name --nonsense");
    }
};

subtest 'basic' => sub {
    my ($status, $out, $err) = run('basic', []);
    is($status, 0,  'exit status');
    is($err,    '', 'no complaints');
    is($out, <<'END', 'output');
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
    is($status, 0,  'exit status');
    is($err,    '', 'no complaints');
    like($out, qr/^No answer was stale$/m, 'no answer was stale');
    is(scalar(() = $out =~ /^worker \d+:/mg), 3, 'each worker reports');

    ($status, $out) = run('prefork', [qw(--requests 3000 --workers 3 --ring-size 2 --keys 5)]);
    is($status, 0, 'exit status with a ring that overflows');
    like($out, qr/^No answer was stale$/m, 'no answer was stale');
    like($out, qr/[1-9]\d* times everything/, 'because the workers forgot everything');
};

subtest 'ticker' => sub {
    my ($status, $out, $err) = run('ticker', [qw(--trades 20000)]);
    is($status, 0,  'exit status');
    is($err,    '', 'no complaints');
    like($out, qr/^The boards agree with the feed$/m, 'the boards agree');
};

subtest 'logtail' => sub {
    my ($status, $out, $err) = run('logtail', []);
    is($status, 0,  'exit status');
    is($err,    '', 'no complaints');
    is(scalar(() = $out =~ /^errors: ERROR/mg), 5, 'errors found');
    like($out, qr/^levels: 2000 lines, ERROR 5 INFO 1960 WARN 35$/m, 'levels counted');

    my $folder = fresh_dir();
    my $ring   = "$folder/ring";
    my $log    = spew("$folder/log", "one\n\nthree\n" . 'x' x 5000 . "\nlast");
    is((run('logtail', ['--ring', $ring, '--publish', $log]))[0], 0, 'publishes a file');
    ($status, $out) = run('logtail', ['--ring', $ring, '--read']);
    is($status, 0, 'reads it afterwards');
    is($out, "one\n\nthree\n" . 'x' x 1023 . "\nlast", 'line by line, the long one cut');

    my $reader = start('logtail', ['--ring', "$folder/other", '--read', '--grep', '^t']);
    ($status) = run('logtail', ['--ring', "$folder/other", '--publish'], in => spew("$folder/in", "one\ntwo\nthree\n"));
    is($status, 0, 'publishes its standard input');
    is_deeply([finish($reader)], [0, "two\nthree\n", ''], 'for a reader that greps');
    is((run('logtail', ['--ring', $ring]))[0] >> 8, 2, 'a ring and nothing to do with it');
};

subtest 'broadcast' => sub {
    my ($status, $out, $err) = run('broadcast', []);
    is($status, 0,  'exit status without arguments');
    is($err,    '', 'no complaints');
    my %table = table($out);
    is(keys %table, 4, 'four workers');
    cmp_ok($table{1}[1], '>=', 100_000, 'lines of the library');
    like($out, qr/^Every worker got every line, in order$/m, 'got by every worker');

    my $folder = fresh_dir();
    my @files  = (
        spew("$folder/a", "one\n\n\0\n" . 'x' x 3000), spew("$folder/b", ''), spew("$folder/c", "\xff\xfe\r\nlast\n"),
    );
    for my $size (2, 3, 100) {
        ($status, $out) = run('broadcast', ['--workers', 2, '--ring-size', $size, @files]);
        is($status, 0, "odd files through rings of $size");
        %table = table($out);
        is_deeply([@{ $table{2} }[1 .. 3]], [6, 0, 'ok'], 'six lines, none lost');
    }
    ($status, $out) = run('broadcast', ["$folder/b"]);
    is($status, 0, 'an empty file');

    for my $bad (["$folder/none"], [$folder], ['--workers', 0], ['--ring-size', 1]) {
        is((run('broadcast', $bad))[0] >> 8, 2, "refused: @$bad");
    }
};

# A signal may come when all is over: more lines, then, and again. $send gets the pids of the publisher and the workers.
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
    is($status >> 8, 1, 'exit status');
    like($out, qr/^Worker 1: killed by signal 9$/m, 'says what became of the worker');
    my %table = table($out);
    is($table{2}[3], 'ok', 'the other one got all');
};

subtest 'broadcast and a worker that is stopped' => sub {
    my ($status, $out) = broadcast_and(sub {
        my ($publisher, $slow) = @_;
        kill STOP => $slow;
        until_asleep($publisher);
        kill INT => $publisher;
        kill CONT => $slow;
    });
    is($status >> 8, 130, 'Ctrl-C while the publisher waits for it');
    my %table = table($out);
    is_deeply([map { @$_[2, 3] } @table{ 1, 2 }], [0, 'ok', 0, 'ok'], 'neither lost anything of what was published');

    ($status, $out) = broadcast_and(sub {
        my ($publisher, @workers) = @_;
        kill STOP => @workers;
        kill INT  => $publisher;
        until_asleep($publisher);
        kill INT => $publisher;
    });
    is($status >> 8, 130, 'Ctrl-C twice');
    like($out, qr/^Worker $_: killed by signal 9$/m, "worker $_ is killed") for 1, 2;
};

subtest 'broadcast and Ctrl-C' => sub {
    my ($status, $out) = broadcast_and(sub { kill INT => @_ });
    is($status >> 8, 130, 'exit status');
    like($out, qr/^Interrupted$/m, 'says so');
    my %table = table($out);
    is_deeply([map { $_->[3] } @table{ 1, 2 }], ['ok', 'ok'], 'what was published has arrived');
    is($table{1}[1], $table{2}[1], 'at both workers');
};

done_testing;
