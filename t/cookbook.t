#!/usr/bin/env perl
# The programs of the cookbook run unchanged, and print the output that it shows.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use PubSubTest;
use PubSubTest::Page;

my @programs = programs('Cookbook.pod');
cmp_ok(scalar @programs, '>=', 10, 'the page has programs');

for my $program (@programs) {
    my $dir = run_program($program) or next;
    if ($program->{name} eq 'feed.pl') { news_reach_browsers("$dir/program", $dir) }
}

# The web server of the page, with a browser and a program that publishes news.
sub news_reach_browsers {
    my ($file, $dir) = @_;
    subtest 'news reach browsers' => sub {
        require Test::Mojo;
        require Mojo::File;
        my $ring = Data::PubSub::Shared::Str->new("$dir/news.ring");
        my $t    = Test::Mojo->new(Mojo::File->new($file));
        $t->websocket_ok('/news');
        $ring->publish('from elsewhere');
        $t->message_ok->message_is('from elsewhere');
        $ring->publish("number $_") for 1 .. 150;
        $t->message_ok->message_is("number $_") for 1 .. 150;
        my $other = Mojo::UserAgent->new;
        $other->server->app($t->app);
        # A program that reads bytes publishes, one that has characters, and bytes that are not text.
        my $characters = "caf\x{e9} \x{263a}";
        utf8::encode(my $bytes = $characters);
        $ring->publish_multi($characters, $bytes, "\xff");
        $t->message_ok->message_is($_) for $characters, $characters, "\x{ff}";
        is($other->post('/news' => form => { text => 'posted' })->res->body, "published\n", 'POST publishes a message');
        $t->message_ok->message_is('posted');
        $t->finish_ok;
    };
    return;
}

# The page describes what happens if a volume is too small.
subtest 'a volume that is too small' => sub {
    open my $mounts, '<', '/proc/mounts' or plan skip_all => 'no /proc/mounts';
    plan skip_all => 'not root' if $>;
    my $dir = fresh_dir();
    my $tried = system "unshare -m sh -c 'mount -t tmpfs -o size=64k tmpfs $dir' 2>/dev/null";
    plan skip_all => 'needs the right to mount' if $tried != 0;
    my ($out, $status) = run_perl(<<'END', $dir);
        my ($dir) = @ARGV;
        my $try = q{
            use Data::PubSub::Shared;
            my $path = "$ARGV[0]/ring";
            eval { Data::PubSub::Shared::Int->new($path, 65_536) };
            print $@, -e $path ? 'there' : 'gone';
        };
        exec 'unshare', '-m', 'sh', '-c', 'mount -t tmpfs -o size=64k tmpfs "$1" && shift && exec "$@"', 'sh', $dir,
            $^X, (map {"-I$_"} @INC), '-e', $try, $dir;
END
    like($out, qr/No space left on device/, 'new croaks if the volume is too small');
    like($out, qr/gone/, 'the failed new leaves no file');
    is($status, 0, 'the program exits with 0');
};

done_testing;
