//! The state file of a direction.
//!
//! The file is a log of lines, each with a checksum and a record in JSON. A line is one write(2), so a process that is killed
//! leaves a complete line, or a torn one, which is truncated. When the log has grown, it is replaced by a short one. The process
//! that uses it has locked it, and syncs it to the disk every few seconds.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_64;

use crate::file::{beside, folder_of, plain, read_all};

const HEAD: &str = "pubsub-bridge state 1\n";
/// The size in bytes below which a log is not replaced.
const SMALL: u64 = 256 << 10;
/// The maximum size of a log in bytes, enough for some millions of origins.
const LIMIT: u64 = 1 << 30;
const SYNC_EACH: Duration = Duration::from_secs(5);

/// The open file.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    file: File,
    _lock: File,
    /// The size of all complete lines in bytes.
    length: u64,
    /// The size when the log was last replaced.
    short: u64,
    unsynced: bool,
    synced: Instant,
    /// How many lines were corrupt when it was opened.
    damaged: usize,
}

fn about(path: &Path, error: Error) -> Error {
    Error::new(error.kind(), format!("{}: {}", path.display(), plain(&error)))
}

fn not_ours(path: &Path) -> Error {
    Error::new(ErrorKind::InvalidData, format!("{}: not a state file of this pubsub-bridge", path.display()))
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options.open(path).map_err(|error| about(path, error))
}

fn is_ours(begin: &[u8]) -> bool {
    begin.starts_with(HEAD.as_bytes()) || HEAD.as_bytes().starts_with(begin)
}

/// Checks whether the file can be a state file, without changes.
///
/// # Errors
/// As [`StateFile::open`]; [`ErrorKind::NotFound`] if there is no file.
pub fn look(path: &Path) -> Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let mut file = options.open(path).map_err(|error| about(path, error))?;
    let mut begin = Vec::new();
    let is_file = file.metadata().is_ok_and(|meta| meta.is_file());
    let read = if is_file { (&mut file).take(HEAD.len() as u64).read_to_end(&mut begin) } else { Ok(0) };
    read.map_err(|error| about(path, error))?;
    if is_file && is_ours(&begin) { Ok(()) } else { Err(not_ours(path)) }
}

impl StateFile {
    /// Opens or creates the file and its directory, and passes each record to `each`, the oldest first.
    ///
    /// # Errors
    /// As the system says; [`ErrorKind::ResourceBusy`] where another process uses it; [`ErrorKind::InvalidData`] where it is
    /// something else.
    pub fn open<R: DeserializeOwned>(path: &Path, mut each: impl FnMut(R)) -> Result<StateFile> {
        let folder = folder_of(path);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| {
            Error::new(error.kind(), format!("{}: cannot create directory: {}", folder.display(), plain(&error)))
        })?;
        let lock_path = beside(path, ".lock");
        let lock = open(&lock_path)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                let text = "another process uses this state file: end it, or give another directory as state";
                Error::new(ErrorKind::ResourceBusy, format!("{}: {text}", path.display()))
            }
            TryLockError::Error(error) => about(&lock_path, error),
        })?;
        let mut file = open(path)?;
        let log = if file.metadata().is_ok_and(|meta| meta.is_file()) {
            read_all(&mut file, LIMIT).map_err(|error| about(path, error))?
        } else {
            return Err(not_ours(path));
        };
        let mut state = StateFile {
            path: path.to_owned(),
            file,
            _lock: lock,
            length: 0,
            short: 0,
            unsynced: false,
            synced: Instant::now(),
            damaged: 0,
        };
        state.read(&log, &mut each)?;
        Ok(state)
    }

    fn read<R: DeserializeOwned>(&mut self, log: &[u8], each: &mut impl FnMut(R)) -> Result<()> {
        if !is_ours(log) {
            return Err(not_ours(&self.path));
        }
        let whole = log.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in log[..whole].split_inclusive(|byte| *byte == b'\n').skip(1) {
            match record(line) {
                Some(record) => each(record),
                None => self.damaged += 1,
            }
        }
        self.length = whole as u64;
        self.cut()?;
        if whole == 0 {
            self.write(HEAD.as_bytes())?;
        }
        self.short = self.length;
        Ok(())
    }

    /// How many lines were corrupt when the file was opened; a line that was torn by a kill does not count.
    pub fn damaged(&self) -> usize {
        self.damaged
    }

    /// Truncates a torn line.
    fn cut(&mut self) -> Result<()> {
        self.file.set_len(self.length).map_err(|error| about(&self.path, error))
    }

    /// Writes a line completely or not at all.
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = loop {
            match self.file.write(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let error = match written {
            Ok(count) if count == bytes.len() => {
                self.length += count as u64;
                self.unsynced = true;
                return Ok(());
            }
            Ok(_) => Error::from_raw_os_error(28), // ENOSPC
            Err(error) => error,
        };
        self.cut()?;
        Err(about(&self.path, error))
    }

    /// Appends a record. It survives the end of this process at once, and a crash of the host after a few seconds.
    ///
    /// # Errors
    /// The system's error. Then the record was not appended.
    pub fn put(&mut self, record: &impl Serialize) -> Result<()> {
        self.write(&line(record)?)
    }

    /// Whether the log has grown so much that it should be [replaced](Self::replace).
    pub fn has_grown(&self) -> bool {
        self.length > SMALL.max(4 * self.short)
    }

    /// Replaces the log by one with only this record.
    ///
    /// # Errors
    /// The system's error. Then the log is unchanged.
    pub fn replace(&mut self, record: &impl Serialize) -> Result<()> {
        let new = beside(&self.path, ".new");
        let mut text = HEAD.as_bytes().to_vec();
        text.extend(line(record)?);
        let _ = std::fs::remove_file(&new);
        let write = || -> Result<File> {
            let mut file = open(&new)?;
            let mut all = || -> Result<()> {
                file.write_all(&text)?;
                file.sync_data()?;
                std::fs::rename(&new, &self.path)
            };
            all().map_err(|error| about(&new, error))?;
            Ok(file)
        };
        self.file = write().inspect_err(|_| drop(std::fs::remove_file(&new)))?;
        self.length = text.len() as u64;
        self.short = self.length;
        (self.unsynced, self.synced) = (false, Instant::now());
        if let Some(Ok(folder)) = self.path.parent().map(File::open) {
            let _ = folder.sync_all();
        }
        Ok(())
    }

    /// The file, if it is time to sync it; for a thread that may block.
    pub fn due(&mut self) -> Option<File> {
        if !self.unsynced || self.synced.elapsed() < SYNC_EACH {
            return None;
        }
        (self.unsynced, self.synced) = (false, Instant::now());
        self.file.try_clone().ok()
    }

    /// Syncs it to the disk. A failure loses no message as long as the host is up.
    pub fn sync(&mut self) {
        if std::mem::take(&mut self.unsynced) {
            let _ = self.file.sync_data();
        }
    }
}

