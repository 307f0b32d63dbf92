package Data::PubSub::Shared::Bridge::State;

# Private to Data::PubSub::Shared::Bridge: what a half of a bridge must remember, in a file.
#
# The file is a log of records, each with its checksum; the last whole one counts. A record is one write(2), so a
# process that is killed leaves a whole one or a torn one behind, and the one before it. When the file has grown it is
# replaced by one with the last record only. Whoever has it open holds a lock.

use 5.022;
use strict;
use warnings;

use Digest::MD5 qw(md5);
use Errno qw(ENOENT);
use Fcntl qw(:flock O_CREAT O_RDWR O_NOFOLLOW);
use File::Basename qw(dirname);
use File::Path qw(make_path);
use IO::Handle;
use Storable qw(nfreeze thaw);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

use constant {
    MAGIC     => 'PSB1',
    HEAD      => 24,           # magic, length, checksum
    GROWN     => 4_000_000,    # bytes
    SYNC_EACH => 5,            # seconds
};

sub new {
    my ($class, $path) = @_;
    my $self = bless { path => $path, synced => clock_gettime(CLOCK_MONOTONIC) }, $class;
    eval { make_path(dirname($path), { mode => 0700 }); 1 } or die "$path: cannot create directory: $!\n";
    sysopen $self->{lock}, "$path.lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600 or die "$path.lock: $!\n";
    flock $self->{lock}, LOCK_EX | LOCK_NB
        or die "$path: another process uses this state file; give each direction of each bridge one of its own (--state)\n";
    sysopen $self->{fh}, $path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600 or die "$path: $!\n";
    $self->_read;
    return $self;
}

sub path { return $_[0]{path} }

# The last record, a reference; undef at first.
sub latest { return $_[0]{last} }

sub _read {
    my ($self) = @_;
    local $/;
    my $log = readline($self->{fh}) // '';
    my ($at, $body) = (0);
    while ($at + HEAD <= length $log) {
        my ($magic, $length, $checksum) = unpack "\@$at a4 N a16", $log;
        my $next = $at + HEAD + $length;
        last if $magic ne MAGIC || $next > length $log;
        my $found = substr $log, $at + HEAD, $length;
        last if md5($found) ne $checksum;
        ($at, $body) = ($next, $found);
    }
    die "$self->{path}: not a pubsub-bridge state file\n" if !$at && length $log && index(MAGIC, substr $log, 0, 4) != 0;
    $self->{last} = thaw($body) if defined $body;
    $self->_cut($at);
    return;
}

# Forgets what is torn.
sub _cut {
    my ($self, $at) = @_;
    truncate $self->{fh}, $at or die "$self->{path}: $!\n";
    defined sysseek $self->{fh}, $at, 0 or die "$self->{path}: $!\n";
    $self->{length} = $at;
    return;
}

# Remembers $state, a reference, through the end of this process; through that of the machine a few seconds later.
sub put {
    my ($self, $state) = @_;
    my $body = nfreeze($state);
    my $record = pack 'a4 N a16', MAGIC, length $body, md5($body);
    $record .= $body;
    return $self->_replace($record, $state) if $self->{length} > GROWN;
    my $written = syswrite $self->{fh}, $record;
    if (($written // 0) != length $record) {
        my $cause = defined $written ? 'No space left on device' : "$!";
        $self->_cut($self->{length});
        die "$self->{path}: $cause\n";
    }
    $self->{length} += $written;
    @$self{qw(last dirty)} = ($state, 1);
    $self->sync_in_time;
    return;
}

sub _replace {
    my ($self, $record, $state) = @_;
    my $new = "$self->{path}.new";
    unlink $new;
    my $lived = eval {
        sysopen my $fh, $new, O_RDWR | O_CREAT | O_NOFOLLOW, 0600 or die "$!\n";
        my $written = syswrite $fh, $record;
        die "$!\n"                     if !defined $written;
        die "No space left on device\n" if $written != length $record;
        $fh->sync or die "$!\n";
        rename $new, $self->{path} or die "$!\n";
        @$self{qw(fh length last dirty synced)} = ($fh, $written, $state, 0, clock_gettime(CLOCK_MONOTONIC));
        1;
    };
    if (!$lived) {
        my $cause = $@;
        unlink $new;
        die "$self->{path}: $cause";
    }
    if (open my $folder, '<', dirname($self->{path})) { $folder->sync }
    return;
}

# To be called now and then.
sub sync_in_time {
    my ($self) = @_;
    $self->sync if $self->{dirty} && clock_gettime(CLOCK_MONOTONIC) - $self->{synced} > SYNC_EACH;
    return;
}

# To the disk. What fails there costs no message while this machine is up.
sub sync {
    my ($self) = @_;
    $self->{fh}->sync if $self->{dirty};
    @$self{qw(dirty synced)} = (0, clock_gettime(CLOCK_MONOTONIC));
    return;
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::Bridge::State - private to Data::PubSub::Shared::Bridge

=cut
