//! The program that is run for each finished download.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

/// Runs `program` with the file's path as its last argument, never through a shell, and logs how it
/// ended. The servent does not wait for it.
pub(super) fn run(program: &Path, file: &Path) {
    let mut command = Command::new(program);
    command.arg(file).stdin(Stdio::null()).stdout(Stdio::null());
    let shown = program.display().to_string();
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return log::warn!("cannot run {shown} for {}: {error}", file.display()),
    };
    let (told, file) = (shown.clone(), file.display().to_string());
    let waiting =
        thread::Builder::new().name("on-complete".into()).spawn(move || match child.wait() {
            Ok(status) if status.success() => log::debug!("{shown} {file}: done"),
            Ok(status) => log::warn!("{shown} {file} ended with {status}"),
            Err(error) => log::warn!("{shown} {file}: {error}"),
        });
    if let Err(error) = waiting {
        log::warn!("nobody waits for the end of {told}: {error}");
    }
}
