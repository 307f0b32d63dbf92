#!/usr/bin/env perl
# Perl, Rust, C and Python programs publish to one ring and read from it, while processes of each are killed and stopped at
# random. Each published message is in the ring once and in the order of its publisher, except that a message may be missing
# or not if its publisher was killed while it published; all readers find the same message at each position, and account for
# all positions. In a lossless ring they get all messages.

use strict;
use warnings;

use Config;
use File::Copy qw(copy);
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use FindBin;
use IO::Select;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";

BEGIN { $ENV{PUBSUB_TEST_WATCHDOG} //= 1200 }
use PubSubTest;
use Test::More;
use XT::Build;

my $core = XT::Build->core or plan skip_all => 'the project is not built';
my $root = XT::Build->root;
my $tmp  = tempdir(CLEANUP => 1);
my $seed = $ENV{XT_SEED} // time ^ $$;
srand $seed;
note "XT_SEED=$seed";
my ($cargo, $target) = slurp("$root/Makefile") =~ /^CARGO = (.+)\nCARGO_TARGET = (.+)$/m;

sub run_there { return XT::Build::run($root, @_) }

# --- The programs: the command of each, or the reason why it is left out

sub perl_peer { return [$^X, "-Mblib=$root", "$root/xt/languages/peer.pl"] }

sub rust_peer {
    my $said = run_there($cargo, qw(build --quiet --offline --locked --target-dir target --example peer --target), $target);
    return $? ? $said : ["$root/target/$target/debug/examples/peer"];
}

sub c_peer {
    my @cc = ($Config{cc}, qw(-std=c99 -Wall -Wextra -Werror -D_GNU_SOURCE -Iinclude -o), "$tmp/peer", 'xt/languages/peer.c');
    my $said = run_there(@cc, $core, qw(-lpthread -ldl -lm));
    return $? ? $said : ["$tmp/peer"];
}

# Laid out like a wheel, but without pip.
sub python_peer {
    -d "$root/python" or return 'there is no python/ in this tree';
    run_there(qw(python3 -c), 'import sys; assert sys.version_info >= (3, 9)');
    return 'there is no Python 3.9 or later' if $?;
    my $said = run_there($cargo, qw(build --quiet --offline --locked --manifest-path python/Cargo.toml --target-dir target/python));
    return $said if $?;
    make_path("$tmp/python/pubsub_shared");
    copy($_, "$tmp/python/pubsub_shared") or die "$_: $!" for glob "$root/python/lib/pubsub_shared/*.py";
    copy("$root/target/python/debug/lib_core.so", "$tmp/python/pubsub_shared/_core.abi3.so") or die "lib_core.so: $!";
    return ['env', "PYTHONPATH=$tmp/python", 'python3', "$root/xt/languages/peer.py"];
}

my %peers = (perl => perl_peer(), rust => rust_peer(), c => c_peer(), python => python_peer());
for my $language (sort keys %peers) {
    next if ref $peers{$language};
    diag "without $language: " . ($peers{$language} =~ /(\S.*)/)[0];
    delete $peers{$language};
}
my @languages = sort keys %peers;
plan skip_all => "only @languages" if @languages < 2;

# --- The processes on one ring

my (%processes, $select);    # by handle: { pid, language, role, id, rest, lines }

sub start {
    my ($language, $role, @arguments) = @_;
    my $pid = open my $out, '-|' // die "fork: $!";
    if (!$pid) {
        exec @{ $peers{$language} }, $role, @arguments or die "$language: $!";
    }
    my $process = { pid => $pid, language => $language, role => $role, out => $out, rest => '', lines => [] };
    $processes{$out} = $process;
    $select->add($out);
    return $process;
}

# Reads the output of a process. False if it has ended.
sub take {
    my ($process) = @_;
    my $got = sysread $process->{out}, my $piece, 1024;
    defined $got or die "read: $!";
    my @lines = split /\n/, $process->{rest} . $piece, -1;
    $process->{rest} = pop @lines;
    push @{ $process->{lines} }, @lines;
    return $got if $got;
    $select->remove($process->{out});
    close $process->{out};
    $process->{status} = $?;
    delete $processes{ $process->{out} };
    return 0;
}

# Reads available output; waits for it for at most that many seconds.
sub take_some { my ($most) = @_; take($processes{$_}) for $select->can_read($most); return }

sub until_ready {
    my ($reader) = @_;
    take($reader) or die "$reader->{language} ended" while !@{ $reader->{lines} };
    return shift @{ $reader->{lines} };
}

# The storm on one ring. Returns { readers, publishers }.
sub storm {
    my ($kind, $path, %how) = @_;
    $select = IO::Select->new;
    my (@all, @readers, @published, $id);
    my $publisher = sub {
        my ($language) = @_;
        my $process = start($language, 'publish', $language eq 'perl' ? $kind : (), $path, ++$id, $how{each});
        $process->{id} = $id;
        push @published, $process;
        return;
    };
    my $reader = sub {
        my ($language) = @_;
        my $process = start($language, 'read', $language eq 'perl' ? $kind : (), $path);
        until_ready($process);
        return $process;
    };
    # One reader of each language lives until the end; another may be killed.
    push @readers, $reader->($_) for @languages;
    my @doomed = map { $reader->($_) } @languages;
    $publisher->($_) for @languages, @languages;

    my ($kills, $stopped) = (0);
    while (grep { $_->{role} eq 'publish' } values %processes) {
        # A stopped process may stop all others.
        take_some($stopped ? 0.02 : undef);
        next if rand() > 0.5;
        if ($stopped) {
            kill CONT => $stopped->{pid} if !exists $stopped->{status};
            undef $stopped;
        }
        last if $kills >= $how{kills};
        my @there = grep { $_->{role} eq 'publish' } values %processes;
        my $chosen = (@there, @doomed)[rand(@there + @doomed)];
        if (rand() < 0.3) {
            kill STOP => $chosen->{pid};
            $stopped = $chosen;
            next;
        }
        kill KILL => $chosen->{pid};
        $kills++;
        if ($chosen->{role} eq 'publish') {
            $publisher->($chosen->{language});
        } else {
            1 while take($chosen);
            @doomed = ((grep { $_ != $chosen } @doomed), $reader->($chosen->{language}));
        }
    }
    note "$kills killed";
    kill KILL => $_->{pid} for @doomed;
    kill CONT => $_->{pid} for values %processes;
    take_some() while grep { $_->{role} eq 'publish' } values %processes;
    # Readers that wait for space in their pipes continue when this process reads.
    my $ring = "Data::PubSub::Shared::$kind"->new($path, 0);
    take_some(0.02) until $ring->try_publish(-1);
    take_some() while %processes;
    return { readers => \@readers, publishers => \@published };
}

# --- Checks

# The message for a number.
sub text_of { my ($kind, $number) = @_; return $kind eq 'Str' ? "$number " . 'x' x ($number % 50) : $number }

sub check_storm {
    my ($kind, $ring, $result) = @_;
    my $stats = $ring->stats;
    my $end   = $stats->{write_pos} - 1;
    my (%at, @wrong);
    for my $reader (@{ $result->{readers} }) {
        my $language = $reader->{language};
        is($reader->{status}, 0, "$language: the reader exits with 0") or next;
        my ($next, $lost, $received, $gaps, $untold) = (0, 0, 0, 0, 0);
        my $account = pop @{ $reader->{lines} };
        for my $line (@{ $reader->{lines} }) {
            if ($line =~ /^L (\d+)$/) {
                $lost += $1;
                $untold += $1;
                next;
            }
            my ($position, $message) = $line =~ /^P (\d+) (.+)$/s or push(@wrong, "$language: $line"), next;
            push @wrong, "$language: $position after $next" if $position < $next + $untold;
            # Positions that were never filled need not be reported.
            $gaps += $position - $next - $untold;
            ($next, $untold) = ($position + 1, 0);
            $received++;
            my ($number) = $message =~ /^(\d+)/;
            push @wrong, "$language: '$message'" if !defined $number || $message ne text_of($kind, $number);
            push @wrong, "$language: $position holds $message and $at{$position}" if ($at{$position} //= $message) ne $message;
        }
        $gaps += $end - $next - $untold if $untold || $next < $end;
        is($account, "A $received $lost", "$language: the counts of the reader agree with its output");
        cmp_ok($gaps, '<=', $stats->{abandoned}, "$language: other positions were abandoned, $stats->{abandoned} in all");
    }
    is_deeply([@wrong ? @wrong[0 .. ($#wrong < 9 ? $#wrong : 9)] : ()], [],
        'messages are whole, in order, and the same for all readers');

    my %numbers;
    for my $position (sort { $a <=> $b } keys %at) {
        my ($number) = $at{$position} =~ /^(\d+)/;
        push @{ $numbers{ $number >> 32 } }, $number & 0xffff_ffff;
    }
    return (\%numbers, $stats);
}

# For rings that are never lapped: all messages are there.
sub complete {
    my ($numbers, $stats, $result) = @_;
    my ($all, @wrong) = (0);
    for my $publisher (@{ $result->{publishers} }) {
        my $id    = $publisher->{id};
        my @found = @{ $numbers->{$id} || [] };
        my $told  = @{ $publisher->{lines} };
        push @wrong, "$publisher->{language} $id: " . @found . " of $told" if @found != $told && @found != $told + 1;
        push @wrong, "$publisher->{language} $id: out of order" if grep { $found[$_] != $_ } 0 .. $#found;
        $all += @found;
    }
    is_deeply(\@wrong, [], 'each published message is there once and in order');
    is($stats->{publish_ok}, $all + 1, 'no other message is there');
    return;
}

# For rings that are lapped: the messages of each publisher are in order.
sub in_order {
    my ($numbers) = @_;
    my @wrong = grep { my $list = $numbers->{$_}; grep { $list->[$_] <= $list->[$_ - 1] } 1 .. $#$list } keys %$numbers;
    is_deeply(\@wrong, [], 'the messages of each publisher are in order');
    return;
}

my $short = $ENV{XT_QUICK} || !$ENV{XT_SECONDS};
my %how   = (each => $short ? 500 : 2000, kills => $short ? 20 : 200);

for my $kind (qw(Int Str)) {
    my $ring = sub {
        my ($path, $capacity, @options) = @_;
        return "Data::PubSub::Shared::$kind"->new($path, $capacity, ($kind eq 'Str' ? 100 : ()), @options);
    };
    # Nothing is lost: all messages are there.
    my $whole = sub {
        my ($path, $new) = @_;
        my $result = storm($kind, $path, %how);
        my @ends   = map { $_->{lines}[-1] } @{ $result->{readers} };
        my ($numbers, $stats) = check_storm($kind, $new, $result);
        complete($numbers, $stats, $result);
        is_deeply([grep { !/ 0$/ } @ends], [], 'no reader lost a message');
    };
    subtest "$kind: @languages, a large ring" => sub {
        my $path = fresh_path();
        $whole->($path, $ring->($path, 1 << 17));
    };
    subtest "$kind: @languages, a small lossless ring" => sub {
        my $path = fresh_path();
        $whole->($path, $ring->($path, 64, lossless => 1));
    };
    subtest "$kind: @languages, a small ring" => sub {
        my $path = fresh_path();
        my $new  = $ring->($path, 64);
        my ($numbers) = check_storm($kind, $new, storm($kind, $path, %how));
        in_order($numbers);
    };
}

done_testing;
