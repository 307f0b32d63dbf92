//! Locks on bytes far beyond the end of a ring's file, where nothing is ever read or written.
//!
//! ```text
//!   2^62 + 1 ..= 2^62 + 65,535    members: processes that publish strings, see crate::member
//!   2^62 + 2^17 + 1 ...           members: processes that subscribe; as many
//!   2^62 + 2^32                   a bridge sends the ring's messages to a stream; shared by all such bridges
//!   2^62 + 2^32 + 1               a bridge fills the ring from a stream; exclusive
//!   2^62 + 2^33 + hash            a bridge sends the ring's messages to the stream of this name; exclusive
//!   2^62 + 2^61 + random          a process checks whether a mapping keeps its locks
//! ```
//!
//! They are open-file-description locks: the kernel releases a lock when the last descriptor or mapping of its open file is closed.
//! Other processes see it from any pid namespace, user or container.

use std::fs::File;
use std::os::unix::io::AsRawFd;

use crate::error::last_os_code;
use crate::member::{Group, MAX_MEMBER};

const MEMBERS: i64 = 1 << 62;
const ROLES: i64 = MEMBERS + (1 << 32);
const STREAMS: i64 = MEMBERS + (1 << 33);
const PROBES: i64 = MEMBERS + (1 << 61);

/// The role of a bridge for a ring. A ring with both roles would repeat all messages forever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It sends the ring's messages to a stream. Any number of bridges may have this role.
    Up,
    /// It fills the ring from a stream. Only one bridge can have this role.
    Down,
}

impl Role {
    pub(crate) fn other(self) -> Self {
        match self {
            Role::Up => Role::Down,
            Role::Down => Role::Up,
        }
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Role::Up => Kind::Shared,
            Role::Down => Kind::Exclusive,
        }
    }
}

/// The byte before the one of a group's first member.
fn first_of(group: Group) -> i64 {
    MEMBERS + ((group as i64) << 17)
}

/// Whether other processes may have the lock at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Shared,
    Exclusive,
}

/// A range of bytes to lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes {
    first: i64,
    count: i64,
}

impl Bytes {
    /// The bytes of `count` members of a group, from the number `first` on.
    pub(crate) fn of_members(group: Group, first: u32, count: u32) -> Bytes {
        Bytes { first: first_of(group) + i64::from(first), count: count.into() }
    }

    /// A byte that other processes are unlikely to use at the same time.
    pub(crate) fn of_probe(random: u32) -> Bytes {
        Bytes { first: PROBES + i64::from(random), count: 1 }
    }

    #[cfg(test)]
    pub(crate) fn of_everything() -> Bytes {
        Bytes { first: 0, count: i64::MAX }
    }

    pub(crate) fn of_role(role: Role) -> Bytes {
        Bytes { first: ROLES + role as i64, count: 1 }
    }

    /// The byte of a stream. Two names have the same byte with a probability of 2^-60.
    pub(crate) fn of_stream(name: &[u8]) -> Bytes {
        // FNV-1a by G. Fowler, L. C. Noll and K.-P. Vo, whose upper bits are better distributed.
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        let hash = name.iter().fold(0xcbf2_9ce4_8422_2325, step);
        Bytes { first: STREAMS + (hash >> 4) as i64, count: 1 }
    }

    /// Locks them for the open file `file`, without waiting. Returns false if another open file has locked one of them. An error
    /// is the system's number: the file system has no such locks, or there are too many.
    pub(crate) fn lock(self, file: &File, kind: Kind) -> Result<bool, i32> {
        let kind = if kind == Kind::Shared { libc::F_RDLCK } else { libc::F_WRLCK };
        match self.ask(file, libc::F_OFD_SETLK, kind) {
            Ok(_) => Ok(true),
            Err(libc::EAGAIN) => Ok(false), // EACCES is an error: a security policy forbids locks
            Err(code) => Err(code),
        }
    }

    pub(crate) fn unlock(self, file: &File) {
        let _ = self.ask(file, libc::F_OFD_SETLK, libc::F_UNLCK);
    }