fn line(record: &impl Serialize) -> Result<Vec<u8>> {
    let mut text = vec![b' '; 17];
    serde_json::to_writer(&mut text, record)?;
    let sum = format!("{:016x}", xxh3_64(&text[17..]));
    text[..16].copy_from_slice(sum.as_bytes());
    text.push(b'\n');
    Ok(text)
}

fn record<R: DeserializeOwned>(line: &[u8]) -> Option<R> {
    let (sum, body) = line.strip_suffix(b"\n")?.split_at_checked(16)?;
    let body = body.strip_prefix(b" ")?;
    let sum = u64::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    (xxh3_64(body) == sum).then(|| serde_json::from_slice(body).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::tests::folder;

    fn read(path: &Path) -> (StateFile, Vec<u32>) {
        let mut found = Vec::new();
        let state = StateFile::open(path, |record: u32| found.push(record)).expect("open");
        (state, found)
    }

    #[test]
    fn what_is_put_is_read() {
        let folder = folder("state-put");
        let path = folder.join("sub/state");
        let (mut state, found) = read(&path);
        assert!(found.is_empty());
        (1..=3).for_each(|record| state.put(&record).expect("put"));
        let busy = StateFile::open(&path, |_: u32| ()).expect_err("one process at a time");
        assert!(
            busy.to_string()
                .ends_with("another process uses this state file: end it, or give another directory as state"),
            "{busy}"
        );
        drop(state);
        let (mut state, found) = read(&path);
        assert_eq!(found, [1, 2, 3]);
        while !state.has_grown() {
            state.put(&4).expect("put");
        }
        state.replace(&5).expect("replace");
        state.put(&6).expect("put");
        drop(state);
        assert_eq!(read(&path).1, [5, 6]);
        std::fs::remove_dir_all(folder).expect("remove");
    }

    #[test]
    fn what_is_torn_is_cut_and_what_is_damaged_is_told() {
        let folder = folder("state-torn");
        let path = folder.join("state");
        let (mut state, _) = read(&path);
        (1..=3).for_each(|record| state.put(&record).expect("put"));
        drop(state);
        let whole = std::fs::read(&path).expect("read");
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).expect("write");
            let lines = whole[..length].iter().filter(|byte| **byte == b'\n').count().saturating_sub(1);
            let (mut state, found) = read(&path);
            assert_eq!((found.len(), state.damaged()), (lines, 0), "{length} bytes");
            state.put(&9).expect("put");
            drop(state);
            assert_eq!(read(&path).1.last(), Some(&9));
        }
        for at in HEAD.len()..whole.len() {
            let mut other = whole.clone();
            other[at] ^= 1;
            std::fs::write(&path, &other).expect("write");
            let (state, found) = read(&path);
            // A corrupt line end joins two lines, or tears the last one.
            assert!(found.len() + state.damaged() >= 2 && found.len() <= 2, "byte {at}: {found:?}");
        }
        File::create(&path).expect("create").set_len(LIMIT + 1).expect("a hole");
        let error = StateFile::open(&path, |_: u32| ()).expect_err("a huge file");
        assert!(error.to_string().ends_with("/state: is larger than 1024 MiB, the limit"), "{error}");
        let pipe = folder.join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        let error = StateFile::open(&pipe, |_: u32| ()).expect_err("whose end never comes");
        assert!(error.to_string().ends_with("/pipe: not a state file of this pubsub-bridge"), "{error}");
        std::fs::write(&path, "PSB1").expect("write");
        let error = StateFile::open(&path, |_: u32| ()).expect_err("another format");
        assert!(error.to_string().contains("not a state file"), "{error}");
        let link = folder.join("link");
        std::os::unix::fs::symlink(folder.join("elsewhere"), &link).expect("a link");
        let error = StateFile::open(&link, |_: u32| ()).expect_err("a link");
        assert!(error.to_string().ends_with("link: Too many levels of symbolic links"), "{error}");
        assert!(!folder.join("elsewhere").exists());
        std::fs::remove_dir_all(folder).expect("remove");
    }
}
