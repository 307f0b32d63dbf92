//! Batches of numbers.

use super::*;
use crate::member::Inheritance;
use crate::segment::Word;
use crate::signals::{BlockedSignals, KeptErrno};
use crate::slot_ring::Batch;
use crate::sync::Ordering::Relaxed;
use crate::time::RECOVERY_NS;
use crate::wait::is_due;

/// While more than one in so many segments has revoked slots, batches reserve no others.
const MAX_REVOKED: u64 = 8;

impl Ring {
    /// Claims positions for `count` integers or floating-point numbers. The caller must put all of them and then wake sleepers.
    ///
    /// # Errors
    /// [`ErrorKind::Full`] if a lossless ring has no room; [`ErrorKind::Argument`] on a ring of strings, on a read-only handle, and
    /// if `count` is more than [`MAX_CLAIMED`] or than the capacity of a lossless ring.
    #[inline]
    pub(crate) fn claim(&self, count: usize) -> Result<Batch> {
        self.check_writable()?;
        if count > MAX_CLAIMED {
            return Err(refused(format!("count must be at most {}, not {}", MAX_CLAIMED, count)));
        }
        self.check_fits(count as u64)?;
        loop {
            let claimed = match &self.ring {
                AnyRing::Int(ring) | AnyRing::Num(ring) => ring.claim(count as u64),
                AnyRing::Int32(ring) | AnyRing::Int16(ring) => ring.claim(count as u64),
                AnyRing::Str(_) => return Err(self.ring.mismatch()),
            };
            match claimed {
                Some(batch) => return Ok(batch),
                None if self.passes_the_dead(count as u64) => {}
                None => return Err(full()),
            }
        }
    }

    /// Commits the next values (the bits of floating-point numbers) of a claim on this ring; values beyond the claimed positions
    /// are ignored. If readers have abandoned some of the positions and a lossless ring has no room for others, waits for room.
    ///
    /// # Errors
    /// [`ErrorKind::Deadlock`] if it would wait for a subscriber that only this thread can read; a part of the batch has been
    /// published then.
    #[inline]
    pub(crate) fn put(&self, batch: &mut Batch, values: &[i64]) -> Result<()> {
        let mut values = &values[..values.len().min(batch.remaining())];
        let owner = self.owner(values.len());
        loop {
            let (count, done) = (
                values.len(),
                match &self.ring {
                    AnyRing::Int(ring) | AnyRing::Num(ring) => {
                        ring.put_all(batch, values.len(), owner, |i| values[i] as u64)
                    }
                    AnyRing::Int32(ring) => ring.put_all(batch, values.len(), owner, |i| values[i] as u64),
                    AnyRing::Int16(ring) => ring.put_all(batch, values.len(), owner, |i| values[i] as i16 as u64),
                    AnyRing::Str(_) => values.len(),
                },
            );
            if done == count {
                return Ok(());
            }
            values = &values[done..];
            // Some values have been published: wake their readers before waiting.
            self.wake();
            self.wait_for_room(batch.remaining() as u64, NEVER, || false)?;
        }
    }

    /// The member number with which a batch of `count` numbers may reserve slots. `None` if it must not: then it commits each
    /// slot with an exchange. What a publisher without a number has reserved cannot be recovered if it is killed, which is why
    /// [`MAX_REVOKED`] is needed.
    #[inline]
    pub(super) fn owner(&self, count: usize) -> Option<u32> {
        let segments = self.ring.segments();
        if segments == 0 || count < 2 {
            return None;
        }
        let number = self.mapping.members.number().or_else(|| self.join())?;
        Some(number).filter(|_| self.revoked() <= segments / MAX_REVOKED)
    }

    /// This process's first batch: it becomes a member, and gives back what publishers that have exited had reserved. `None` if other
    /// processes do that just now.
    #[cold]
    fn join(&self) -> Option<u32> {
        if !is_due(&self.looked_at, RECOVERY_NS) {
            return None;
        }
        let events = &self.ring.header().events;
        let put_in_order = |what| match what {
            Inheritance::Of(number) => self.ring.recover(|word| Some(()).filter(|()| word.owner() == number)),
            Inheritance::All { .. } => {
                let is_dead = |word: Word| word.owner() != 0 || !events.has_unregistered();
                self.ring.recover(|word| Some(()).filter(|()| is_dead(word)));
            }
            Inheritance::Unregistered => events.say_unregistered(),
        };
        self.mapping.members.try_join(put_in_order)
    }

    /// The number of segments with revoked slots, after those of publishers that have exited were given back.
    #[inline]
    pub(super) fn revoked(&self) -> u64 {
        // Relaxed: a hint.
        match self.ring.header().events.revoked.load(Relaxed) {
            0 => 0,
            _ => self.recover(),
        }
    }

    #[cold]
    fn recover(&self) -> u64 {
        if is_due(&self.looked_at, RECOVERY_NS) {
            let _errno = KeptErrno::new();
            // If a signal handler jumped out of here, the number of a member would stay locked.
            let _signals = BlockedSignals::new();
            let members = &self.mapping.members;
            self.ring.recover(|word| {
                Some(word).filter(|word| word.is_revoked()).and_then(|word| members.hold(word.owner()))
            });
        }
        self.ring.header().events.revoked.load(Relaxed)
    }
}
