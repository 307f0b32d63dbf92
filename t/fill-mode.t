# A file that its owner made beforehand, and `new` fills: the mode is the one asked for, as if `new` had made it.

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
            is(mode_of($path), sprintf('%04o', $mode // 0600), sprintf '%s, %04o before', $kind, $before);
            is((stat $path)[1], $inode, 'in place');
        }
    }
    my $path = fresh_path();
    $class->new($path, 16, @size, 0640);
    $class->new($path, 16, @size, 0600);
    is(mode_of($path), '0640', 'a ring keeps its own');
    my $none = fresh_path();
    for my $mode (0, 0400, 0200, 0066) {
        my $shown = sprintf '0%o', $mode;
        croaks_like(
            sub { $class->new($none, 16, @size, $mode) },
            qr/\Q$class\E->new: mode \d+ \(octal $shown\) must let the owner read and write/, "mode $shown"
        );
        ok(!-e $none, 'makes no file');
    }
    my $short = spew(fresh_path(), 'text');
    chmod 0644, $short;
    eval { $class->new($short, 16) };
    is(mode_of($short), '0644', 'what is refused, too');
});

done_testing;
