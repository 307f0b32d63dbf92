use super::*;
use crate::testfile::TestDir;
use std::os::unix::io::AsRawFd;

fn wanted(capacity: u64) -> crate::Options {
    crate::Options { capacity, msg_size: 16, publishers: 2, ..Default::default() }
}

fn geometry(variant: Variant) -> Geometry {
    wanted(8).geometry(variant).unwrap()
}

fn open(path: &Path, variant: Variant, capacity: u64) -> Result<(Region, Geometry)> {
    let creation = match capacity {
        0 => None,
        _ => Some(Creation::new(wanted(capacity).geometry(variant)?, 0o600)?),
    };
    let mut draft = Draft::default();
    uninterrupted(|| Region::open(path, variant, creation.as_ref(), &mut draft))
}

/// Writes the first byte behind the header through one mapping, and reads it through another.
fn is_shared(one: &Region, other: &Region) -> bool {
    // SAFETY: both mappings are longer than a header; they are not shared.
    unsafe {
        let (to, from) = (one.base().add(HEADER_LEN as usize), other.base().add(HEADER_LEN as usize));
        to.write_volatile(to.read_volatile().wrapping_add(1));
        to.read_volatile() == from.read_volatile()
    }
}

#[test]
fn a_path_is_made_once_and_then_attached_to() {
    let dir = TestDir::new();
    let path = dir.path().join("ring");
    assert_eq!(open(&path, Variant::Str, 0).unwrap_err().kind(), ErrorKind::Argument, "nothing is there");
    let (first, made) = open(&path, Variant::Str, 8).unwrap();
    let (second, found) = open(&path, Variant::Str, 64).unwrap();
    assert_eq!((made, found), (geometry(Variant::Str), made), "a ring keeps its sizes");
    assert!(is_shared(&first, &second));
    assert_eq!((first.path(), first.memfd()), (Some(&*path), None));
}

#[test]
fn a_ring_of_another_variant_and_what_is_no_file_are_refused() {
    let dir = TestDir::new();
    let path = dir.path().join("ring");
    open(&path, Variant::Int, 8).unwrap();
    assert_eq!(open(&path, Variant::Int32, 8).unwrap_err().kind(), ErrorKind::Incompatible);
    assert_eq!(open(dir.path(), Variant::Int, 8).unwrap_err().kind(), ErrorKind::System, "a folder");
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(open(&link, Variant::Int, 8).unwrap_err().os_code(), libc::ELOOP);
}

#[test]
fn memory_is_sealed_in_its_size_and_passed_on_by_its_descriptor() {
    let name = CStr::from_bytes_with_nul(b"test\0").unwrap();
    let region = Region::memory(name, &geometry(Variant::Int), true).unwrap();
    let fd = region.memfd().unwrap();
    // SAFETY: only a number goes in.
    assert_eq!(unsafe { libc::ftruncate(fd, 0) }, -1);
    let (other, found, read_only) = Region::from_fd(fd, Variant::Int).unwrap();
    assert_eq!((found, read_only), (geometry(Variant::Int), false));
    assert!(is_shared(&region, &other) && region.path().is_none());
    assert!(Region::memory(name, &geometry(Variant::Int), false).unwrap().memfd().is_none(), "if it is to be");
}

#[test]
fn a_descriptor_for_reading_alone_gives_a_ring_for_reading_alone() {
    let dir = TestDir::new();
    let path = dir.path().join("ring");
    let (_ring, made) = open(&path, Variant::Int, 8).unwrap();
    let file = File::open(&path).unwrap();
    let (_, found, read_only) = Region::from_fd(file.as_raw_fd(), Variant::Int).unwrap();
    assert_eq!((found, read_only), (made, true));
    assert_eq!(Region::open_read_only(&path, Variant::Int).unwrap().1, made);
}

#[test]
fn a_name_that_leads_elsewhere_by_now_is_not_removed() {
    let dir = TestDir::new();
    let (path, moved) = (dir.path().join("ring"), dir.path().join("moved"));
    let (region, _) = open(&path, Variant::Int, 8).unwrap();
    std::fs::rename(&path, &moved).unwrap();
    let (other, _) = open(&path, Variant::Int, 8).unwrap();
    assert_eq!(region.unlink().unwrap_err().kind(), ErrorKind::Incompatible);
    assert!(path.exists() && moved.exists());
    other.unlink().unwrap();
    other.unlink().unwrap();
    unlink(&moved).unwrap();
    unlink(&moved).unwrap();
    assert!(dir.entries().is_empty());
}
