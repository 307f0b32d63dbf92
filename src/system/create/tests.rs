use super::*;
use crate::file::c_path;
use crate::layout::Variant;
use crate::testfile::TestDir;
use std::os::unix::fs::PermissionsExt;

fn creation() -> Creation {
    Creation::new(crate::Options { capacity: 8, ..Default::default() }.geometry(Variant::Int).unwrap(), 0o640).unwrap()
}

fn create_at(path: &Path, creation: &Creation) -> Result<()> {
    let (name, mut draft) = (c_path(path).unwrap(), Draft::default());
    uninterrupted(|| create(path, &name, creation, &mut draft))
}

#[test]
fn a_mode_that_locks_its_owner_out_is_refused() {
    let geometry = creation().geometry;
    for mode in [0, 0o044, 0o400, 0o200, 0o477] {
        assert_eq!(Creation::new(geometry, mode).unwrap_err().kind(), ErrorKind::Argument, "{:o}", mode);
    }
}

#[test]
fn a_new_file_is_whole_and_alone() {
    let (dir, creation) = (TestDir::new(), creation());
    let path = dir.path().join("ring");
    create_at(&path, &creation).unwrap();
    let meta = path.metadata().unwrap();
    assert_eq!((meta.len(), meta.permissions().mode() & 0o7777), (creation.geometry.total, 0o640));
    assert_eq!(std::fs::read(&path).unwrap()[..88], Identity::new(&creation.geometry).to_bytes());
    assert_eq!(dir.entries(), ["ring"]);
}

#[test]
fn whoever_was_first_keeps_the_path() {
    let (dir, creation) = (TestDir::new(), creation());
    let path = dir.path().join("ring");
    std::fs::write(&path, "something").unwrap();
    create_at(&path, &creation).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"something");
    assert_eq!(dir.entries(), ["ring"]);
}

#[test]
fn a_file_under_a_temporary_name_becomes_the_ring_or_goes() {
    let (dir, creation) = (TestDir::new(), creation());
    let path = dir.path().join("ring");
    let mut space = Space::default();
    for winner in [true, false] {
        let made = Made::new(&path, &creation, false).unwrap();
        assert!(dir.entries().iter().any(|name| is_temporary_name(name)));
        uninterrupted(|| build(&made.file, &creation, &mut space)).unwrap();
        assert_eq!(made.place(&c_path(&path).unwrap()), if winner { 0 } else { libc::EEXIST });
        drop(made);
        assert_eq!(dir.entries(), ["ring"]);
    }
}

#[test]
fn leftovers_of_the_dead_go_and_those_of_the_living_stay() {
    let (dir, creation) = (TestDir::new(), creation());
    let living = Made::new(&dir.path().join("ring"), &creation, false).unwrap();
    let name = temporary_name(dir.path());
    std::fs::write(&name, "").unwrap();
    std::fs::write(dir.path().join(".pubsub-12-x"), "").unwrap();
    remove_leftovers(dir.path());
    assert!(!name.exists() && dir.path().join(".pubsub-12-x").exists());
    assert_eq!(dir.entries().len(), 2);
    drop(living);
    assert_eq!(dir.entries(), [".pubsub-12-x"]);
}

#[test]
fn temporary_names_are_told_from_others() {
    let own = temporary_name(Path::new("."));
    assert!(is_temporary_name(own.file_name().unwrap().to_str().unwrap()));
    for other in ["", "ring", ".pubsub-", ".pubsub-1", ".pubsub--0123456789abcdef", ".pubsub-1-0123456789abcde"] {
        assert!(!is_temporary_name(other), "{}", other);
    }
}

#[test]
fn only_zeros_count_as_blank() {
    let dir = TestDir::new();
    let path = dir.path().join("file");
    let mut bytes = vec![0; 100_000];
    for (at, blank) in [(None, true), (Some(87), true), (Some(88), false), (Some(99_999), false)] {
        bytes.fill(0);
        if let Some(at) = at {
            bytes[at] = 1;
        }
        std::fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        assert_eq!(is_blank(&file, 100_000).unwrap(), blank, "{:?}", at);
        assert!(!is_blank(&file, 100_001).unwrap(), "it was truncated");
    }
}
