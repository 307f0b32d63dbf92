# The handle of a subscriber in Mojo::IOLoop, with each of its reactors that is installed.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

eval { require Mojo::IOLoop; require Mojo::Reactor::Poll; 1 } or plan skip_all => 'Mojolicious is not installed';
require PubSubTest::Loop;
PubSubTest::Loop->import;

for my $class (qw(Mojo::Reactor::Poll Mojo::Reactor::EV)) {
    next if !eval "require $class; 1";
    my $reactor = $class->new;
    loop_ok(
        $class,
        watch => sub {
            my ($fh, $code) = @_;
            $reactor->io($fh => $code)->watch($fh, 1, 0);
            return sub { $reactor->remove($fh) };
        },
        every => sub {
            my ($seconds, $code) = @_;
            my $id = $reactor->recurring($seconds => $code);
            return sub { $reactor->remove($id) };
        },
        unwatch => sub { $_[0]->() },
        run     => sub { $reactor->start },
        stop    => sub { $reactor->stop },
    );
}

done_testing;
