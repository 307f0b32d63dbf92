# Which client libraries the bridge takes. A Redis before 1.999 does not know of TLS, and would send a password in clear.

use strict;
use warnings;
use Test::More;

use Data::PubSub::Shared::Bridge::Backend::Redis;

# Why a backend with these libraries is refused; '' where it is not.
sub refused {
    my ($libraries, %given) = @_;
    no warnings 'once';
    local ($Redis::VERSION, $Redis::Fast::VERSION) = @$libraries{qw(Redis Redis::Fast)};
    local @INC{ map { s{::}{/}gr . '.pm' } keys %$libraries } = ('here') x keys %$libraries;
    local @INC = ();
    return eval { Data::PubSub::Shared::Bridge::Backend::Redis->new(server => '/nowhere', stream => 's', %given); '' } // $@;
}

is(refused({ Redis => '1.999' }, tls => 1), '', 'Redis 1.999, for TLS');
is(refused({ Redis => '2.000' }, tls => 1), '', 'a later one');
my $needed = "the Perl module Redis, 1.999 or later, is needed and cannot be loaded (Debian: libredis-perl, libio-socket-ssl-perl)\n";
is(refused({ Redis => '1.998' }, tls => 1), $needed, 'an earlier one');
is(refused({ 'Redis::Fast' => '0.37' }, tls => 1), $needed, 'none');
is(refused({ 'Redis::Fast' => '0.20' }), '', 'any Redis::Fast, without TLS');
is(refused({ Redis => '2.000' }), "the Perl module Redis::Fast is needed and cannot be loaded (Debian: libredis-fast-perl)\n",
    'no Redis::Fast');

done_testing;
