package Mojolicious::Plugin::SharedBus;

use Mojo::Base 'Mojolicious::Plugin';

use Carp ();
use Data::PubSub::Shared::Bus;

our $VERSION = '1.000';

sub register {
    my ($self, $app, $given) = @_;
    my %options = (%{ $app->config->{shared_bus} || {} }, %{ $given || {} });
    my $path    = delete $options{path} // Carp::croak('Mojolicious::Plugin::SharedBus: path is missing');
    my $helper  = delete $options{helper} // 'bus';
    my $bus     = Data::PubSub::Shared::Bus->new($path, loop => 'Mojo', %options);
    $bus->on(lost      => sub { my ($bus, $count) = @_; $app->log->warn("bus $path: $count messages lost") });
    $bus->on(error     => sub {
        my ($bus, $error, $channel) = @_;
        $app->log->error("bus $path" . (defined $channel ? ", channel $channel" : '') . ": $error");
    });
    $bus->on(reconnect => sub { $app->log->info("bus $path: the ring was replaced") });
    $app->helper($helper => sub { return $bus });
    return $bus;
}

1;

=encoding utf8

=head1 NAME

Mojolicious::Plugin::SharedBus - channels between all workers of a Mojolicious application

=head1 SYNOPSIS

    use Mojolicious::Lite -signatures;

    plugin SharedBus => { path => '/dev/shm/app.bus' };

    app->bus->json('changed')->listen(changed => sub ($bus, $change) { delete $cache{ $change->{key} } });

    post '/set' => sub ($c) {
        store($c->param('key'), $c->param('value'));
        $c->bus->notify(changed => { key => $c->param('key') });    # to this worker and all others
        $c->render(text => 'ok');
    };

    app->start;

=head1 DESCRIPTION

Gives an application a L<Data::PubSub::Shared::Bus> on Mojo::IOLoop. Call C<listen> when the application starts: each worker of
prefork and hypnotoad subscribes automatically when it starts. During a hot deployment, workers of the old and the new server get
each other's messages.

Losses and errors go to the application's log.

=head1 OPTIONS

As the second argument of C<plugin>, or in the application's configuration under C<shared_bus>:

=over 4

=item path

The path of the ring. Required; C<undef> is not accepted, because workers of another server could not find the ring.

=item helper

The helper's name. Default: C<bus>.

=item capacity, msg_size, mode, publishers, long, loop

As for L<Data::PubSub::Shared::Bus/new>.

=back

=head1 HELPERS

=head2 bus

    $c->bus->notify(news => 'hello');
    app->bus->listen(news => sub ($bus, $payload) { ... });

The L<Data::PubSub::Shared::Bus>.

=head1 METHODS

=head2 register

    my $bus = $plugin->register(Mojolicious->new, { path => $path });

Called by C<plugin>; returns the bus. Croaks without a path, and as L<Data::PubSub::Shared::Bus/new> does.

=head1 SEE ALSO

L<Data::PubSub::Shared::Bus>, L<Data::PubSub::Shared::Cookbook>, L<Mojolicious>

=cut
