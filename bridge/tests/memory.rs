//! The backend in memory keeps the promises that it is there to test.

use pubsub_bridge::backend::conformance::{Rig, check};
use pubsub_bridge::backend::memory::{Faults, Memory};

struct InMemory(Memory);

impl Rig for InMemory {
    type Backend = Memory;

    async fn backend(&self) -> Memory {
        self.0.clone()
    }

    async fn lose(&self, stream: &str) {
        let mut data = self.0.copy();
        data.remove(stream);
        self.0.restore(data);
    }

    async fn refuse(&self, refuse: bool) {
        self.0.set_faults(Faults { full: if refuse { 500 } else { 0 }, ..Faults::default() });
    }

    async fn cut(&self) {
        self.0.set_away(true);
        self.0.set_away(false);
    }

    async fn scribble(&self, stream: &str) {
        self.0.append_malformed(stream, "no origin");
    }
}

#[tokio::test]
async fn keeps_the_promises_of_a_backend() {
    for seed in 0..10 {
        check(&InMemory(Memory::new(seed))).await;
    }
}
