# Error messages of the commands: without the file and line that perl adds, whatever the name of the file is.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use PubSubTest;

use Data::PubSub::Shared::CLI::Text qw(cause number without_place);

for my $name ('plain.pl', 'with blanks.pl', 'look at line 3.pl', "caf\xc3\xa9 at x line 7. .pl") {
    my $file = fresh_dir() . "/$name";
    spew($file, 'sub { Data::PubSub::Shared::Int->new("/no/such ring at home", 8) }');
    my $code = require $file;
    eval { $code->() };
    like($@, qr/ at \Q$file\E line 1\.$/, "in '$name', the message ends with file and line");
    is(cause($@), 'open(/no/such ring at home): No such file or directory', "in '$name', cause removes file and line");
}

eval { Data::PubSub::Shared::Int->new('/no/ring', 8) };
is(cause($@), 'open(/no/ring): No such file or directory', 'cause removes the file and line of this program');
open my $in, '<', $0 or die "open: $!";
readline $in;
eval { Data::PubSub::Shared::Int->new('/no/ring', 8) };
is(cause($@), 'open(/no/ring): No such file or directory', 'cause removes the input line that perl adds');
close $in;
eval q{Data::PubSub::Shared::Int->new('/no/ring', 8)};
is(cause($@), 'open(/no/ring): No such file or directory', 'cause removes the place of a string eval');

is(cause("meet me at noon line 3\n"),           'meet me at noon line 3', 'cause does not change other texts');
is(without_place("[get] ERR x, at $0 line 3.\n\tmain::f() called at $0 line 9\n"), '[get] ERR x',
    'without_place removes a stack trace');
is(without_place('connect at 127.0.0.1:6379: refused'), 'connect at 127.0.0.1:6379: refused',
    'without_place does not change a text without a place');

is(number($_->[0]), $_->[1], "number($_->[0])")
    for ['7', 7], ['1k', 1024], ['1K', 1024], ['2m', 2 * 2**20], ['2M', 2 * 2**20], ['3g', 3 * 2**30], ['3G', 3 * 2**30],
    ['0', 0], ['', undef], ['k', undef], ['1.5k', undef], ['-1', undef], ['1kk', undef], ["1\n", undef];

done_testing;
