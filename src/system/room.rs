//! How much room there is for a ring: the free space of its file system, and the memory limits of control groups.
//!
//! This is checked before anything is reserved, so that a ring that does not fit is an error that says so. Otherwise it would first
//! fill the file system for all its users, or the kernel's out-of-memory killer would kill a process.

use std::fs::File;
use std::os::unix::io::AsRawFd;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

/// Memory limits are not checked for smaller rings: a process that runs perl has that much.
const SMALL: u64 = 1 << 20;
/// The directory of control groups.
const GROUPS: &str = "/sys/fs/cgroup";
const EXT_MAGIC: i64 = 0xef53;
const XFS_MAGIC: i64 = 0x5846_5342;
const TMPFS_MAGIC: i64 = 0x0102_1994;
const HUGETLBFS_MAGIC: i64 = 0x9584_58f6;
const PROC_MAGIC: i64 = 0x9fa0;

/// The file system of a file, from fstatfs(2).
pub(crate) struct Volume {
    kind: i64,
    /// Free bytes, including those reserved for root; `None` if the file system does not count them.
    free: Option<u64>,
    /// Free bytes that this user may use.
    ours: Option<u64>,
}

impl Volume {
    pub(crate) fn of(file: &File) -> Volume {
        // SAFETY: plain integers, for which zeros are valid.
        let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
        // SAFETY: fstatfs on our own descriptor; `stat` is valid for writes. If it fails, `stat` stays zero, which is unknown.
        unsafe { libc::fstatfs(file.as_raw_fd(), &mut stat) };
        let counts = stat.f_blocks > 0;
        let bytes = |blocks: u64| counts.then(|| blocks.saturating_mul(stat.f_bsize as u64));
        // SAFETY: geteuid has no preconditions.
        let ours = if unsafe { libc::geteuid() } == 0 { stat.f_bfree } else { stat.f_bavail };
        Volume { kind: stat.f_type as i64, free: bytes(stat.f_bfree), ours: bytes(ours) }
    }

    /// Whether it is in memory. There, a page that is read through a mapping takes room, too.
    pub(crate) fn is_tmpfs(&self) -> bool {
        self.kind == TMPFS_MAGIC
    }

    /// Whether its files are lost when the host goes down.
    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self.kind, TMPFS_MAGIC | HUGETLBFS_MAGIC)
    }

    /// Whether only the kernel makes links on it (/proc).
    pub(crate) fn is_proc(&self) -> bool {
        self.kind == PROC_MAGIC
    }

    /// Whether holes of a file are bytes that were never written, and not compressed ones.
    pub(crate) fn never_compresses(&self) -> bool {
        matches!(self.kind, TMPFS_MAGIC | EXT_MAGIC | XFS_MAGIC)
    }

    /// Returns an error if rings cannot be on this file system, or if it has no room for `missing` bytes of a ring of `total`
    /// bytes.
    pub(crate) fn check(&self, total: u64, missing: u64) -> Result<()> {
        if self.kind == HUGETLBFS_MAGIC {
            let text = "hugetlbfs cannot hold ring files; a tmpfs that is mounted with huge=always can";
            return Err(Error::new(ErrorKind::Incompatible, text));
        }
        match self.free {
            Some(free) if free < missing => Err(self.no_space(total, libc::ENOSPC)),
            _ if self.is_tmpfs() => check_memory(total),
            _ => Ok(()),
        }
    }

    /// The error for a ring of `total` bytes that could not be reserved, with the system's error `code` and the free space.
    pub(crate) fn no_space(&self, total: u64, code: i32) -> Error {
        let free = self.ours.map_or(String::new(), |free| format!(", and {} are free", free));
        Error::from_os(format!("the ring needs {} bytes{}", total, free), code)
    }
}

/// Returns an error if a ring in memory is larger than the limits of this process's control groups.
pub(crate) fn check_memory(total: u64) -> Result<()> {
    if total < SMALL {
        return Ok(());
    }
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    match memory_limit(&groups, Path::new(GROUPS)) {
        Some(limit) if limit.saturating_add(swap()) < total => Err(Error::from_os(
            format!("the ring needs {} bytes, and the memory limit of this control group is {}", total, limit),
            libc::ENOMEM,
        )),
        _ => Ok(()),
    }
}

/// The lowest memory limit of the control groups in `groups` (/proc/self/cgroup) and of their parents. In a container, the
/// process's group may be the topmost directory, whatever name it has in `groups`.
fn memory_limit(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?);
        let (root, limit) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        let read = |group: &Path| {
            let at = root.join(group.strip_prefix("/").unwrap_or(group)).join(limit);
            // "max" is not a number, and means that there is no limit.
            std::fs::read_to_string(at).ok()?.trim().parse::<u64>().ok()
        };
        Path::new(group).ancestors().filter_map(read).min()
    });
    limits.min()
}

/// The bytes of swap space, which a memory limit does not count.
fn swap() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("SwapTotal:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kilobytes| kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_on_the_way_up_counts() {
        let root = std::env::temp_dir().join(format!("pubsub-groups-{}", std::process::id()));
        let write = |at: &str, text: &str| {
            let at = root.join(at);
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            std::fs::write(at, text).unwrap();
        };
        write("a/b/memory.max", "max\n");
        write("a/memory.max", "7000000\n");
        write("memory/x/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/memory.limit_in_bytes", "5000000\n");
        let limit = |groups: &str| memory_limit(groups, &root);
        assert_eq!(limit("0::/a/b\n"), Some(7_000_000));
        assert_eq!(limit("0::/\n"), None);
        assert_eq!(limit("5:cpu,memory:/x\n4:pids:/x\n"), Some(5_000_000));
        assert_eq!(limit("5:memory:/docker/not-seen-here\n0::/a\n"), Some(5_000_000));
        assert_eq!(limit("4:pids:/x\nnonsense\n"), None);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
