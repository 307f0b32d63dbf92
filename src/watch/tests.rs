use super::*;
use crate::filter::Filter;
use crate::{Options, Ring, Subscriber, Variant};

fn watched() -> (Ring, Subscriber, RawFd) {
    let ring = Ring::anonymous(Variant::Int, 8, 0).unwrap();
    let mut sub = ring.subscribe(false);
    let fd = sub.watch().unwrap();
    (ring, sub, fd)
}

/// Whether the descriptor is readable; with `wait`, waits until it is.
fn readable(fd: RawFd, wait: bool) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry.
    unsafe { libc::poll(&mut poll, 1, if wait { -1 } else { 0 }) > 0 }
}

#[test]
fn the_descriptor_is_readable_while_there_are_messages() {
    let (ring, mut sub, fd) = watched();
    assert!(!readable(fd, false));
    ring.publish_ints(&[1, 2]).unwrap();
    assert!(readable(fd, true));
    assert_eq!(sub.poll_int().unwrap(), Some(1));
    assert!(readable(fd, false), "one is left");
    assert_eq!((sub.poll_int().unwrap(), sub.poll_int().unwrap()), (Some(2), None));
    assert!(!readable(fd, false));
    ring.publish_int(3).unwrap();
    assert!(readable(fd, true), "again");
}

#[test]
fn what_is_not_wanted_is_passed_by_the_thread() {
    let ring = Options { capacity: 8, msg_size: 8, ..Options::default() }.anonymous(Variant::Str).unwrap();
    let any = AnyRing::Str(*ring.inner().1);
    let filter = Filter::new(std::iter::once((&b"yes"[..], false)));
    let mut cursor = Cursor::at(0);
    cursor.set_filter(Some(Arc::new(filter)));
    let mut outlet = Outlet::default();
    let (fd, _) = outlet.descriptor().unwrap();
    let watch = Watch::start(any, &cursor, &outlet.make(), 0).unwrap();
    for count in 0..20 {
        ring.publish_str(b"no").unwrap();
        while cursor.next() == count {
            watch.catch_up(&mut cursor);
            std::thread::yield_now();
        }
        assert_eq!((cursor.next(), cursor.filtered(), cursor.lost()), (count + 1, count + 1, 0));
    }
    assert!(!readable(fd, false));
    ring.publish_str(b"yes.").unwrap();
    assert!(readable(fd, true));
    watch.catch_up(&mut cursor);
    assert_eq!((cursor.next(), cursor.filtered(), cursor.lost()), (20, 20, 0));
}

#[test]
fn a_move_of_the_cursor_is_known_at_once() {
    let (ring, mut sub, fd) = watched();
    ring.publish_ints(&[1, 2]).unwrap();
    sub.reset();
    assert!(!readable(fd, false));
    sub.seek(1);
    assert!(readable(fd, false));
    sub.reset_oldest();
    assert!(readable(fd, false));
}

#[test]
fn there_is_one_descriptor_until_it_is_closed() {
    let (_ring, mut sub, fd) = watched();
    assert_eq!(sub.watch_anew().unwrap(), (fd, false));
    assert!(sub.is_watched_by(fd));
    // SAFETY: the subscriber's descriptor, which a program may close.
    unsafe { libc::close(fd) };
    assert!(!sub.is_watched_by(fd));
    let (again, new) = sub.watch_anew().unwrap();
    assert!(new && sub.is_watched_by(again));
}

#[test]
fn a_watch_ends_with_its_subscriber() {
    let (ring, sub, fd) = watched();
    drop(sub);
    ring.publish_int(1).unwrap();
    // SAFETY: only a number. If another test has it by now, it is not a readable eventfd.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    assert!(flags < 0 || !readable(fd, false));
}
