# A test leaves no files, however it ends.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

for my $way ('exit 3', 'die', map {"kill $_ => \$\$; sleep 1 while 1"} qw(ALRM TERM KILL)) {
    my $dir = fresh_dir();
    my ($out) = run_perl(<<'END', $dir, $way);
        BEGIN { $ENV{TMPDIR} = shift }
        use PubSubTest;
        my $dir = $ENV{TMPDIR};
        spew(fresh_path(), 'x');
        my $kid = spawn(sub { my ($peer) = @_; fresh_path(); $peer->tell($ENV{TMPDIR}); $peer->hear });
        print $kid->hear eq $dir && -d $dir ? "running\n" : "no directory\n";
        close STDOUT;
        eval shift;
        die $@;
END
    like($out, qr/^running$/m, "the test runs before: $way");
    select undef, undef, undef, 0.001 while entries($dir);
    pass("no file is left after: $way");
}

done_testing;
