//! Rings in files, for tests that inspect and corrupt them, and directories for tests.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::layout::Variant;
use crate::ring::Ring;
use crate::sync::{AtomicU32, Ordering::Relaxed};

fn fresh_path() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("pubsub-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
    std::env::temp_dir().join(name)
}

/// A directory that is removed with its content when this is dropped.
pub(crate) struct TestDir(PathBuf);

impl TestDir {
    pub(crate) fn new() -> TestDir {
        let path = fresh_path();
        std::fs::create_dir(&path).unwrap();
        TestDir(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The names of its files.
    pub(crate) fn entries(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A file that is removed when this is dropped.
pub(crate) struct TestRing {
    path: PathBuf,
}

impl TestRing {
    fn fresh() -> TestRing {
        TestRing { path: fresh_path() }
    }

    /// A ring with messages of 16 bytes and at least two spares.
    pub(crate) fn new(variant: Variant, capacity: u64) -> (Ring, TestRing) {
        let file = TestRing::fresh();
        (Ring::open(variant, &file.path, capacity, 16, 0o600).unwrap(), file)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Publishes this number of messages.
    pub(crate) fn publish(&self, ring: &Ring, count: i64) {
        for i in 0..count {
            if ring.publish_int(i).is_err() && ring.publish_num(i as f64).is_err() {
                ring.publish_str(format!("message {}", i).as_bytes()).unwrap();
            }
        }
    }

    /// A copy with these bytes changed.
    pub(crate) fn damaged(&self, bytes: &[(u64, &[u8])]) -> TestRing {
        let copy = TestRing::fresh();
        std::fs::copy(&self.path, &copy.path).unwrap();
        copy.write(bytes);
        copy
    }

    pub(crate) fn write(&self, bytes: &[(u64, &[u8])]) {
        let file = OpenOptions::new().write(true).open(&self.path).unwrap();
        bytes.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
    }

    pub(crate) fn read(&self, at: u64) -> u32 {
        let mut word = [0; 4];
        OpenOptions::new().read(true).open(&self.path).unwrap().read_exact_at(&mut word, at).unwrap();
        u32::from_ne_bytes(word)
    }

    pub(crate) fn set_len(&self, len: u64) {
        OpenOptions::new().write(true).open(&self.path).unwrap().set_len(len).unwrap();
    }
}

impl Drop for TestRing {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
