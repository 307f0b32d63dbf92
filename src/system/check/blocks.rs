//! Checks that each block of a string ring has one name, and finds spares of publishers that were killed.

use std::collections::HashSet;
use std::ptr::NonNull;

use super::{Report, View, CHUNK, MOMENT, TRIES};
use crate::error::Result;
use crate::file_lock::Bytes;
use crate::inspect::Excerpt;
use crate::member::Group;
use crate::slot::{NarrowSlot, Slot};
use crate::slot_ring::Fate;
use crate::spare::{Bits, Content, Ledger, Spare, Spares};
use crate::str_ring::named;
use crate::sync::{
    Line,
    Ordering::{Acquire, Relaxed},
};

impl View<'_> {
    pub(super) fn block_count(&self) -> u64 {
        self.geometry.capacity + self.geometry.publishers
    }

    fn read_spares(&self) -> Result<Excerpt> {
        let len = self.geometry.publishers as usize * std::mem::size_of::<Line<Spare>>();
        Excerpt::whole(self.file, self.geometry.spares_at, len)
    }

    /// `spares`, as the rings see them.
    fn with_spares<T>(&self, copy: &Excerpt, use_of: impl FnOnce(&Spares) -> T) -> T {
        let entries = copy.all::<Line<Spare>>();
        // SAFETY: the entries are borrowed for the call; `Spares` is not kept, and only read.
        use_of(&unsafe { Spares::new(NonNull::from(&entries[0]), entries.len() as u32, self.geometry.capacity) })
    }

    /// Checks that each block is named by one slot or one spare, except for those that have leaked.
    pub(super) fn blocks(&self, chunks: &[u64], report: &mut Report) -> Result<()> {
        for _ in 0..TRIES {
            let before = self.moment()?;
            let mut seen = Seen { bits: Bits::new(self.block_count()), count: 0, problems: Vec::new() };
            for chunk in chunks {
                let from = chunk * CHUNK;
                let copy = self.read_slots::<NarrowSlot>(from, self.chunk_len(*chunk))?;
                for (slot, stamped) in (from..).zip(copy.all::<NarrowSlot>().iter().map(Slot::load)) {
                    let block = named(stamped.value, slot);
                    if block < self.block_count() {
                        seen.name(block, "slot", slot);
                    }
                }
            }
            let whole = report.checked == Some(self.geometry.capacity) && report.problems.is_empty();
            self.name_spares(&before, &mut seen, whole);
            // A publish meanwhile has claimed a position, changed a spare's entry, or exchanged a slot.
            if self.moment()? == before {
                report.problems.append(&mut seen.problems);
                return Ok(());
            }
            std::thread::sleep(MOMENT);
        }
        Ok(())
    }

    fn moment(&self) -> Result<Moment> {
        let (page, spares) = (self.now()?, self.read_spares()?);
        // Relaxed: of a copy.
        let (end, leaked) = (page.header().write_pos.load(Acquire), page.header().events.leaked.load(Relaxed));
        let contents =
            self.with_spares(&spares, |spares| (0..spares.count()).map(|index| spares.content(index, self)).collect());
        Ok(Moment { end, leaked, spares, contents })
    }

    /// Checks the blocks of spares. `whole` says that all slots were checked, and are sound.
    fn name_spares(&self, moment: &Moment, seen: &mut Seen, whole: bool) {
        let mut unknown = moment.leaked;
        for (index, content) in (0..).zip(&moment.contents) {
            match *content {
                Content::Idle(block) | Content::Busy { left: Some(block), .. } if block < self.block_count() => {
                    seen.name(block, "spare", index);
                }
                Content::Idle(block) | Content::Busy { left: Some(block), .. } => {
                    let text = format!("spare {} names block {}, and there are {}", index, block, self.block_count());
                    seen.problems.push(text);
                }
                Content::Busy { left: None, .. } => unknown += 1,
                Content::Leaked => {}
                Content::Scribbled => seen.problems.push(format!("spare {} is neither idle nor busy", index)),
            }
        }
        let missing = self.block_count() - seen.count;
        if whole && seen.problems.is_empty() && missing > unknown {
            let text = format!("blocks that no slot and no spare names: {}, of which {} leaked", missing, unknown);
            seen.problems.push(text);
        }
    }

    /// Notes the spares of publishers that were killed.
    pub(super) fn the_dead(&self, report: &mut Report) -> Result<()> {
        let dead = |copy: &Excerpt| {
            self.with_spares(copy, |spares| {
                let is_dead =
                    |member| Bytes::of_members(Group::Publishers, member, 1).is_locked(self.file) == Ok(false);
                (0..spares.count())
                    .filter_map(|index| spares.holder(index).map(|member| (index, member)))
                    .filter(|(_, member)| is_dead(*member))
                    .collect::<HashSet<_>>()
            })
        };
        let first = dead(&self.read_spares()?);
        if first.is_empty() {
            return Ok(());
        }
        // Only a living member takes an entry. If it still has the same one, it has not exited since the entry was read.
        let again = dead(&self.read_spares()?);
        match first.intersection(&again).map(|(_, member)| member).collect::<HashSet<_>>().len() {
            0 => {}
            1 => report.notes.push("a publisher died in the middle of a publish; the next one takes over".to_owned()),
            n => {
                report.notes.push(format!("{} publishers died in the middle of a publish; the next one takes over", n))
            }
        }
        Ok(())
    }
}

/// The state that publishers change, except for the slots.
#[derive(PartialEq)]
struct Moment {
    end: u64,
    leaked: u64,
    spares: Excerpt,
    contents: Vec<Content>,
}

/// The blocks that have a name.
struct Seen {
    bits: Bits,
    count: u64,
    problems: Vec<String>,
}

impl Ledger for View<'_> {
    fn fate(&self, position: u64) -> Fate {
        let capacity = self.geometry.capacity;
        match self.read_slots::<NarrowSlot>(position % capacity, 1) {
            Ok(copy) => {
                let tag = <NarrowSlot as Slot>::tag(position / capacity);
                Fate::of::<NarrowSlot>(tag, copy.all::<NarrowSlot>()[0].load().tag)
            }
            Err(_) => Fate::Unknown,
        }
    }

    /// Not searched, because names may move meanwhile.
    fn find(&self, _: [u64; 2]) -> Option<u64> {
        None
    }
}

impl Seen {
    fn name(&mut self, block: u64, what: &str, index: u64) {
        if self.bits.set(block) {
            self.problems
                .push(format!("{} {} names block {}, which another slot or spare names, too", what, index, block));
        } else {
            self.count += 1;
        }
    }
}
