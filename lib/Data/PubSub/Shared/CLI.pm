package Data::PubSub::Shared::CLI;

# Private: the command pubsub-shared. This file has the common parts of its commands: options, help, errors,
# output, signals, and the short commands. bin/pubsub-shared documents all commands.

use 5.022;
use strict;
use warnings;

use Errno qw(EAGAIN EINTR EPIPE);
use Exporter 'import';
use Getopt::Long ();
use JSON::PP     ();

use Data::PubSub::Shared;
use Data::PubSub::Shared::CLI::File;
use Data::PubSub::Shared::CLI::Space;
use Data::PubSub::Shared::CLI::Standard;
use Data::PubSub::Shared::CLI::Text qw(cause decimal number);

our @EXPORT_OK = qw(options usage count complain attempt each_path emit emit_text flush printable text json in_bytes);

# Exit statuses.
use constant { FINE => 0, TROUBLE => 1, USAGE => 2 };

# The functions that run the commands. They take the arguments, and return the exit status.
my %COMMAND = (
    create => \&create,
    unlink => \&remove,
    clear  => \&clear,
    help   => \&help_on,
    map({ my $name = $_; ($name => sub { load(ucfirst $name)->(@_) }) } qw(stat top who tail pub check bench ls)),
    forget => sub { load('Who'); Data::PubSub::Shared::CLI::Who::forget(@_) },
);

sub load {
    my ($name) = @_;
    my $package = __PACKAGE__ . "::$name";
    require $package =~ s{::}{/}gr . '.pm';
    return $package->can('run');
}

