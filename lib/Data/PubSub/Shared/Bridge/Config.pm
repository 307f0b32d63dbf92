package Data::PubSub::Shared::Bridge::Config;

# Private to Data::PubSub::Shared::Bridge: both halves of a bridge from one set of options, and several bridges from a
# configuration file.

use 5.022;
use strict;
use warnings;

use Data::PubSub::Shared::Bridge::Down;
use Data::PubSub::Shared::Bridge::Options;
use Data::PubSub::Shared::Bridge::Up;
use Data::PubSub::Shared::CLI::File;
use Data::PubSub::Shared::CLI::Text qw(cause);

my %CLASS = map { $_ => 'Data::PubSub::Shared::Bridge::' . ucfirst } qw(up down);

# What a bridge understands: all that a half does, but two rings in place of one; and whether it is a switch.
sub names {
    my %names = map { Data::PubSub::Shared::Bridge::Options::names_of($_) } qw(up down);
    delete @names{qw(ring status)};
    return (%names, out => 0, in => 0);
}

# [name, class, options] for each half of a bridge, which may be one only. Dies with what is wrong.
sub halves {
    my ($name, %option) = @_;
    my %known = names();
    for my $given (sort keys %option) {
        next if $given =~ /\A(?:status|quiet)\z/;
        exists $known{$given} or die "unknown option '$given'\n";
    }
    my %ring = (up => delete $option{out}, down => delete $option{in});
    defined $ring{up} || defined $ring{down} or die "out or in is required, the ring to send from or the one to receive into\n";
    die "out and in are the same ring, $ring{up}: each message would return forever; applications publish to one"
        . " and read the other\n" if 2 == grep({defined} values %ring) && ($ring{up} eq $ring{down} || same_file(values %ring));
    my @halves;
    for my $half (grep { defined $ring{$_} } qw(up down)) {
        my %understood = Data::PubSub::Shared::Bridge::Options::names_of($half);
        my %own = map { $_ => $option{$_} } grep { exists $understood{$_} } keys %option;
        # Up has a beginning of its own: what the ring holds.
        delete @own{ 'status', $half eq 'up' ? 'from' : () };
        $own{state} .= ".$half" if defined $own{state};
        $own{ring} = $ring{$half};
        Data::PubSub::Shared::Bridge::Options::complete($half, %own);
        push @halves, [$name, $CLASS{$half}, \%own];
    }
    return @halves;
}

sub same_file {
    my @id = map { Data::PubSub::Shared::CLI::File::id_of(stat) // return 0 } @_;
    return $id[0] eq $id[1];
}

# ({ general options }, halves ...) of a file: NAME = VALUE lines, first those for all bridges, then a [section] for each.
sub read_file {
    my ($path) = @_;
    eval { require Config::Tiny; 1 } or die "the Perl module Config::Tiny is needed to read $path (Debian: libconfig-tiny-perl)\n";
    my $config = Config::Tiny->read($path) or die "$path: " . (Config::Tiny->errstr =~ s/\AFailed to .*: //sr) . "\n";
    my %general = %{ delete $config->{_} // {} };
    my @names = sort keys %$config or die "$path: has no [section], and so no bridge\n";
    my (@halves, %user);
    for my $name (@names) {
        my %option = (stream => $name, (map { $_ => $general{$_} } grep { !/\A(?:status|quiet)\z/ } keys %general), %{ $config->{$name} });
        exists $option{$_} and die "$path: [$name]: $_ is for all bridges and belongs above the first section\n" for qw(status quiet);
        my @own = eval { halves($name, %option) } or die "$path: [$name]: $@";
        push @halves, @own;
    }
    for my $half (@halves) {
        my ($name, $class, $option) = @$half;
        my %all = Data::PubSub::Shared::Bridge::Options::complete($class->half, %$option);
        for my $what (['state file', $all{state}], ['ring', $all{ring}]) {
            my $other = $user{"@$what"};
            die "$path: [$name] and [$other] have the same $what->[0], $what->[1]\n"
                if defined $other && ($what->[0] eq 'state file' || $other ne $name);
            $user{"@$what"} = $name;
        }
    }
    return (\%general, @halves);
}

# Makes those that are not there, before anybody needs them; two names may have turned out to be one file. What went wrong, a
# line for each half in trouble: [half, line].
sub make_rings {
    my (@halves) = @_;
    my (%half_of, @problems);
    for my $half (@halves) {
        next if eval {
            my %all = Data::PubSub::Shared::Bridge::Options::complete($half->[1]->half, %{ $half->[2] });
            Data::PubSub::Shared::Bridge::Options::open_ring(%all);
            my $id = Data::PubSub::Shared::Bridge::Options::identity_of($all{ring});
            die "$all{ring} is both sent and received into: each message would return forever\n"
                if ($half_of{$id} // $half->[1]) ne $half->[1];
            $half_of{$id} = $half->[1];
            1;
        };
        push @problems, [$half, cause($@)];
    }
    return @problems;
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::Bridge::Config - private to Data::PubSub::Shared::Bridge

=cut
