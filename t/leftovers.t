# What a test leaves behind, however it ends: nothing.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

for my $way ('exit 3', 'die', map {"kill $_ => \$\$; sleep 1 while 1"} qw(ALRM TERM KILL)) {
    my $folder = fresh_dir();
    my ($out) = run_perl(<<'END', $folder, $way);
        BEGIN { $ENV{TMPDIR} = shift }
        use PubSubTest;
        my $folder = $ENV{TMPDIR};
        spew(fresh_path(), 'x');
        my $kid = spawn(sub { my ($peer) = @_; fresh_path(); $peer->tell($ENV{TMPDIR}); $peer->hear });
        print $kid->hear eq $folder && -d $folder ? "running\n" : "no folder\n";
        close STDOUT;
        eval shift;
        die $@;
END
    like($out, qr/^running$/m, $way);
    select undef, undef, undef, 0.001 while entries($folder);
    pass('nothing is left');
}

done_testing;
