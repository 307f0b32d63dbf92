package Data::PubSub::Shared::CLI::Bench;

# Private to the command pubsub-shared: `bench` measures and checks rings on this host.
#
# All rings are anonymous, so nothing is left behind. bench/ in the distribution measures more carefully.

use 5.022;
use strict;
use warnings;

use List::Util qw(max min);
use POSIX ();
use Time::HiRes qw(clock_gettime sleep CLOCK_MONOTONIC);

use Data::PubSub::Shared;
use Data::PubSub::Shared::CLI qw(options usage emit flush json);
use Data::PubSub::Shared::CLI::Children;
use Data::PubSub::Shared::CLI::Sample;

# Slots; and the message of string rings, completed by a number.
use constant { CAPACITY => 65536, TEXT => 'a message of thirty bytes ' };

# Seconds for one test: 15 of them.
use constant { LONG => 4.5, QUICK => 0.3 };

sub run {
    my (@arguments) = @_;
    my %opt;
    options(\@arguments, \%opt, 'quick|q', 'json|j');
    usage("unexpected argument '$arguments[0]'") if @arguments;

    my $seconds = $opt{quick} ? QUICK : LONG;
    my %host = host();
    my (@results, $bad);
    my $tell = sub {
        my (%result) = @_;
        $bad++ if defined $result{problem};
        push @results, \%result;
        return if $opt{json};
        emit(sprintf "%-8s%-36s%s\n", $result{problem} ? 'FAILED' : 'ok', @result{qw(test says)});
        emit("        $result{problem}\n") if $result{problem};
        flush();
    };
    if (!$opt{json}) {
        emit("Data::PubSub::Shared $host{version}, perl $host{perl}, Linux $host{kernel}\n"
            . "$host{model}, $host{cpus} CPUs, load $host{load}\n\n");
        flush();
    }
    my $lived = eval { tests($seconds, $tell); 1 };
    my $error = $@;
    Data::PubSub::Shared::CLI::Children::kill_all();
    die $error if !$lived;
    delete $_->{says} for @results;
    emit(json({ host => \%host, tests => \@results }, 1)) if $opt{json};
    emit($bad ? "\n$bad tests failed\n" : "\nall tests passed\n")    if !$opt{json};
    return $bad ? 1 : 0;
}

sub tests {
    my ($seconds, $tell) = @_;
    my @variants = qw(Int Int32 Int16 Str Num);
    $tell->(alone($_, $seconds))         for @variants;
    $tell->(batches($_, $seconds))       for @variants;
    $tell->(stream($_, 1, $seconds))     for qw(Int Str);
    $tell->(stream('Int', 4, $seconds));
    $tell->(wake_up($seconds));
    $tell->(deaths($seconds));
    return;
}

