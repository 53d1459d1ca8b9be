//! Processes of a network: known by a mark in their environment, ended through descriptors that
//! cannot come to mean another process.
//!
//! The mark is inherited, so that it also finds what a foreign servent has started, and it is there
//! from the first moment on: no list on disk has to keep up with it.

use std::io;
use std::process::Command;
use std::time::Duration;

/// Carries the id of the network.
const MARK: &str = "GNUTELLA_TESTNET";

/// Marks what `command` will start.
pub(super) fn mark(command: &mut Command, network: &str) {
    command.env(MARK, network);
}

/// Ends every process of the network called `network` but this one: asks, waits for up to
/// `patience`, and then kills. Says how many there were.
///
/// # Errors
/// When the system cannot tell, or a process does not even end when it is killed.
#[cfg(target_os = "linux")]
pub(super) fn end_all(network: &str, patience: Duration) -> io::Result<usize> {
    use rustix::process::Signal;
    let mut ended = 0;
    // What is just being started while others are ended is found by the next look.
    for round in 0..100 {
        let found = linux::find(network)?;
        if found.is_empty() {
            return Ok(ended);
        }
        let signal = if round == 0 { Signal::TERM } else { Signal::KILL };
        let deadline = std::time::Instant::now() + patience;
        for process in &found {
            process.signal(signal)?;
            // One that was stopped hears of it only when it goes on.
            process.signal(Signal::CONT)?;
        }
        for process in &found {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if process.has_ended_within(left)? {
                ended += 1;
            }
        }
    }
    Err(io::Error::other("some processes of the network do not end"))
}

/// Ends nothing: this system has no way to prove whose a process is.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub(super) fn end_all(_network: &str, _patience: Duration) -> io::Result<usize> {
    Ok(0)
}

#[cfg(target_os = "linux")]
mod linux {
    use super::MARK;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fd::OwnedFd;
    use rustix::io::Errno;
    use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};
    use std::fs;
    use std::io;
    use std::time::Duration;

    /// A process that is surely the one that was found.
    pub(super) struct Owned(OwnedFd);

    /// The processes with the mark, this one aside.
    pub(super) fn find(network: &str) -> io::Result<Vec<Owned>> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| Pid::from_raw(name.parse().ok()?)) else {
                continue;
            };
            if pid == getpid() || !is_marked(pid, network) {
                continue;
            }
            match pidfd_open(pid, PidfdFlags::empty()) {
                // Looked at again: the number may have gone to another process in between.
                Ok(fd) if is_marked(pid, network) => found.push(Owned(fd)),
                Ok(_) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    /// A process of another user, or one that has ended, shows no environment.
    fn is_marked(pid: Pid, network: &str) -> bool {
        let path = format!("/proc/{}/environ", pid.as_raw_nonzero());
        let wanted = format!("{MARK}={network}");
        fs::read(path)
            .is_ok_and(|all| all.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes()))
    }

    impl Owned {
        pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
            match pidfd_send_signal(&self.0, signal) {
                Ok(()) | Err(Errno::SRCH) => Ok(()),
                Err(error) => Err(error.into()),
            }
        }

        pub(super) fn has_ended_within(&self, time: Duration) -> io::Result<bool> {
            let time = Timespec::try_from(time).map_err(io::Error::other)?;
            let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
            Ok(poll(&mut fds, Some(&time))? > 0)
        }
    }
}
