# A path that already holds something: a ring is joined, an unfinished one is finished, anything
# else is refused and left as it was.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

sub inode { return (stat $_[0])[1] }

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;
    my @size  = $v->is_str ? (40) : ();

    subtest 'join' => sub {
        my $path  = fresh_path();
        my $first = $class->new($path, 10, @size);
        $first->publish_multi($v->values(1, 3));
        for my $arguments ([], [undef], [16], [4096], [2, $v->is_str ? 7777 : 0644]) {
            no warnings 'Data::PubSub::Shared';
            my $second = $class->new($path, @$arguments);
            is($second->capacity, 16, 'the capacity is that of the header');
            is($second->msg_size, 40, 'the message size too') if $v->is_str;
            is_deeply([$second->subscribe_all->drain], [$v->values(1, 3)], 'the messages are there');
            is_deeply($second->stats, $first->stats, 'both see one ring');
        }
        croaks_like(sub { $class->new($path, 'abc') }, 'capacity must be', 'arguments are checked all the same');

        my $before = $first->subscribe;
        my $second = $class->new($path);
        $second->publish($v->value(9));
        is($before->poll, $v->value(9), 'what one handle publishes, a subscriber of the other gets');
    };

    subtest 'other variants' => sub {
        my $path = fresh_path();
        my $ring = $class->new($path, 16);
        $ring->publish($v->value(1));
        my $bytes = slurp($path);
        for my $other (grep { $_->name ne $v->name } variants()) {
            croaks_like(
                sub { $other->class->new($path, 16) },
                quotemeta($other->class) . '->new: .*invalid or incompatible', $other->name . ' refuses it'
            );
        }
        is(slurp($path), $bytes, 'and never writes to it');
    };

    my $model = fresh_path();
    my $size  = $class->new($model, 16)->stats->{mmap_size};
    my $fresh = slurp($model);

    subtest 'unfinished files' => sub {
        my %unfinished = (
            'empty'                   => '',
            'all zero'                => "\0" x $size,
            'header without its magic' => "\0" x 8 . substr($fresh, 8),
        );
        for my $kind (sort keys %unfinished) {
            my $path  = spew(fresh_path(), $unfinished{$kind});
            my $inode = inode($path);
            croaks_like(sub { $class->new($path) }, '->new: ', "$kind: not without a capacity");
            is(slurp($path), $unfinished{$kind}, "$kind: left alone then");
            lives(
                sub {
                    my $ring = $class->new($path, 16);
                    my $sub  = $ring->subscribe_all;
                    $ring->publish($v->value(5));
                    is($sub->poll, $v->value(5), "$kind: works");
                    is(inode($path), $inode, "$kind: filled in place");
                    is(-s $path, $size, "$kind: complete");
                    is($class->new($path)->capacity, 16, "$kind: others can join");
                },
                "$kind: filled"
            );
        }
    };

    subtest 'other content' => sub {
        my %foreign = (
            'text'                 => "not a ring at all\n" x 500,
            'one byte'             => 'x',
            'one zero'             => "\0",
            'zeros, one short'     => "\0" x ($size - 1),
            'zeros, one too many'  => "\0" x ($size + 1),
            'zeros and a last one' => "\0" x ($size - 1) . "\1",
            'ones'                 => "\xff" x $size,
            'no magic, a message'  => "\0" x 8 . substr($fresh, 8, -1) . "\1",
        );
        for my $kind (sort keys %foreign) {
            my $path = spew(fresh_path(), $foreign{$kind});
            croaks_like(sub { $class->new($path, 16) }, "\Q$class\E->new: ", "$kind: refused");
            like($@, qr/invalid or incompatible|too small|remove/, "$kind: says why");
            ok(slurp($path) eq $foreign{$kind}, "$kind: left as it was");
        }
        my $path = spew(fresh_path(), $foreign{'zeros and a last one'});
        croaks_like(sub { $class->new($path, 16) }, 'not a ring file', 'no ring of anybody');
        unlike($@, qr/remove/, 'which is not to be removed');
        spew($path, $foreign{'no magic, a message'});
        croaks_like(sub { $class->new($path, 16) }, 'did not finish; remove it', 'half made by somebody: the user is told to remove it');
    };

    subtest 'files of others' => sub {
        my ($uid, $gid) = nobody() or plan skip_all => 'needs root';
        for my $bytes ('', "\0" x $size) {
            my $path = spew(fresh_path(), $bytes);
            chown $uid, $gid, $path;
            croaks_like(sub { $class->new($path, 16) }, '->new: ', 'not ours, unfinished: refused');
            ok(slurp($path) eq $bytes, 'and not written to');
        }
        my $path = fresh_path();
        my $ring = $class->new($path, 16);
        $ring->publish($v->value(1));
        chown $uid, $gid, $path;
        is($class->new($path)->subscribe_all->poll, $v->value(1), 'not ours, but a ring: joined');
    };
});

done_testing;
