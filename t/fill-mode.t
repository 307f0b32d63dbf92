# `new` fills in a file that its owner created before: the file gets the requested mode, as a file that `new` creates.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

sub mode_of { return sprintf '%04o', (stat $_[0])[2] & 07777 }

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;
    my @size  = $v->is_str ? (16) : ();
    my $model = fresh_path();
    $class->new($model, 16, @size);
    my %content = (empty => '', 'all zero' => "\0" x -s $model, 'without its magic number' => "\0" x 8 . substr slurp($model), 8);
    for my $kind (sort keys %content) {
        for my $case ([0644], [0666, undef], [0644, 0660], [0600, 0640]) {
            my ($before, $mode) = @$case;
            my $path = spew(fresh_path(), $content{$kind});
            chmod $before, $path or die "chmod: $!";
            my $inode = (stat $path)[1];
            my $umask = umask 077;
            my $ring  = $class->new($path, 16, @size, @$case > 1 ? $mode : ());
            umask $umask;
            is(mode_of($path), sprintf('%04o', $mode // 0600),
                sprintf 'a file (%s) of mode %04o gets the requested mode', $kind, $before);
            is((stat $path)[1], $inode, 'the ring is created in the same file');
        }
    }
    my $path = fresh_path();
    $class->new($path, 16, @size, 0640);
    $class->new($path, 16, @size, 0600);
    is(mode_of($path), '0640', 'an existing ring keeps its mode');
    my $none = fresh_path();
    for my $mode (0, 0400, 0200, 0066) {
        my $shown = sprintf '0%o', $mode;
        croaks_like(
            sub { $class->new($none, 16, @size, $mode) },
            qr/\Q$class\E->new: mode \d+ \(octal $shown\) must let the owner read and write/, "mode $shown croaks"
        );
        ok(!-e $none, "mode $shown leaves no file");
    }
    my $short = spew(fresh_path(), 'text');
    chmod 0644, $short;
    eval { $class->new($short, 16) };
    is(mode_of($short), '0644', 'a refused file keeps its mode');
});

done_testing;
