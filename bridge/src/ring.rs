//! The rings at both ends: opened or made, locked for what the bridge does with them, and read with tasks that sleep.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use data_pubsub_shared::{Claimed, Options, Ring, Role, Subscriber, Variant, inspect};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A ring's file, and how to make one where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingFile {
    /// Its path.
    pub path: PathBuf,
    /// What it must be, where that is said.
    pub variant: Option<Variant>,
    /// Slots of a new one; none: it is not made.
    pub capacity: Option<u64>,
    /// Bytes of the longest message of a new ring of strings.
    pub msg_size: u64,
    /// Permission bits of a new one.
    pub mode: u32,
    /// Publishers of a new one wait for its readers.
    pub lossless: bool,
}

/// An open ring.
#[derive(Debug)]
pub struct Open {
    /// For reading and writing.
    pub ring: Ring,
    /// What it is.
    pub variant: Variant,
    /// Which file it is, as no other file ever was.
    pub identity: String,
}

/// What is wrong with a ring, with its path.
pub type Result<T> = std::result::Result<T, String>;

impl RingFile {
    /// The variant and the capacity of the ring that is there; none where there is no file.
    ///
    /// # Errors
    /// Where the file is something else, or a ring of another variant.
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

    /// Where it was removed: whoever did that may be about to make another one, or it says how to.
    ///
    /// # Errors
    /// None of that.
    pub fn after_removal(&self) -> Result<()> {
        match self.existing()? {
            None if self.capacity.is_none() => Err(format!("{}: was removed", self.path.display())),
            _ => Ok(()),
        }
    }

    /// Opens the ring, or makes it.
    ///
    /// # Errors
    /// As [`existing`](Self::existing), where there is none and nothing says how to make it, and where the system refuses.
    pub fn open(&self) -> Result<Open> {
        let found = self.existing()?;
        let variant = match (found, self.variant, self.capacity) {
            (Some((variant, _)), ..) => variant,
            (None, Some(variant), Some(_)) => variant,
            _ => return Err(format!("{}: no such ring; to create it, give variant and capacity", self.path.display())),
        };
        let capacity = if found.is_some() { 0 } else { self.capacity.unwrap_or(0) };
        let mut options = Options::new(capacity);
        (options.msg_size, options.mode, options.lossless) = (self.msg_size, self.mode, self.lossless);
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
    /// Says to all bridges of this host what this one does with the ring, as long as it is open. `stream` is where it is sent.
    ///
    /// # Errors
    /// Where another one does what does not go together with that.
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

    /// A position that never falls, whoever clears the ring. Looks at the base twice, lest a clear comes between.
    pub fn absolute(&self, relative: impl Fn(&Ring) -> u64) -> u64 {
        loop {
            let base = self.ring.base();
            let position = relative(&self.ring);
            if self.ring.base() == base {
                return base + position;
            }
        }
    }

    /// Has a subscriber go on at such a position, or behind what was cleared since.
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

/// Tells a task when a ring has something to read.
#[derive(Debug)]
pub struct Bell {
    // Before the subscriber, whose descriptor it is.
    fd: AsyncFd<Borrowed>,
    /// Stands where the reader stands whenever that has found nothing.
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
    /// Of a ring.
    ///
    /// # Errors
    /// Where there are no descriptors or threads left.
    pub fn new(open: &Open) -> Result<Bell> {
        let mut sub = open.ring.subscribe(false);
        // The publishers of a lossless ring wait for the reader, not for this.
        sub.release();
        let fd = sub.watch().map_err(|error| error.to_string())?;
        // SAFETY: it goes before the subscriber, which keeps the descriptor open.
        let fd = unsafe { AsyncFd::register_with_interest(Borrowed(fd), Interest::READABLE) };
        let fd = fd.map_err(|error| error.to_string())?;
        Ok(Bell { fd, sub })
    }

    /// To be called when the reader has found nothing: the bell rings when there is something at its place. It may be there already:
    /// look once more before waiting.
    pub fn arm(&mut self, reader: &Subscriber) {
        self.sub.seek(reader.cursor());
    }

    /// Waits until it rings, which it may do without reason. May be dropped at any time.
    ///
    /// # Errors
    /// None that is known.
    pub async fn rung(&self) -> io::Result<()> {
        self.fd.readable().await?.clear_ready();
        Ok(())
    }
}
