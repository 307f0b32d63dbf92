# `pubsub-shared tail` of several rings, with -c, --timeout, --grep and --format; `ls` and `clear`.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP ();
use Test::More;

use PubSubTest;
use PubSubTest::Cli;

my $dir  = fresh_dir();
my %path = map { $_ => "$dir/$_" } qw(a b n);
my %ring = (
    a => variant('Str')->class->new($path{a}, 64, 64),
    b => variant('Str')->class->new($path{b}, 64, 64),
    n => variant('Int')->class->new($path{n}, 64),
);
$ring{a}->publish_multi(qw(a1 a2 a3));
$ring{b}->publish_multi(qw(b1 b2));
$ring{n}->publish_multi(7, 17, 8);

subtest 'tail of several rings, one after the other' => sub {
    my @all = ((map {"$path{a}: a$_\n"} 1 .. 3), (map {"$path{b}: b$_\n"} 1, 2), map {"$path{n}: $_\n"} 7, 17, 8);
    is_deeply([cli('tail', @path{qw(a b n)})], [0, join('', @all), ''], 'tail of several rings puts the path before each message');
    is_deeply([cli('tail', $path{a})], [0, "a1\na2\na3\n", ''], 'tail of one ring prints messages without the path');
    is_deeply([cli('tail', '-n', 1, @path{qw(b n)})], [0, "$path{b}: b2\n$path{n}: 8\n", ''],
        '-n is the number of messages per ring');
    my @json = map { JSON::PP::decode_json($_) } split /\n/, (cli('tail', '--json', '-n', 1, @path{qw(a n)}))[1];
    is_deeply(\@json, [{ ring => $path{a}, position => 2, value => 'a3' }, { ring => $path{n}, position => 2, value => 8 }],
        'tail --json of several rings names the ring');
    my ($status, $out, $err) = cli('tail', $path{a}, "$dir/none");
    is_deeply([$status, $out], [1, ''], 'tail exits with 1 and prints no messages if a ring is missing');
    like($err, qr/\Apubsub-shared: \Q$dir\E\/none: No such file or directory\n\z/, 'tail reports the missing ring');
};

subtest '-c' => sub {
    is_deeply([cli('tail', '-c', 2, $path{a})], [0, "a1\na2\n", ''], 'tail -c 2 ends after two messages');
    is_deeply([cli('tail', '-c', 4, @path{qw(a b)})], [0, join('', (map {"$path{a}: a$_\n"} 1 .. 3), "$path{b}: b1\n"), ''],
        '-c counts the messages of all rings');
    is((cli('tail', '-c', 9, $path{a}))[0], 1, 'tail -c exits with 1 if there are fewer messages');
    is((cli('tail', '-c', $_, $path{a}))[0], 2, "tail -c $_ is an error") for 0, 'x', -1;
    my $run = cli_start('tail', '-n', 0, '-f', '-c', 3, @path{qw(a b)});
    # tail follows the ring once it prints a message.
    my $out = $run->{out};
    my $first;
    vec(my $bits = '', fileno $out, 1) = 1;
    until (select my $copy = $bits, undef, undef, 0.01) { $ring{a}->publish('first') }
    $ring{b}->publish($_) for 1 .. 3;
    my ($status, $rest) = cli_end($run);
    is($status, 0, 'tail -f -c 3 exits with 0');
    is(scalar(my @lines = split /\n/, $rest), 3, 'tail -f -c 3 ends with the third message');
};

subtest '--format' => sub {
    my $class = variant('Str')->class;
    my $path  = fresh_path();
    my $ring  = $class->new($path, 8, 64, stamped => 1);
    $ring->publish_multi("\x{263a}", "two\nlines");
    my $sub = $ring->subscribe_all;
    $sub->poll;
    my $when = $sub->time_ns;
    is_deeply([cli('tail', '--format', '%p|%v|%%p|%s', $path)], [0, "0|\xe2\x98\xba|%p|$$\n1|two\\nlines|%p|$$\n", ''],
        'tail --format prints positions, values and senders');
    is_deeply([cli('tail', '--raw', '-0', '--format', '%v', $path)], [0, "\xe2\x98\xba\0two\nlines\0", ''],
        'tail --format with --raw and -0');
    like((cli('tail', '-c', 1, '--format', '%t', $path))[1], qr/\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\Q@{[substr $when, -9]}\E\n\z/,
        'tail --format prints the time');
    is_deeply([cli('tail', '-n', 1, '--format', '%r %v', @path{qw(a n)})], [0, "$path{a} @{[slurp_last('a')]}\n$path{n} 8\n", ''],
        'tail --format prints the path of each ring');
    my ($status, undef, $err) = cli('tail', '--format', '%%%q', $path);
    is_deeply([$status, $err =~ /unknown '(.*?)'/], [2, '%q'], 'an unknown specifier in --format is an error');
    is((cli('tail', '--format', '100%', $path))[0], 2, 'a single % at the end of --format is an error');
    is((cli('tail', '--format', '%v', $_, $path))[0], 2, "tail --format with $_ is an error") for qw(--json --time);
    ($status, undef, $err) = cli('tail', '--format', '%t', $path{a});
    is_deeply([$status, $err =~ /not stamped/], [1, 1], '%t for a ring without stamps is an error');
    is((cli('tail', '--format', '%%t', $path{a}))[0], 0, '%%t for a ring without stamps is not an error');
};

