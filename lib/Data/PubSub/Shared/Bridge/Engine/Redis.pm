package Data::PubSub::Shared::Bridge::Engine::Redis;

# The engine behind a bridge: Redis Streams. The POD of Data::PubSub::Shared::Bridge, "ENGINES", says what each method
# must do; nothing outside of this file knows Redis.
#
# Beside the stream NAME stands a hash {NAME}:origins. It has, for each origin, the epoch, the last sequence number in the
# stream, and where its ring was read up to. One script appends a batch and writes this, so that both are always true of
# each other, a batch that comes twice is appended once, and what a former process left on its way comes to nothing.

use 5.022;
use strict;
use warnings;

use Digest::SHA qw(sha1_hex);

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
local known = redis.call('HGET', KEYS[2], ARGV[1])
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

# KEYS: origins. ARGV: origin, the least epoch, and what is true if the engine has forgotten: sequence number, position.
$SCRIPT{begin} = <<'LUA';
local epoch, last, position = 0, ARGV[3], ARGV[4]
local known = redis.call('HGET', KEYS[1], ARGV[1])
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
return { first[1] and first[1][1] or '', last[1] and last[1][1] or '', redis.call('HGETALL', KEYS[2]) }
LUA

my %SHA = map { $_ => sha1_hex($SCRIPT{$_}) } keys %SCRIPT;

# server: HOST:PORT, or the path of a socket; stream: its name; timeout: in seconds, for each answer. From credentials:
# username, password, tls, ca_file, cert_file, key_file.
sub new {
    my ($class, %given) = @_;
    # One slot of a cluster for both keys.
    my $origins = $given{stream} =~ /\{.+\}/ ? "$given{stream}:origins" : "{$given{stream}}:origins";
    my $self = bless { timeout => 10, %given, keys => [$given{stream}, $origins] }, $class;
    my $library = $self->_library;
    eval { require $library =~ s{::}{/}gr . '.pm'; 1 }
        or die "the Perl module $library is needed and cannot be loaded (Debian: "
        . ($library eq 'Redis' ? 'libredis-perl, libio-socket-ssl-perl' : 'libredis-fast-perl') . ")\n";
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
    $with{ $self->{server} =~ m{\A/} ? 'sock' : 'server' } = $self->{server};
    $self->_prepare_tls(\%with) if $self->{tls};
    $self->{unanswered} = 0;
    $self->_plainly(sub {
        my $redis = $self->{redis} = eval { $self->_library->new(%with) } // die _plain($@) . $self->_tls_error . "\n";
        $redis->auth(grep { defined } @$self{qw(username password)}) if defined $self->{password};
        $redis->script_load($SCRIPT{$_}) for sort keys %SCRIPT;
    });
    return;
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
    delete @$self{qw(redis ahead)};
    return;
}

# Orders with a callback go out when there is time; this is now.
sub _send_off {
    my ($self) = @_;
    # Redis.pm has sent them. Redis::Fast does in each of its waits, of which this one waits for nothing.
    $self->{redis}->wait_for_messages(0) if !$self->{tls};
    return;
}

sub is_connected { return defined $_[0]{redis} }

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
    return without_place($line =~ s/\A\[\w+\] //r);
}

sub hopeless {
    my ($self, $error) = @_;
    return "another process sends to '$self->{stream}' in our name and began later than we" if $error =~ /\AFENCED/;
    return "the key '$self->{stream}' is there, and no stream ($error)"                      if $error =~ /\AWRONGTYPE/;
    return;
}

sub begin {
    my ($self, $origin, $epoch, $sequence, $position) = @_;
    my ($answer) = $self->_plainly(sub {
        scalar $self->{redis}->evalsha($SHA{begin}, 1, $self->{keys}[1], $origin, $epoch, $sequence, $position);
    });
    return (@$answer[0 .. 2], $answer->[3] eq '1');
}

sub append {
    my ($self, %batch) = @_;
    my $done = $batch{done};
    $self->{unanswered}++;
    $self->_plainly(sub {
        $self->{redis}->evalsha(
            $SHA{append}, 2, @{ $self->{keys} }, @batch{qw(origin epoch sequence position keep acknowledged)},
            (map { my ($kind, $takes, $payloads) = @$_; ($kind, $takes, scalar @$payloads, @$payloads) } @{ $batch{content} }),
            sub {
                my (undef, $error) = @_;
                $self->{unanswered}--;
                $done->(defined $error ? _plain($error) : undef);
            },
        );
        $self->_send_off;
    });
    return;
}

sub unanswered { return $_[0]{unanswered} }

sub settle {
    my ($self, $most) = @_;
    return if $self->{unanswered} <= $most;
    $self->_plainly(sub {
        return $self->{redis}->wait_all_responses if !$most;
        $self->{redis}->wait_one_response while $self->{unanswered} > $most;
    });
    return;
}

# Where much is there, the next entries are asked for already, and come while the caller is busy with these.
sub read_after {
    my ($self, $id, $count, $seconds) = @_;
    my $ahead = delete $self->{ahead};
    my ($entries) = $self->_plainly(sub {
        my $request = $ahead && $ahead->{id} eq $id ? $ahead : $self->_request($id, $count, $seconds);
        $self->{redis}->wait_all_responses if !$request->{done};
        die "$request->{error}\n" if defined $request->{error};
        my $found = $request->{entries};
        if (@$found == $count) {
            $self->{ahead} = $self->_request($found->[-1][0], $count, $seconds);
            $self->_send_off;
        }
        return $found;
    });
    return $entries;
}

sub _request {
    my ($self, $id, $count, $seconds) = @_;
    my @block = $seconds > 0 ? (BLOCK => int 1 + 1000 * $seconds) : ();
    my $request = { id => $id };
    $self->{redis}->xread(COUNT => $count, @block, STREAMS => $self->{stream}, $id, sub {
        my ($answer, $error) = @_;
        @$request{qw(done error entries)} = (1, $error, $answer && @$answer ? $answer->[0][1] : []);
    });
    return $request;
}

sub ends {
    my ($self) = @_;
    my ($answer) = $self->_plainly(sub { scalar $self->{redis}->evalsha($SHA{ends}, 2, @{ $self->{keys} }) });
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

Data::PubSub::Shared::Bridge::Engine::Redis - private to Data::PubSub::Shared::Bridge: the engine Redis Streams

=cut
