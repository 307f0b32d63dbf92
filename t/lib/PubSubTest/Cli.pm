package PubSubTest::Cli;

# Runs the command pubsub-shared: in a forked child that has loaded it already, or as a program of its own.

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use POSIX ();

use Data::PubSub::Shared::CLI;
use PubSubTest;

our @EXPORT = qw(cli cli_as cli_start cli_end read_until $SCRIPT @COMMAND);

our $SCRIPT  = "$FindBin::Bin/../bin/pubsub-shared";
our @COMMAND = ($^X, map({"-I$_"} grep { !ref } @INC), $SCRIPT);

# Loaded now, because the user that cli_as switches to may not be allowed to read our files.
Data::PubSub::Shared::CLI::load($_) for qw(Stat Top Who Tail Pub Check Bench Ls);

# (exit status, output, errors); the exit status is negative for a signal. A first argument \$text is its input.
sub cli { return cli_as(undef, @_) }

# The same as another user, [uid, gid].
sub cli_as {
    my ($user, @arguments) = @_;
    my $input  = ref $arguments[0] ? ${ shift @arguments } : '';
    my $dir = fresh_dir();
    spew("$dir/in", $input);
    my %file = map { ($_ => spew("$dir/$_", '')) } qw(out err);
    my $pid  = fork // die "fork: $!";
    if (!$pid) {
        watchdog();
        open STDIN,  '<', "$dir/in" or die "in: $!";
        open STDOUT, '>', $file{out}   or die "out: $!";
        open STDERR, '>', $file{err}   or die "err: $!";
        if ($user) {
            # This user may not be able to read the sources; since 5.38, perl insists on looking there for modules that are
            # loaded already.
            my $modules = $INC{'Data/PubSub/Shared/CLI.pm'} =~ s/\.pm\z//r;
            for my $module (glob "\Q$modules\E/*.pm") { require($module =~ s{.*/(?=Data/PubSub/)}{}r) }
            become(@$user);
            @INC = grep { ref || -d } @INC;
        }
        local $0 = $SCRIPT;
        POSIX::_exit(Data::PubSub::Shared::CLI->run(@arguments));
    }
    waitpid $pid, 0;
    return ($? & 127 ? -($? & 127) : $? >> 8, slurp($file{out}), slurp($file{err}));
}

# Starts the program with pipes: { pid, in, out }. Its errors come by `out`, too.
sub cli_start {
    my (@command) = @_;
    @command = (@COMMAND, @command) if ($command[0] // '') ne 'script';
    pipe my $its_in, my $in   or die "pipe: $!";
    pipe my $out, my $its_out or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        watchdog();
        open STDIN,  '<&', $its_in  or die "in: $!";
        open STDOUT, '>&', $its_out or die "out: $!";
        open STDERR, '>&', $its_out or die "err: $!";
        close $in;
        close $out;
        exec @command or POSIX::_exit(127);
    }
    $in->autoflush(1);
    return { pid => $pid, in => $in, out => $out };
}

# Waits for the program: (exit status as above, output that has not been read yet).
sub cli_end {
    my ($run) = @_;
    my $rest = '';
    if ($run->{out}) { local $/; $rest = readline($run->{out}) // '' }
    waitpid $run->{pid}, 0;
    return ($? & 127 ? -($? & 127) : $? >> 8, $rest);
}

# Reads from the program until the pattern matches; returns all that was read.
sub read_until {
    my ($run, $pattern) = @_;
    my $seen = '';
    until ($seen =~ $pattern) {
        sysread $run->{out}, $seen, 4096, length $seen or last;
    }
    return $seen;
}

1;
