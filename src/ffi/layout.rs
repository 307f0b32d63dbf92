//! Test that the structures of the C header have the same layout as those of this module, field by field. It asks a C compiler.

use std::io::Write;
use std::process::{Command, Stdio};

use super::messages::Message;
use super::{CFound, CReader, Failure};
use crate::ffi_of_files::FileHeader;
use crate::options::Options;
use crate::set::Member;
use crate::slot_ring::Batch;
use crate::stats::Stats;
use crate::str_ring::Bytes;

fn size_of_pointee<T>(_: *const T) -> usize {
    std::mem::size_of::<T>()
}

/// A line for each field of each structure: both names, offset and size in bytes; and a line for the structure's end.
macro_rules! lines {
    ($($c:ident = $rust:ty { $($field:ident),+ $(,)? })+) => {{
        let mut lines = Vec::new();
        $(
            let place = std::mem::MaybeUninit::<$rust>::uninit();
            let start = place.as_ptr();
            $(
                // SAFETY: the address of a field of an allocated place; nothing is read.
                let field = unsafe { std::ptr::addr_of!((*start).$field) };
                let name = stringify!($field);
                let offset = field as usize - start as usize;
                lines.push(format!("{} {} {} {}", stringify!($c), name, offset, size_of_pointee(field)));
            )+
            lines.push(format!("{} ends {}", stringify!($c), std::mem::size_of::<$rust>()));
        )+
        lines
    }};
}

fn of_rust() -> Vec<String> {
    lines! {
        ps_error = Failure { kind, os_code, text }
        ps_options = Options { capacity, msg_size, publishers, readers, mode, keep_ms, lossless, prefault, stamped }
        ps_stat = Stats {
            capacity, msg_size, arena_len, mmap_size, write_pos, publish_ok, recoveries, abandoned, sub_waiters, publishers,
            leaked, readers, unlisted, keep_ms, lossless, stamped,
        }
        ps_header = FileHeader {
            stats, end, base, used, size, allocated, device, inode, variant, mode, uid, unregistered, has_magic, likely,
            by_descriptor, identity, reason,
        }
        ps_batch = Batch { next, end, owed }
        ps_bytes = Bytes { ptr, len, utf8 }
        ps_message = Message { to, room, len, integer, num, position, lost, utf8 }
        ps_found = CFound { position, block, len, utf8 }
        ps_reader = CReader { name, position, lag, lost, delivered, since, pid, alive, waits, lossy }
        ps_member = Member<'static> { sub, key }
    }
}

/// The structures of the header and the names of their fields, in the header's order.
fn structures(header: &str) -> Vec<(String, Vec<String>)> {
    let mut code = String::new();
    let mut rest = header;
    while let Some((before, comment)) = rest.split_once("/*") {
        code += before;
        rest = comment.split_once("*/").expect("the comment ends").1;
    }
    code += rest;
    let mut structures = Vec::new();
    for part in code.split("typedef struct {").skip(1) {
        let (fields, rest) = part.split_once('}').expect("the structure ends");
        let name = rest.split_once(';').expect("it has a name").0.trim();
        let declarations = fields.split(';').map(str::trim).filter(|text| !text.is_empty());
        let names = declarations.flat_map(|text| text.split(',')).map(|text| {
            let word = text.split('[').next().unwrap_or_default().split_whitespace().last().expect("a name");
            word.trim_start_matches('*').to_owned()
        });
        structures.push((name.to_owned(), names.collect()));
    }
    structures
}

fn of_c() -> Vec<String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = std::fs::read_to_string(root.join("include/pubsub.h")).unwrap();
    let mut program = String::from("#include \"pubsub.h\"\n#include <stdio.h>\nint main(void) {\n");
    for (name, fields) in structures(&header) {
        for field in fields {
            program +=
                &format!("printf(\"{0} {1} %zu %zu\\n\", offsetof({0}, {1}), sizeof(({0} *)0)->{1});\n", name, field);
        }
        program += &format!("printf(\"{0} ends %zu\\n\", sizeof({0}));\n", name);
    }
    program += "return 0; }\n";

    let exe = std::env::temp_dir().join(format!("pubsub-layout-{}", std::process::id()));
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut compile = Command::new(compiler)
        .args(["-std=c11", "-Wall", "-Werror", "-x", "c", "-", "-I"])
        .arg(root.join("include"))
        .arg("-o")
        .arg(&exe)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a C compiler, which the module itself needs too");
    compile.stdin.take().unwrap().write_all(program.as_bytes()).unwrap();
    assert!(compile.wait().unwrap().success());
    let output = Command::new(&exe).output().unwrap();
    std::fs::remove_file(&exe).unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
#[cfg(not(miri))]
fn each_field_of_each_structure_has_the_offset_of_the_header() {
    let (c, rust) = (of_c(), of_rust());
    assert!(c.len() > 8);
    let only_in = |some: &[String], others: &[String]| -> Vec<String> {
        some.iter().filter(|line| !others.contains(line)).cloned().collect()
    };
    assert_eq!(only_in(&c, &rust), [""; 0], "in the header");
    assert_eq!(only_in(&rust, &c), [""; 0], "in the core");
}
