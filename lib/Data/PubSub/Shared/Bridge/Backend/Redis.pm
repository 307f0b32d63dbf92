package Data::PubSub::Shared::Bridge::Backend::Redis;

# The backend behind a bridge: Redis Streams. The POD of Data::PubSub::Shared::Bridge, "BACKENDS", says what each method
# must do; nothing outside of this file knows Redis.
#
# Beside the stream NAME stands a hash {NAME}:origins. It has, for each origin, the epoch, the last sequence number in the
# stream, and where its ring was read up to. One script appends a batch and writes this, so that both are always true of
# each other, a batch that comes twice is appended once, and what a former process left on its way comes to nothing.

use 5.022;
use strict;
use warnings;

use Digest::SHA qw(sha1_hex);
use Errno qw(ENOENT ECONNREFUSED EACCES);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

# Seconds, between two looks at the clock while an answer is awaited.
use constant SLICE => 0.05;

use Data::PubSub::Shared::CLI::Text qw(without_place);

my %SCRIPT;

# KEYS: stream, origins. ARGV: origin, epoch, first sequence number, position, entries to keep, the last number that the
# sender knows to be acknowledged; then for each run of entries that are alike their kind, how many numbers each takes, how
# many they are, and their payloads.
# A server may refuse one batch and take the next one of the same connection. Had it taken a batch beyond that hole, the
# refused one would be below the last number when it comes again, and be taken for appended. So the first number must
# follow the last one; or the last that was acknowledged, which is greater where the server has lost what it had.
# This is most of what a message costs the server: the format %d is several times as quick as %.0f where a C long can
# hold the number, and what is used for each entry is local.
$SCRIPT{append} = <<'LUA';
local epoch, last = 0, 0
local known = redis.pcall('HGET', KEYS[2], ARGV[1])
if known and known['err'] then
  return redis.error_reply('ORIGINS ' .. known['err'])
end
if known then
  local e, s = string.match(known, '^(%d+) (%d+)')
  epoch, last = tonumber(e), tonumber(s)
end
local mine, sequence = tonumber(ARGV[2]), tonumber(ARGV[3])
if mine < epoch then
  return redis.error_reply('FENCED by epoch ' .. epoch)
end
if sequence > math.max(last, tonumber(ARGV[6])) + 1 then
  return redis.error_reply('HOLE before message ' .. ARGV[3] .. ': an earlier batch was refused')
end
local producer = ARGV[1] .. '#' .. ARGV[2]
local call, format, stream, argument = redis.call, string.format, KEYS[1], ARGV
local whole = format('%d', 2 ^ 53) == '9007199254740992' and '%d' or '%.0f'
local run, ending = 7, #ARGV
while run < ending do
  local kind, takes, past = argument[run], tonumber(argument[run + 1]), run + 3 + tonumber(argument[run + 2])
  for entry = run + 3, past - 1 do
    if sequence > last then
      if entry == ending then
        call('XADD', stream, 'MAXLEN', '~', argument[5], '*',
          'o', producer, 's', format(whole, sequence), kind, argument[entry])
      else
        call('XADD', stream, '*', 'o', producer, 's', format(whole, sequence), kind, argument[entry])
      end
    end
    sequence = sequence + takes
  end
  run = past
end
if sequence - 1 > last then
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2] .. ' ' .. string.format('%.0f', sequence - 1) .. ' ' .. ARGV[4])
end
return 1
LUA

# KEYS: origins. ARGV: origin, the least epoch, and what is true if the backend has forgotten: sequence number, position.
$SCRIPT{begin} = <<'LUA';
local epoch, last, position = 0, ARGV[3], ARGV[4]
local known = redis.pcall('HGET', KEYS[1], ARGV[1])
if known and known['err'] then
  return redis.error_reply('ORIGINS ' .. known['err'])
end
if known then
  local e, s, p = string.match(known, '^(%d+) (%d+) (.*)$')
  epoch, last, position = tonumber(e), s, p
end
epoch = math.max(epoch, tonumber(ARGV[2])) + 1
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', epoch) .. ' ' .. last .. ' ' .. position)
return { string.format('%.0f', epoch), last, position, known and '1' or '0' }
LUA

# KEYS: stream, origins.
$SCRIPT{ends} = <<'LUA';
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local origins = redis.pcall('HGETALL', KEYS[2])
if origins['err'] then
  return redis.error_reply('ORIGINS ' .. origins['err'])
