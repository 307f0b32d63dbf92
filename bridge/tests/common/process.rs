//! A server's process, which ends with what holds it.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program behind the words of another one that starts it, if there are any.
pub fn launched(launcher: &[String], program: &str) -> Command {
    match launcher.split_first() {
        None => Command::new(program),
        Some((first, more)) => {
            let mut command = Command::new(first);
            command.args(more).arg(program);
            command
        }
    }
}

#[derive(Default)]
pub struct Process(Option<Child>);

impl Process {
    /// Starts it; what it says goes to the file `log` in the folder.
    pub fn run(&mut self, command: &mut Command, folder: &Path) {
        let log = File::options().append(true).create(true).open(folder.join("log")).expect("a log");
        command.stdin(Stdio::null()).stderr(log.try_clone().expect("a descriptor")).stdout(log);
        self.0 = Some(command.spawn().expect("a server's program"));
    }

    fn signal(&self, name: &str) {
        let pid = self.0.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().expect("kill").success());
    }

    pub fn stop(&self) {
        self.signal("-STOP");
    }

    pub fn cont(&self) {
        self.signal("-CONT");
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.0.as_mut().is_none_or(|child| child.try_wait().is_ok_and(|status| status.is_some()))
    }

    /// To be called again and again while it is not ready. Panics with what it has said where it has ended, or `end` has come.
    pub fn is_awaited(&mut self, folder: &Path, end: Instant) {
        let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert!(!self.has_ended() && Instant::now() < end, "{} did not start:\n{}", folder.display(), log());
        std::thread::sleep(Duration::from_millis(5));
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