sub host {
    my (undef, undef, $kernel) = POSIX::uname();
    my $cpus  = read_all('/proc/cpuinfo');
    my ($model) = $cpus =~ /^model name\s*:\s*(.*)$/m;
    my ($load)  = read_all('/proc/loadavg') =~ /\A(\S+)/;
    return (
        version    => Data::PubSub::Shared->VERSION,
        perl       => sprintf('%vd', $^V),
        kernel     => $kernel,
        model      => $model // 'unknown CPU',
        cpus       => scalar(() = $cpus =~ /^processor\s*:/mg),
        load       => 0 + ($load // 0),
    );
}

sub read_all {
    my ($path) = @_;
    open my $in, '<', $path or return '';
    local $/;
    return <$in> // '';
}

# --- The tests: each returns its result

sub now { return clock_gettime(CLOCK_MONOTONIC) }

sub per_second { return Data::PubSub::Shared::CLI::Sample::short($_[0]) . '/s' }

sub new_ring {
    my ($variant, $capacity) = @_;
    return "Data::PubSub::Shared::$variant"->new(undef, $capacity // CAPACITY);
}

# Message number $n, and the number of a message.
sub message { return $_[0] eq 'Str' ? TEXT . $_[1] : $_[1] }
sub number  { return $_[0] =~ /(-?\d+)\z/ ? $1 : 'none' }

# One process, one message at a time.
sub alone {
    my ($variant, $seconds) = @_;
    my $ring  = new_ring($variant, 1024);
    my $sub   = $ring->subscribe;
    my @sent  = map { message($variant, $_) } 1 .. 1000;
    my ($rounds, $wrong, $begin) = (0, 0, now());
    while ((my $spent = now() - $begin) < $seconds) {
        for my $message (@sent) {
            $ring->publish($message);
            $sub->poll eq $message or $wrong++;
        }
        $rounds++;
    }
    my $rate = $rounds * @sent / (now() - $begin);
    return (
        test => "$variant: publish and poll",
        rate => $rate,
        says => per_second($rate),
        problem => $wrong ? "$wrong messages came out different" : undef,
    );
}

# One process, a hundred messages at a time.
sub batches {
    my ($variant, $seconds) = @_;
    my $ring = new_ring($variant, 1024);
    my $sub  = $ring->subscribe;
    my @sent = map { message($variant, $_) } 1 .. 100;
    my ($rounds, $wrong, $begin) = (0, 0, now());
    while (now() - $begin < $seconds) {
        for (1 .. 100) {
            $ring->publish_multi(@sent);
            my @got = $sub->drain;
            @got == @sent && $got[-1] eq $sent[-1] or $wrong++;
        }
        $rounds += 100;
    }
    my $rate = $rounds * @sent / (now() - $begin);
    return (
        test => "$variant: batches of 100",
        rate => $rate,
        says => per_second($rate),
        problem => $wrong ? "$wrong batches came out different" : undef,
    );
}

# One process publishes as fast as it can, others read. Checks that their messages are in order, and that missing messages are
# counted.
sub stream {
    my ($variant, $readers, $seconds) = @_;
    my $ring = new_ring($variant);
    my @kids = map {
        my $sub = $ring->subscribe;
        Data::PubSub::Shared::CLI::Children->start(sub { read_stream($sub) });
    } 1 .. $readers;
    my ($sent, $begin) = (0, now());
    while (now() - $begin < $seconds) {
        $ring->publish(message($variant, ++$sent)) for 1 .. 1000;
    }
    my $rate = $sent / (now() - $begin);
    $ring->publish(message($variant, -1));

    my (@got, $problem);
    for my $kid (@kids) {
        my ($got, $lost, $disorder) = split ' ', $kid->result // '';
        $problem //= !defined $disorder      ? 'a reader failed'
            : $disorder                      ? "$disorder messages were out of order"
            : $got + $lost != $sent + 1      ? "$sent were sent, $got received, $lost counted as lost"
            :                                  undef;
        push @got, $got // 0;
    }
    my $part = 100 * min(@got) / ($sent + 1);
    my $says = $readers == 1 ? 'and received' : 'and each received';
    return (
        test => "$variant: one publisher, " . ($readers == 1 ? 'one reader' : "$readers readers"),
        rate => $rate,
        received_percent => $part,
        says => sprintf('%s, %s %.1f %%', per_second($rate), $says, $part),
        problem => $problem,
    );
}

# Until the message -1: "received lost disorder".
sub read_stream {
    my ($sub) = @_;
    my ($got, $disorder, $before) = (0, 0, 0);
    while ($before != -1) {
        for my $message ($sub->poll_wait_multi(1000, 1)) {
            my $number = number($message);
            $disorder++ if $number <= $before && $number != -1;
            $before = $number;
            $got++;
        }
        Data::PubSub::Shared::CLI::Children::leave_if_orphaned();
    }
    return "$got @{[ $sub->overflow_count ]} $disorder";
}

# The time from a publish to the wake-up of a sleeping reader.
sub wake_up {
    my ($seconds) = @_;
    my $ring = new_ring('Int');
    my $sub  = $ring->subscribe;
    my $kid  = Data::PubSub::Shared::CLI::Children->start(sub {
        my @took;
        while (1) {
            my $sent = $sub->poll_wait(1);
            my $now  = int(now() * 1e9);
            Data::PubSub::Shared::CLI::Children::leave_if_orphaned() if !defined $sent;
            last                      if defined $sent && $sent < 0;
            push @took, $now - $sent if defined $sent;
        }
        @took = sort { $a <=> $b } @took;
        return join ' ', scalar @took, map { $took[$_ * $#took] } 0.5, 0.99;
    });
    my ($sent, $begin) = (0, now());
    while (now() - $begin < $seconds) {
        sleep 0.005;
        $ring->publish(int(now() * 1e9));
        $sent++;
    }
    $ring->publish(-1);
    my ($got, $median, $most) = split ' ', $kid->result // '';
    my $test = 'Int: waking a reader that sleeps';
    return (test => $test, says => '-', problem => 'the reader failed') if !defined $most;
    return (
        test      => $test,
        median_us => $median / 1000,
        p99_us    => $most / 1000,
        says      => sprintf('median %.0f us, 99 of 100 below %.0f us', $median / 1000, $most / 1000),
        problem   => $got == $sent ? undef : "$sent were sent, $got received",
    );
}

# Publishers are killed while they publish; others continue.
sub deaths {
    my ($seconds) = @_;
    my $ring = new_ring('Str', 1024);
    my $sub  = $ring->subscribe;
    my ($deaths, $longest, $missing, $begin) = (0, 0, 0, now());
    while ($deaths < 3 || now() - $begin < $seconds) {
        my $kid = Data::PubSub::Shared::CLI::Children->start(sub {
            while (1) {
                $ring->publish_multi((TEXT . 0) x 500);
                Data::PubSub::Shared::CLI::Children::leave_if_orphaned();
            }
        });
        # It has begun; kill it at a random moment.
        $sub->poll_wait(10) // $missing++;
        sleep rand 0.005;
        $kid->kill;
        my $start = now();
        $ring->publish(TEXT . ++$deaths);
        # After the claims of the killed publisher, which are abandoned after 2 ms.
        my $message = '';
        while (defined $message && number($message) ne $deaths) { $message = $sub->poll_wait(10) }
        $longest = max($longest, now() - $start);
        $missing++ if !defined $message;
    }
    my $taken = $ring->stats->{recoveries};
    return (
        test       => 'Str: publishers that are killed',
        deaths     => $deaths,
        recoveries => $taken,
        longest_ms => $longest * 1000,
        says       => sprintf('%d, %d with a spare block; next message in %.1f ms', $deaths, $taken, $longest * 1000),
        problem    => $missing ? "$missing messages did not arrive" : undef,
    );
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::Bench - private to the command pubsub-shared

=cut
