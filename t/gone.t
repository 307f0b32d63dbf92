# Rings whose files are removed or replaced: who has them open can tell, waits end, and what stands there now can be opened.

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
        ok(!$_->is_gone, 'not before') for $ring, $sub, $far;
        my $other = $class->new($path);
        $other->unlink;
        ok($_->is_gone, 'removed by another handle') for $ring, $sub, $far, $other;

        ($ring, $other) = map { $class->new($path, 8) } 1, 2;
        $sub = $other->subscribe;
        $class->unlink($path);
        ok($_->is_gone, 'removed by the class') for $ring, $other, $sub;

        $ring = $class->new($path, 8);
        unlink $path or die "unlink: $!";
        ok($ring->is_gone, 'removed by somebody else');
        $other = $class->new($path, 8);
        ok($ring->is_gone, 'and replaced');
        ok(!$other->is_gone, 'the new one is not');
        ok(!$_->is_gone, 'a ring in memory never is') for $class->new(undef, 8), $class->new_memfd('t', 8);
    };

    subtest 'a wait ends when nothing is left to read' => sub {
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
            is($kid->hear, 'ready', "$way: somebody waits without a timeout");
            $ring->publish($v->value(1));
            if    ($way =~ /class/) { $class->unlink($path) }
            elsif ($way eq 'rm')    { unlink $path or die "unlink: $!" }
            else                    { $ring->unlink }
            is($kid->hear, $v->value(1) . ' gone', 'reads what was there, and its wait ends');
            reap('it', $kid);
        }
    };

    subtest 'a handle for event loops' => sub {
        my $ring = $class->new(fresh_path(), 8);
        my $sub  = $ring->subscribe;
        my $fh   = $sub->fh;
        $ring->unlink;
        until_asleep("$$/task/$_") for grep { slurp("/proc/$$/task/$_/comm") eq "pubsub-watch\n" } entries("/proc/$$/task");
        ok(!readable($fh), 'rests');
        $ring->publish($v->value(1));
        until_readable($fh);
        is($sub->poll, $v->value(1), 'and tells of what those publish who have the ring');
    };

    subtest 'reopen' => sub {
        my $path = fresh_path();
        my $ring = $class->new($path, 4);
        my $sub  = $ring->subscribe_all;
        $ring->publish_multi($v->values(1, 9));
        $sub->drain;
        my $lost = $sub->overflow_count;
        croaks_like(sub { $class->new(undef, 8)->reopen }, '->reopen: this ring has no path', 'a ring without a path');
        $ring->unlink;
        croaks_like(sub { $_->reopen }, '->reopen: .*No such file or directory', 'nothing is there') for $ring, $sub;
        is($sub->capacity, 4, 'and the old one is kept');
        my $new = $class->new($path, 16);
        $new->publish($v->value(20));
        my $fh = fileno $sub->fh;
        ok($_->reopen, 'reopened') for $ring, $sub;
        is($_->capacity, 16, 'is the other ring') for $ring, $sub;
        ok(!$_->is_gone, 'which is there') for $ring, $sub;
        is($sub->poll, $v->value(20), 'from its oldest message on');
        is($sub->overflow_count, $lost, 'what was lost before stays in the account');
        $ring->publish($v->value(21));
        ok(until_readable($sub->fh), 'its handle is another');
        is($sub->poll, $v->value(21), 'and tells of new messages');
        is($ring->path, $path, 'the path is the same');

        my $looks = $class->new_readonly($path);
        $new->unlink;
        $class->new($path, 32);
        $looks->reopen;
        is($looks->capacity, 32, 'for reading only, too');
        ok(!eval { $looks->publish(1); 1 }, 'as before');
    };

    subtest 'other sizes than those of the ring' => sub {
        my $path = fresh_path();
        my @size = $v->is_str ? 64 : ();
        $class->new($path, 256, @size);
        my @said;
        local $SIG{__WARN__} = sub { push @said, @_ };
        $class->new($path, $_, @size) for 0, 200, 256;
        is_deeply(\@said, [], 'none, where they are the same after rounding');
        $class->new($path, 500, @size);
        like("@said", qr/\A\Q$class\E->new: capacity 500 was asked for, the ring has 256 at \Q$0\E line/, 'a warning');
        @said = ();
        { no warnings 'Data::PubSub::Shared'; $class->new($path, 500, @size) }
        is_deeply(\@said, [], 'which can be switched off');
        croaks_like(sub { use warnings FATAL => 'Data::PubSub::Shared'; $class->new($path, 500, @size) },
            'capacity 500 was asked for', 'or made fatal');
        croaks_like(sub { $class->new($path, 500, @size, strict => 1) },
            "\Q$class\E->new: capacity 500 was asked for, the ring has 256", 'strict');
        ok($class->new($path, 256, @size, strict => 1), 'strict, and the same');
        if ($v->is_str) {
            croaks_like(sub { $class->new($path, 256, 65, strict => 1) }, 'msg_size 65 was asked for, the ring has 64', 'msg_size');
            ok($class->new($path, 256, strict => 1), 'no msg_size was asked for');
            croaks_like(sub { $class->new($path, 256, strict => 1, publishers => 3) },
                'publishers 3 was asked for, the ring has 64', 'publishers');
        }
    };
});

done_testing;
