# Servers with embedded perl: interpreters that are created and destroyed in one process, several at a time, and a perl that
# is unloaded.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../t/lib", "$FindBin::Bin/../lib";
use IO::Socket::INET ();
use IO::Socket::UNIX ();
use POSIX qw(WNOHANG);
use Test::More;
use PubSubTest;

my $dir    = fresh_dir();
my @inc    = grep { -d } map {"$FindBin::Bin/../blib/$_"} qw(lib arch);
my $loads  = "$dir/loads";
my $answer = "$dir/Answer.pm";
chmod 0755, $dir;

# The module that each server loads: it uses each part that loading sets up, starts a thread, and records the number of
# expected loads.
spew($answer, 'use lib qw(' . join(' ', @inc) . ');' . <<'END' . "our \$loads = read_loads('$loads');\n1;\n");
package Answer;
use strict;
use warnings;
use Data::PubSub::Shared::Int;
use Data::PubSub::Shared::Str;

my $ring = Data::PubSub::Shared::Int->new(undef, 64);
my $sub  = $ring->subscribe;
$sub->fh;
our $loads;

sub read_loads {
    my ($path) = @_;
    open my $file, '<', $path or die "$path: $!";
    return scalar <$file>;
}

sub text {
    my $words = Data::PubSub::Shared::Str->new(undef, 8, 64);
    my $reader = $words->subscribe;
    ps_str_publish $words, "load $loads";
    my ($ring) = Data::PubSub::Shared::Int->new(undef, 8);
    my $sub = $ring->subscribe;
    my $fh  = $sub->fh;
    ps_int_publish $ring, (3 + 4) * 6;
    return ps_str_poll($reader) . ': ' . ps_int_poll $sub;
}
END

sub loads_expected { my ($n) = @_; return spew($loads, $n) }

# Starts a server in the foreground; its output is written to a file.
sub start {
    my (@command) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        alarm 600;               # in case the test is killed
        POSIX::setpgid(0, 0);    # Apache ends by a signal to its group
        open STDOUT, '>', "$dir/output" or POSIX::_exit(126);
        open STDERR, '>&', \*STDOUT     or POSIX::_exit(126);
        open STDIN,  '<', '/dev/null'   or POSIX::_exit(126);
        chdir $dir;
        { no warnings 'exec'; exec @command }
        POSIX::_exit(127);
    }
    return $pid;
}

# Asks repeatedly until the server gives the wanted answer; returns that, or the reason if the server ends.
sub ask {
    my ($pid, $connect, $wanted) = @_;
    local $SIG{PIPE} = 'IGNORE';
    my $last = 'nothing';
    while (1) {
        return "the server ended with $?, last: $last" if waitpid($pid, WNOHANG) == $pid;
        if (my $socket = $connect->()) {
            print {$socket} "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n";
            my $text = do { local $/; <$socket> } // '';
            ($last) = $text =~ /\r\n\r\n(.*)/s ? $1 : "no answer: $text";
            return $last if $last eq $wanted;
        }
        select undef, undef, undef, 0.05;
    }
}

sub stop {
    my ($pid) = @_;
    kill TERM => -$pid;    # the workers outlive a master that crashed
    waitpid $pid, 0;
    return;
}

sub tell_why { return diag(map { -e "$dir/$_" ? slurp("$dir/$_") : () } qw(output error.log)) }

sub find_program {
    my ($name) = @_;
    my ($found) = grep { -x } map {"$_/$name"} split(/:/, $ENV{PATH}), '/usr/sbin', '/usr/local/sbin';
    return $found;
}

sub free_port {
    my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die "listen: $@";
    return $socket->sockport;
}

# Starts the server, asks it, and makes it load the module twice more by a signal.
sub reloads {
    my ($signal, $connect, @command) = @_;
    loads_expected(1);
    my $pid  = start(@command);
    my $fine = is(ask($pid, $connect, 'load 1: 42'), 'load 1: 42', 'the server answers');
    for my $n (2, 3) {
        last if !$fine;
        loads_expected($n);
        kill $signal => $pid;
        $fine = is(ask($pid, $connect, "load $n: 42"), "load $n: 42", "the server answers after load $n");
    }
    tell_why() if !$fine;
    return stop($pid);
}

