# The module leaves nothing in its process that would keep its library loaded when the host program unloads perl.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use DynaLoader ();
use Test::More;
use PubSubTest;

plan skip_all => 'this perl cannot unload' if !defined &DynaLoader::dl_unload_file;

# The path of the library if this process has it mapped.
sub library {
    my ($line) = grep { m{/Data/PubSub/Shared/Shared\.\w+$} } split /\n/, slurp('/proc/self/maps');
    return $line ? $line =~ s/.* //r : undef;
}

# name => code that the host program runs before it unloads perl
my %before = (
    'nothing'                     => sub { },
    'fh'                          => sub { my ($v) = @_; my $sub = $v->ring(8)->subscribe; $sub->fh; $sub->fh },
    'a set that waits, and its fh' => sub {
        my ($v) = @_;
        my $set = Data::PubSub::Shared::Set->new(map { $v->ring(8)->subscribe } 1 .. 200);
        $set->wait(0.01);
        $set->fh;
    },
    'fh of a ring for reading'    => sub {
        my ($v) = @_;
        my $path = fresh_path();
        $v->class->new($path, 8);
        $v->class->new_readonly($path)->subscribe->fh;
    },
    'publish, poll and wait'      => sub {
        my ($v)  = @_;
        my $ring = $v->ring(8);
        my $sub  = $ring->subscribe;
        $ring->publish($v->value(1));
        $ring->publish_multi($v->values(2, 3));
        $sub->poll;
        $sub->drain;
        $sub->poll_wait(0.01);
        $ring->eventfd;
        $ring->notify;
    },
    'errors'                      => sub {
        my ($v) = @_;
        eval { $v->class->new('/nowhere/at all', 8) };
        eval { $v->class->new_readonly('/') };
    },
);

each_variant(sub {
    my ($v) = @_;
    for my $name (sort keys %before) {
        my $kid = spawn(sub {
            my ($peer) = @_;
            my $before = library() // 'not loaded';
            $before{$name}->($v);
            # As mod_perl ends an interpreter. After this, no code of the library runs, not even its destructors.
            my ($index) = grep { $DynaLoader::dl_modules[$_] eq 'Data::PubSub::Shared' } 0 .. $#DynaLoader::dl_modules;
            DynaLoader::dl_unload_file($DynaLoader::dl_librefs[$index]);
            $peer->tell("$before -> " . (library() // 'gone'));
            $peer->hear;
            POSIX::_exit(0);
        });
        like($kid->hear, qr{^/.* -> gone\z}, "the library is unloaded after: $name");
        kill KILL => $kid->pid;
        $kid->end;
    }
});

done_testing;
