//! Processes of a network: started with a mark in their environment, found by it, and ended.
//!
//! The mark has the id of the network. It is inherited, so it also finds processes that a foreign
//! servent has started, and no list on disk has to be kept. Processes are signalled through pidfds,
//! which never refer to another process.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Variable with the id of the network.
const MARK: &str = "GNUTELLA_TESTNET";
/// Interval of looking at something that is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A command for the program `exe`, without the `SERVENT_…` variables of this process.
pub fn command(exe: &Path) -> Command {
    let mut command = Command::new(exe);
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"SERVENT_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Allows as many open files as the system lets this process have: a connection to each node of a large
/// network is more than usual limits allow.
pub(super) fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            log::debug!("the limit of open files stays: {error}");
        }
    }
}

/// A memory figure of a process in bytes, by its name in proc(5): `VmRSS` is the resident memory,
/// `VmHWM` its peak. `None` where the system has no such file.
pub fn memory(pid: u32, what: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let figure = |line: &str| Some(line.strip_prefix(what)?.strip_prefix(':')?.trim().to_owned());
    let figure = status.lines().find_map(figure)?;
    figure.strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

/// Asks until there is an answer or `timeout` has passed, which is `None`.
pub(super) fn poll_for<T>(
    timeout: Duration,
    mut ask: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<Option<T>> {
    let deadline = Instant::now() + timeout;
    loop {
        match ask()? {
            None if Instant::now() < deadline => thread::sleep(POLL_INTERVAL),
            answer => return Ok(answer),
        }
    }
}

/// Marks the processes that `command` will start.
pub(super) fn mark(command: &mut Command, network: &str) {
    command.env(MARK, network);
}

/// Ends every process of the network with this id except this one: sends TERM, after `timeout` KILL.
/// Returns how many there were.
///
/// # Errors
/// When processes cannot be listed, or one does not end even after KILL.
#[cfg(target_os = "linux")]
pub(super) fn end_all(network: &str, timeout: Duration) -> io::Result<usize> {
    use rustix::process::Signal;
    let mut ended = 0;
    // A process that starts meanwhile is found in the next round.
    for round in 0..100 {
        let found = linux::find(network)?;
        if found.is_empty() {
            return Ok(ended);
        }
        let signal = if round == 0 { Signal::TERM } else { Signal::KILL };
        let deadline = Instant::now() + timeout;
        for process in &found {
            process.signal(signal)?;
            // A stopped process handles the signal only after CONT.
            process.signal(Signal::CONT)?;
        }
        for process in &found {
            let left = deadline.saturating_duration_since(Instant::now());
            if process.has_ended_within(left)? {
                ended += 1;
            }
        }
    }
    Err(io::Error::other("some processes of the network do not end"))
}

/// Ends nothing: without proc(5) and pidfds the processes of a network cannot be identified.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub(super) fn end_all(_network: &str, _timeout: Duration) -> io::Result<usize> {
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

    /// A process of the network.
    pub(super) struct Marked(OwnedFd);

    /// The processes with the mark, except this one.
    pub(super) fn find(network: &str) -> io::Result<Vec<Marked>> {
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
                // Checked again: the id may have been reused before the pidfd was opened.
                Ok(fd) if is_marked(pid, network) => found.push(Marked(fd)),
                Ok(_) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    /// False for processes of other users and for ended ones, whose environment cannot be read.
    fn is_marked(pid: Pid, network: &str) -> bool {
        let path = format!("/proc/{}/environ", pid.as_raw_nonzero());
        let wanted = format!("{MARK}={network}");
        fs::read(path)
            .is_ok_and(|all| all.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes()))
    }

    impl Marked {
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
