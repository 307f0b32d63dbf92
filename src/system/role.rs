//! The role of a bridge for a ring, by locks on the ring's file, so that other bridges see it.

use std::fs::File;

use crate::error::{Error, Result};
use crate::file_lock::{Bytes, Kind, Role};
use crate::ring::Ring;

/// The lock lasts as long as its file is open.
pub(crate) type Held = File;

/// The result of a claim to a [`Role`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The handle has the role.
    Yes,
    /// Another bridge has this role, which only one can have.
    Taken,
    /// Another bridge has the other role.
    Opposed,
    /// Another bridge sends the ring's messages to the same stream.
    Doubled,
}

impl Ring {
    /// The identity of the ring's file, as a text that is unique to it: device, inode, and when it was created, if the file system
    /// records that. `None` for rings without a file, and for read-only ones.
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

    /// Claims a role of a bridge for the ring, as long as this handle lives. If `stream` is given, no other bridge can have the
    /// same role for the stream of this name.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) if the ring's file cannot be opened again, or has no locks.
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
        // Our own lock first: if two bridges claim at the same time, at least one sees the other.
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
