//! What a process that comes after another finds in IN.
//!
//! Before each chunk of messages is published, a step in the state file says at which position the first of them will be, how many
//! they are, and their checksum. The next process reads IN from there on. If it finds the whole chunk, the step was done. Otherwise
//! it was not begun, or was cut short; then, and where IN holds more than the state file knows (the end of the log was lost, or it is an
//! older copy), the stream brings again what may be in IN already. What comes from the stream in the order in which it is in IN is
//! passed over; the first message that is not found there, and all behind it, are new.

use data_pubsub_shared::{Subscriber, Variant, monotonic_ns};

use crate::entry::Message;
use crate::load::sum_of;
use crate::ring::Open;

/// How long a claim of a dead publisher may hold up the reading of IN.
const CLAIM_NS: u64 = 50_000_000;

/// What IN holds from a position on.
#[derive(Debug, Default)]
pub struct Found {
    /// In order. `None`: taken for one that the stream brought.
    held: Vec<Option<Message>>,
    /// Positions that nobody can read any more: overwritten.
    lapped: u64,
    /// Positions that a clear has discarded.
    cleared: u64,
}

/// A chunk that may have been published.
#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    /// Messages.
    pub count: u64,
    /// Their checksum.
    pub sum: u64,
}

/// What is known of the last chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// It was published.
    Done,
    /// As far as anybody can say it was; it cannot be seen any more.
    Unclear,
    /// Not, or not whole.
    Cut,
}

impl Found {
    /// Reads a ring from an absolute position on, which must be there or ahead.
    pub fn read(open: &Open, at: u64) -> Found {
        let base = open.ring.base();
        let mut found = Found { cleared: base.saturating_sub(at), ..Found::default() };
        let mut sub = open.ring.subscribe(false);
        sub.release();
        let end = open.absolute(|ring| ring.write_pos());
        open.seek(&mut sub, at);
        while open.absolute(|_| sub.cursor()) < end {
            match next(&mut sub, open.variant) {
                Some(message) => found.held.push(Some(message)),
                None if sub.lag() == 0 => break,
                // Claimed by a dead process, most likely.
                None => drop(sub.wait(monotonic_ns() + CLAIM_NS)),
            }
        }
        found.lapped = sub.overflow_count();
        found
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.lapped == 0 && self.cleared == 0
    }

    /// Looks for the last chunk, which would be at the beginning, and takes it out.
    pub fn last(&mut self, chunk: Chunk) -> Last {
        let unseen = self.lapped + self.cleared;
        let readable = chunk.count.saturating_sub(unseen);
        if self.held.len() as u64 + unseen < chunk.count {
            return Last::Cut;
        }
        let messages: Vec<Message> = self.held[..readable as usize].iter().flatten().cloned().collect();
        if unseen == 0 && sum_of(&messages) != chunk.sum {
            return Last::Cut;
        }
        self.held.drain(..readable as usize);
        let was_lapped = self.lapped > 0 && chunk.count > 0;
        let of_chunk = chunk.count - readable;
        self.cleared = self.cleared.saturating_sub(of_chunk);
        self.lapped = unseen - of_chunk - self.cleared;
        if was_lapped { Last::Unclear } else { Last::Done }
    }

    /// How many messages are left that the state file does not know.
    pub fn surplus(&self) -> u64 {
        self.held.len() as u64 + self.lapped + self.cleared
    }

    /// That many messages of a stream were dropped there, and some are here already: how many, which are taken out.
    pub fn take_trimmed(&mut self, count: u64) -> u64 {
        let left: Vec<usize> =
            (0..self.held.len()).filter(|index| self.held[*index].is_some()).take(count as usize).collect();
        left.iter().for_each(|index| self.held[*index] = None);
        left.len() as u64
    }
}

fn next(sub: &mut Subscriber, variant: Variant) -> Option<Message> {
    match variant {
        Variant::Str => sub.poll_str().ok().flatten().map(|(bytes, utf8)| Message::Str(bytes, utf8)),
        _ => sub.poll_int().ok().flatten().map(Message::Int),
    }
}

/// What a message that the stream brings is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is to be published.
    New,
    /// It is in IN, or was there and was cleared.
    There,
    /// It may have been in IN, which has lapped it.
    Unclear,
}