subtest 'tail -F of missing rings' => sub {
    my $class = variant('Int')->class;
    my %at    = map { $_ => fresh_path() } qw(first second);
    my $run   = cli_start('tail', '-F', @at{qw(first second)});
    my $waits = 'not there yet; waiting for a new ring';
    is(read_until($run, qr/\Q$at{second}\E.*\n/), join('', map {"pubsub-shared: $at{$_}: $waits\n"} qw(first second)),
        'tail -F waits for the rings');
    my $second = $class->new($at{second}, 8);
    read_until($run, qr/a new ring\n/);
    $second->publish(1);
    is(read_until($run, qr/: 1\n/), "$at{second}: 1\n", 'tail -F reads one ring while the other is missing');
    my $first = $class->new($at{first}, 8);
    $first->publish(2);
    is(read_until($run, qr/: 2\n/), "pubsub-shared: $at{first}: a new ring\n$at{first}: 2\n",
        'tail -F reads the other ring from its oldest message');
    $second->unlink;
    read_until($run, qr/removed; waiting for a new ring\n/);
    $first->publish(3);
    is(read_until($run, qr/: 3\n/), "$at{first}: 3\n", 'tail -F reads one ring after the other was removed');
    kill INT => $run->{pid};
    is((cli_end($run))[0], -2, 'SIGINT ends tail -F while it waits');
    is((cli('tail', '-F', '--timeout', 0.01, fresh_path()))[0], 1, 'tail -F --timeout exits with 1');
};

subtest '--timeout' => sub {
    is_deeply([cli('tail', '--timeout', 0.01, '-n', 1, $path{a})], [0, (slurp_last('a')) . "\n", ''],
        'tail --timeout prints the message of the ring and exits with 0');
    is_deeply([cli('tail', '--timeout', 0, '-n', 0, $path{a})], [1, '', ''], 'tail --timeout without a message exits with 1');
    is_deeply([cli('tail', '-W', 0.01, '-n', 0, @path{qw(a b)})], [1, '', ''],
        'tail -W of two rings without a message exits with 1');
    is((cli('tail', '-W', 0.01, '-c', 1, '-n', 1, $path{a}))[0], 0, 'tail -W with -c exits with 0 if there are enough messages');
    is((cli('tail', '-W', 0.01, '-c', 2, '-n', 1, $path{a}))[0], 1, 'tail -W with -c exits with 1 if there are fewer messages');
    is((cli('tail', '--timeout', $_, $path{a}))[0], 2, "tail --timeout '$_' is an error") for 'x', -1, '';
    my $run = cli_start('tail', '-n', 0, '--timeout', 60, '-c', 2, $path{n});
    my $out = $run->{out};
    vec(my $bits = '', fileno $out, 1) = 1;
    until (select my $copy = $bits, undef, undef, 0.01) { $ring{n}->publish(5) }
    $ring{n}->publish(6);
    my ($status, $rest) = cli_end($run);
    is($status, 0, 'tail --timeout with -c exits with 0 if messages come in time');
    like($rest, qr/\A5\n[56]\n\z/, 'tail --timeout with -c prints the messages that come in time');
};

sub slurp_last { return (variant('Str')->class->new($path{ $_[0] })->subscribe_all->drain)[-1] }

