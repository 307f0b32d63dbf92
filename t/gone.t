# Rings whose files are removed or replaced: is_gone tells, waits end, and reopen opens the new ring.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;

    subtest 'is_gone' => sub {
        my $path = fresh_path();
        my $ring = $class->new($path, 8);
        my $sub  = $ring->subscribe;
        my $far  = $class->new_readonly($path);
        ok(!$_->is_gone, 'is_gone is false before the file is removed') for $ring, $sub, $far;
        my $other = $class->new($path);
        $other->unlink;
        ok($_->is_gone, 'is_gone is true after unlink of another handle') for $ring, $sub, $far, $other;

        ($ring, $other) = map { $class->new($path, 8) } 1, 2;
        $sub = $other->subscribe;
        $class->unlink($path);
        ok($_->is_gone, 'is_gone is true after unlink of the class') for $ring, $other, $sub;

        $ring = $class->new($path, 8);
        unlink $path or die "unlink: $!";
        ok($ring->is_gone, 'is_gone is true after the file is removed by other means');
        $other = $class->new($path, 8);
        ok($ring->is_gone, 'is_gone is true after the file is replaced');
        ok(!$other->is_gone, 'is_gone of the new ring is false');
        ok(!$_->is_gone, 'is_gone of a ring without a path is false') for $class->new(undef, 8), $class->new_memfd('t', 8);
    };

    subtest 'a wait ends when the ring is removed' => sub {
        for my $way ('unlink of the ring', 'unlink of the class', 'rm', 'unlink, read-only') {
            my $path = fresh_path();
            my $ring = $class->new($path, 8);
            my $kid  = spawn(sub {
                my ($peer) = @_;
                my $sub = ($way =~ /read-only/ ? $class->new_readonly($path) : $class->new($path))->subscribe;
                $peer->tell('ready');
                my @got;
                while (defined(my $message = $sub->poll_wait)) { push @got, $message }
                push @got, $sub->poll_wait_multi(5);
                $peer->tell(join ' ', @got, $sub->is_gone ? 'gone' : 'there');
            });
            is($kid->hear, 'ready', "$way: a process waits without a timeout");
            $ring->publish($v->value(1));
            if    ($way =~ /class/) { $class->unlink($path) }
            elsif ($way eq 'rm')    { unlink $path or die "unlink: $!" }
            else                    { $ring->unlink }
            is($kid->hear, $v->value(1) . ' gone', "$way: the process reads the last message, and its wait ends");
            reap("$way: the process exits with 0", $kid);
        }
    };

    subtest 'a handle for event loops' => sub {
        my $ring = $class->new(fresh_path(), 8);
        my $sub  = $ring->subscribe;
        my $fh   = $sub->fh;
        $ring->unlink;
        until_asleep("$$/task/$_") for grep { slurp("/proc/$$/task/$_/comm") eq "pubsub-watch\n" } entries("/proc/$$/task");
        ok(!readable($fh), 'the handle does not become readable when the ring is removed');
        $ring->publish($v->value(1));
        until_readable($fh);
        is($sub->poll, $v->value(1), 'the handle becomes readable for a message to the removed ring');
    };

    subtest 'reopen' => sub {
        my $path = fresh_path();
        my $ring = $class->new($path, 4);
        my $sub  = $ring->subscribe_all;
        $ring->publish_multi($v->values(1, 9));
        $sub->drain;
        my $lost = $sub->overflow_count;
        croaks_like(sub { $class->new(undef, 8)->reopen }, '->reopen: this ring has no path',
            'reopen of a ring without a path croaks');
        $ring->unlink;
        croaks_like(sub { $_->reopen }, '->reopen: .*No such file or directory',
            'reopen croaks if there is no new file') for $ring, $sub;
        is($sub->capacity, 4, 'a failed reopen keeps the old ring');
        my $new = $class->new($path, 16);
        $new->publish($v->value(20));
        my $fh = fileno $sub->fh;
        ok($_->reopen, 'reopen returns true') for $ring, $sub;
        is($_->capacity, 16, 'reopen opens the new ring') for $ring, $sub;
        ok(!$_->is_gone, 'is_gone is false after reopen') for $ring, $sub;
        is($sub->poll, $v->value(20), 'the subscriber continues with the oldest message of the new ring');
        is($sub->overflow_count, $lost, 'overflow_count keeps the losses of the old ring');
        $ring->publish($v->value(21));
        ok(until_readable($sub->fh), 'the handle becomes readable for the new ring');
        is($sub->poll, $v->value(21), 'the handle reports a new message of the new ring');
        is($ring->path, $path, 'the path stays the same');

        my $looks = $class->new_readonly($path);
        $new->unlink;
        $class->new($path, 32);
        $looks->reopen;
        is($looks->capacity, 32, 'a read-only ring can be reopened');
        ok(!eval { $looks->publish(1); 1 }, 'the reopened ring is still read-only');
    };

    subtest 'new with other sizes than those of the ring' => sub {
        my $path = fresh_path();
        my @size = $v->is_str ? 64 : ();
        $class->new($path, 256, @size);
        my @said;
        local $SIG{__WARN__} = sub { push @said, @_ };
        $class->new($path, $_, @size) for 0, 200, 256;
        is_deeply(\@said, [], 'a size that is the same after rounding does not warn');
        $class->new($path, 500, @size);
        like("@said", qr/\A\Q$class\E->new: capacity 500 was asked for, the ring has 256 at \Q$0\E line/, 'another capacity warns');
        @said = ();
        { no warnings 'Data::PubSub::Shared'; $class->new($path, 500, @size) }
        is_deeply(\@said, [], 'the warning can be disabled');
        croaks_like(sub { use warnings FATAL => 'Data::PubSub::Shared'; $class->new($path, 500, @size) },
            'capacity 500 was asked for', 'the warning can be made fatal');
        croaks_like(sub { $class->new($path, 500, @size, strict => 1) },
            "\Q$class\E->new: capacity 500 was asked for, the ring has 256", 'with strict, another capacity croaks');
        ok($class->new($path, 256, @size, strict => 1), 'with strict, the same capacity does not croak');
        if ($v->is_str) {
            croaks_like(sub { $class->new($path, 256, 65, strict => 1) }, 'msg_size 65 was asked for, the ring has 64',
                'with strict, another msg_size croaks');
            ok($class->new($path, 256, strict => 1), 'with strict, no msg_size does not croak');
            croaks_like(sub { $class->new($path, 256, strict => 1, publishers => 3) },
                'publishers 3 was asked for, the ring has 64', 'with strict, another number of publishers croaks');
        }
    };
});

done_testing;
