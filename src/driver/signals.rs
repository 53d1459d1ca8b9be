//! Signals: INT, TERM, HUP and USR1, and whether a HUP means that the terminal is gone.
//!
//! | signal | started on a terminal that is gone | otherwise |
//! |---|---|---|
//! | INT, TERM | stop | stop |
//! | HUP | stop, unless HUP was ignored at the start (`nohup`) | reload |
//! | USR1 | status | status |
//!
//! The kernel sends HUP when a terminal closes; users send it to ask for a reload. The two are
//! distinguished by opening `/dev/tty`, which fails once the terminal is gone (tty(4), ENXIO).

use super::event::DriverEvent;
use mio::{Interest, Poll, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook_mio::v1_0::Signals;
use std::fs::File;
use std::io;

/// The signals of this process, taken over from their default actions.
pub(super) struct SignalSource {
    signals: Signals,
    /// HUP stops the servent once the terminal is gone.
    ends_with_terminal: bool,
}

impl SignalSource {
    /// Takes the signals over and registers them.
    ///
    /// # Errors
    /// When the system refuses the handlers or the registration.
    pub(super) fn new(poll: &Poll, token: Token) -> io::Result<SignalSource> {
        // Asked before the handlers are set, which changes the answer.
        let ends_with_terminal = has_terminal() && !ignores_hup();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1])?;
        poll.registry().register(&mut signals, token, Interest::READABLE)?;
        Ok(SignalSource { signals, ends_with_terminal })
    }

    /// The requests of signals since the last call.
    pub(super) fn pending(&mut self) -> impl Iterator<Item = DriverEvent> {
        let ends_with_terminal = self.ends_with_terminal;
        self.signals.pending().map(move |signal| match signal {
            SIGHUP if ends_with_terminal && !has_terminal() => DriverEvent::Stop,
            SIGHUP => DriverEvent::Reload,
            SIGUSR1 => DriverEvent::Status,
            _ => DriverEvent::Stop,
        })
    }
}

/// Whether this process has a controlling terminal.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Whether HUP is ignored, as under `nohup`: Linux shows it in the process's status (proc(5)).
fn ignores_hup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (SIGHUP - 1)) != 0)
}
