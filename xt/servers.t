# Starman and Hypnotoad with three workers each, and rings that the server opened before it forked them. Clients connect
# over loopback while workers are killed and the server is restarted by signal: each number that a client got an answer to
# is in the rings once, and no worker that is alive misses a message or has one that was not published.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";
use XT;
use PubSubTest;
use PubSubTest::Chat;
use Config;
use Digest::MD5 qw(md5_hex);
use File::Spec;
use IO::Socket::INET ();
use POSIX            ();
use Test::More;
use XT::Served;

use constant { WORKERS => 3, CLIENTS => 4, PR_SET_CHILD_SUBREAPER => 36 };

if (my $why = PubSubTest::Chat->unreachable) { plan skip_all => $why }

# Servers that daemonize become children of this process.
my $prctl = sysnum('prctl');
plan skip_all => 'daemons cannot be followed here' unless $prctl && syscall($prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0;

my %SERVER = (
    starman => {
        missing => sub { in_path('starman') ? undef : 'Starman is not installed' },
        app     => <<'END',
            use XT::Served;
            my $served = XT::Served->new($ENV{XT_RINGS});
            sub {
                my ($number) = $_[0]{QUERY_STRING} =~ /\Asay=(\d+)\z/;
                $_->[0] for $served->handles;    # one thread each, which a kill or a restart ends
                my $text = $served->answer($number);
                return [200, ['Content-Type' => 'text/plain', 'Content-Length' => length $text], [$text]];
            };
END
        command => sub {
            my ($self) = @_;
            return (in_path('starman'), '--preload-app', '--daemonize', '--workers', WORKERS, '--listen', "127.0.0.1:$self->{port}",
                '--pid', $self->{pid_file}, '--keepalive-timeout', 60, '--env', 'deployment', $self->{app});
        },
        signal  => 'HUP',
        # The server process stays, with new workers.
        renewed => sub { my ($self, $master) = @_; $self->master == $master },
    },
    hypnotoad => {
        missing => sub {
            eval { require Mojolicious; Mojolicious->VERSION('9.00'); 1 } or return 'Mojolicious 9 is not installed';
            return in_path('hypnotoad') ? undef : 'Hypnotoad is not installed';
        },
        app => <<'END',
            use Mojolicious::Lite -signatures;
            use Mojo::IOLoop;
            use XT::Served;
            my $served = XT::Served->new($ENV{XT_RINGS});
            # In each worker, the handles are in its loop, so messages arrive without a request.
            Mojo::IOLoop->next_tick(sub ($loop) {
                for ($served->handles) { my ($fh, $code) = @$_; $loop->reactor->io($fh => $code)->watch($fh, 1, 0) }
            });
            get '/' => sub ($c) { $c->render(text => $served->answer($c->param('say'))) };
            app->config(hypnotoad => {
                listen => [$ENV{XT_LISTEN}], workers => $ENV{XT_WORKERS}, clients => 1, pid_file => $ENV{XT_PID_FILE},
                keep_alive_timeout => 60, requests => 1_000_000, spare => 0,
            });
            app->log->level('fatal');
            app->start;
END
        command => sub { my ($self) = @_; return (in_path('hypnotoad'), $self->{app}) },
        signal  => 'USR2',
        # A new server process replaces the old one.
        renewed => sub { my ($self, $master) = @_; $self->master != $master && !running($master) },
    },
);

for my $kind (sort keys %SERVER) {
    subtest $kind => sub {
        if (my $why = $SERVER{$kind}{missing}->()) { plan skip_all => $why }
        storm(bless { %{ $SERVER{$kind} }, owner => $$ }, 'Server');
    };
}

done_testing;

sub storm {
    my ($server) = @_;
    my $dir   = $server->{dir} = fresh_dir();
    my %ring  = XT::Served::rings($dir);
    my %all   = map { $_ => $ring{$_}->subscribe } keys %ring;
    my $stop  = "$dir/stop";
    my @heard;    # all answers to this process

    $server->start;
    my @kids = map { my $id = $_; spawn(sub { client($server, $id, "$dir/client-$id", sub { -e $stop }) }) } 1 .. CLIENTS;
    my $look = sub { push @heard, my @answers = $server->survey; return map { $_->{pid} } @answers };

    is($look->(), WORKERS, 'all workers answer');
    for my $time (1 .. 3) {
        my ($victim) = ($server->workers)[random(WORKERS)];
        kill KILL => $victim;
        until_so(sub { my @now = $server->workers; @now == WORKERS && !grep { $_ == $victim } @now });
        is($look->(), WORKERS, "kill $time of a worker: all workers answer");
    }
    for my $time (1 .. 2) {
        my ($master, %old) = ($server->master, map { $_ => 1 } $server->workers);
        kill $server->{signal} => $master;
        until_so(sub { $server->{renewed}->($server, $master) });
        until_so(sub { my @now = $server->workers; @now == WORKERS && !grep { $old{$_} } @now });
        is($look->(), WORKERS, "restart $time: all workers answer, and all are new");
    }
    spew($stop, '');
    reap('the clients got correct answers and exit with 0', @kids);
    is($look->(), WORKERS, 'at the end all workers answer');
    my @last = splice @heard, -WORKERS;
    $server->stop;

    # All messages that were published, by their positions; a worker that was killed may have abandoned one.
    my %held = map { $_ => [by_position($all{$_})] } keys %all;
    is($all{$_}->overflow_count, 0, "$_: this process lost no message") for sort keys %all;
    is(scalar messages_from(0, $held{int}), scalar messages_from(0, $held{str}), 'both rings have the same number of messages')
        if !grep { /lost/ } map { slurp($_) } glob "$dir/client-*";
    my (%said, %maybe);
    for my $log (glob "$dir/client-*") {
        for (split /\n/, slurp($log)) {
            if    (/\Aanswered (\d+)\z/) { $said{$1}  = 1 }
            elsif (/\Alost (\d+)\z/)     { $maybe{$1} = 1 }
            else                         { push @heard, parse($_) }
        }
    }
    cmp_ok(keys %said, '>', 20, scalar(keys %said) . ' numbers, ' . keys(%maybe) . ' without an answer, ' . @heard . ' accounts');
    my %times;
    $times{int}{$_}++                    for messages_from(0, $held{int});
    $times{str}{ s/\Anumber //r }++      for messages_from(0, $held{str});
    for my $name (qw(int str)) {
        is_deeply([grep { ($times{$name}{$_} // 0) != 1 } keys %said], [],
            "$name: each number that was answered was published once");
        is_deeply([grep { !$said{$_} && !($maybe{$_} && $times{$name}{$_} == 1) } keys %{ $times{$name} }], [],
            "$name: no other number was published");
    }

    my @wrong = grep { !is_right($_, \%held) } @heard, @last;
    is_deeply(\@wrong, [], 'each report of a worker is correct: no message missed, none twice, in order');
    is_deeply([grep { $_->{count} != messages_from($_->{start}, $held{ $_->{ring} }) } map { @{ $_->{followers} } } @last], [],
        'at the end, each worker has all messages');
    return;
}

sub by_position {
    my ($sub) = @_;
    my @messages;
    while (defined(my $message = $sub->poll)) { $messages[$sub->position] = $message }
    return @messages;
}

# The messages from a position on; in scalar context, how many.
sub messages_from {
    my ($start, $messages) = @_;
    return grep {defined} @$messages[$start .. $#$messages];
}

# Whether each follower in a report has exactly the messages from its start on.
sub is_right {
    my ($report, $held) = @_;
    for my $f (@{ $report->{followers} }) {
        my @messages = messages_from($f->{start}, $held->{ $f->{ring} });
        return 0 if $f->{lost} || $f->{count} > @messages;
        return 0 if $f->{digest} ne md5_hex(map {"$_,"} @messages[0 .. $f->{count} - 1]);
    }
    return 1;
}

sub parse {
    my ($line) = @_;
    my ($pid, $end, @followers) = split ' ', $line;
    my @names = qw(ring start count digest lost cursor);
    @followers = map { my %f; @f{@names} = split /:/; \%f } @followers;
    my %end;
    @end{qw(int str)} = split /:/, $end;
    return { pid => $pid, end => \%end, followers => \@followers };
}

# Publishes numbers and asks for reports until it is stopped. A report includes all that was published before its request.
sub client {
    my ($server, $id, $log, $stopped) = @_;
    dies_with_parent();
    open my $out, '>', $log or die "$log: $!";
    my ($serial, %least) = (0, int => 0, str => 0);
    until ($stopped->()) {
        my $number = random(3) ? $id * 1_000_000 + $serial++ : undef;
        my $socket = $server->connect or next;
        my $line   = $server->ask($socket, $number);
        print {$out} "answered $number\n" if defined $number && defined $line;
        print {$out} "lost $number\n"         if defined $number && !defined $line;
        next if !defined $line;
        print {$out} "$line\n" if !random(8);
        my $answer = parse($line);
        for my $f (@{ $answer->{followers} }) {
            die "worker $answer->{pid} has missed $f->{ring} $least{ $f->{ring} }: $line\n"
                if $f->{cursor} < $least{ $f->{ring} };
        }
        %least = %{ $answer->{end} };
    }
    close $out or die "$log: $!";
    return;
}

sub in_path { my ($name) = @_; return (grep { -x } map {"$_/$name"} split /:/, $ENV{PATH})[0] }

sub until_so { my ($so) = @_; select undef, undef, undef, 0.01 until $so->(); return }

# Whether the process runs; zombies do not count.
sub running {
    my ($pid) = @_;
    1 while waitpid(-1, POSIX::WNOHANG()) > 0;
    return kill 0, $pid;
}

package Server;

use PubSubTest;

sub start {
    my ($self) = @_;
    my $dir = $self->{dir};
    my $free = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die "listen: $!";
    @$self{qw(port pid_file app)} = ($free->sockport, "$dir/pid", main::spew("$dir/app", $self->{app}));
    close $free;
    my @command = $self->{command}->($self);
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDIN,  '<',  '/dev/null'   or die;
        open STDOUT, '>>', "$dir/output" or die;
        open STDERR, '>&', \*STDOUT      or die;
        my $include = join ':', map { File::Spec->rel2abs($_) } grep { !ref } @INC;
        %ENV = (%ENV, PERL5LIB => $include, XT_RINGS => $dir, XT_LISTEN => "http://127.0.0.1:$self->{port}",
            XT_WORKERS => main::WORKERS, XT_PID_FILE => $self->{pid_file});
        delete @ENV{ grep {/\A(?:HYPNOTOAD|MOJO|PLACK)_/} keys %ENV };
        { no warnings 'exec'; exec {$^X} $^X, @command }
        POSIX::_exit(127);
    }
    $self->leash;
    main::until_so(sub { $self->master && $self->workers == main::WORKERS && $self->connect });
    return;
}

# A process that stops the server when this process ends, however it ends.
sub leash {
    my ($self) = @_;
    pipe my $end, my $leash or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        alarm 0;
        POSIX::setsid();
        close $leash;
        open STDOUT, '>',  '/dev/null' or die;
        open STDERR, '>&', \*STDOUT    or die;
        sysread $end, my $nothing, 1;
        kill TERM => $self->master if $self->master;
        POSIX::_exit(0);
    }
    $self->{leash} = $leash;
    return;
}

# The pid of the server; 0 if it has none now.
sub master {
    my ($self) = @_;
    main::running(0);
    open my $in, '<', $self->{pid_file} or return 0;
    my ($pid) = (<$in> // '') =~ /\A(\d+)/;
    return $pid && kill(0, $pid) ? $pid : 0;
}

# The pids of its children.
sub workers {
    my ($self) = @_;
    my $master = $self->master or return;
    return grep {
        my $stat = eval { main::slurp("/proc/$_/stat") } // '';
        $stat =~ /.*\) (\S) (\d+) /s && $1 ne 'Z' && $2 == $master;
    } grep {/\A\d+\z/} main::entries('/proc');
}

sub connect {
    my ($self) = @_;
    return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port});
}

# The answer, a line; undef if the worker was killed first. The connection stays open.
sub ask {
    my ($self, $socket, $number) = @_;
    local $SIG{PIPE} = 'IGNORE';
    my $path = defined $number ? "/?say=$number" : '/';
    print {$socket} "GET $path HTTP/1.1\r\nHost: 127.0.0.1:$self->{port}\r\n\r\n";
    $socket->flush or return undef;
    my $got = '';
    until ($got =~ /\r\n\r\n.*\n\z/s) { sysread $socket, $got, 65536, length $got or return undef }
    die "answer: $got\n" if $got !~ m{\AHTTP/1\.1 200 };
    return $got =~ s/.*\r\n\r\n(.*)\n\z/$1/sr;
}

# An answer of each current worker. A worker has one connection at a time, so open connections lead to all workers.
sub survey {
    my ($self) = @_;
    my (%answer, @kept);
    while (1) {
        my @workers = $self->workers;
        return @answer{@workers} if @workers == main::WORKERS && !grep { !$answer{$_} } @workers;
        my $socket = $self->connect or next;
        my $line   = $self->ask($socket) // next;
        my $parsed = main::parse($line);
        @kept = () if $answer{ $parsed->{pid} };    # the worker has closed its last connection
        push @kept, $socket;
        $answer{ $parsed->{pid} } = $parsed;
    }
}

sub stop {
    my ($self) = @_;
    my $master = $self->master or return;
    my @all = ($master, $self->workers);
    kill TERM => $master;
    main::until_so(sub { !grep { main::running($_) } @all });
    return;
}

sub DESTROY {
    my ($self) = @_;
    local $?;
    $self->stop if $self->{owner} == $$ && $self->{pid_file};
    return;
}
