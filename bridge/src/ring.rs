//! The rings at both ends: opening or creating them, the lock for the bridge's role, and waiting for messages in a task.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use data_pubsub_shared::{Claimed, Options, Ring, Role, Subscriber, Variant, inspect};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A ring's file, and how to create it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingFile {
    /// Its path.
    pub path: PathBuf,
    /// Its variant, if the configuration names one.
    pub variant: Option<Variant>,
    /// The number of slots of a new ring; `None` if it is not to be created.
    pub capacity: Option<u64>,
    /// The maximum message size of a new string ring in bytes.
    pub msg_size: u64,
    /// The permission bits of a new ring.
    pub mode: u32,
    /// Whether a new ring is lossless.
    pub lossless: bool,
}

/// An open ring.
#[derive(Debug)]
pub struct Open {
    /// For reading and writing.
    pub ring: Ring,
    /// Its variant.
    pub variant: Variant,
    /// The unique identity of its file.
    pub identity: String,
}

/// An error of a ring, with its path.
pub type Result<T> = std::result::Result<T, String>;

impl RingFile {
    /// The variant and the capacity of the existing ring; `None` if there is no file.
    ///
    /// # Errors
    /// If the file is not a ring, or is of another variant.
    pub fn existing(&self) -> Result<Option<(Variant, u64)>> {
        let path = self.path.display();
        let seen = match inspect(&self.path) {
            Ok(seen) => seen,
            Err(error) if error.os_code() == 2 => return Ok(None), // ENOENT
            Err(error) => return Err(with_path(&self.path, &error.to_string())),
        };
        let Some(found) = seen.variant else {
            return Err(format!("{path}: {}", seen.reason.unwrap_or_else(|| "not a ring file".to_owned())));
        };
        match self.variant {
            _ if found == Variant::Num => {
                Err(format!("{path}: holds a Num ring; a bridge carries Int, Int32, Int16 and Str"))
            }
            Some(wanted) if wanted != found => {
                let article = if found == Variant::Str { "a" } else { "an" };
                Err(format!("{path}: holds {article} {found:?} ring, opened as {wanted:?}"))
            }
            _ => Ok(Some((found, seen.stats.capacity))),
        }
    }

    /// What a new one would be like; none where these do not say how to make one.
    fn new_one(&self) -> Option<(Variant, Options)> {
        let mut options = Options::new(self.capacity?);
        (options.msg_size, options.mode, options.lossless) = (self.msg_size, self.mode, self.lossless);
        Some((self.variant?, options))
    }

    /// Whether there can be a ring of these sizes.
    ///
    /// # Errors
    /// As the core refuses to make one.
    pub fn check_sizes(&self) -> Result<()> {
        let Some((variant, options)) = self.new_one() else { return Ok(()) };
        options.sizes(variant).map(drop).map_err(|error| with_path(&self.path, &error.to_string()))
    }

    /// Whether one could be made now, where there is none. Makes nothing.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn check_new(&self) -> Result<()> {
        let (variant, options) = self.new_one().ok_or_else(|| self.missing())?;
        options.check_new(variant, &self.path).map_err(|error| with_path(&self.path, &error.to_string()))
    }

    fn missing(&self) -> String {
        format!("{}: no such ring; to create it, give variant and capacity", self.path.display())
    }

    /// Whether to go on after the ring was removed: there is another one, or the configuration says how to create it.
    ///
    /// # Errors
    /// If neither is the case.
    pub fn after_removal(&self) -> Result<()> {
        match self.existing()? {
            None if self.capacity.is_none() => Err(format!("{}: was removed", self.path.display())),
            _ => Ok(()),
        }
    }

    /// Opens the ring, or creates it.
    ///
    /// # Errors
    /// As [`existing`](Self::existing); if there is none and the configuration does not say how to create it; if a system call
    /// fails.
    pub fn open(&self) -> Result<Open> {
        let (variant, options) = match self.existing()? {
            Some((variant, _)) => (variant, Options::default()),
            None => self.new_one().ok_or_else(|| self.missing())?,
        };
        let ring = options.open(variant, &self.path).map_err(|error| with_path(&self.path, &error.to_string()))?;
        let identity = ring.identity().ok_or_else(|| format!("{}: has no identity", self.path.display()))?;
        Ok(Open { ring, variant, identity })
    }
}

