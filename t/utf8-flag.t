# A message has the UTF-8 flag only if it is valid: a publisher with a wrong flag does not affect readers.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Encode ();
use Test::More;
use PubSubTest;
use Data::PubSub::Shared::Str;

my $ring = variant('Str')->ring(64, undef, 2048);
my $sub  = $ring->subscribe;

# Bytes that are not valid UTF-8.
my @lies = ("\xff", "\x80", "\xc3", "caf\xe9", "\xe6\x97", "x" x 1000 . "\xf0\x9f\x98", "\xc0\x80", "\xf8\x80\x80\x80\x80");
my @true = ('', 'plain', "caf\xe9", "\x{65e5}\x{672c}", "\x{1f600}" x 100, "nul\0\x{e9}", chr 0xfffe);
{
    no warnings;
    push @true, chr 0xd800, chr 0xdfff, chr 0x110000, chr 0x7fffffff;    # not Unicode, but valid strings of perl
}

my @reads = (
    poll            => sub { map { $sub->poll } 1 .. $_[0] },
    'the keyword'   => sub { map { ps_str_poll $sub } 1 .. $_[0] },
    drain           => sub { $sub->drain },
    poll_multi      => sub { $sub->poll_multi($_[0]) },
    poll_wait       => sub { map { $sub->poll_wait } 1 .. $_[0] },
    poll_wait_multi => sub { $sub->poll_wait_multi($_[0]) },
    drain_notify    => sub { $sub->drain_notify },
    poll_cb         => sub { my @got; $sub->poll_cb(sub { push @got, $_[0] }); @got },
);
while (my ($name, $read) = splice @reads, 0, 2) {
    subtest $name => sub {
        for my $bytes (@lies) {
            my $lie = $bytes;
            Encode::_utf8_on($lie);
            $ring->publish($lie);
        }
        my @got = $read->(scalar @lies);
        is(scalar @got, @lies, 'all messages with a wrong flag arrive');
        ok(!utf8::is_utf8($got[$_]) && $got[$_] eq $lies[$_], "message $_ with a wrong flag arrives as bytes") for 0 .. $#lies;
        is(length(join '', map { scalar reverse $_ } @got), length join('', @lies), 'perl can process these messages');

        for my $text (@true) {
            utf8::upgrade(my $marked = $text);
            $ring->publish($marked);
        }
        @got = $read->(scalar @true);
        ok(utf8::is_utf8($got[$_]) && $got[$_] eq $true[$_], "string $_ keeps its UTF-8 flag") for 0 .. $#true;

        $ring->publish($_) for "caf\xc3\xa9", "\xff\xfe";
        @got = $read->(2);
        is_deeply(\@got, ["caf\xc3\xa9", "\xff\xfe"], 'messages of bytes arrive unchanged');
        ok(!utf8::is_utf8($_), 'messages of bytes have no UTF-8 flag') for @got;
    };
}

done_testing;
