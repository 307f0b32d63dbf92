package Data::PubSub::Shared::Bridge::Command;

# Private: the command pubsub-bridge, which bin/pubsub-bridge documents.

use 5.022;
use strict;
use warnings;

use Getopt::Long ();
use IO::Handle;

use Data::PubSub::Shared;
use Data::PubSub::Shared::Bridge;
use Data::PubSub::Shared::Bridge::Config;
use Data::PubSub::Shared::Bridge::Options;
use Data::PubSub::Shared::Bridge::Supervisor;
use Data::PubSub::Shared::CLI::Standard;
use Data::PubSub::Shared::CLI::Text qw(cause);

# Exit statuses.
use constant { FINE => 0, TROUBLE => 1, USAGE => 2 };

my %COMMAND = (
    up    => sub { half('up', @_) },
    down  => sub { half('down', @_) },
    both  => \&both,
    run   => \&from_file,
    check => \&check,
    help  => \&help,
);

# The exit status.
sub run {
    my ($class, @arguments) = @_;
    Data::PubSub::Shared::CLI::Standard::occupy();
    my $status = eval {
        my $done = eval { dispatch(@arguments) } // (ref $@ && $@->{done} ? FINE : die $@);
        STDOUT->flush && !STDOUT->error or die "write: $!\n";
        $done;
    };
    return $status if defined $status;
    my $error = $@;
    print STDERR 'pubsub-bridge: ', (ref $error ? "$error->{usage}\nTry: pubsub-bridge --help\n" : cause($error) . "\n");
    return ref $error ? USAGE : TROUBLE;
}

sub dispatch {
    my $name = shift // '';
    return help()               if $name =~ /\A(?:-h|--help)\z/;
    return page(-verbose => 2)  if $name eq '--man';
    return version()            if $name =~ /\A(?:-V|--version)\z/;
    usage('missing command')          if $name eq '';
    usage("unknown command '$name'") if !$COMMAND{$name};
    return help()                    if grep { $_ eq '--help' } @_;
    return $COMMAND{$name}->(@_);
}

sub usage { die { usage => $_[0] } }

sub no_more { usage("unexpected argument '$_[0]'") if @_; return }

sub page {
    require Pod::Usage;
    open my $page, '>', \my $text or die "$!\n";
    Pod::Usage::pod2usage(-input => $0, -exitval => 'NOEXIT', -output => $page, -noperldoc => 1, @_);
    print $text;
    return FINE;
}

sub help {
    no_more(@_);
    return page(-verbose => 99, -sections => ['SYNOPSIS', 'OPTIONS']);
}

sub version {
    printf "pubsub-bridge %s (perl %vd)\n", Data::PubSub::Shared->VERSION, $^V;
    return FINE;
}

# Options by name, and what is left of the arguments. %names: name => whether it is a switch.
sub options {
    my ($arguments, %names) = @_;
    my $parser = Getopt::Long::Parser->new(config => [qw(no_ignore_case no_auto_abbrev)]);
    my ($problem, %found);
    local $SIG{__WARN__} = sub { $problem //= $_[0] =~ s/\n\z//r };
    $parser->getoptionsfromarray($arguments, \%found, 'help|h', map { $_ . ($names{$_} ? '!' : '=s') } sort keys %names)
        or usage(lcfirst $problem);
    if ($found{help}) {
        help();
        die { done => 1 };
    }
    return %found;
}

# Code whose complaints are about what the user said.
sub asked {
    my ($code) = @_;
    my @result;
    return @result if eval { @result = $code->(); 1 };
    my $error = $@;
    usage(ref $error ? $error->{usage} : cause($error));
    return;
}

sub half {
    my ($half, @arguments) = @_;
    my %option = options(\@arguments, Data::PubSub::Shared::Bridge::Options::names_of($half));
    no_more(@arguments);
    asked(sub { Data::PubSub::Shared::Bridge::Options::complete($half, %option) });
    my $object = Data::PubSub::Shared::Bridge->$half(%option);
    $object->run;
    return FINE;
}

sub both {
    my (@arguments) = @_;
    my %names = (Data::PubSub::Shared::Bridge::Config::names(), status => 0, quiet => 1);
    my %option = options(\@arguments, %names);
    no_more(@arguments);
    usage('--out and --in are required, the ring to send from and the one to receive into') if 2 != grep {defined} @option{qw(out in)};
    my @halves = asked(sub { Data::PubSub::Shared::Bridge::Config::halves($option{stream} // '', %option) });
    return supervise(\@halves, @option{qw(status quiet)});
}

sub from_file {
    my (@arguments) = @_;
    my %option = options(\@arguments, status => 0, quiet => 1);
    usage('expected exactly one FILE') if @arguments != 1;
    my ($general, @halves) = Data::PubSub::Shared::Bridge::Config::read_file($arguments[0]);
    return supervise(\@halves, $option{status} // $general->{status}, $option{quiet} // $general->{quiet});
}

sub check {
    my (@arguments) = @_;
    options(\@arguments);
    usage('expected exactly one FILE') if @arguments != 1;
    my ($general, @halves) = Data::PubSub::Shared::Bridge::Config::read_file($arguments[0]);
    my $status = FINE;
    for my $half (@halves) {
        my ($name, $class, $option) = @$half;
        my %all = Data::PubSub::Shared::Bridge::Options::complete($class->half, %$option);
        if (my @problems = Data::PubSub::Shared::Bridge::Options::problems(%all)) {
            print STDERR map { sprintf "pubsub-bridge %s %s: %s\n", $class->half, $name, $_ } @problems;
            $status = TROUBLE;
            next;
        }
        my $ring = Data::PubSub::Shared::Bridge::Options::existing_ring($all{ring});
        printf "%-12s %-4s  ring %s (%s)  stream %s at %s  state %s\n", $name, $class->half, $all{ring},
            $ring ? "$ring->{variant}, $ring->{capacity} slots" : 'will be created', @all{qw(stream server state)};
    }
    return $status;
}

sub supervise {
    my ($halves, $status, $quiet) = @_;
    # One bad ring is no reason for the other bridges of a file not to run; its half tries again, and says so.
    my @problems = Data::PubSub::Shared::Bridge::Config::make_rings(@$halves);
    my %names = map { $_->[0] => 1 } @$halves;
    die "$problems[0][1]\n" if @problems && (keys %names == 1 || @problems == @$halves);
    print STDERR map { sprintf "pubsub-bridge %s %s: %s\n", $_->[0][1]->half, $_->[0][0], $_->[1] } @problems;
    $_->[2]{quiet} = $quiet for defined $quiet ? @$halves : ();
    return Data::PubSub::Shared::Bridge::Supervisor->new(halves => $halves, status => $status)->run ? FINE : TROUBLE;
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::Bridge::Command - private to the command pubsub-bridge

=cut
