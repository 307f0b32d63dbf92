//! Recovery: how a process finds out which messages its predecessor has published in IN.
//!
//! Before a chunk of messages is published, a step with the position of the first message, their number and their checksum is
//! written to the state file. After a restart, the next process reads IN from that position on. If it finds the whole chunk, the
//! step was done. Otherwise it was not started, or only a part of it was done. In that case, and if IN holds more than the state
//! file knows (the end of the log was lost, or it is an older copy), messages that are already in IN are read again from the
//! stream. Messages are skipped as long as they are the same as those in IN, in the same order; the first message that is not
//! found there, and all messages after it, are new.

use data_pubsub_shared::{Subscriber, Variant, monotonic_ns};

use crate::entry::Message;
use crate::load::sum_of;
use crate::ring::Open;

/// How long a claim of a killed publisher may delay the reading of IN.
const CLAIM_NS: u64 = 50_000_000;

/// The content of IN from a position on.
#[derive(Debug, Default)]
pub struct Found {
    /// The messages in order. `None`: it was matched with a message of a stream.
    held: Vec<Option<Message>>,
    /// How many positions were overwritten.
    lapped: u64,
    /// How many positions a clear has discarded.
    cleared: u64,
}

/// A chunk that may have been published.
#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    /// The number of messages.
    pub count: u64,
    /// Their checksum.
    pub sum: u64,
}

/// The outcome of the last chunk, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// It was published.
    Done,
    /// It is not known whether it was; its positions were overwritten. It counts as published.
    Unclear,
    /// It was not published, or only a part of it.
    Cut,
}

impl Found {
    /// Reads a ring from an absolute position on.
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
                // Probably a claim of a process that was killed.
                None => drop(sub.wait(monotonic_ns() + CLAIM_NS)),
            }
        }
        found.lapped = sub.overflow_count();
        found
    }

    /// Whether there is nothing to recover.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.lapped == 0 && self.cleared == 0
    }

    /// Looks for the last chunk, which would be at the beginning, and removes it.
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

    /// How many messages are left that are not in the state file.
    pub fn surplus(&self) -> u64 {
        self.held.len() as u64 + self.lapped + self.cleared
    }

    /// Removes messages that are in IN although the stream has trimmed them, at most `count`. Returns how many.
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

/// The kind of a message of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is new, and must be published.
    New,
    /// It is in IN, or was in IN and was cleared.
    There,
    /// It may have been in IN, and was overwritten.
    Unclear,
}

/// The recovery of one stream.
#[derive(Debug, Default)]
pub struct Recovery {
    next: usize,
    is_over: bool,
}

impl Recovery {
    /// Whether all further messages are new.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// The kind of the next message of the stream.
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
        // Other processes have published there.
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
