//! C programs, compiled against `include/pubsub.h` and linked with the static library: one exchanges messages with this one, one
//! tries what the header promises of wrong calls.

use std::path::{Path, PathBuf};
use std::process::Command;

use data_pubsub_shared::{Bytes, ErrorKind, Ring, Variant, Wait, NEVER};

/// The static library of the same build as this test.
fn static_library() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let profile = exe.ancestors().find(|dir| dir.join("deps").is_dir()).unwrap();
    // `cargo test` builds the library with its dependants' suffix in deps/, without one after a plain build.
    let newest = |dir: &Path| {
        std::fs::read_dir(dir)
            .unwrap()
            .filter_map(|entry| entry.ok())
            .filter(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                name.starts_with("libdata_pubsub_shared") && name.ends_with(".a")
            })
            .max_by_key(|entry| entry.metadata().and_then(|meta| meta.modified()).ok())
            .map(|entry| entry.path())
    };
    newest(&profile.join("deps")).or_else(|| newest(profile)).expect("cargo builds the static library, too")
}

/// Compiles `tests/NAME.c`, with one more flag if the compiler knows it, and says where the program is.
fn build(dir: &Path, name: &str, flag: Option<&str>) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let compiler = cc::Build::new().target(&target).host(&target).opt_level(1).cargo_metadata(false).get_compiler();
    let program = dir.join(name);
    let status = compiler
        .to_command()
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-D_GNU_SOURCE", "-I"])
        .arg(root.join("include"))
        .args(flag.filter(|_| compiler.is_like_gnu()))
        .arg(root.join(format!("tests/{}.c", name)))
        .arg(static_library())
        .args(["-lpthread", "-ldl", "-lm", "-o"])
        .arg(&program)
        .status()
        .unwrap();
    assert!(status.success());
    program
}

fn fresh_dir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("pubsub-c-{}-{}", name, std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Perls, and so what they compile, may be built with the flag, which changes how structures are returned.
#[test]
fn wrong_calls_are_refused_whatever_the_calling_convention() {
    let dir = fresh_dir("contract");
    for flag in [None, Some("-fpcc-struct-return")] {
        let program = build(&dir, "contract", flag);
        let status = Command::new(program).arg(&dir).status().unwrap();
        assert!(status.success(), "with {:?}: {}", flag, status);
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Programs that are given a directory, and say themselves what is wrong.
fn is_content(name: &str) {
    let dir = fresh_dir(name);
    let status = Command::new(build(&dir, name, None)).arg(&dir).status().unwrap();
    assert!(status.success(), "{}", status);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn messages_are_published_and_read_in_one_call() {
    is_content("messages");
}

#[test]
fn stamped_messages_with_a_prefix_come_without_loss() {
    is_content("lossless");
}

#[test]
fn wrong_calls_are_refused_in_rust_too() {
    let dir = fresh_dir("refused");
    let ints = Ring::open(Variant::Int16, &dir.join("ints"), 8, 0, 0o600).unwrap();
    let strs = Ring::anonymous(Variant::Str, 8, 8).unwrap();
    let nums = Ring::anonymous(Variant::Num, 8, 0).unwrap();
    let looking = Ring::open_read_only(Variant::Int16, &dir.join("ints")).unwrap();
    let refused = |kind: ErrorKind| assert_eq!(kind, ErrorKind::Argument);
    refused(strs.publish_int(1).unwrap_err().kind());
    refused(strs.publish_ints(&[]).unwrap_err().kind());
    refused(looking.publish_int(1).unwrap_err().kind());
    refused(looking.publish_ints(&[1]).unwrap_err().kind());
    refused(ints.publish_str(b"").unwrap_err().kind());
    refused(strs.subscribe(true).poll_int().unwrap_err().kind());
    refused(strs.subscribe(true).poll_ints(&mut [0], u64::MAX).unwrap_err().kind());
    refused(ints.subscribe(true).poll_str().unwrap_err().kind());
    refused(ints.subscribe(true).find(u64::MAX).unwrap_err().kind());
    refused(ints.publish_num(1.0).unwrap_err().kind());
    refused(nums.publish_int(1).unwrap_err().kind());
    refused(nums.publish_ints(&[1]).unwrap_err().kind());
    refused(nums.publish_str(b"").unwrap_err().kind());
    refused(nums.subscribe(true).poll_int().unwrap_err().kind());
    refused(nums.subscribe(true).poll_ints(&mut [0], u64::MAX).unwrap_err().kind());
    refused(ints.subscribe(true).poll_num().unwrap_err().kind());
    refused(strs.publish_packed(b"").unwrap_err().kind());
    refused(strs.subscribe(true).poll_packed(&mut [0; 8], u64::MAX).unwrap_err().kind());
    refused(ints.publish_packed(b"odd").unwrap_err().kind());
    refused(looking.publish_packed(b"even").unwrap_err().kind());
    assert_eq!((ints.write_pos(), strs.write_pos(), nums.write_pos()), (0, 0, 0));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_c_program_answers() {
    let dir = fresh_dir("client");
    let client = build(&dir, "client", None);
    let numbers = Ring::open(Variant::Int, &dir.join("numbers"), 64, 0, 0o600).unwrap();
    let words = Ring::open(Variant::Str, &dir.join("words"), 64, 100, 0o600).unwrap();
    let mut answers = words.subscribe(false);
    let mut child = Command::new(client).arg(dir.join("numbers")).arg(dir.join("words")).spawn().unwrap();

    // It says that it has subscribed; then it answers each number with a word, and 0 with the end.
    assert_eq!(answers.wait(NEVER), Wait::Ready);
    assert_eq!(answers.poll_str().unwrap(), Some((b"ready".to_vec(), false)));
    numbers.publish_ints(&[3, -4, 0]).unwrap();
    for expected in ["3 seen", "-4 seen"] {
        while answers.wait(NEVER) != Wait::Ready {}
        assert_eq!(answers.poll_str().unwrap(), Some((expected.as_bytes().to_vec(), true)));
    }
    assert!(child.wait().unwrap().success());
    // SAFETY: a borrowed string.
    unsafe { words.publish_strs(&[Bytes::text("done")]) }.unwrap();
    assert_eq!(answers.lag(), 1);
    std::fs::remove_dir_all(&dir).unwrap();
}