    /// Whether another open file than `file`, which may be read-only, has locked one of them.
    pub(crate) fn is_locked(self, file: &File) -> Result<bool, i32> {
        self.ask(file, libc::F_OFD_GETLK, libc::F_WRLCK).map(|lock| i32::from(lock.l_type) != libc::F_UNLCK)
    }

    /// Whether they are locked by a process that is not a member: members lock only their own bytes, and never shared.
    pub(crate) fn is_locked_by_strangers(self, file: &File) -> bool {
        let members = MEMBERS..=first_of(Group::Readers) + i64::from(MAX_MEMBER);
        self.ask(file, libc::F_OFD_GETLK, libc::F_WRLCK).map_or(true, |lock| match lock.l_type.into() {
            libc::F_UNLCK => false,
            libc::F_WRLCK => {
                let last = lock.l_start.saturating_add(lock.l_len - 1);
                lock.l_len <= 0 || !members.contains(&lock.l_start) || !members.contains(&last)
            }
            _ => true,
        })
    }

    fn ask(self, file: &File, command: i32, kind: i32) -> Result<libc::flock, i32> {
        // SAFETY: plain numbers, for which zeros are valid.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        if self.count == 0 {
            lock.l_type = libc::F_UNLCK as libc::c_short;
            return Ok(lock); // for the kernel, a length of 0 means up to the end
        }
        lock.l_type = kind as libc::c_short;
        lock.l_whence = libc::SEEK_SET as libc::c_short;
        lock.l_start = self.first;
        lock.l_len = self.count;
        // SAFETY: our own descriptor and a lock to read and write.
        if unsafe { libc::fcntl(file.as_raw_fd(), command, &mut lock) } < 0 {
            return Err(last_os_code());
        }
        Ok(lock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn opened_twice() -> (File, File) {
        // SAFETY: a C string.
        let fd = unsafe { libc::memfd_create(b"test\0".as_ptr().cast(), libc::MFD_CLOEXEC) };
        // SAFETY: a new descriptor, which is owned only here.
        let file: File = unsafe { std::os::unix::io::FromRawFd::from_raw_fd(fd) };
        let again = File::open(Path::new(&format!("/proc/self/fd/{}", fd))).unwrap();
        (file, again)
    }

    #[test]
    fn a_lock_is_seen_by_who_only_reads_and_ends_with_its_file() {
        let (file, reader) = opened_twice();
        let member = Bytes::of_members(Group::Publishers, 7, 1);
        assert_eq!(member.lock(&file, Kind::Exclusive), Ok(true));
        assert_eq!((member.is_locked(&reader), member.is_locked(&file)), (Ok(true), Ok(false)));
        assert_eq!(Bytes::of_members(Group::Publishers, 8, MAX_MEMBER - 7).is_locked(&reader), Ok(false));
        for role in [Role::Up, Role::Down] {
            assert_eq!(Bytes::of_role(role).is_locked(&reader), Ok(false), "no member has the byte of a role");
        }
        let readers = Bytes::of_members(Group::Readers, 0, MAX_MEMBER + 1);
        assert_eq!(readers.is_locked(&reader), Ok(false), "nor a publisher that of a reader");
        drop(file);
        assert_eq!(member.is_locked(&reader), Ok(false));
    }

    #[test]
    fn streams_have_bytes_of_their_own() {
        let names: [&[u8]; 5] = [b"", b"a", b"b", b"news at 127.0.0.1:6379", b"news at 127.0.0.1:6380"];
        let mut firsts = names.map(|name| Bytes::of_stream(name).first);
        firsts.sort_unstable();
        assert!(firsts[0] >= STREAMS && firsts.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", firsts);
        // These numbers are part of the layout: all versions of this library must agree on them.
        assert_eq!(Bytes::of_stream(b"a").first - STREAMS, (0xaf63_dc4c_8601_ec8c_u64 >> 4) as i64);
    }

    #[test]
    fn no_bytes_are_no_lock() {
        let (file, reader) = opened_twice();
        assert_eq!(Bytes::of_members(Group::Publishers, 1, 0).lock(&file, Kind::Exclusive), Ok(true));
        assert_eq!(Bytes::of_members(Group::Publishers, 0, MAX_MEMBER + 1).is_locked(&reader), Ok(false));
    }
}
