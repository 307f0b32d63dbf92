# Under -T: messages are tainted, as data of shmread; new and unlink refuse tainted paths.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Config;
use Test::More;
use PubSubTest;
use PubSubTest::Program;

plan skip_all => 'this perl has no taint mode' if $Config{taint_disabled} || !eval { run_taint('print ${^TAINT}') == 1 };

each_variant(sub {
    my ($v) = @_;
    my ($output, $status) = run_taint(<<'END', $v->class, fresh_dir());
        use strict;
        use warnings;
        use Scalar::Util 'tainted';
        use Data::PubSub::Shared;
        sub report { print map {"$_\n"} @_ }
        my ($class, $dir) = map {/(.*)/s} @ARGV;
        my $tainted = substr $ARGV[1], 0, 0;
        my $path = "$dir/ring";
        my $ring = $class->new($path, 16);
        my $sub  = $ring->subscribe;
        my %read = (
            poll            => sub { map { $sub->poll } 1 .. 2 },
            drain           => sub { $sub->drain },
            poll_multi      => sub { $sub->poll_multi(2) },
            poll_wait       => sub { map { $sub->poll_wait } 1 .. 2 },
            poll_wait_multi => sub { $sub->poll_wait_multi(2) },
            poll_cb         => sub { my @got; $sub->poll_cb(sub { push @got, $_[0] }); @got },
            keyword         => eval "use $class; sub { map { ps_" . lc(($class =~ /(\w+)\z/)[0]) . '_poll($sub) } 1 .. 2 }' || die,
        );
        for my $name (sort keys %read) {
            $ring->publish_multi(41, 42);
            my @got = $read{$name}->();
            report("$name: @got, tainted " . join ',', map { tainted($_) ? 1 : 0 } @got);
        }
        my $lag = $sub->lag;
        report('lag tainted ' . (tainted($lag) ? 1 : 0));
        $ring->publish(1);
        my $value = $sub->poll;
        report('system refused') if !eval { system "true $value"; 1 };
        $ring->publish("7$tainted");
        report('tainted values may be published: ' . $sub->poll);

        for my $call (
            ['new', sub { $class->new("$dir/other$tainted", 8) }],
            ['new', sub { $class->new("$path$tainted") }],
            ['unlink', sub { $class->unlink("$path$tainted") }],
        ) {
            my ($name, $code) = @$call;
            report("$name lived") if eval { $code->(); 1 };
            report($@ =~ s/ at .*//sr);
        }
        report(-e "$dir/other" ? 'made' : 'not made', -e $path ? 'there' : 'gone');
        my $reader = $class->new_readonly("$path$tainted");
        report('reading is allowed, path tainted ' . (tainted($reader->path) ? 1 : 0));
        report('path of a ring tainted ' . (tainted($ring->path) ? 1 : 0));
        report('unlink ' . ($ring->unlink ? 'fine' : ''), -e $path ? 'there' : 'gone');
END
    my $class    = $v->class;
    my $insecure = 'Insecure dependency in ' . $class;
    is($output, join('', map {"$_\n"}
        (map {"$_: 41 42, tainted 1,1"} sort qw(poll drain poll_multi poll_wait poll_wait_multi poll_cb keyword)),
        'lag tainted 0',
        'system refused',
        'tainted values may be published: 7',
        (map {"$insecure->$_ while running with -T switch"} qw(new new unlink)),
        'not made', 'there',
        'reading is allowed, path tainted 1',
        'path of a ring tainted 0',
        'unlink fine', 'gone'), 'messages are tainted, and tainted paths are refused');
    is($status, 0, 'the program exits with 0');
});

done_testing;

# Runs a program under perl -T: (output and errors, wait status).
sub run_taint {
    my ($program, @arguments) = @_;
    delete local @ENV{qw(IFS CDPATH ENV BASH_ENV)};
    local $ENV{PATH} = '/usr/bin:/bin';
    my (undef, $out) = read_perl(sub { open STDERR, '>&', \*STDOUT }, '-T', '-e', $program, @arguments);
    my $output = do { local $/; <$out> };
    close $out;
    return wantarray ? ($output, $?) : $output;
}
