//! What a bridge does with a ring, said by a lock on the ring's file that others see.

use std::fs::File;

use crate::error::{Error, Result};
use crate::file_lock::{Bytes, Kind, Role};
use crate::ring::Ring;

/// The lock lasts as long as its file is open.
pub(crate) type Held = File;

/// What became of a claim to a [`Role`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The handle has it.
    Yes,
    /// Another bridge has it, and one only can.
    Taken,
    /// Another bridge has the other role.
    Opposed,
    /// Another bridge sends the ring's messages to the same stream.
    Doubled,
}

impl Ring {
    /// Which file the ring is in, as a text that no other file has: device, inode, and when it was made, where the file
    /// system says that. None: nobody knows.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let path = std::env::temp_dir().join(format!("identity-{}.ring", std::process::id()));
    /// let ring = Ring::open(Variant::Int, &path, 8, 0, 0o600)?;
    /// assert_eq!(ring.identity(), Ring::attach(&path)?.identity());
    /// ring.unlink()?;
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn identity(&self) -> Option<String> {
        self.mapping.region.source().map(|source| source.inode.to_string())
    }

    /// Says, as long as this handle lives, what a bridge does with the ring; and, if given, that no other one is to do the same
    /// with the stream of this name.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) where the ring's file cannot be opened once more, or has no locks.
    ///
    /// ```
    /// # use data_pubsub_shared::{Claimed, Ring, Role, Variant};
    /// let path = std::env::temp_dir().join(format!("role-{}.ring", std::process::id()));
    /// let mut ring = Ring::open(Variant::Int, &path, 8, 0, 0o600)?;
    /// assert_eq!(ring.claim_role(Role::Down, None)?, Claimed::Yes);
    /// assert_eq!(Ring::attach(&path)?.claim_role(Role::Down, None)?, Claimed::Taken);
    /// ring.unlink()?;
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn claim_role(&mut self, role: Role, stream: Option<&[u8]>) -> Result<Claimed> {
        let file = self.mapping.region.source().and_then(|source| source.reopen());
        let file = file.ok_or_else(|| Error::from_os("opening the ring's file once more", libc::ENOENT))?;
        let refused = |code| Error::from_os("locking a byte of the ring's file", code);
        // First our own: of two that come at once, one at least sees the other.
        if !Bytes::of_role(role).lock(&file, role.kind()).map_err(refused)? {
            return Ok(Claimed::Taken);
        }
        if let Some(name) = stream {
            if !Bytes::of_stream(name).lock(&file, Kind::Exclusive).map_err(refused)? {
                return Ok(Claimed::Doubled);
            }
        }
        if Bytes::of_role(role.other()).is_locked(&file).map_err(refused)? {
            return Ok(Claimed::Opposed);
        }
        self.role = Some(file);
        Ok(Claimed::Yes)
    }
}
