# Lifetimes: subscribers outlive handles; global destruction; exec.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

each_variant(sub {
    my ($v)   = @_;
    my $class = $v->class;

    for my $make (sub { $v->ring(8) }, sub { $class->new(fresh_path(), 8) }, sub { $class->new_memfd('t', 8) }) {
        my $maps = shared_maps();
        my $ring = $make->();
        my $sub  = $ring->subscribe;
        my $late = $ring->subscribe_all;
        $ring->publish_multi($v->values(1, 3));
        undef $ring;
        is_deeply([$sub->drain], [$v->values(1, 3)], 'a subscriber outlives its handle');
        is($sub->write_pos, 3, 'write_pos works without the handle');
        is($sub->capacity, 8, 'capacity works without the handle');
        is($sub->poll_wait(0.001), undef, 'poll_wait works without the handle');
        undef $sub;
        is_deeply([$late->drain], [$v->values(1, 3)], 'a second subscriber outlives the first');
        undef $late;
        is(shared_maps(), $maps, 'the ring is unmapped with its last subscriber');
    }

    my $two  = $v->ring(8);
    my $maps = shared_maps();
    my $s1   = $two->subscribe;
    is(shared_maps(), $maps, 'a subscriber shares the mapping of its handle');
    is($class->new(undef, 8)->subscribe->poll, undef, 'a subscriber of a temporary handle works');

    my $prologue = <<'PERL';
        use strict; use warnings; require Data::PubSub::Shared;
        our ($class, $path) = @ARGV;
        our $r = $class->new(undef, 8);
        our $s = $r->subscribe;
PERL
    my %programs = (
        'globals'                => '$r->eventfd; our @a = map { $r->subscribe } 1 .. 5;',
        'globals, the other way' => 'our $a; our $z = $class->new($path, 8); $a = $z->subscribe; undef $z;',
        'a cycle'                => 'my $x = { r => $class->new(undef, 8) }; $x->{s} = $x->{r}->subscribe; $x->{x} = $x;',
        'a closure'              => 'our $f; my $q = $r; $f = sub { $q->publish(1); $s->poll; $f };',
        'END'                    => 'END { $r->publish(1); print $s->poll }',
        'exit'                   => '$r->publish(1); $s->poll_cb(sub { exit 0 });',
        'destroyed before'       => '$_->DESTROY for $r, $s;',
        'fork'                   => 'my $p = fork; exit 0 if !$p; waitpid $p, 0;',
        'hand-made'              => 'our $x = bless [], $class; our $y = bless {}, "${class}::Sub";',
        'used while all goes'    => <<'PERL',
            sub Late::DESTROY { my ($x) = @_; print eval { $x->{r}->publish(1); $x->{s}->poll } // '' }
            my $late = bless { r => $r, s => $r->subscribe }, 'Late';
            undef $late;
            our $last = bless { r => $r, s => $r->subscribe }, 'Late';
PERL
    );
    for my $name (sort keys %programs) {
        my ($output, $status) = run_perl("$prologue $programs{$name}", $class, fresh_path());
        is($status, 0, "global destruction: $name: the program exits with 0");
        like($output, qr/\A(?:1|11)?\z/, "global destruction: $name: the program prints no errors");
    }

    my $path  = fresh_path();
    my $named = $class->new($path, 8);
    my $memfd = $class->new_memfd('t', 8);
    my $sub   = $named->subscribe;
    $_->eventfd for $named, $memfd;
    my ($output, $status) = run_perl(<<'PERL', $class, $path);
        use strict; use warnings; require Data::PubSub::Shared;
        my ($class, $path) = @ARGV;
        opendir my $dir, '/proc/self/fd' or die $!;
        my @ours = grep { defined && /memfd|eventfd|\Q$path\E/ } map { readlink "/proc/self/fd/$_" } readdir $dir;
        print "inherited: @ours\n";
        open my $maps, '<', '/proc/self/maps' or die $!;
        print "mapped: $_" for grep { /\Q$path\E|memfd/ } <$maps>;
        print "published ", $class->new($path)->publish(1), "\n";
PERL
    is($output, "inherited: \npublished 1\n", 'after exec, nothing is inherited, and the ring can be opened by its path');
    is($status, 0, 'the new program exits with 0');
    is($sub->poll, 1, 'the message of the new program arrives');
});

done_testing;
