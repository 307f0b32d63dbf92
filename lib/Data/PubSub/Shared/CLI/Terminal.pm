package Data::PubSub::Shared::CLI::Terminal;

# Private to the command pubsub-shared: uses a terminal's screen, and always restores it.

use 5.022;
use strict;
use warnings;

use POSIX qw(ECHO ICANON TCSANOW VMIN VTIME);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

use Data::PubSub::Shared::CLI qw(emit emit_text flush);

use constant TIOCGWINSZ => 0x5413;

# The alternate screen, and no cursor; and back.
use constant { ENTER => "\e[?1049h\e[?25l", LEAVE => "\e[?25h\e[?1049l" };

sub new {
    my ($class) = @_;
    my $self = bless { keys => -t STDIN ? 1 : 0, resized => 0 }, $class;
    $self->enter;
    $SIG{WINCH} = sub { $self->{resized} = 1 };
    $SIG{TSTP}  = sub { $self->stop };
    return $self;
}

# One key at a time, not shown.
sub enter {
    my ($self) = @_;
    if ($self->{keys}) {
        my $mode = $self->{mode} = POSIX::Termios->new;
        $mode->getattr(0);
        $self->{flags} = $mode->getlflag;
        $mode->setlflag($self->{flags} & ~(ICANON | ECHO));
        $mode->setcc(VMIN,  1);
        $mode->setcc(VTIME, 0);
        $mode->setattr(0, TCSANOW);
    }
    emit(ENTER);
    flush();
    return;
}

sub leave {
    my ($self) = @_;
    emit(LEAVE);
    flush();
    return if !$self->{keys};
    $self->{mode}->setlflag($self->{flags});
    $self->{mode}->setattr(0, TCSANOW);
    return;
}

# Ctrl-Z: restores the terminal for the shell, and takes it again when we continue.
sub stop {
    my ($self) = @_;
    $self->leave;
    local $SIG{TSTP} = 'DEFAULT';
    # The signal is blocked while its handler runs.
    POSIX::sigprocmask(POSIX::SIG_UNBLOCK, POSIX::SigSet->new(POSIX::SIGTSTP));
    kill TSTP => $$;
    $self->enter;
    $self->{resized} = 1;
    return;
}

# (columns, lines)
sub size {
    my $bytes = "\0" x 8;
    my ($lines, $columns) = ioctl(STDOUT, TIOCGWINSZ, $bytes) ? unpack 'S2', $bytes : (0, 0);
    return ($columns || $ENV{COLUMNS} || 80, $lines || $ENV{LINES} || 24);
}

# Draws lines of characters on the screen. A line that begins with a tab is highlighted.
sub draw {
    my ($self, @lines) = @_;
    my ($columns, $room) = size();
    splice @lines, $room if @lines > $room;
    my $screen = "\e[H";
    for my $i (0 .. $#lines) {
        my $marked = $lines[$i] =~ s/\A\t//;
        my $text   = substr $lines[$i], 0, $columns;
        $text = sprintf "\e[7m%-${columns}s\e[m", $text if $marked;
        $screen .= $text . "\e[K" . ($i < $#lines ? "\r\n" : '');
    }
    emit_text($screen . "\e[J");
    flush();
    return;
}

# Waits until the monotonic clock reaches $until, a key is pressed, or the terminal's size changes. Returns the key or ''.
sub wait_for_key {
    my ($self, $until) = @_;
    while (!$self->{resized}) {
        my $left = $until - clock_gettime(CLOCK_MONOTONIC);
        last if $left <= 0;
        my ($bits, $key) = ('', '');
        vec($bits, 0, 1) = 1 if $self->{keys};
        next if select($bits, undef, undef, $left) <= 0;
        return $key if sysread STDIN, $key, 1;
        $self->{keys} = 0;    # the terminal is gone
    }
    $self->{resized} = 0;
    return '';
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI::Terminal - private to the command pubsub-shared

=cut
