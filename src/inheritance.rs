//! What a new member finds: the groups of members, and what it has to recover before it publishes.

/// A group of members. Publishers of strings and subscribers have numbers of their own, so a publisher can be the only one while
/// the ring has readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Publishers = 0,
    Readers = 1,
}

/// The highest number of a member; numbers start at 1, and 0 is a member without a number.
pub(crate) const MAX_MEMBER: u32 = 65_535;

/// What a process that has just become a member must recover before it publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inheritance {
    /// What earlier members with its own number left behind.
    Of(u32),
    /// Everything: there are no other members, and no process can become one until it has finished.
    All {
        /// Whether the ring is in memory. If a host went down, some pages of a file on its disk may be older than others.
        in_memory: bool,
    },
    /// Nothing, and it has no number: from now on there is a publisher of which it is not known whether it lives.
    Unregistered,
}

/// Why there is no spare block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSpare {
    /// All are in use, or another process recovers the ring: handle signals and try again.
    Interrupted,
    /// A writer corrupted all of them.
    Damaged,
}