# Returns the exit status of the whole command.
sub run {
    my ($class, @arguments) = @_;
    Data::PubSub::Shared::CLI::Standard::occupy();
    for my $signal (qw(INT TERM HUP)) {
        # A shell that starts us in the background ignores it.
        $SIG{$signal} = \&interrupt if ($SIG{$signal} // '') ne 'IGNORE';
    }
    my $status;
    my $lived = eval { $status = dispatch(@arguments); flush(); 1 };
    return $lived ? $status : failure($@);
}

sub dispatch {
    my $name = shift // '';
    return help_on(@_) if $name =~ /\A(?:--help|-h|-\?)\z/;
    return man()     if $name eq '--man';
    return version() if $name =~ /\A(?:--version|-V)\z/;
    our $current = '';
    usage('missing command')          if $name eq '';
    usage("unknown option '$name'")   if $name =~ /\A-/;
    usage("unknown command '$name'")  if !$COMMAND{$name};
    $current = $name;
    return $COMMAND{$name}->(@_);
}

# --- Errors

# Exceptions are texts, as usual, or hashes for a usage error, a signal, or a normal end.

sub usage { die { usage => $_[0] } }

# Reports the error after all pending output; returns the exit status.
sub failure {
    my ($error) = @_;
    my %reason = ref $error ? %$error : (text => $error);
    leave_by($reason{signal}) if $reason{signal};
    my $flushed = eval { flush(); 1 };
    return failure($@)  if !$flushed && ref $@;
    return FINE         if $reason{done};
    complain($reason{usage} // $reason{text});
    return TROUBLE if !defined $reason{usage};
    our $current;
    print STDERR 'Try: pubsub-shared ', length($current // '') ? "$current " : '', "--help\n";
    return USAGE;
}

# Returns the result of $code, a true value; or false, with the text in $@, if it died. Passes on signals and other hashes.
sub attempt {
    my ($code) = @_;
    my $result = eval { $code->() };
    die $@ if ref $@;
    return $result;
}

# Calls $code for each path, also after one has failed. Returns the exit status.
sub each_path {
    my ($code, @paths) = @_;
    my $status = FINE;
    for my $path (@paths) {
        next if attempt(sub { $code->($path); 1 });
        flush();
        complain($@);
        $status = TROUBLE;
    }
    return $status;
}

# One line on standard error.
sub complain {
    my ($text) = @_;
    print STDERR 'pubsub-shared: ', printable(cause($text)), "\n";
    return;
}

# --- Signals

# Throws an exception, so that the signal also ends a wait inside of a ring. A second signal has the default action.
sub interrupt {
    my ($signal) = @_;
    $SIG{$signal} = 'DEFAULT';
    die { signal => $signal };
}

# Ends as if the signal had not been caught, because shells that run us in a loop need to know.
sub leave_by {
    my ($signal) = @_;
    eval { flush() } if $signal ne 'PIPE';
    $SIG{$signal} = 'DEFAULT';
    kill $signal, $$;
    exit TROUBLE;    # it is blocked
}

# --- Output: whole buffers by write(2), so that an interrupted one neither repeats nor drops anything

my $pending = '';

sub emit {
    $pending .= $_[0];
    flush() if length $pending >= 65536;
    return;
}

# The same for characters.
sub emit_text {
    my ($text) = @_;
    utf8::encode($text);
    return emit($text);
}

sub flush {
    while (length $pending) {
        # Between writing and removing the text there must be no operator at which perl checks for signals, such as //.
        no warnings 'uninitialized';
        next if length substr $pending, 0, syswrite(STDOUT, $pending), '';
        next if $! == EINTR;
        if ($! == EAGAIN) {
            vec(my $bits = '', fileno STDOUT, 1) = 1;
            select undef, $bits, undef, 1;
            next;
        }
        $pending = '';
        die { signal => 'PIPE' } if $! == EPIPE;
        die "write: $!\n";
    }
    return;
}

# Bytes or characters as one line that cannot control a terminal.
sub printable {
    my ($string) = @_;
    return $string if $string !~ /[^\t\x20-\x7e]/;
    if (!utf8::is_utf8($string) && !utf8::decode($string)) {
        $string =~ s/([^\x00-\x7f])/sprintf '\x%02x', ord $1/ge;
    }
    my %short = ("\n" => '\n', "\r" => '\r', "\e" => '\e', "\0" => '\0');
    # Control characters, line ends and changes of direction.
    $string =~ s{([\x00-\x08\x0a-\x1f\x7f-\x9f\x{2028}-\x{202e}\x{2066}-\x{2069}])}
                {$short{$1} // sprintf ord $1 < 256 ? '\x%02x' : '\x{%04x}', ord $1}gex;
    utf8::encode($string);
    return $string;
}

# Bytes from the system as characters, for JSON.
sub text {
    my ($bytes) = @_;
    utf8::decode($bytes);
    return $bytes;
}

# One line, or pretty.
sub json {
    my ($data, $pretty) = @_;
    state $json = JSON::PP->new->utf8->canonical->allow_nonref;    # a string alone, too, before JSON::PP 4
    return $json->pretty($pretty ? 1 : 0)->encode($data) =~ s/\n\z//r . "\n";
}

# --- Options

# options(\@arguments, \%opt, 'spec', ...): Getopt::Long's specifications. --help is accepted
# anywhere before a --, even if other arguments are invalid.
sub options {
    my ($arguments, $opt, @spec) = @_;
    my $order = ref $spec[0] ? shift(@spec)->[0] : 'permute';
    my $parser = Getopt::Long::Parser->new(config => [qw(bundling no_ignore_case no_auto_abbrev), $order]);
    for my $argument (@$arguments) {
        last              if $argument eq '--';
        $opt->{help} = 1, last if $argument eq '--help';
    }
    my $problem;
    local $SIG{__WARN__} = sub { $problem //= $_[0] =~ s/\n\z//r };
    local @ARGV = @$arguments;
    $opt->{help} or $parser->getoptions($opt, @spec, 'help|h') or usage(lcfirst($problem // 'bad options'));
    @$arguments = @ARGV;
    our $current;
    if ($opt->{help}) {
        help($current);
        die { done => 1 };
    }
    return;
}

# A number with an optional suffix k, M or G.
sub count {
    my ($name, $text, $least, $most) = @_;
    my $number = number($text);
    return $number if defined $number && $number >= $least && $number <= $most;
    usage("$name must be a number from $least to $most, not '$text'");
    return;
}

# --- Help

# Parts of the POD of bin/pubsub-shared.
sub show {
    my (@what) = @_;
    require Pod::Usage;
    open my $page, '>', \my $text or die "$!\n";
    Pod::Usage::pod2usage(-input => $0, -exitval => 'NOEXIT', -output => $page, -noperldoc => 1, @what);
    emit($text);
    return FINE;
}

sub man { return show(-verbose => 2) }

sub help {
    my ($name) = @_;
    return show(-verbose => 99, -sections => ['SYNOPSIS', 'OPTIONS']) if !defined $name;
    usage("unknown command '$name'")                                 if !$COMMAND{$name};
    return show(-verbose => 99, -sections => ["COMMANDS/\Q$name\E"]);
}

# With a command's name, or without one.
sub help_on {
    my (@arguments) = @_;
    options(\@arguments, {});
    usage("unexpected argument '$arguments[1]'") if @arguments > 1;
    return help(@arguments);
}

sub version {
    emit(sprintf "pubsub-shared %s (perl %vd)\n", Data::PubSub::Shared->VERSION, $^V);
    return FINE;
}

# --- create, clear, unlink

sub create {
    my (@arguments) = @_;
    my %opt;
    options(\@arguments, \%opt, 'variant|t=s', 'capacity|c=s', 'msg-size|s=s', 'publishers|p=s', 'stamped', 'lossless|l',
        'keep|k=s', 'readers|r=s', 'mode|m=s', 'force|f');
    usage('expected exactly one RING') if @arguments != 1;
    my ($path) = @arguments;
    defined $opt{$_} or usage("--$_ is required") for qw(variant capacity);
    my $class = Data::PubSub::Shared::CLI::File::class_of($opt{variant})
        or usage("--variant must be Int, Int32, Int16, Num or Str, not '$opt{variant}'");
    my $is_str = $class =~ /::Str\z/;
    for (qw(msg-size publishers stamped)) { usage("--$_ is for Str") if defined $opt{$_} && !$is_str }
    usage("--mode must be octal, not '$opt{mode}'") if defined $opt{mode} && $opt{mode} !~ /\A[0-7]{1,5}\z/;
    my $capacity = count('--capacity', $opt{capacity}, 1, Data::PubSub::Shared::CLI::File::MAX_CAPACITY);
    my $msg_size = $opt{'msg-size'} // Data::PubSub::Shared::CLI::File::MSG_SIZE;
    my %size;
    $size{msg_size} = count('--msg-size', $msg_size, 1, Data::PubSub::Shared::CLI::File::MAX_MSG_SIZE) if $is_str;
    $size{publishers} = count('--publishers', $opt{publishers}, 1, Data::PubSub::Shared::CLI::File::MAX_PUBLISHERS)
        if defined $opt{publishers};
    $size{readers} = count('--readers', $opt{readers}, $opt{lossless} ? 1 : 0, Data::PubSub::Shared::CLI::File::MAX_READERS)
        if defined $opt{readers};
    usage('--keep is for --lossless') if defined $opt{keep} && !$opt{lossless};
    usage("--keep must be a number of seconds up to 4294967, not '$opt{keep}'")
        if defined $opt{keep} && (decimal($opt{keep}) // 4294968) > 4294967;
    my @lossless = $opt{lossless} ? (lossless => 1, keep => $opt{keep}) : ();
    $size{stamped} = 1 if $opt{stamped};
    my @mode = defined $opt{mode} ? (mode => oct $opt{mode}) : ();
    my %plan = Data::PubSub::Shared::CLI::File::plan($opt{variant}, $capacity, %size);

    # The constructor would open an existing ring.
    die "$path: File exists\n" if lstat $path;
    my ($free, $where) = Data::PubSub::Shared::CLI::Space::free_for($path);
    die sprintf "%s: a ring of %s would take more than half of the %s that are free %s; --force creates it anyway\n",
        $path, in_bytes($plan{mmap_size}), in_bytes($free), $where
        if defined $free && $plan{mmap_size} > $free / 2 && !$opt{force};
    my $ring = $class->new($path, $capacity, %size, @lossless, @mode);
    emit(sprintf "%s: %s, %s%d messages%s, %s\n", printable($path), $class =~ s/.*:://r, $opt{lossless} ? 'lossless, ' : '',
        $ring->capacity, $is_str ? " of up to $size{msg_size} bytes" : '', in_bytes($plan{mmap_size}));
    return FINE;
}

# 4.25 KiB
sub in_bytes {
    my ($n) = @_;
    my @units = qw(bytes KiB MiB GiB TiB);
    while ($n >= 1024 && @units > 1) {
        $n /= 1024;
        shift @units;
    }
    return sprintf "%.4g %s", $n, $units[0];
}

# Discards the messages of the rings; their subscribers continue with the next message.
sub clear {
    my (@arguments) = @_;
    options(\@arguments, {});
    usage('missing RING') if !@arguments;
    return each_path(sub { Data::PubSub::Shared::CLI::File->ring($_[0])->attach('writing')->clear }, @arguments);
}

sub remove {
    my (@arguments) = @_;
    my %opt;
    options(\@arguments, \%opt, 'force|f');
    usage('missing RING') if !@arguments;
    return each_path(sub {
        my ($path) = @_;
        lstat $path or $opt{force} or die "$path: $!\n";
        # Do not remove other files without --force.
        -e _ && !$opt{force} && !Data::PubSub::Shared::CLI::File::looks_like_one($path)
            and die "$path: does not look like a ring; --force removes it anyway\n";
        Data::PubSub::Shared::Int->unlink($path);
    }, @arguments);
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::CLI - private to the command pubsub-shared

=cut
