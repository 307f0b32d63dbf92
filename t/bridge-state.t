# What a bridge remembers: a file that may end anywhere, have no room, or grow.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use POSIX ();
use Test::More;
use PubSubTest;

use Data::PubSub::Shared::Bridge::State;

sub open_state { return Data::PubSub::Shared::Bridge::State->new(@_) }

sub fails_like {
    my ($code, $pattern, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $lived = eval { $code->(); 1 };
    return like($lived ? 'it lives' : $@, $pattern, $name);
}

subtest 'remembering' => sub {
    my $path  = fresh_dir() . '/some/folders/state';
    my $state = open_state($path);
    is($state->latest, undef, 'nothing at first');
    is($state->path, $path, 'its path');
    my $complex = { text => "\x{263a}", bytes => "\xff\0", list => [1, -2, 9223372036854775807], in => { a => [] } };
    $state->put({ number => 1 });
    $state->put($complex);
    is_deeply($state->latest, $complex, 'the last counts');
    undef $state;
    is_deeply(open_state($path)->latest, $complex, 'also later');
    is((stat $path)[2] & 07777, 0600, 'nobody else may read it');
    is((stat $path =~ s{/[^/]*\z}{}r)[2] & 07777, 0700, 'nor look into its folder');
};

subtest 'torn at every byte' => sub {
    my $folder = fresh_dir();
    my $first  = do { my $state = open_state("$folder/one"); $state->put({ number => 1 }); slurp("$folder/one") };
    my $both   = do { my $state = open_state("$folder/one"); $state->put({ number => 2, more => 'x' x 20 }); slurp("$folder/one") };
    my (%found, @lengths);
    for my $length (0 .. length $both) {
        my $path = spew("$folder/torn", substr $both, 0, $length);
        my $state = open_state($path);
        $found{ $state->latest ? $state->latest->{number} : 0 }++;
        push @lengths, -s $path;
        $state->put({ number => 3 });
        undef $state;
        my $again = open_state($path)->latest;
        is($again && $again->{number}, 3, "a record behind one that was torn at $length") if !$again || $again->{number} != 3;
    }
    is_deeply(\%found, { 0 => length $first, 1 => length($both) - length $first, 2 => 1 }, 'the last whole one counts');
    is_deeply([sort { $a <=> $b } keys %{ { map { $_ => 1 } @lengths } }], [0, length $first, length $both], 'what is torn is cut off');

    my %bad;
    for my $at (length $first .. length($both) - 1) {
        my $broken = $both;
        substr($broken, $at, 1) ^= "\x10";
        $bad{ open_state(spew("$folder/broken", $broken))->latest->{number} }++;
    }
    is_deeply([sort keys %bad], [1], 'nor does one count in which a bit is wrong');
};

subtest 'grown' => sub {
    my $path  = fresh_path();
    my $state = open_state($path);
    my ($largest, $replaced) = (0, 0);
    my $inode = (stat $path)[1];
    for my $number (1 .. 90) {
        $state->put({ number => $number, ballast => 'x' x 100_000 });
        $largest = -s $path if -s $path > $largest;
        my $now = (stat $path)[1];
        $replaced++ if $now != $inode;
        $inode = $now;
    }
    cmp_ok($largest, '<', 4_300_000, 'never gets much larger than 4 MB');
    is($replaced, 2, 'it was replaced');
    fails_like(sub { open_state($path) }, qr/another process uses this state file/, 'and is still locked');
    undef $state;
    is(open_state($path)->latest->{number}, 90, 'the last counts');
    is_deeply([entries($path =~ s{/[^/]*\z}{}r)], ['ring', 'ring.lock'], 'nothing is left beside it');

    # A huge record alone.
    $state = open_state($path);
    $state->put({ number => 91, ballast => 'x' x 5_000_000 });
    $state->put({ number => 92 });
    undef $state;
    is(open_state($path)->latest->{number}, 92, 'after a huge one');
    cmp_ok(-s $path, '<', 1000, 'which is gone');
};

subtest 'a lock' => sub {
    my $path  = fresh_path();
    my $state = open_state($path);
    my $words = qr/\A\Q$path\E: another process uses this state file; give each direction of each bridge one of its own \(--state\)\n\z/;
    fails_like(sub { open_state($path) }, $words, 'a second one');
    my $kid = spawn(sub { my ($peer) = @_; eval { open_state($path) }; $peer->tell($@ =~ /another process/ ? 'locked' : 'free') });
    is($kid->hear, 'locked', 'in another process');
    $kid->end;
    undef $state;
    ok(open_state($path), 'until the first is gone');

    $kid = spawn(sub { my ($peer) = @_; my $held = open_state($path); $peer->tell('has it'); POSIX::pause() });
    $kid->hear;
    fails_like(sub { open_state($path) }, $words, 'a process has it');
    $kid->kill('KILL');
    $kid->end;
    ok(open_state($path), 'and was killed');
};

subtest 'what is no state file' => sub {
    my $folder = fresh_dir();
    fails_like(sub { open_state(spew("$folder/text", "some text\n")) }, qr/\A\Q$folder\E\/text: not a pubsub-bridge state file\n\z/, 'a text');
    is(slurp("$folder/text"), "some text\n", 'is left alone');
    fails_like(sub { open_state(spew("$folder/short", 'x')) }, qr/not a pubsub-bridge state file/, 'a letter');
    symlink "$folder/elsewhere", "$folder/link" or die "symlink: $!";
    fails_like(sub { open_state("$folder/link") }, qr{\A\Q$folder\E/link: Too many levels}, 'a symbolic link');
    ok(!-e "$folder/elsewhere", 'is not followed');
    mkdir "$folder/sub" or die "mkdir: $!";
    fails_like(sub { open_state("$folder/sub") }, qr{\A\Q$folder\E/sub: Is a directory}, 'a folder');
    fails_like(sub { open_state("$folder/text/sub/state") }, qr{\A\Q$folder\E/text/sub/state: cannot create directory: }, 'no way there');
    fails_like(sub { open_state("/proc/$$/state") }, qr{\A/proc/$$/state}, 'nowhere to write');
};

# A tmpfs of 256 kB in a mount namespace of a child's own, which ends with the child.
subtest 'a full disk' => sub {
    my $folder = fresh_dir();
    my $kid    = spawn(sub {
        my ($peer) = @_;
        if (small_disk($folder, 'size=256k')) {
            $peer->tell('cannot');
            return;
        }
        my $path  = "$folder/state";
        my $state = open_state($path);
        $state->put({ number => 1 });
        my $number = 1;
        $number++ while eval { $state->put({ number => $number + 1, ballast => 'x' x 3000 }); 1 };
        my $why = $@;
        $peer->tell($why =~ /\A\Q$path\E: No space left on device\n\z/ && $number > 20 ? 'full' : "not full but $why");
        my $length = -s $path;
        eval { $state->put({ number => 'never', ballast => 'x' x 3000 }) };
        $peer->tell(-s $path == $length && $state->latest->{number} == $number ? 'unchanged' : 'changed');
        spew("$folder/more", '') for 1;
        undef $state;
        $state = open_state($path);
        $peer->tell($state->latest->{number} == $number ? 'last whole' : 'another');
        truncate $path, 0 or die "truncate: $!";
        $state = undef;
        $state = open_state($path);
        $state->put({ number => 'room', ballast => 'x' x 3000 });
        undef $state;
        $peer->tell(open_state($path)->latest->{number});
    });
    my $can = $kid->hear;
    if ($can eq 'cannot') {
        $kid->end;
        plan skip_all => 'cannot mount a tmpfs here';
    }
    is($can, 'full', 'says so');
    is($kid->hear, 'unchanged', 'what is torn is taken back');
    is($kid->hear, 'last whole', 'and later the last whole one counts');
    is($kid->hear, 'room', 'and on it goes where there is room again');
    is($kid->end, 0, 'the child ends');
};

done_testing;
