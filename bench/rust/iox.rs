//! iceoryx2's publish-subscribe, with its events if a receiver sleeps.

use iceoryx2::port::{listener, notifier, publisher, subscriber};
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::{event, publish_subscribe};

use crate::{BetweenProcesses, How, Library, Receiver, Sender, CAPACITY};

pub struct Iceoryx2;

/// Its ports keep it.
struct Service {
    messages: publish_subscribe::PortFactory<ipc::Service, u64, ()>,
    events: Option<event::PortFactory<ipc::Service>>,
}

pub struct Publisher {
    publisher: publisher::Publisher<ipc::Service, u64, ()>,
    notifier: Option<notifier::Notifier<ipc::Service>>,
    _node: Node<ipc::Service>,
}

pub struct Subscriber {
    subscriber: subscriber::Subscriber<ipc::Service, u64, ()>,
    listener: Option<listener::Listener<ipc::Service>>,
    _node: Node<ipc::Service>,
}

fn service(name: &str, how: How) -> (Node<ipc::Service>, Service) {
    set_log_level(LogLevel::Error);
    let node = NodeBuilder::new().signal_handling_mode(SignalHandlingMode::Disabled).create::<ipc::Service>().unwrap();
    let name: ServiceName = name.try_into().unwrap();
    let messages = node
        .service_builder(&name)
        .publish_subscribe::<u64>()
        .subscriber_max_buffer_size(CAPACITY)
        .open_or_create()
        .unwrap();
    let events = (how == How::Asleep).then(|| node.service_builder(&name).event().open_or_create().unwrap());
    (node, Service { messages, events })
}

impl Library for Iceoryx2 {
    const NAME: &'static str = "iceoryx2";
    type Sender = Publisher;
    type Receiver = Subscriber;

    fn new(how: How, receivers: usize) -> (Publisher, Vec<Subscriber>) {
        let name = format!("pubsub-bench-{}-within", std::process::id());
        let sender = Self::sender(&name, how);
        (sender, (0..receivers).map(|_| Self::receiver(&name, how)).collect())
    }
}

impl BetweenProcesses for Iceoryx2 {
    fn sender(name: &str, how: How) -> Publisher {
        let (_node, service) = service(name, how);
        let publisher = service.messages.publisher_builder().create().unwrap();
        let notifier = service.events.map(|events| events.notifier_builder().create().unwrap());
        Publisher { publisher, notifier, _node }
    }

    fn receiver(name: &str, how: How) -> Subscriber {
        let (_node, service) = service(name, how);
        let subscriber = service.messages.subscriber_builder().buffer_size(CAPACITY).create().unwrap();
        let listener = service.events.map(|events| events.listener_builder().create().unwrap());
        Subscriber { subscriber, listener, _node }
    }
}

impl Sender for Publisher {
    fn send(&mut self, number: u64) {
        self.publisher.send_copy(number).unwrap();
        if let Some(notifier) = &self.notifier {
            notifier.notify().unwrap();
        }
    }
}

impl Receiver for Subscriber {
    fn try_receive(&mut self) -> Option<u64> {
        self.subscriber.receive().unwrap().map(|sample| *sample)
    }

    fn receive(&mut self) -> u64 {
        loop {
            if let Some(number) = self.try_receive() {
                return number;
            }
            self.listener.as_ref().expect("made for sleepers").blocking_wait(|_| {}).unwrap();
        }
    }
}
