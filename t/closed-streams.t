# The commands with closed standard streams: they never read from or write to a file that gets one of these numbers.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use POSIX ();
use Test::More;

use PubSubTest;
use PubSubTest::Cli;

my $dir = fresh_dir();

# Runs a command with redirections: (exit status, output, errors).
sub shell {
    my ($redirections, @command) = @_;
    my %file = map { ($_ => spew("$dir/$_", '')) } qw(out err);
    my $all  = join ' ', ($redirections =~ /(?<!2)>&-/ ? () : ">$file{out}"), ($redirections =~ /2>&-/ ? () : "2>$file{err}"),
        ($redirections =~ /<&-/ ? () : '</dev/null'), $redirections;
    my $status = system 'sh', '-c', qq(exec "\$@" $all), 'sh', @command;
    return ($status & 127 ? -($status & 127) : $status >> 8, slurp($file{out}), slurp($file{err}));
}

sub fresh_ring {
    my $ring = variant('Str')->class->new(my $path = fresh_path(), 64, 100);
    $ring->publish_multi('one', 'two');
    return ($path, $ring);
}

my $no_input  = "pubsub-shared: standard input: Bad file descriptor\n";
my $no_output = "pubsub-shared: write: Bad file descriptor\n";

subtest 'pub' => sub {
    my ($path, $ring) = fresh_ring();
    is_deeply([shell('<&-', @COMMAND, 'pub', $path)], [1, '', $no_input], 'pub reports that standard input is closed');
    is((shell($_, @COMMAND, 'pub', $path))[0], 1, "pub exits with 1 with $_") for '<&- >&-', '<&- 2>&-', '<&- >&- 2>&-';
    is_deeply([$ring->subscribe_all->drain], ['one', 'two'], 'pub without standard input publishes nothing');
    is((shell($_, @COMMAND, 'pub', $path, 'x'))[0], 0, "pub of a value exits with 0 with $_") for '<&-', '>&-', '<&- >&- 2>&-';
    is_deeply([$ring->subscribe_all->drain], ['one', 'two', ('x') x 3], 'pub of values publishes them');
};

subtest 'errors without a standard error' => sub {
    my $ring = variant('Str')->class->new_memfd('no path', 64, 100);
    $ring->publish_multi('one', 'two');
    my $path = "/proc/$$/fd/" . $ring->memfd;
    # The error about standard input must not be written to the ring, which is open then.
    is((shell('<&- >&- 2>&-', @COMMAND, 'pub', $path))[0], 1, 'pub without any stream exits with 1');
    is((cli('check', $path))[0], 0, 'check of the ring exits with 0');
    is_deeply([$ring->subscribe_all->drain], ['one', 'two'], 'the messages of the ring are unchanged');
};

subtest 'commands without a standard output' => sub {
    for my $command (['tail'], [qw(stat -i 0)], [qw(top -1 -d 0.05)], ['check']) {
        my ($path) = fresh_ring();
        my $before = slurp($path);
        is_deeply([shell('>&-', @COMMAND, @$command, $path)], [1, '', $no_output],
            "$command->[0] reports that standard output is closed");
        is((shell('<&- >&-', @COMMAND, @$command, $path))[0], 1, "$command->[0] without input and output exits with 1");
        ok(slurp($path) eq $before, "$command->[0] does not change the file");
        is((shell($_, @COMMAND, @$command, $path))[0], 0, "$command->[0] exits with 0 with $_") for '<&-', '2>&-', '<&- 2>&-';
    }
    is_deeply([shell('>&-', @COMMAND, $_)], [1, '', $no_output],
        "$_ reports that standard output is closed") for qw(--help --man --version);
    is((shell('<&- 2>&-', @COMMAND, 'create', "$dir/made", qw(-t Int -c 8)))[0], 0, 'create needs no streams');
    is((shell('<&- 2>&-', @COMMAND, 'unlink', "$dir/made"))[0], 0, 'unlink needs no streams');
};

subtest 'examples' => sub {
    my %needs = ('logtail' => 'strict', 'loop-select' => 'strict', 'loop-ev' => 'EV', 'loop-anyevent' => 'AnyEvent',
        'loop-ioasync' => 'IO::Async::Loop');
    for my $name (sort keys %needs) {
        my $program = "$FindBin::Bin/../eg/$name.pl";
        SKIP: {
            skip "$name: the example is missing", 2 if !-e $program;
            skip "$name: $needs{$name} is not installed", 2 if !eval "require $needs{$name}; 1";
            my $path = fresh_path();
            my ($status, undef, $err) = shell('<&-', @COMMAND[0 .. $#COMMAND - 1], $program, '--ring', $path, '--publish');
            is_deeply([!!$status, $err =~ /\A(.*)/], [!!1, 'standard input is closed'],
                "$name reports that standard input is closed");
            ok(!-e $path, "$name publishes nothing");
        }
    }
};

done_testing;