end
return { first[1] and first[1][1] or '', last[1] and last[1][1] or '', origins }
LUA

my %SHA = map { $_ => sha1_hex($SCRIPT{$_}) } keys %SCRIPT;

# server: HOST:PORT, [IPV6]:PORT, or the path of a socket; stream: its name; timeout: in seconds, for each answer; waiting:
# code to be called again and again, with the seconds since an answer is awaited. From credentials: username, password, tls,
# ca_file, cert_file, key_file.
sub new {
    my ($class, %given) = @_;
    # One slot of a cluster for both keys.
    my $origins = $given{stream} =~ /\{.+\}/ ? "$given{stream}:origins" : "{$given{stream}}:origins";
    my $self = bless { timeout => 10, waiting => sub { }, %given, keys => [$given{stream}, $origins] }, $class;
    my $library = $self->_library;
    # An older Redis takes `ssl` for nothing, and would send the password in clear.
    eval { require $library =~ s{::}{/}gr . '.pm'; $library->VERSION('1.999') if $self->{tls}; 1 }
        or die 'the Perl module ', $self->{tls} ? 'Redis, 1.999 or later,' : $library, ' is needed and cannot be loaded (Debian: ',
        $self->{tls} ? 'libredis-perl, libio-socket-ssl-perl' : 'libredis-fast-perl', ")\n";
    return $self;
}

# The fast one cannot do TLS.
sub _library { return $_[0]{tls} ? 'Redis' : 'Redis::Fast' }

sub connect {
    my ($self) = @_;
    $self->close;
    my %with = (
        reconnect => 0, encoding => undef,
        map { $_ => $self->{timeout} } qw(cnx_timeout read_timeout write_timeout),
    );
    $with{ $self->_is_socket ? 'sock' : 'server' } = $self->{server};
    $self->_prepare_tls(\%with) if $self->{tls};
    @$self{qw(unanswered answers)} = (0, 0);
    $self->{connection}++;
    $self->_plainly(sub {
        my $begun = clock_gettime(CLOCK_MONOTONIC);
        $self->{redis} = eval { $self->_library->new(%with) }
            // die $self->_why_not(_plain($@), clock_gettime(CLOCK_MONOTONIC) - $begun), "\n";
        my @who = grep { defined } @$self{qw(username password)};
        eval {
            $self->_ask(auth => @who) if defined $self->{password};
            $self->_ask(script_load => $SCRIPT{$_}) for sort keys %SCRIPT;
            1;
        } or die $self->_why_no_answer(_plain($@)), "\n";
    });
    $self->{ready} = 1;
    return;
}

sub _is_socket { return $_[0]{server} =~ m{\A/} }

# Why there is no connection. The libraries say the same for all causes, so this looks again.
sub _why_not {
    my ($self, $error, $seconds) = @_;
    my $server = $self->{server};
    return "no connection to $server within $self->{timeout} s (--timeout)" . ($self->{tls} ? '; does it expect TLS at this port?' : '')
        if $seconds > 0.9 * $self->{timeout};
    if ($self->_is_socket) {
        require IO::Socket::UNIX;
        return $error if IO::Socket::UNIX->new(Peer => $server);
        return "no server at socket $server: $!";
    }
    my ($host, $port) = $server =~ /\A\[?(.*?)\]?:([0-9]+)\z/ or return $error;
    require IO::Socket::IP;
    my ($failed) = Socket::getaddrinfo($host, $port, { socktype => Socket::SOCK_STREAM() });
    return "cannot find the address of '$host': $failed; see --server" if $failed;
    my $socket = IO::Socket::IP->new(PeerHost => $host, PeerPort => $port, Timeout => $self->{timeout});
    return "cannot connect to $server: " . ($! || $@) . ($! == ECONNREFUSED ? '; no server listens there' : '') if !$socket;
    return $error if !$self->{tls};
    my $cause = $self->_tls_error || " $error";
    return "cannot begin TLS with $server:$cause" . ($cause =~ /verify failed/ ? '; see ca-file in the credentials'
        : '; does it expect TLS at this port?');
}

# Why the first order, which is also the first look at who we are, came to nothing.
sub _why_no_answer {
    my ($self, $error) = @_;
    return "$error; give username and password in the credentials"  if $error =~ /\ANOAUTH/;
    return "$error; see username and password in the credentials" if $error =~ /\AWRONGPASS|invalid password|without any password/;
    return "$error; see the server's rules for this user (ACL)"      if $error =~ /\ANOPERM/;
    return "$self->{server} gave no Redis answer ($error); if it expects TLS, say tls = yes in the credentials"
        if !$self->{tls} && !$self->_is_socket && $error !~ /\A[A-Z]+ / && $error !~ /\Ano answer/;
    return $error;
}

