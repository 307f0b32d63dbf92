# The inspection of ring files that the commands use.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

use Data::PubSub::Shared::CLI::File;

sub inspected { return Data::PubSub::Shared::CLI::File->new(@_) }

each_variant(sub {
    my ($v)  = @_;
    my $path = fresh_path();
    my $ring = $v->class->new($path, 16, mode => 0640);
    $ring->publish_multi($v->values(1, 20));
    $ring->clear;
    $ring->publish_multi($v->values(1, 3));
    my $seen = inspected($path);
    my @stat = stat $path;
    is_deeply([@$seen{qw(size mode uid id)}], [$stat[7], 0640, $stat[4], "$stat[0]:$stat[1]"],
        'size, mode, owner and id of the file agree with stat');
    is($seen->{allocated}, $stat[12] * 512, 'allocated is the disk space of the file') if length $stat[12];
    is_deeply([@$seen{qw(variant raw_pos base used write_pos)}], [$v->name, 23, 20, 3, 3], 'variant and positions of the ring');
    like($seen->{identity}, qr/\A\Q$seen->{id}\E:(?:0|\d+\.\d{9})\z/, 'identity names the file');
    is(inspected($path)->{identity}, $seen->{identity}, 'identity is the same each time');
    is($seen->{unregistered}, 0, 'no publisher is unregistered');
    is_deeply([@$seen{qw(has_magic likely by_descriptor reason)}], [1, 1, 0, undef], 'the file is recognised as a ring');

    my $other = fresh_path();
    $v->class->new($other, 16);
    isnt(inspected($other)->{identity}, $seen->{identity}, 'another file has another identity');
    my $plan = { Data::PubSub::Shared::CLI::File::plan($v->name, 16, $v->is_str ? (msg_size => 256) : ()) };
    is_deeply($plan, { capacity => 16, mmap_size => -s $path }, 'plan returns the size that the file has');

    my $memfd = $v->class->new_memfd('nameless', 16);
    $seen = inspected("/proc/self/fd/" . $memfd->memfd);
    is_deeply([@$seen{qw(variant by_descriptor)}], [$v->name, 1], 'a memfd ring can be inspected');

    # Cut at each page, and extended: always a reason, never a signal.
    my $whole = slurp($path);
    my $cut = fresh_path();
    for my $length (0, 1, 4095, 4096, length($whole) - 1, length($whole) + 1) {
        spew($cut, substr($whole . "\0", 0, $length));
        like(inspected($cut)->{reason}, qr/too small|wrong size/, "a file of $length bytes is refused with a reason");
    }
});

done_testing;
