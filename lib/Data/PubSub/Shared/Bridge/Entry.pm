package Data::PubSub::Shared::Bridge::Entry;

# Private to Data::PubSub::Shared::Bridge: messages to the entries of a stream, and back.
# docs/stream-format.md describes it for other languages.

use 5.022;
use strict;
use warnings;

use List::Util qw(any);

# A message, or several, in one entry:
#   i I   integers: one in decimal; several with a space between
#   m M   bytes: one as it is; several, each behind its length (32 bits, big-endian)
#   u U   text in UTF-8, likewise
#   g     a gap: reason, space, how many messages were lost
use constant MANY => '(N/a*)*';

# The content of the entries for some messages, at most $pack in each, as runs of entries that are alike: [kind, messages
# in each entry, [their payloads]].
sub content_of {
    my ($is_str, $pack, $messages) = @_;
    return if !@$messages;
    return entries($pack, 'i', 'I', sub { "@_" }, $messages) if !$is_str;
    my $are_bytes = !any { utf8::is_utf8($_) } @$messages;
    # Texts and bytes are never in one entry.
    my @content;
    for my $run ($are_bytes ? $messages : runs($messages)) {
        my $is_text = utf8::is_utf8($run->[0]);
        if ($is_text) { utf8::encode($_) for @$run }
        push @content, entries($pack, ($is_text ? qw(u U) : qw(m M)), sub { pack MANY, @_ }, $run);
    }
    return @content;
}

# The runs for payloads of one kind; together they have another kind, and what $join makes of them. All packs are full
# but the last.
sub entries {
    my ($pack, $single, $many, $join, $payloads) = @_;
    return [$single, 1, $payloads] if $pack == 1;
    my @packs = in_packs($pack, $payloads);
    my $last  = pop @packs;
    return (
        (@packs ? [$many, $pack, [map { $join->(@$_) } @packs]] : ()),
        [$many, scalar @$last, [$join->(@$last)]],
    );
}

sub in_packs {
    my ($most, $messages) = @_;
    my @rest = @$messages;
    my @packs;
    push @packs, [splice @rest, 0, $most] while @rest;
    return @packs;
}

# Neighbours that are all text, or all bytes.
sub runs {
    my ($messages) = @_;
    my @runs;
    for my $message (@$messages) {
        if (@runs && !utf8::is_utf8($message) == !utf8::is_utf8($runs[-1][0])) { push @{ $runs[-1] }, $message }
        else                                                                  { push @runs, [$message] }
    }
    return @runs;
}

# Bytes that are no UTF-8 stay bytes.
sub text {
    my ($bytes) = @_;
    utf8::upgrade($bytes) if utf8::decode($bytes);
    return $bytes;
}

my %MESSAGES = (
    i => sub { $_[0] },
    m => sub { $_[0] },
    u => sub { text($_[0]) },
    I => sub { split ' ', $_[0] },
    M => sub { parts($_[0]) },
    U => sub { map { text($_) } parts($_[0]) },
);

# What stands in a pack. One that ends too early is none, lest half a message is taken for a whole one.
sub parts {
    my ($payload) = @_;
    my @parts = unpack MANY, $payload;
    return pack(MANY, @parts) eq $payload ? @parts : ();
}

# The messages of an entry; dies where it is none of ours.
sub messages_of {
    my ($kind, $payload) = @_;
    my $code = $MESSAGES{$kind} or die "an entry of unknown kind '$kind'\n";
    my @messages = eval { $code->($payload) } or die "an entry of kind '$kind' that holds no message\n";
    return @messages;
}

# A gap takes as many numbers as messages were lost, so that these are counted also where its entry itself is lost. One of
# unknown length takes one.
sub gap { my ($reason, $count) = @_; return ['g', $count || 1, ["$reason $count"]] }

# (reason, count) of a gap.
sub gap_of {
    my ($payload) = @_;
    return $payload =~ /\A([a-z]{1,20}) ([0-9]{1,18})\z/ ? ($1, $2) : die "a gap that says '$payload'\n";
}

1;

__END__

=head1 NAME

Data::PubSub::Shared::Bridge::Entry - private to Data::PubSub::Shared::Bridge

=cut