/// The recovery of one stream: its place among what was found.
#[derive(Debug, Default)]
pub struct Recovery {
    next: usize,
    is_over: bool,
}

impl Recovery {
    /// Whether all that comes is new.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// What the next message of the stream is.
    pub fn fate(&mut self, found: &mut Found, message: &Message) -> Fate {
        if self.is_over {
            return Fate::New;
        }
        if found.cleared > 0 {
            found.cleared -= 1;
            return Fate::There;
        }
        if found.lapped > 0 {
            found.lapped -= 1;
            return Fate::Unclear;
        }
        let behind = found.held.iter().enumerate().skip(self.next);
        if let Some(index) =
            behind.into_iter().find_map(|(index, held)| (held.as_ref() == Some(message)).then_some(index))
        {
            found.held[index] = None;
            self.next = index + 1;
            return Fate::There;
        }
        self.is_over = true;
        Fate::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(values: &[i64], lapped: u64, cleared: u64) -> Found {
        Found { held: values.iter().map(|value| Some(Message::Int(*value))).collect(), lapped, cleared }
    }

    fn chunk(values: &[i64]) -> Chunk {
        let messages: Vec<_> = values.iter().copied().map(Message::Int).collect();
        Chunk { count: values.len() as u64, sum: sum_of(&messages) }
    }

    fn fates(found: &mut Found, values: &[i64]) -> Vec<Fate> {
        let mut recovery = Recovery::default();
        values.iter().map(|value| recovery.fate(found, &Message::Int(*value))).collect()
    }

    use Fate::{New, There, Unclear};

    #[test]
    fn a_whole_chunk_was_done() {
        let mut all = found(&[1, 2, 3], 0, 0);
        assert_eq!((all.last(chunk(&[1, 2, 3])), all.surplus()), (Last::Done, 0));
        let mut more = found(&[1, 2, 3, 4, 5], 0, 0);
        assert_eq!((more.last(chunk(&[1, 2, 3])), more.surplus()), (Last::Done, 2));
        assert_eq!(fates(&mut more, &[4, 5, 6]), [There, There, New], "what the state file does not know");
        assert_eq!(found(&[], 0, 0).last(chunk(&[])), Last::Done);
    }

    #[test]
    fn a_chunk_that_was_cut_is_gone_on_with() {
        let mut some = found(&[1, 2], 0, 0);
        assert_eq!(some.last(chunk(&[1, 2, 3])), Last::Cut);
        assert_eq!(
            fates(&mut some, &[1, 2, 3, 1]),
            [There, There, New, New],
            "and nothing is found behind the first new one"
        );
        let mut none = found(&[], 0, 0);
        assert_eq!((none.last(chunk(&[1])), fates(&mut none, &[1])), (Last::Cut, vec![New]));
        // Others have published there.
        let mut mixed = found(&[1, 77, 2, 88], 0, 0);
        assert_eq!(mixed.last(chunk(&[1, 2, 3])), Last::Cut);
        assert_eq!(fates(&mut mixed, &[1, 2, 3]), [There, There, New]);
    }

    #[test]
    fn cleared_and_lapped_messages_are_not_published_again() {
        let mut cleared = found(&[3], 0, 2);
        assert_eq!((cleared.last(chunk(&[1, 2, 3])), cleared.surplus()), (Last::Done, 0));
        let mut cut = found(&[], 0, 2);
        assert_eq!((cut.last(chunk(&[1, 2, 3])), fates(&mut cut, &[1, 2, 3])), (Last::Cut, vec![There, There, New]));
        let mut lapped = found(&[6, 7], 5, 0);
        assert_eq!((lapped.last(chunk(&[1, 2, 3])), lapped.surplus()), (Last::Unclear, 4));
        assert_eq!(fates(&mut lapped, &[4, 5, 6, 7, 8]), [Unclear, Unclear, There, There, New]);
    }

    #[test]
    fn what_was_trimmed_may_be_there() {
        let mut cut = found(&[1, 2], 0, 0);
        assert_eq!(cut.last(chunk(&[1, 2, 3])), Last::Cut);
        assert_eq!((cut.take_trimmed(3), cut.take_trimmed(3)), (2, 0), "the third is lost");
        assert_eq!(fates(&mut cut, &[4]), [New]);
    }
}
