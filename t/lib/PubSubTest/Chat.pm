package PubSubTest::Chat;

# eg/chat.pl with the prefork server, for tests that connect to it.

use strict;
use warnings;

use FindBin;
use IO::Socket::INET ();
use PubSubTest;
use PubSubTest::Program;

# The reason why browsers could not reach a server on this host; undef if they can.
sub unreachable {
    my %here   = (LocalAddr => '127.0.0.1', Listen => 1);
    my $server = IO::Socket::INET->new(%here) or return "cannot listen at 127.0.0.1: $!";
    my %there  = (PeerAddr => '127.0.0.1', PeerPort => $server->sockport, Timeout => 10);
    my $client = IO::Socket::INET->new(%there) or return "cannot connect to 127.0.0.1: $!";
    return undef;
}

# A server with $workers processes; it ends with the object.
sub start {
    my ($class, $workers) = @_;
    my $dir     = fresh_dir();
    my $program = "$FindBin::Bin/../eg/chat.pl";
    my $prepare = sub {
        open STDERR, '>', "$dir/err" or die "err: $!";
        %ENV = (%ENV, MOJO_MODE => 'production', MOJO_LOG_LEVEL => 'info', CHAT_RING => "$dir/chat.ring");
    };
    my @arguments = ('prefork', '-w', $workers, '-P', "$dir/pid", '-l', 'http://127.0.0.1');
    my ($pid, $out) = read_perl($prepare, $program, @arguments);
    my $self = bless { pid => $pid, out => $out, dir => $dir, owner => $$ }, $class;
    while (my $line = <$out>) {
        $self->{port} = $1, last if $line =~ m{available at http://127\.0\.0\.1:(\d+)};
    }
    die 'the server said nothing: ' . $self->errors if !$self->{port};
    return $self;
}

sub port   { return $_[0]{port} }
sub url    { my ($self, $scheme) = @_; return "$scheme://127.0.0.1:$self->{port}" }
sub ring   { return "$_[0]{dir}/chat.ring" }
sub errors { return slurp("$_[0]{dir}/err") }

# Stops the server; returns its wait status.
sub stop {
    my ($self) = @_;
    return $self->{status} if defined $self->{status};
    kill TERM => $self->{pid};
    waitpid $self->{pid}, 0;
    return $self->{status} = $?;
}

sub DESTROY {
    my ($self) = @_;
    local $?;
    $self->stop if $self->{owner} == $$;
    return;
}

1;
