# The commands where the caller has closed standard streams: nothing is read from or written to what has their numbers then.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use POSIX ();
use Test::More;

use PubSubTest;
use PubSubTest::Cli;

my $folder = fresh_dir();

# Runs a command with redirections: (exit status, output, errors).
sub shell {
    my ($redirections, @command) = @_;
    my %file = map { ($_ => spew("$folder/$_", '')) } qw(out err);
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
    is_deeply([shell('<&-', @COMMAND, 'pub', $path)], [1, '', $no_input], 'says that there is no standard input');
    is((shell($_, @COMMAND, 'pub', $path))[0], 1, "the same with $_") for '<&- >&-', '<&- 2>&-', '<&- >&- 2>&-';
    is_deeply([$ring->subscribe_all->drain], ['one', 'two'], 'nothing was published');
    is((shell($_, @COMMAND, 'pub', $path, 'x'))[0], 0, "values need no stream: $_") for '<&-', '>&-', '<&- >&- 2>&-';
    is_deeply([$ring->subscribe_all->drain], ['one', 'two', ('x') x 3], 'are published');
};

subtest 'complaints' => sub {
    my $ring = variant('Str')->class->new_memfd('no path', 64, 100);
    $ring->publish_multi('one', 'two');
    my $path = "/proc/$$/fd/" . $ring->memfd;
    # Of a missing standard input, with the ring open: they would go into its header.
    is((shell('<&- >&- 2>&-', @COMMAND, 'pub', $path))[0], 1, 'no stream at all');
    is((cli('check', $path))[0], 0, 'the ring is sound');
    is_deeply([$ring->subscribe_all->drain], ['one', 'two'], 'and has its messages');
};

subtest 'output' => sub {
    for my $command (['tail'], [qw(stat -i 0)], [qw(top -1 -d 0.05)], ['check']) {
        my ($path) = fresh_ring();
        my $before = slurp($path);
        is_deeply([shell('>&-', @COMMAND, @$command, $path)], [1, '', $no_output], "$command->[0] says that there is no output");
        is((shell('<&- >&-', @COMMAND, @$command, $path))[0], 1, 'nor input');
        ok(slurp($path) eq $before, 'the file is as it was');
        is((shell($_, @COMMAND, @$command, $path))[0], 0, "$command->[0] $_") for '<&-', '2>&-', '<&- 2>&-';
    }
    is_deeply([shell('>&-', @COMMAND, $_)], [1, '', $no_output], $_) for qw(--help --man --version);
    is((shell('<&- 2>&-', @COMMAND, 'create', "$folder/made", qw(-t Int -c 8)))[0], 0, 'create');
    is((shell('<&- 2>&-', @COMMAND, 'unlink', "$folder/made"))[0], 0, 'unlink');
};

subtest 'examples' => sub {
    my %needs = ('logtail' => 'strict', 'loop-select' => 'strict', 'loop-ev' => 'EV', 'loop-anyevent' => 'AnyEvent',
        'loop-ioasync' => 'IO::Async::Loop');
    for my $name (sort keys %needs) {
        my $program = "$FindBin::Bin/../eg/$name.pl";
        SKIP: {
            skip "$name: not here", 2 if !-e $program;
            skip "$name: $needs{$name} is not here", 2 if !eval "require $needs{$name}; 1";
            my $path = fresh_path();
            my ($status, undef, $err) = shell('<&-', @COMMAND[0 .. $#COMMAND - 1], $program, '--ring', $path, '--publish');
            is_deeply([!!$status, $err =~ /\A(.*)/], [!!1, 'standard input is closed'], "$name says so");
            ok(!-e $path, 'and publishes nothing');
        }
    }
};

done_testing;
