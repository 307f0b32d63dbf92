# A path that already has a file: new opens a ring, completes an unfinished one, and refuses
# any other file and leaves it unchanged.

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

    subtest 'an existing ring is opened' => sub {
        my $path  = fresh_path();
        my $first = $class->new($path, 10, @size);
        $first->publish_multi($v->values(1, 3));
        for my $arguments ([], [undef], [16], [4096], [2, $v->is_str ? 7777 : 0644]) {
            no warnings 'Data::PubSub::Shared';
            my $second = $class->new($path, @$arguments);
            is($second->capacity, 16, 'the capacity is the one in the header');
            is($second->msg_size, 40, 'the message size is the one in the header') if $v->is_str;
            is_deeply([$second->subscribe_all->drain], [$v->values(1, 3)], 'the messages of the ring are still there');
            is_deeply($second->stats, $first->stats, 'both handles report the same stats');
        }
        croaks_like(sub { $class->new($path, 'abc') }, 'capacity must be', 'invalid arguments croak for an existing ring, too');

        my $before = $first->subscribe;
        my $second = $class->new($path);
        $second->publish($v->value(9));
        is($before->poll, $v->value(9), 'a subscriber of one handle gets what the other handle publishes');
    };

    subtest 'a ring of another variant is refused' => sub {
        my $path = fresh_path();
        my $ring = $class->new($path, 16);
        $ring->publish($v->value(1));
        my $bytes = slurp($path);
        for my $other (grep { $_->name ne $v->name } variants()) {
            croaks_like(
                sub { $other->class->new($path, 16) },
                quotemeta($other->class) . '->new: .*invalid or incompatible', $other->name . ' refuses the file'
            );
        }
        is(slurp($path), $bytes, 'the refused file is unchanged');
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
            croaks_like(sub { $class->new($path) }, '->new: ', "$kind: new without a capacity croaks");
            is(slurp($path), $unfinished{$kind}, "$kind: new without a capacity leaves the file unchanged");
            lives(
                sub {
                    my $ring = $class->new($path, 16);
                    my $sub  = $ring->subscribe_all;
                    $ring->publish($v->value(5));
                    is($sub->poll, $v->value(5), "$kind: the ring works");
                    is(inode($path), $inode, "$kind: the ring is created in the same file");
                    is(-s $path, $size, "$kind: the file has its full size");
                    is($class->new($path)->capacity, 16, "$kind: a second handle can open it");
                },
                "$kind: new with a capacity creates the ring"
            );
        }
    };

    subtest 'files with other content are refused' => sub {
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
            croaks_like(sub { $class->new($path, 16) }, "\Q$class\E->new: ", "$kind: new croaks");
            like($@, qr/invalid or incompatible|too small|remove/, "$kind: the message gives the reason");
            ok(slurp($path) eq $foreign{$kind}, "$kind: the file is unchanged");
        }
        my $path = spew(fresh_path(), $foreign{'zeros and a last one'});
        croaks_like(sub { $class->new($path, 16) }, 'not a ring file', 'a file that was never a ring is refused as such');
        unlike($@, qr/remove/, 'the message does not advise to remove a file that was never a ring');
        spew($path, $foreign{'no magic, a message'});
        croaks_like(sub { $class->new($path, 16) }, 'did not finish; remove it',
            'the message for an unfinished ring advises to remove it');
    };

    subtest 'files of other users' => sub {
        my ($uid, $gid) = nobody() or plan skip_all => 'needs root';
        for my $bytes ('', "\0" x $size) {
            my $path = spew(fresh_path(), $bytes);
            chown $uid, $gid, $path;
            croaks_like(sub { $class->new($path, 16) }, '->new: ', 'an unfinished file of another user is refused');
            ok(slurp($path) eq $bytes, 'that file is not written to');
        }
        my $path = fresh_path();
        my $ring = $class->new($path, 16);
        $ring->publish($v->value(1));
        chown $uid, $gid, $path;
        is($class->new($path)->subscribe_all->poll, $v->value(1), 'a ring of another user is opened');
    };
});

done_testing;