subtest 'nginx, reloaded twice' => sub {
    my $nginx = find_program('nginx') or plan skip_all => 'nginx is not installed';
    my ($module) = grep { -e } map {"$_/ngx_http_perl_module.so"} qw(/usr/lib/nginx/modules /usr/lib64/nginx/modules);
    my $built_in = qr/with-http_perl_module\b(?!=dynamic)/;
    plan skip_all => 'nginx has no embedded perl' if !$module && qx{$nginx -V 2>&1} !~ $built_in;
    my $load = $module ? "load_module $module;" : '';
    my $user = $> ? '' : 'user root;';
    spew("$dir/nginx.conf", <<"END");
$load
$user
daemon off;
worker_processes 1;
error_log $dir/error.log;
pid $dir/nginx.pid;
events { }
http {
    access_log off;
    client_body_temp_path $dir/body;
    proxy_temp_path $dir/proxy;
    fastcgi_temp_path $dir/fastcgi;
    uwsgi_temp_path $dir/uwsgi;
    scgi_temp_path $dir/scgi;
    perl_modules $dir;
    perl_require Answer.pm;
    server {
        listen unix:$dir/nginx.sock;
        location / {
            perl 'sub { my (\$r) = \@_; \$r->send_http_header("text/plain"); \$r->print(Answer::text()); return 0; }';
        }
    }
}
END
    reloads('HUP', sub { IO::Socket::UNIX->new("$dir/nginx.sock") }, $nginx, '-p', $dir, '-c', "$dir/nginx.conf");
};

subtest 'Apache with mod_perl, which unloads perl' => sub {
    my $apache = find_program('apache2') // find_program('httpd') or plan skip_all => 'Apache is not installed';
    my ($modules) = grep { -e "$_/mod_perl.so" } qw(/usr/lib/apache2/modules /usr/lib64/httpd/modules);
    plan skip_all => 'mod_perl is not installed' if !$modules;
    my $port = free_port();
    my @more = grep { -e "$modules/mod_$_.so" } qw(mpm_prefork authz_core);
    my $more = join "\n", map {"LoadModule ${_}_module $modules/mod_$_.so"} @more;
    my $user = $> ? '' : sprintf "User nobody\nGroup #%d\n", (getpwnam 'nobody')[3];
    spew("$dir/startup.pl", <<"END");
use lib '$dir';
require Answer;
require Apache2::RequestRec;
require Apache2::RequestIO;
sub Answer::handler { my (\$r) = \@_; \$r->content_type('text/plain'); \$r->print(Answer::text()); return 0 }
1;
END
    spew("$dir/apache.conf", <<"END");
$more
LoadModule perl_module $modules/mod_perl.so
$user
ServerRoot $dir
ServerName localhost
Listen 127.0.0.1:$port
PidFile $dir/apache.pid
ErrorLog $dir/error.log
StartServers 1
MinSpareServers 1
MaxSpareServers 1
PerlRequire $dir/startup.pl
<Location />
    SetHandler perl-script
    PerlResponseHandler Answer
</Location>
END
    my $connect = sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) };
    reloads('USR1', $connect, $apache, '-f', "$dir/apache.conf", '-DFOREGROUND');
};

subtest 'uWSGI, an interpreter for each of three threads' => sub {
    my $uwsgi = find_program('uwsgi') or plan skip_all => 'uWSGI is not installed';
    my ($plugin) = grep { -e } map {"$_/psgi_plugin.so"} qw(/usr/lib/uwsgi/plugins /usr/lib64/uwsgi /usr/lib/uwsgi);
    plan skip_all => 'uWSGI has no psgi plugin' if !$plugin;
    spew("$dir/app.psgi", "use lib '$dir'; require Answer; sub { [200, [], [Answer::text()]] }");
    loads_expected(1);
    my $pid = start($uwsgi, '--plugin', $plugin, qw(--threads 3 --master --http-socket), "$dir/uwsgi.sock",
        '--psgi', "$dir/app.psgi", '--die-on-term', '--need-app');
    my $connect = sub { IO::Socket::UNIX->new("$dir/uwsgi.sock") };
    my $fine = is(ask($pid, $connect, 'load 1: 42'), 'load 1: 42', 'the server answers');
    for my $n (1 .. 5) {
        last if !$fine;
        # Three requests at a time, so that each thread gets one.
        my @kids = map { spawn(sub { my ($peer) = @_; $peer->tell(ask_once($connect)) }) } 1 .. 3;
        my @got  = map { $_->hear } @kids;
        $_->end for @kids;
        $fine = is_deeply(\@got, [('load 1: 42') x 3], "round $n: three requests at a time are answered");
    }
    tell_why() if !$fine;
    stop($pid);
};

sub ask_once {
    my ($connect) = @_;
    my $socket = $connect->() or return "connect: $!";
    print {$socket} "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n";
    my $text = do { local $/; <$socket> } // '';
    return $text =~ /\r\n\r\n(.*)/s ? $1 : "no answer: $text";
}

done_testing;
