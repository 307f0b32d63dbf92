package PubSubTest::Chat;

# eg/chat.pl under the real prefork server, for tests that talk to it.

use strict;
use warnings;

use FindBin;
use PubSubTest;
use PubSubTest::Program;

# A server with $workers processes, which ends with the object.
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

# Its wait status.
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
