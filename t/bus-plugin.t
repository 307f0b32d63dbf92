# The plugin for Mojolicious: its helper, its options from the configuration, and its log messages.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PubSubTest;

plan skip_all => 'Mojolicious 9 is not installed' if !eval { require Mojolicious; Mojolicious->VERSION('9.00'); 1 };
require Mojo::IOLoop;

sub app_with {
    my ($config, @options) = @_;
    my $app = Mojolicious->new;
    $app->config($config);
    $app->log->level('trace');
    my @log;
    $app->log->unsubscribe('message')->on(message => sub { my (undef, $level, @lines) = @_; push @log, "$level: @lines" });
    my $bus = $app->plugin(SharedBus => @options);
    return ($app, $bus, \@log);
}

sub until_so { my ($so) = @_; Mojo::IOLoop->one_tick until $so->(); return }

subtest 'the helper' => sub {
    my ($app, $bus) = app_with({}, { path => fresh_path() });
    is($app->bus, $bus, 'the application has the helper bus');
    is($app->build_controller->bus, $bus, 'controllers have the helper bus');
    my ($got, $promised);
    $app->bus->listen(x => sub { $got = $_[1] });
    $app->bus->next('x')->then(sub { $promised = shift });
    $app->bus->notify(x => 'hello');
    until_so(sub { $got && $promised });
    is("$got $promised", 'hello hello', 'the bus uses the loop of the application');
};

subtest 'options' => sub {
    my ($path, $other) = map { fresh_path() } 1, 2;
    my ($app) = app_with({ shared_bus => { path => $path, capacity => 64 } });
    is($app->bus->ring->capacity, 64, 'options come from the configuration');
    ($app) = app_with({ shared_bus => { path => $path, capacity => 64 } }, { path => $other, helper => 'news' });
    is($app->news->ring->path, $other, 'options of the call override the configuration');
    croaks_like(sub { app_with({}) }, 'Mojolicious::Plugin::SharedBus: path is missing', 'the plugin croaks without a path');
    croaks_like(sub { app_with({}, { path => $path, colour => 1 }) }, "unknown option 'colour'",
        'the plugin croaks on an unknown option');
};

subtest 'the log' => sub {
    my ($app, $bus, $log) = app_with({}, { path => fresh_path(), capacity => 4 });
    $bus->listen(x => sub { die "oops\n" if $_[1] eq 'die' });
    $bus->notify(x => $_) for 1 .. 6, 'die';
    until_so(sub { @$log >= 2 });
    my $path = $bus->ring->path;
    is_deeply($log, ["warn: bus $path: 3 messages lost", "error: bus $path, channel x: oops\n"],
        'lost messages and errors are logged');
    $bus->ring->unlink;
    $bus->notify(x => 'again');
    is($log->[-1], "info: bus $path: the ring was replaced", 'a replaced ring is logged');
};

done_testing;
