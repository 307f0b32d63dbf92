package PubSubTest::Page;

# The programs on a page of documentation: a verbatim block after `=for test NAME ARGUMENTS` is a program, one after `=for
# output NAME` is its output. A name that ends in .sh means a shell script.

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use Test::More;

use PubSubTest;
use PubSubTest::Program;

our @EXPORT = qw(programs verbatim run_program);

# The verbatim blocks of a page: { text }, with { name, arguments } for a program or { name, output => 1 } for its output.
sub verbatim {
    my ($page) = @_;
    my (@blocks, $says);
    for my $paragraph (split /\n{2,}/, slurp("$FindBin::Bin/../lib/Data/PubSub/Shared/$page")) {
        if    ($paragraph =~ /\A=for test (\S+) ?(.*)/) { $says = { name => $1, arguments => [split ' ', $2] } }
        elsif ($paragraph =~ /\A=for output (\S+)/)     { $says = { name => $1, output    => 1 } }
        elsif ($paragraph =~ /\A {4}/) {
            push @blocks, { %{ $says // {} }, text => '' } if !@blocks || !$blocks[-1]{open} || ($says && !$says->{open});
            $says->{open} = $blocks[-1]{open} = 1;
            $blocks[-1]{text} .= $paragraph =~ s/^ {4}//mgr . "\n\n";
        }
        else {
            undef $says;
            $_->{open} = 0 for @blocks;
        }
    }
    $_->{text} =~ s/\n+\z/\n/ for @blocks;
    return @blocks;
}

# { name, arguments, text, output } of each program.
sub programs {
    my @blocks = grep { $_->{name} } verbatim(@_);
    my %output = map { $_->{name} => $_->{text} } grep { $_->{output} } @blocks;
    return map { { %$_, output => $output{ $_->{name} } } } grep { !$_->{output} } @blocks;
}

# Modules that are not installed.
sub missing {
    my ($text) = @_;
    return grep { !/\A(?:strict|warnings|utf8|Data::.*)\z/ && !eval "require $_; 1" } $text =~ /^use ([A-Z][\w:]*)/mg;
}

# Runs a program in a directory that replaces /dev/shm, and checks its output. Returns the directory; nothing if modules are
# missing.
sub run_program {
    my ($program) = @_;
    my ($name, $text) = @$program{qw(name text)};
    my $dir;
    SKIP: {
        my @missing = missing($text);
        skip "$name: @missing is not installed", 3 if @missing;
        my $private = $text =~ /^\s*\$> = /m ? PubSubTest::private_above() : undef;    # for programs that switch to another user
        skip "$name: others may not enter $private", 3 if defined $private;
        $dir = fresh_dir();
        chmod 0755, $dir, $dir =~ s{/[^/]*\z}{}r;
        $text = shell_in($dir, $text) if $name =~ /\.sh\z/;
        my $file = spew("$dir/program", $text =~ s{/dev/shm}{$dir}gr);
        my $prepare = sub {
            alarm 60;
            open STDERR, '>&', \*STDOUT;
            $ENV{MOJO_LOG_LEVEL} = 'fatal';
        };
        my (undef, $out) = read_perl($prepare, $file, @{ $program->{arguments} });
        my $printed = do { local $/; <$out> };
        close $out;
        is($?, 0, "$name exits with 0");
        is($printed =~ s{\Q$dir\E}{/dev/shm}gr, $program->{output}, "$name prints the output that the page shows");
        is_deeply([grep { !/\Aprogram\z|\.ring\z/ } entries($dir)], [], "$name leaves only rings");
    }
    return $dir;
}

# A Perl program that runs these lines in the shell, with the command of this distribution.
sub shell_in {
    my ($dir, $text) = @_;
    my $command = join ' ', map {"'$_'"} $^X, (map {"-I$_"} grep { !ref } @INC), "$FindBin::Bin/../bin/pubsub-shared";
    # The name of a shell function cannot have a dash.
    $text =~ s/\bpubsub-shared (?=[a-z])/pubsub_shared /g;
    return "system('sh', '-e', '-c', <<'SHELL') == 0 or exit 1;\npubsub_shared() { $command \"\$\@\"; }\n${text}SHELL\n";
}

1;