# Redis.pm does not say what was wrong.
sub _tls_error {
    my ($self) = @_;
    no warnings 'once';
    return $self->{tls} && $IO::Socket::SSL::SSL_ERROR ? " $IO::Socket::SSL::SSL_ERROR" : '';
}

sub _prepare_tls {
    my ($self, $with) = @_;
    require IO::Socket::SSL;
    my %ours = (ca_file => 'SSL_ca_file', cert_file => 'SSL_cert_file', key_file => 'SSL_key_file');
    my %set  = map { $ours{$_} => $self->{$_} } grep { defined $self->{$_} } keys %ours;
    IO::Socket::SSL::set_defaults(%set) if %set;
    @$with{qw(ssl SSL_verify_mode)} = (1, IO::Socket::SSL::SSL_VERIFY_PEER());
    return;
}

sub close {
    my ($self) = @_;
    # Without a farewell: what is unanswered stays so.
    delete @$self{qw(redis ready ahead)};
    return;
}

sub is_connected { return defined $_[0]{ready} }

# --- Orders and answers. All orders have a callback; answers come in the order of the orders.

sub _send {
    my ($self, $command, @arguments) = @_;
    my $done = pop @arguments;
    my $redis = $self->{redis} // die "not connected\n";
    my $connection = $self->{connection};
    $redis->$command(@arguments, sub {
        # A connection that was closed calls nobody any more.
        return if !$self->{redis} || $self->{connection} != $connection;
        $self->{answers}++;
        $done->(@_);
    });
    return;
}

# Sends off what there is, and takes the answers that are there.
sub _receive {
    my ($self) = @_;
    my $redis = $self->{redis} // die "not connected\n";
    return $redis->wait_for_messages(0) if !$self->{tls};
    # This one has sent everything, and would wait for an answer.
    $redis->wait_one_response while @{ $redis->{queue} } && (length $redis->{__buf} || $redis->{sock}->pending || $self->_ready(0));
    return;
}

# Whether there is something to be read, or room for what could not be sent, within so many seconds.
sub _ready {
    my ($self, $seconds) = @_;
    my $bits = '';
    vec($bits, $self->{tls} ? fileno $self->{redis}{sock} : $self->{redis}->__sock, 1) = 1;
    # What is not sent yet waits for room, of which there is none just after _receive.
    my $writing = !$self->{tls} && !select(undef, my $probe = $bits, undef, 0) ? $bits : undef;
    return select($bits, $writing, undef, $seconds) > 0;
}

# Until $done->(). The caller looks at its clock meanwhile. Dies where no answer has come for longer than the timeout.
sub _wait_until {
    my ($self, $done) = @_;
    my ($seen, $since, $waited) = (-1, 0, 0);
    while (1) {
        $self->_receive;
        last if $done->();
        my $now = clock_gettime(CLOCK_MONOTONIC);
        ($seen, $since) = ($self->{answers}, $now) if $self->{answers} != $seen;
        $waited = $now - $since;
        die "no answer from $self->{server} within $self->{timeout} s (--timeout)\n" if $waited >= $self->{timeout};
        $self->{waiting}->($waited);
        $self->_ready(SLICE);
    }
    $self->{waiting}->(0) if $waited;
    return;
}

# The answer to one order; dies with the error.
sub _ask {
    my ($self, $command, @arguments) = @_;
    my ($done, $answer, $error);
    $self->_send($command => @arguments, sub { ($answer, $error, $done) = (@_[0, 1], 1) });
    $self->_wait_until(sub { $done });
    die _plain($error) . "\n" if defined $error;
    return $answer;
}

sub check {
    my ($self) = @_;
    # The server may refuse this; that is an answer, too.
    my $done;
    $self->_plainly(sub {
        $self->_send(hget => $self->{keys}[1], '', sub { $done = 1 });
        $self->_wait_until(sub { $done });
    });
    return;
}

# Runs code; an error loses its stack trace, and with it the connection, since answers may be missing.
sub _plainly {
    my ($self, $code) = @_;
    my @result;
    my $lived = eval { @result = $code->(); 1 };
    return @result if $lived;
    my $error = $@;
    die $error if ref $error;
    $self->close;
    die _plain($error) . "\n";
}

