//! What the log says of a running servent: links, searches answered, uploads, and a status line.

use crate::library::Library;
use crate::servent::{Event, PeerRole, Servent};
use crate::text::{self, shown};
use crate::wire::Dialect;
use log::Level;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddrV4;

/// Lines of one kind between two status lines; further ones are logged at the debug level.
const MAX_LINES: u32 = 20;

/// Logs events of the driver. A busy network cannot fill the log: at most [`MAX_LINES`] of each kind
/// appear between two status lines.
#[derive(Default)]
pub(super) struct EventLog {
    answered: Quota,
    served: Quota,
    refused: Quota,
    links: Quota,
    accept_failures: Quota,
    /// Addresses whose failure was logged since the last status line.
    failing: BTreeSet<SocketAddrV4>,
    last_status: String,
}

/// Lines of one kind since the last status line.
#[derive(Default)]
struct Quota(u32);

impl Quota {
    /// Number of lines left out; starts a new count.
    fn take_left_out(&mut self) -> u32 {
        std::mem::take(&mut self.0).saturating_sub(MAX_LINES)
    }

    fn level(&mut self, usual: Level) -> Level {
        self.0 = self.0.saturating_add(1);
        if self.0 <= MAX_LINES { usual } else { Level::Debug }
    }
}

fn with_article(role: PeerRole) -> &'static str {
    match role {
        PeerRole::Servent => "a servent",
        PeerRole::Ultrapeer => "an ultrapeer",
        PeerRole::Leaf => "a leaf",
    }
}

impl EventLog {
    /// Logs an event.
    pub(super) fn tell(&mut self, event: &Event, library: &Library) {
        match event {
            Event::LinkUp { addr, outbound, dialect, role, .. } => {
                // What is usual is not said.
                let what = match dialect {
                    Dialect::V0_4 => String::new(),
                    Dialect::V0_6 => format!(" as {} (Gnutella {dialect})", with_article(*role)),
                };
                let level = self.links.level(Level::Info);
                if *outbound {
                    self.failing.remove(addr);
                    log::log!(level, "joined {addr}{}", what.replace(" as ", ", "));
                } else {
                    log::log!(level, "{addr} joined us{what}");
                }
            }
            Event::LinkDown { addr, reason, .. } => {
                log::log!(
                    self.links.level(Level::Info),
                    "lost {addr}: {}",
                    shown(&reason.to_string())
                );
            }
            Event::DialFailed { addr, next: Some(next), .. } => {
                log::debug!("{addr} does not speak Gnutella {}: trying {next}", next.other());
            }
            Event::DialFailed { addr, reason, .. } => {
                let level = match self.failing.insert(*addr) {
                    true => self.links.level(Level::Info),
                    false => Level::Debug,
                };
                log::log!(level, "no link to {addr}: {}", shown(&reason.to_string()));
            }
            Event::Answered { criteria, results } => log::log!(
                self.answered.level(Level::Info),
                "answered \"{}\" with {results} {}",
                shown(&String::from_utf8_lossy(criteria)),
                if *results == 1 { "file" } else { "files" }
            ),
            Event::Served { addr, number, bytes, complete } => {
                let name = library.get(*number).map_or("a file", |entry| entry.name);
                let (name, bytes) = (shown(name), text::bytes(*bytes));
                let level = self.served.level(Level::Info);
                if *complete {
                    log::log!(level, "served \"{name}\" ({bytes}) to {addr}");
                } else {
                    log::log!(level, "{addr} left after {bytes} of \"{name}\"");
                }
            }
            Event::Refused { addr, status, path } => log::log!(
                self.refused.level(Level::Info),
                "refused {addr} \"{}\": {} {}",
                shown(&String::from_utf8_lossy(path)),
                status.code(),
                status.text()
            ),
            Event::Pong { .. }
            | Event::Hit { .. }
            | Event::StaleFile { .. }
            | Event::Pushed { .. }
            | Event::Downloaded { .. }
            | Event::DownloadFailed { .. } => {}
        }
    }

    /// The number of lines left out since the last call, by kind.
    fn left_out(&mut self) -> Vec<String> {
        let EventLog { answered, served, refused, links, accept_failures, .. } = self;
        let kinds = [
            (links, "links joined or lost"),
            (answered, "searches answered"),
            (served, "uploads ended"),
            (refused, "requests refused"),
            (accept_failures, "failures to accept connections"),
        ];
        let counted = kinds.into_iter().map(|(quota, what)| (quota.take_left_out(), what));
        let left_out = counted.filter(|(count, _)| *count > 0);
        left_out
            .map(|(count, what)| format!("{count} more {what} (RUST_LOG=debug shows each)"))
            .collect()
    }

    /// Logs that accepting connections failed.
    pub(super) fn accept_failed(&mut self, error: &io::Error) {
        let level = self.accept_failures.level(Level::Warn);
        log::log!(level, "cannot accept connections for the moment: {error}");
    }

    /// Logs how many lines were left out, by kind.
    pub(super) fn tell_left_out(&mut self) {
        for line in self.left_out() {
            log::info!("{line}");
        }
    }

    /// Logs the status line, unless it is the same as the last one.
    pub(super) fn status(&mut self, core: &Servent) {
        self.tell_left_out();
        self.failing.clear();
        let line = status(core);
        if line != self.last_status {
            log::info!("{line}");
            self.last_status = line;
        }
    }
}

/// The status line: links, hosts, descriptors, searches, files.
pub(super) fn status(core: &Servent) -> String {
    let stats = core.stats();
    let (links, hosts) = (core.neighbours().count() as u64, core.hosts().len() as u64);
    format!(
        "{}, {} known, {} received, {} dropped, {} answered, {} served",
        text::count(links, "link", "links"),
        text::count(hosts, "host", "hosts"),
        text::count(stats.received.total(), "descriptor", "descriptors"),
        stats.dropped_total(),
        text::count(stats.queries_answered, "search", "searches"),
        text::count(stats.files_served, "file", "files")
    )
}
