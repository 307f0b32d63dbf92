//! How much room there is for a ring: free space of a file system, and the memory that a control group may have.
//!
//! Asked before anything is reserved, so that a ring that cannot fit is an error that says so. Otherwise it would fill the
//! file system up first, for others, too, or end as the kernel's choice of a process to kill.

use std::fs::File;
use std::os::unix::io::AsRawFd;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

/// Smaller rings fit into whatever perl itself fits into.
const SMALL: u64 = 1 << 20;
/// Where control groups are.
const GROUPS: &str = "/sys/fs/cgroup";
const EXT_MAGIC: i64 = 0xef53;
const XFS_MAGIC: i64 = 0x5846_5342;
const TMPFS_MAGIC: i64 = 0x0102_1994;
const HUGETLBFS_MAGIC: i64 = 0x9584_58f6;
const PROC_MAGIC: i64 = 0x9fa0;

/// The file system of a file, as fstatfs(2) tells.
pub(crate) struct Volume {
    kind: i64,
    /// Free bytes, those that are kept for root included; None where the file system does not count.
    free: Option<u64>,
    /// Those that this user may take.
    ours: Option<u64>,
}

impl Volume {
    pub(crate) fn of(file: &File) -> Volume {
        // SAFETY: plain integers; all zero is a value.
        let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
        // SAFETY: fstatfs on our own descriptor, and `stat` is there to be written to. A failure leaves it zero: unknown.
        unsafe { libc::fstatfs(file.as_raw_fd(), &mut stat) };
        let counts = stat.f_blocks > 0;
        let bytes = |blocks: u64| counts.then(|| blocks.saturating_mul(stat.f_bsize as u64));
        // SAFETY: geteuid has no preconditions.
        let ours = if unsafe { libc::geteuid() } == 0 { stat.f_bfree } else { stat.f_bavail };
        Volume { kind: stat.f_type as i64, free: bytes(stat.f_bfree), ours: bytes(ours) }
    }

    /// In memory: a mapped page that is read takes room, too.
    pub(crate) fn is_tmpfs(&self) -> bool {
        self.kind == TMPFS_MAGIC
    }

    /// What is on it is gone when the machine is.
    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self.kind, TMPFS_MAGIC | HUGETLBFS_MAGIC)
    }

    /// Its links are the kernel's.
    pub(crate) fn is_proc(&self) -> bool {
        self.kind == PROC_MAGIC
    }

    /// Holes of a file are bytes that were never written, not bytes that need no room.
    pub(crate) fn never_compresses(&self) -> bool {
        matches!(self.kind, TMPFS_MAGIC | EXT_MAGIC | XFS_MAGIC)
    }

    /// Refuses a file system on which no ring can be, and `missing` bytes of a ring of `total` for which there is no room.
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

    /// Why `total` bytes were not to be had: `code` and what is free.
    pub(crate) fn no_space(&self, total: u64, code: i32) -> Error {
        let free = self.ours.map_or(String::new(), |free| format!(", and {} are free", free));
        Error::from_os(format!("the ring needs {} bytes{}", total, free), code)
    }
}

/// Refuses a ring in memory that is larger than this process's control groups allow.
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

/// The least memory limit of the control groups named in `groups` (/proc/self/cgroup) and of those above them. A container
/// may see its own group as the topmost, whatever `groups` calls it.
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
            // "max" is no number, and no limit.
            std::fs::read_to_string(at).ok()?.trim().parse::<u64>().ok()
        };
        Path::new(group).ancestors().filter_map(read).min()
    });
    limits.min()
}

/// Bytes of swap space: what a limit of memory does not count.
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
