# Several interpreters of one process load the module, one after the other and at the same time; and one interpreter loads
# it again. Each case is a process of its own, because it may crash.

use strict;
use warnings;
use Config;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

# The output and warnings of a program, and its exit status if that is not 0.
sub runs {
    my ($source) = @_;
    my @command = ($^X, (map {"-I$_"} @INC), '-e', $source);
    open my $out, '-|', 'sh', '-c', 'exec "$@" 2>&1', 'sh', @command or die "fork: $!";
    my $text = do { local $/; <$out> } // '';
    close $out;
    return $? ? "ended with $?, printed: $text" : $text;
}

# Uses each part that loading sets up: methods, classes of objects, keywords.
my $use = q{
    sub try_all {
        my $sum = 0;
        for my $variant (qw(Int Int32 Int16 Str Num)) {
            my $word = lc $variant;
            my $try  = eval "use Data::PubSub::Shared::$variant; sub {
                my \$ring = Data::PubSub::Shared::$variant->new(undef, 8);
                my \$sub  = \$ring->subscribe;
                \$ring->publish(2);
                ps_${word}_publish \$ring, 3;
                return 1000 * ps_${word}_lag(\$sub) + 10 * ps_${word}_poll(\$sub) + \$sub->poll;
            }" or die;
            $sum += $try->();
        }
        return $sum;
    }
};
my $all = 5 * 2023;

is(runs("$use print try_all()"), $all, 'one interpreter works');

subtest 'the module is loaded again' => sub {
    my $again = q{
        sub again {
            delete @INC{ grep { m{^Data/PubSub/Shared} } keys %INC };
            local $SIG{__WARN__} = sub { print @_ if $_[0] !~ /^Subroutine (import|unimport|CLONE_SKIP) redefined/ };
            require Data::PubSub::Shared;
        }
    };
    is(runs("$use $again print join ' ', map { again(); try_all() } 1 .. 5"), join(' ', ($all) x 5),
        'the module works after it was loaded again, five times');
    is(runs("$again" . q{
        use Data::PubSub::Shared::Int;
        my $ring = Data::PubSub::Shared::Int->new(undef, 8);
        my $sub  = $ring->subscribe;
        sub put { ps_int_publish $ring, $_[0] }
        put(1); again(); put(2); $ring->publish(3);
        print join ' ', ps_int_lag $sub, $sub->drain;
    }), '3 1 2 3', 'objects and compiled code from before still work');
};

SKIP: {
    skip 'this perl has no threads', 2 if !$Config{useithreads};

    is(runs("use threads; $use" . q{
        print join ' ', map { threads->create(\&try_all)->join } 1 .. 5;
    }), join(' ', ($all) x 5), 'five threads work, one after the other');

    # Each thread loads the module itself, because it was not loaded when the threads started.
    my $at_once = "use threads; use threads::shared; $use" . q{
        my $ready :shared = 0;
        my @threads = map { threads->create(sub {
            { lock $ready; $ready++; cond_broadcast($ready); cond_wait($ready) while $ready < 4 }
            return try_all();
        }) } 1 .. 4;
        print join ' ', map { $_->join } @threads;
    };
    my %seen;
    $seen{ runs($at_once) }++ for 1 .. 40;
    is_deeply(\%seen, { join(' ', ($all) x 4) => 40 }, 'four threads load the module at the same time, 40 times');
}

done_testing;
