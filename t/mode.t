# A mode that would lock the owner out croaks, and the error explains the mistake.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;
    my $path  = fresh_path();
    my @size  = $v->is_str ? (32) : ();
    my $hint  = $v->is_str ? '' : ', and give no msg_size';

    # Among them: a msg_size in place of the mode, octal digits as a string from a configuration, a type without permissions.
    for my $mode (0, 0400, 0200, 0044, 07, 256, 512, 1024, 4096, '0600', '0644', '0660', '644', 0100444, 0177077) {
        my $octal = sprintf '%o', $mode;
        croaks_like(
            sub { $class->new($path, 8, @size, $mode) },
            "\Q$class\E->new: mode " . ($mode + 0) . " \\(octal 0$octal\\) must let the owner read and write: "
                . "write 0644 or oct\\('0644'\\), not '0644'$hint(?= at)",
            "mode $mode croaks"
        );
        ok(!-e $path, "mode $mode leaves no file");
    }
    for my $mode (0600, oct('0644'), 0100660, 01777) {
        my $ring = $class->new($path, 8, @size, $mode);
        is((stat $path)[2] & 07777, $mode & 07777, sprintf 'the ring file has mode %04o', $mode);
        ok($class->new($path, 0, @size, (stat _)[2]), 'new accepts the mode that stat returns');
        $ring->unlink;
    }
});

done_testing;
