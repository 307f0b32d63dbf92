//! A C program, compiled against `xs/pubsub.h` and linked with the static library, exchanges messages with this one.

use std::path::{Path, PathBuf};
use std::process::Command;

use data_pubsub_shared::{Bytes, Ring, Variant, Wait, NEVER};

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

/// Compiles `tests/client.c` and says where the program is.
fn build_client(dir: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let compiler = cc::Build::new().target(&target).host(&target).opt_level(1).cargo_metadata(false).get_compiler();
    let program = dir.join("client");
    let status = compiler
        .to_command()
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-D_GNU_SOURCE", "-I"])
        .arg(root.join("xs"))
        .arg(root.join("tests/client.c"))
        .arg(static_library())
        .args(["-lpthread", "-ldl", "-lm", "-o"])
        .arg(&program)
        .status()
        .unwrap();
    assert!(status.success());
    program
}

#[test]
fn a_c_program_answers() {
    let dir = std::env::temp_dir().join(format!("pubsub-c-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let client = build_client(&dir);
    let numbers = Ring::open(Variant::Int, &dir.join("numbers"), 64, 0, 0o600).unwrap();
    let words = Ring::open(Variant::Str, &dir.join("words"), 64, 100, 0o600).unwrap();
    let mut answers = words.subscribe(false);
    let mut child = Command::new(client).arg(dir.join("numbers")).arg(dir.join("words")).spawn().unwrap();

    // It says that it has subscribed; then it answers each number with a word, and 0 with the end.
    assert_eq!(answers.wait(NEVER), Wait::Ready);
    assert_eq!(answers.poll_str(), Some((b"ready".to_vec(), false)));
    numbers.publish_ints(&[3, -4, 0]).unwrap();
    for expected in ["3 seen", "-4 seen"] {
        while answers.wait(NEVER) != Wait::Ready {}
        assert_eq!(answers.poll_str(), Some((expected.as_bytes().to_vec(), true)));
    }
    assert!(child.wait().unwrap().success());
    // SAFETY: a borrowed string.
    unsafe { words.publish_strs(&[Bytes::text("done")]) }.unwrap();
    assert_eq!(answers.lag(), 1);
    std::fs::remove_dir_all(&dir).unwrap();
}