fn with_path(path: &Path, text: &str) -> String {
    let path = path.display().to_string();
    if text.contains(&path) { text.to_owned() } else { format!("{path}: {text}") }
}

impl Open {
    /// Claims the bridge's role for the ring, as long as it is open. `stream` is the stream that it is sent to.
    ///
    /// # Errors
    /// If the role of another bridge on this host excludes it.
    pub fn claim(&mut self, path: &Path, stream: Option<&str>) -> Result<()> {
        let role = if stream.is_some() { Role::Up } else { Role::Down };
        let path = path.display();
        match self.ring.claim_role(role, stream.map(str::as_bytes)) {
            Ok(Claimed::Yes) => Ok(()),
            Ok(Claimed::Taken) => Err(format!("{path}: another process fills this ring from a stream")),
            Ok(Claimed::Doubled) => {
                Err(format!("{path}: another process sends this ring into stream {}", stream.unwrap_or_default()))
            }
            Ok(Claimed::Opposed) => Err(format!(
                "{path}: is both sent and received into: each message would return forever; publish to one ring (out) and read \
                 another (in)"
            )),
            Err(error) => Err(format!("{path}: {error}")),
        }
    }

    /// The absolute position, which clears do not reset. It reads the base twice to detect a clear in between.
    pub fn absolute(&self, relative: impl Fn(&Ring) -> u64) -> u64 {
        loop {
            let base = self.ring.base();
            let position = relative(&self.ring);
            if self.ring.base() == base {
                return base + position;
            }
        }
    }

    /// Moves a subscriber to an absolute position, or past the messages that were cleared since.
    pub fn seek(&self, sub: &mut Subscriber, absolute: u64) {
        loop {
            let base = self.ring.base();
            sub.seek(absolute.saturating_sub(base));
            if self.ring.base() == base {
                return;
            }
        }
    }
}

/// Wakes a task when a ring has messages to read.
#[derive(Debug)]
pub struct Bell {
    // Dropped before the subscriber, which owns the descriptor.
    fd: AsyncFd<Borrowed>,
    /// Is moved to the reader's position whenever the reader has found nothing.
    sub: Subscriber,
}

#[derive(Debug)]
struct Borrowed(RawFd);

impl AsRawFd for Borrowed {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Bell {
    /// A bell for a ring.
    ///
    /// # Errors
    /// If no descriptor is free or a thread cannot be started.
    pub fn new(open: &Open) -> Result<Bell> {
        let mut sub = open.ring.subscribe(false);
        // The publishers of a lossless ring wait for the reader, not for this.
        sub.release();
        let fd = sub.watch().map_err(|error| error.to_string())?;
        // SAFETY: it is dropped before the subscriber, which keeps the descriptor open.
        let fd = unsafe { AsyncFd::register_with_interest(Borrowed(fd), Interest::READABLE) };
        let fd = fd.map_err(|error| error.to_string())?;
        Ok(Bell { fd, sub })
    }

    /// To be called when the reader has found nothing. From then on, the bell rings when there is a message at the reader's
    /// position. It may be there already, so the reader must look once more before it waits.
    pub fn arm(&mut self, reader: &Subscriber) {
        self.sub.seek(reader.cursor());
    }

    /// Waits until it rings, which may be spurious. It may be dropped at any time.
    ///
    /// # Errors
    /// An error of the runtime.
    pub async fn rung(&self) -> io::Result<()> {
        self.fd.readable().await?.clear_ready();
        Ok(())
    }
}
