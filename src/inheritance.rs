//! What members leave to each other: numbers, and how much one that comes first or alone may do.

/// Who numbers are for. Publishers of strings and subscribers have numbers of their own: a ring with readers is alone, as far
/// as publishers are concerned, where nobody publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Publishers = 0,
    Readers = 1,
}

/// Members but 0; numbers are 1 ..= this.
pub(crate) const MAX_MEMBER: u32 = 65_535;

/// What a process that has just become a member finds, and is to put in order before it publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inheritance {
    /// What an earlier member of this number, its own, left behind.
    Of(u32),
    /// Everything: nobody else publishes, and nobody will before it is done.
    All {
        /// The ring lies in memory. A file on a disk may have seen the machine go down, with some of its pages newer
        /// than others.
        in_memory: bool,
    },
    /// Nothing, and no number: from now on there is a publisher of whom nobody can know whether it lives.
    Nobody,
}

/// Why there is no block to write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSpare {
    /// All are in use, or another process looks after the ring alone: try again, signals handled.
    Interrupted,
    /// Somebody scribbled on all of them.
    Damaged,
}
