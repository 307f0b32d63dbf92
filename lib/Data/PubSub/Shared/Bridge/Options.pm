package Data::PubSub::Shared::Bridge::Options;

# Private to Data::PubSub::Shared::Bridge: what can be said to a bridge, on the command line, in a configuration file or to
# a constructor, is the same, stands here and is checked here. Names have dashes in the first two, underscores in the third.

use 5.022;
use strict;
use warnings;

use File::Basename qw(dirname);
use Sys::Hostname qw(hostname);

use Data::PubSub::Shared::CLI::File;
use Data::PubSub::Shared::CLI::Text qw(number);

# By name: who understands it (up, down), what it must look like, and how to say so.
my $COUNT = [qr/\A[1-9][0-9]{0,9}[kmg]?\z/i, 'a number of 1 or more'];
my $ANY = [qr/./s, 'something'];
my $SWITCH = [qr/\A(?:yes|no|1|0|)\z/, 'yes or no'];
my $PORT = qr/[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]/;
my $SERVER = [qr{\A(?:/.+|(?:[^\s/:\[\]]+|\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]):$PORT)\z},
    'HOST:PORT, [IPV6]:PORT (ports are 1 to 65535), or the path of a socket'];
my $BATCH = [qr/\A(?:[1-9][0-9]{0,2}|[1-7][0-9]{3}|8000)\z/, 'a number from 1 to 8000'];
my %KNOWN = (
    stream      => ['up down', [qr/\A[^\s\0]{1,200}\z/, 'a name without spaces']],
    ring        => ['up down', $ANY],
    server      => ['up down', $SERVER],
    credentials => ['up down', $ANY],
    backend      => ['up down', [qr/\A\w+(?:::\w+)*\z/, 'the name of a module']],
    host        => ['up down', [qr/\A[^\s#\/]{1,100}\z/, 'a name without space, # and /']],
    state       => ['up down', $ANY],
    status      => ['up down', $ANY],
    quiet       => ['up down', $SWITCH],
    timeout     => ['up down', [qr/\A[1-9][0-9]{0,3}\z/, 'a number of seconds from 1 to 9999']],
    variant     => ['up down', [qr/\A(?:int|int32|int16|str)\z/i, 'Int, Int32, Int16 or Str']],
    capacity    => ['up down', $COUNT],
    'msg-size'  => ['up down', $COUNT],
    mode        => ['up down', [qr/\A[0-7]{1,4}\z/, 'octal']],
    from        => ['up down', $ANY],
    batch       => ['up down', $BATCH],
    pack        => ['up',      $BATCH],
    maxlen        => ['up',      $COUNT],
    'skip-own'  => ['down',    $SWITCH],
    gaps        => ['down',    $ANY],
);

my %DEFAULT = (
    server => '127.0.0.1:6379', backend => 'Redis', timeout => 10, batch => 1000, pack => 1, maxlen => 1_000_000,
    quiet => 0, 'skip-own' => 0,
);
my %FROM = (up => 'start', down => 'now');

# Names that the half understands, and whether they are switches.
sub names_of {
    my ($half) = @_;
    return map { $_ => $KNOWN{$_}[1] == $SWITCH } grep { $KNOWN{$_}[0] =~ /\b$half\b/ } sort keys %KNOWN;
}

# All options of a half, names with underscores: what is given, checked, and the defaults. Dies with what is wrong.
sub complete {
    my ($half, %given) = @_;
    my %all = (%DEFAULT, from => $FROM{$half}, host => hostname() =~ s{[\s#/]}{-}gr);
    for my $name (sort keys %given) {
        my $dashed = $name =~ tr/_/-/r;
        my $known = $KNOWN{$dashed};
        die "unknown option '$dashed'\n" if !$known;
        die "$dashed is not for the $half direction\n" if $known->[0] !~ /\b$half\b/;
        my ($pattern, $words) = @{ $known->[1] };
        my $value = $given{$name} // '';
        utf8::encode($value) if utf8::is_utf8($value);    # bytes, as from the command line
        die "server '$value' is ambiguous: an IPv6 address needs brackets, as in [::1]:6379\n"
            if $dashed eq 'server' && $value =~ /\A[^\/\[\]]*:[^\/\[\]]*:/;
        die "$dashed must be $words, not '$value'\n" if $value !~ $pattern;
        $value = $value =~ /\A(?:yes|1)\z/ ? 1 : 0 if $known->[1] == $SWITCH;
        $value = number($value)                      if $known->[1] == $COUNT;
        $all{$dashed} = $value;
    }
    for my $needed (qw(ring stream)) { die "$needed is required\n" if !defined $all{$needed} }
    $all{state} //= default_state($half, $all{stream});
    my %result = map { (tr/-/_/r => $all{$_}) } keys %all;
    my $backend = require_backend($result{backend});
    my $from = $all{from};
    die "from must be " . ($half eq 'up' ? 'start or now' : 'start, now or an identifier') . ", not '$from'\n"
        if $from !~ /\A(?:start|now)\z/ && ($half eq 'up' || !$backend->is_id($from));
    return %result;
}

sub default_state {
    my ($half, $stream) = @_;
    my $folder = $ENV{STATE_DIRECTORY}    # from systemd
        // ($> ? ($ENV{XDG_STATE_HOME} // ($ENV{HOME} // '') . '/.local/state') . '/pubsub-bridge' : '/var/lib/pubsub-bridge');
    return "$folder/" . ($stream =~ s/([^\w.-])/sprintf '%%%02x', ord $1/ger) . ".$half";
}

sub require_backend {
    my ($name) = @_;
    my $class = $name =~ /::/ ? $name : "Data::PubSub::Shared::Bridge::Backend::$name";
    return $class if $class->can('append');
    eval { require $class =~ s{::}{/}gr . '.pm'; 1 } or die "backend '$name': " . $@ =~ s/ \(.*//sr . "\n";
    return $class;
}

# Who we are to the server: from the file, or from the environment; never from arguments, which everybody can see.
sub credentials {
    my ($file) = @_;
    my %names = map { $_ => 1 } qw(username password tls ca-file cert-file key-file);
    my %found;
    for my $name (keys %names) {
        my $value = $ENV{ 'PUBSUB_BRIDGE_' . uc $name =~ tr/-/_/r };
        $found{$name} = $value if defined $value && $value ne '';
    }
    if (defined $file) {
        open my $in, '<', $file or die "credentials $file: $!\n";
        die "credentials $file: others may read it; please chmod 600\n" if (stat $in)[2] & 0007;
        while (my $line = readline $in) {
            next if $line =~ /\A\s*(?:#|\z)/;
            my ($name, $value) = $line =~ /\A\s*([a-z-]+)\s*=\s*(.*?)\s*\z/ or die "credentials $file: line $.: not NAME = VALUE\n";
            $names{$name} or die "credentials $file: line $.: unknown name '$name'\n";
            $found{$name} = $value;
        }
    }
    die "tls must be yes or no, not '$found{tls}'\n" if defined $found{tls} && $found{tls} !~ $SWITCH->[0];
    $found{tls} = ($found{tls} // '') =~ /\A(?:yes|1)\z/;
    return map { (tr/-/_/r => $found{$_}) } keys %found;
}

# The file of an existing ring; nothing where there is none. Dies where it is something else.
sub existing_ring {
    my ($path) = @_;
    return lstat $path ? Data::PubSub::Shared::CLI::File->ring($path) : undef;
}

# A ring of another variant than asked for, in the words of the constructors.
sub opened_as {
    my ($found, $wanted) = @_;
    return 'holds ' . ($found->{variant} =~ /\AInt/ ? 'an' : 'a') . " $found->{variant} ring, opened as $wanted";
}

# The file of the ring; nothing where there is none, but the options say how to create it. Dies where neither is so.
sub ring_of {
    my (%option) = @_;
    my ($path, $wanted) = @option{qw(ring variant)};
    if (my $found = existing_ring($path)) {
        die "$path: holds a Num ring, and a bridge carries integers and strings\n" if $found->is_num;
        die "$path: ", opened_as($found, ucfirst lc $wanted), "\n" if defined $wanted && lc $wanted ne lc $found->{variant};
        return $found;
    }
    defined $option{$_} or die "$path: no such ring; to create it, give --variant and --capacity\n" for qw(variant capacity);
    return;
}

# Opens the ring, or creates it.
sub open_ring {
    my (%option) = @_;
    my $path = $option{ring};
    if (my $found = ring_of(%option)) { return $found->attach('writing') }
    my $class = Data::PubSub::Shared::CLI::File::class_of($option{variant});
    my @size = $class =~ /::Str\z/ ? ($option{msg_size}) : ();
    return $class->new($path, $option{capacity}, @size, defined $option{mode} ? oct $option{mode} : ());
}

# Opens or creates the ring into which gaps are published.
sub open_gaps {
    my (%option) = @_;
    return Data::PubSub::Shared::Str->new($option{gaps}, 1024, 512, defined $option{mode} ? oct $option{mode} : ());
}

# What would keep a half with these options, names with underscores, from starting; without making anything.
sub problems {
    my (%option) = @_;
    my @problems;
    my $try = sub { my ($code) = @_; my $found; push @problems, $@ =~ s/\n\z//r if !eval { $found = $code->(); 1 }; return $found };
    my $folder_of = sub { my ($path) = @_; my $folder = dirname($path); -d $folder or die "$path: no directory $folder\n" };
    $try->(sub { ring_of(%option) // $folder_of->($option{ring}) });
    $try->(sub {
        my $found = existing_ring($option{gaps}) // return $folder_of->($option{gaps});
        $found->is_str or die "$option{gaps}: ", opened_as($found, 'Str'), ", as gaps need\n";
    }) if defined $option{gaps};
    # The folder of the state is made, wherever it can be.
    $try->(sub {
        my $folder = dirname($option{state});
        $folder = dirname($folder) until -e $folder;
        -d _ or die "$option{state}: $folder is not a directory\n";
    });
    $try->(sub {
        require_backend($option{backend})->new(%option{qw(server stream timeout)}, credentials($option{credentials}));
    });
    return @problems;
}

# What makes a ring out of a file the same or another one.
sub identity_of { my ($path) = @_; return Data::PubSub::Shared::CLI::File::id_of(lstat $path) // die "$path: $!\n" }

1;

__END__

=head1 NAME

Data::PubSub::Shared::Bridge::Options - private to Data::PubSub::Shared::Bridge

=cut
