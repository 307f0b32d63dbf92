//! Files: reading them completely up to a limit, replacing them atomically, and errors of the system.

use std::ffi::CString;
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The maximum size of a configuration, a password, a certificate or a status in bytes.
const LIMIT: u64 = 16 << 20;

/// The text of an error, without the system's error number that Rust appends.
pub fn plain(error: &(impl std::fmt::Display + ?Sized)) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// The directory of a file; `.` if its path has none.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().map_or(Path::new("."), or_here)
}

/// A directory; `.` if its path is empty.
pub(crate) fn or_here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

/// The path with a suffix.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Reads a file, which may be a pipe, completely.
///
/// # Errors
/// The system's error; [`ErrorKind::FileTooLarge`] above 16 MiB, for pipes and devices, too.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    read_all(&mut File::open(path)?, LIMIT)
}

/// Reads a text file.
///
/// # Errors
/// As [`read`]; [`ErrorKind::InvalidData`] if it is not valid UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|_| Error::new(ErrorKind::InvalidData, "is not UTF-8"))
}

/// Reads the rest of an open file, up to `most` bytes, a multiple of 1 MiB.
///
/// # Errors
/// As [`read`].
pub fn read_all(file: &mut File, most: u64) -> Result<Vec<u8>> {
    let too_large = || Error::new(ErrorKind::FileTooLarge, format!("is larger than {} MiB, the limit", most >> 20));
    // The size of a device or a pipe is not known.
    if file.metadata()?.len() > most {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large()) } else { Ok(bytes) }
}

/// Why the file at this path must not be replaced, if so: a device or a pipe would be removed for all its users.
pub fn irreplaceable(path: &Path) -> Option<&'static str> {
    let kind = std::fs::symlink_metadata(path).ok()?.file_type();
    match kind {
        _ if kind.is_dir() => Some("Is a directory"),
        _ if kind.is_file() || kind.is_symlink() => None,
        _ => Some("is not a regular file"),
    }
}

/// Why no file can be created or replaced at this path, if so.
pub fn cannot_be_made(path: &Path) -> Option<String> {
    let why = irreplaceable(path).map(str::to_owned);
    let folder = folder_of(path);
    why.or_else(|| (!folder.is_dir()).then(|| format!("no directory {}", folder.display())))
        .or_else(|| unwritable(folder))
        .map(|why| format!("{}: {why}", path.display()))
}

/// Why no file can be created in a directory, if so.
pub fn unwritable(folder: &Path) -> Option<String> {
    let path = CString::new(folder.as_os_str().as_bytes()).ok()?;
    // SAFETY: a C string that lives during the call.
    let denied = unsafe { libc::access(path.as_ptr(), libc::W_OK | libc::X_OK) } != 0;
    denied.then(|| format!("directory {}: {}", folder.display(), plain(&Error::last_os_error())))
}

/// Replaces a file atomically. A symbolic link at its path is replaced, and not followed.
///
/// # Errors
/// The system's error, with the path.
pub fn replace(path: &Path, text: &str) -> std::result::Result<(), String> {
    let failed = |why: &str| format!("{}: {why}", path.display());
    if let Some(why) = irreplaceable(path) {
        return Err(failed(why));
    }
    let new = beside(path, &format!(".{}.new", std::process::id()));
    let _ = std::fs::remove_file(&new);
    let written = File::create_new(&new)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&new, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&new);
        failed(&plain(&error))
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// An empty directory.
    pub(crate) fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("pubsub-bridge-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    #[test]
    fn endless_and_huge_files_are_refused() {
        let folder = folder("file-huge");
        let path = folder.join("file");
        let says = |path: &Path| read(path).map(|bytes| bytes.len()).map_err(|error| plain(&error));
        let too_large = || Err("is larger than 16 MiB, the limit".to_owned());
        assert_eq!(says(Path::new("/dev/zero")), too_large());
        let file = File::create(&path).expect("create");
        file.set_len(LIMIT).expect("a hole");
        assert_eq!(says(&path), Ok(LIMIT as usize));
        file.set_len(1 << 40).expect("a hole");
        assert_eq!(says(&path), too_large(), "without reading it");
        assert!(says(Path::new("/proc/self/stat")).is_ok_and(|length| length > 0), "a file without a known length");
        assert_eq!((says(&folder), says(Path::new("/not/there"))).0, Err("Is a directory".to_owned()));
        std::fs::remove_dir_all(folder).expect("remove");
    }

    #[test]
    fn links_are_not_followed_and_devices_stay() {
        let folder = folder("file-links");
        let (path, victim, socket) = (folder.join("status"), folder.join("victim"), folder.join("socket"));
        std::fs::write(&victim, "precious").expect("write");
        symlink(&victim, &path).expect("a link");
        symlink(&victim, beside(&path, &format!(".{}.new", std::process::id()))).expect("a link");
        replace(&path, "fine").expect("write");
        let read = |path| read_text(path).expect("read");
        assert_eq!((read(&path), read(&victim)), ("fine".to_owned(), "precious".to_owned()));
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        assert!(replace(&socket, "fine").is_err_and(|why| why.ends_with("/socket: is not a regular file")));
        assert!(std::os::unix::net::UnixStream::connect(&socket).is_ok(), "it is still there");
        assert!(replace(&folder, "fine").is_err_and(|why| why.ends_with(": Is a directory")));
        std::fs::remove_dir_all(folder).expect("remove");
    }
}