sub _plain {
    my ($error) = @_;
    my ($line) = split /\n/, $error;
    return 'the server closed the connection' if $line =~ /\ANot connected to any server/;
    return without_place($line =~ s/\A\[\w+\] //r);
}

sub hopeless {
    my ($self, $error) = @_;
    return "fenced: a newer instance of this bridge has taken over stream '$self->{stream}'" if $error =~ /\AFENCED/;
    # Servers before version 7 put what a script met behind words of their own.
    return if $error !~ /\bWRONGTYPE\b/;
    return "key '$self->{keys}[1]' exists but is not a hash" if $error =~ /\AORIGINS/;
    return "key '$self->{stream}' exists but is not a stream";
}

sub begin {
    my ($self, $origin, $epoch, $sequence, $position) = @_;
    my ($answer) = $self->_plainly(sub {
        $self->_ask(evalsha => $SHA{begin}, 1, $self->{keys}[1], $origin, $epoch, $sequence, $position);
    });
    return (@$answer[0 .. 2], $answer->[3] eq '1');
}

sub append {
    my ($self, %batch) = @_;
    my $done = $batch{done};
    $self->{unanswered}++;
    $self->_plainly(sub {
        $self->_send(
            evalsha => $SHA{append}, 2, @{ $self->{keys} }, @batch{qw(origin epoch sequence position maxlen acknowledged)},
            (map { my ($kind, $takes, $payloads) = @$_; ($kind, $takes, scalar @$payloads, @$payloads) } @{ $batch{content} }),
            sub {
                my (undef, $error) = @_;
                $self->{unanswered}--;
                $done->(defined $error ? _plain($error) : undef);
            },
        );
        $self->_receive;
    });
    return;
}

sub unanswered { return $_[0]{unanswered} }

sub settle {
    my ($self, $most) = @_;
    return if $self->{unanswered} <= $most;
    $self->_plainly(sub { $self->_wait_until(sub { $self->{unanswered} <= $most }) });
    return;
}

# Where much is there, the next entries are asked for already, and come while the caller is busy with these.
sub read_after {
    my ($self, $id, $count, $seconds) = @_;
    my $ahead = delete $self->{ahead};
    my ($entries) = $self->_plainly(sub {
        my $request = $ahead && $ahead->{id} eq $id ? $ahead : $self->_request($id, $count, $seconds);
        $self->_wait_until(sub { $request->{done} });
        die _plain($request->{error}) . "\n" if defined $request->{error};
        my $found = $request->{entries};
        if (@$found == $count) {
            $self->{ahead} = $self->_request($found->[-1][0], $count, $seconds);
            $self->_receive;
        }
        return $found;
    });
    return $entries;
}

sub _request {
    my ($self, $id, $count, $seconds) = @_;
    my @block = $seconds > 0 ? (BLOCK => int 1 + 1000 * $seconds) : ();
    my $request = { id => $id };
    $self->_send(xread => COUNT => $count, @block, STREAMS => $self->{stream}, $id, sub {
        my ($answer, $error) = @_;
        @$request{qw(done error entries)} = (1, $error, $answer && @$answer ? $answer->[0][1] : []);
    });
    return $request;
}

sub ends {
    my ($self) = @_;
    my ($answer) = $self->_plainly(sub { $self->_ask(evalsha => $SHA{ends}, 2, @{ $self->{keys} }) });
    my ($first, $last, $origins) = @$answer;
    my %origins = @$origins;
    return {
        first   => $first,
        last    => $last,
        origins => { map { $_ => [ (split / /, $origins{$_}, 3)[0, 1] ] } keys %origins },
    };
}

# Whether $id stands behind $other in a stream.
sub is_behind {
    my ($class, $id, $other) = @_;
    my ($ms, $n)   = split /-/, $id;
    my ($ms2, $n2) = split /-/, $other;
    return $ms > $ms2 || $ms == $ms2 && ($n // 0) > ($n2 // 0);
}

# Before all entries; and what an identifier that a user gives may look like.
sub start { return '0-0' }
sub is_id { return $_[1] =~ /\A[0-9]{1,18}(?:-[0-9]{1,18})?\z/ }

1;

__END__

=head1 NAME

Data::PubSub::Shared::Bridge::Backend::Redis - private to Data::PubSub::Shared::Bridge: the backend Redis Streams

=cut