subtest '--grep' => sub {
    my $path = "$dir/g";
    my $ring = variant('Str')->class->new($path, 64, 64);
    $ring->publish_multi('apple', "caf\xe9 \x{263a}", "caf\xc3\xa9", 'pear', "\xff", 'APPLE');
    is((cli('tail', '-g', 'app', $path))[1], "apple\n", 'tail -g prints the messages that match');
    is((cli('tail', '--grep', '(?i)app', $path))[1], "apple\nAPPLE\n", 'tail --grep accepts (?i)');
    is((cli('tail', '-g', "\xc3\xa9", $path))[1], "caf\xc3\xa9 \xe2\x98\xba\ncaf\xc3\xa9\n",
        'tail -g matches characters, and UTF-8 in messages of bytes');
    is((cli('tail', '-g', '^.{4}$', $path))[1], "caf\xc3\xa9\npear\n", 'tail -g counts characters, not bytes');
    is((cli('tail', '-g', 'app', '-n', 1, $path))[1], '', '-n counts messages that do not match, too');
    is_deeply([cli('tail', '-g', 'e', '-c', 2, $path)], [0, "apple\npear\n", ''], '-c counts only messages that match');
    my $numbers = variant('Int')->class->new("$dir/numbers", 8);
    $numbers->publish_multi(7, 17, 8);
    is((cli('tail', '-g', '7$', "$dir/numbers"))[1], "7\n17\n", 'tail -g matches numbers');
    my ($status, undef, $err) = cli('tail', '-g', '(', $path);
    is($status, 2, 'tail -g exits with 2 if the regular expression is malformed');
    like($err, qr/\Apubsub-shared: --grep must be a regular expression of perl's: /, 'tail -g prints why');
    is((cli('tail', '-g', '(?{ die })', $path))[0], 2, 'tail -g refuses a regular expression that contains code');
};

subtest 'rings that are removed while tail follows them' => sub {
    my @gone = map { variant('Str')->class->new("$dir/gone$_", 8) } 1, 2;
    my $run  = cli_start('tail', '-f', '-n', '+0', map {"$dir/gone$_"} 1, 2);
    $_->publish('x') for @gone;
    my $out  = $run->{out};
    is_deeply([sort map { scalar readline $out } 1, 2], [map {"$dir/gone$_: x\n"} 1, 2], 'tail -f follows both rings');
    $gone[0]->unlink;
    like(scalar readline $out, qr/gone1: removed or replaced; nothing more will come/, 'tail -f reports the ring that was removed');
    $gone[1]->publish('y');
    is(scalar readline $out, "$dir/gone2: y\n", 'tail -f still follows the other ring');
    $gone[1]->unlink;
    my ($status, $rest) = cli_end($run);
    is($status, 1, 'tail -f exits with 1 when the last ring is removed');
    like($rest, qr/gone2: removed/, 'tail -f reports the last ring that was removed');
};

subtest 'ls' => sub {
    spew("$dir/text", 'no ring');
    my ($status, $out, $err) = cli('ls', $dir);
    is_deeply([$status, $err], [0, ''], 'ls of a directory exits with 0 and no errors');
    my ($line) = grep { / \Q$path{n}\E$/ } split /\n/, $out;
    like($line, qr/^Int +64 +\S+ KiB +0600 \S+ +\Q$path{n}\E$/, 'ls prints a line for a ring');
    unlike($out, qr/text/, 'ls leaves out a file that is not a ring');
    my $data = JSON::PP::decode_json((cli('ls', '--json', $path{a}))[1]);
    is_deeply([@{ $data->[0] }{qw(path variant capacity msg_size mode size)}], [$path{a}, 'Str', 64, 64, '0600', -s $path{a}],
        'ls --json describes a ring');
    is((cli('ls', "$dir/none"))[0], 1, 'ls of a missing path exits with 1');
    is((cli('ls'))[0], 0, 'ls without an argument exits with 0') if -d '/dev/shm';
};

subtest 'clear' => sub {
    my $sub = $ring{a}->subscribe;
    $ring{a}->publish('old');
    is_deeply([cli('clear', @path{qw(a n)})], [0, '', ''], 'clear of two rings exits with 0');
    is_deeply([$ring{a}->write_pos, $ring{n}->write_pos, $sub->poll], [0, 0, undef], 'both rings are empty after clear');
    $ring{a}->publish('new');
    is($sub->poll, 'new', 'a subscriber gets messages published after clear');
    my ($status, undef, $err) = cli('clear', "$dir/none", "$dir/text", $path{b});
    is($status, 1, 'clear exits with 1 if one of the paths is not a ring');
    is(() = $err =~ /^pubsub-shared: /mg, 2, 'clear reports each path that is not a ring');
    is($ring{b}->write_pos, 0, 'clear clears the other rings');
};

done_testing;
