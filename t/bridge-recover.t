# After a process that was killed while it published: the next one publishes what is missing in the ring, and nothing twice.
# No server is needed.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;
BEGIN { eval { require Redis::Fast; 1 } or plan(skip_all => 'Redis::Fast is not installed') }
use PubSubTest::Bridge;

use Data::PubSub::Shared::Bridge;
use Data::PubSub::Shared::Bridge::State;

# Has the state say that @$chunk was about to be published, and @$rest later; does something to the ring; and starts the
# next process. The messages in the ring then, and what was lost.
sub next_process {
    my ($v, $chunk, $rest, $meanwhile, %how) = @_;
    my $folder = fresh_dir();
    my $path   = "$folder/ring";
    my $ring   = $v->class->new($path, $how{capacity} // 64);
    my @option = (ring => $path, stream => 's', server => "$folder/no-socket", state => "$folder/state", quiet => 1);
    $ring->publish($v->value(999));
    $ring->clear if $how{cleared};
    my $all = $ring->subscribe_all;
    {
        my $down  = Data::PubSub::Shared::Bridge->down(@option);
        my $state = {
            id => '5-0', origins => {}, duplicates => 0, blind => 0, lost => {}, notes => [], noted => 0, chunk => $chunk, rest => $rest,
            ring => $down->ring_id, at => $down->write_pos,
        };
        $down->{state}->put($state);
    }
    $ring = $meanwhile->($ring, $path) // $ring;
    Data::PubSub::Shared::Bridge->down(@option);
    my $last = Data::PubSub::Shared::Bridge::State->new("$folder/state")->latest;
    my @got  = $ring->subscribe_all->drain;
    shift @got if @got && $got[0] eq $v->value(999);
    return (\@got, $last->{lost});
}

each_variant(sub {
    my ($v) = @_;
    plan skip_all => 'no bridge carries them' if $v->is_num;
    my @chunk = $v->values(1, 10);
    my @rest  = $v->values(11, 15);
    my @all   = (@chunk, @rest);
    for my $count (0, 1, 5, 10) {
        for my $cleared (0, 1) {
            my $name = "$count published" . ($cleared ? ', in a ring that had been cleared' : '');
            my $some = sub { $_[0]->publish_multi(@chunk[0 .. $count - 1]) if $count; return };
            my ($got, $lost) = next_process($v, \@chunk, \@rest, $some, cleared => $cleared);
            is_deeply($got, \@all, "$name: each is there once");
            is_deeply($lost, {}, "$name: nothing lost");
        }
        my ($got, $lost) = next_process($v, \@chunk, \@rest, sub {
            my ($ring) = @_;
            $ring->publish_multi(@chunk[0 .. $count - 1]) if $count;
            $ring->clear;
            return;
        });
        is_deeply($got, [@all[$count .. $#all]], "$count published, then a clear: the others come");
        ($got, $lost) = next_process($v, \@chunk, \@rest, sub {
            my ($ring) = @_;
            $ring->publish_multi(@chunk[0 .. $count - 1]) if $count;
            $ring->clear;
            $ring->publish($chunk[$count]) if $count < 10;
            return;
        });
        is_deeply($got, [@all[$count .. $#all]], "$count published, a clear, one more: the others come");
        ($got, $lost) = next_process($v, \@chunk, \@rest, sub {
            my ($ring) = @_;
            $ring->publish($v->value(100));
            for my $n (0 .. $count - 1) { $ring->publish($chunk[$n]); $ring->publish($v->value(101 + $n)) }
            return;
        });
        my @own = grep { my $message = $_; grep { $_ eq $message } @all } @$got;
        is_deeply(\@own, \@all, "$count published among those of others: each is there once");
        is(scalar @$got, @all + 1 + $count, "$count published among those of others: which are there, too");
    }
    my ($got, $lost) = next_process($v, \@chunk, \@rest, sub {
        my ($ring, $path) = @_;
        $ring->publish_multi(@chunk[0 .. 4]);
        $ring->unlink;
        return $v->class->new($path, 64);
    });
    is_deeply($got, \@all, 'another ring gets all');
    my $much = sub { my ($ring) = @_; $ring->publish($v->value(200 + $_)) for 1 .. 100; return };
    ($got, $lost) = next_process($v, \@chunk, \@rest, $much, capacity => 16);
    is_deeply([@$got[-5 .. -1]], \@rest, 'where others have overrun it, what is unclear does not come');
    is_deeply($lost, { indeterminate => 10 }, 'and is counted');
});

done_testing;
