//! `servent run`: a full member of the network until told to stop.

use super::exit::Failure;
use super::names::{Change, Names};
use super::output::{self, shown};
use super::settings::{self, Host, Settings, default_state};
use crate::driver::{
    Driver, Happened, Listener, Resolved, ScanReport, ScanTrigger, ShareError, ShareRoot, Shares,
    Skip, StateError, StateFolder, fresh_seed,
};
use crate::library::Library;
use crate::servent::{ConnId, Event, Servent};
use clap::ArgMatches;
use indicatif::HumanBytes;
use log::Level;
use mio::Events;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A status line at most so often, and the host cache is saved as often.
const STATUS_INTERVAL: Duration = Duration::from_secs(60);
/// Folders are looked at again so often, whatever the system tells about changes in them: it may
/// have no watch left, and knows nothing of what other machines do to a network file system.
const RESCAN_INTERVAL: Duration = Duration::from_secs(600);
/// A file that turned out stale has its folders scanned, but not more often than this.
const STALE_RESCAN: Duration = Duration::from_secs(5);
/// A scan asked for while another runs follows it after this.
const SCAN_AGAIN: Duration = Duration::from_millis(200);
/// Lines of one kind told per [`STATUS_INTERVAL`]; more go to the debug level.
const STORY_LINES: u32 = 20;

pub(super) fn run(given: &ArgMatches) -> Result<(), Failure> {
    let Settings {
        listen,
        connect,
        share,
        filter,
        max_files,
        state,
        events,
        mut config,
        advertise_port,
        explain_limits,
    } = settings::load(given)?;
    if explain_limits {
        return super::limits::explain(&config, max_files, events.is_some());
    }
    let roots = share
        .iter()
        .map(|path| ShareRoot::open(path).map(Arc::new).map_err(|error| share_failure(&error)))
        .collect::<Result<Vec<_>, _>>()?;
    let listener = Listener::bind(listen).map_err(|error| bind_failure(listen, &error))?;
    let addr = listener.addr();
    config.advertise_port = advertise_port.unwrap_or(addr.port());
    config.listen_ip = *addr.ip();
    let state = match state {
        Some(folder) => folder,
        None => default_state(addr)?,
    };
    let state = StateFolder::open(&state).map_err(|error| state_failure(&error))?;
    let identity = state.identity();
    let mut driver = Driver::new(Some(listener), |now| {
        let library = Arc::new(Library::empty());
        Servent::new(Arc::new(config), library, identity, fresh_seed(), now)
    })
    .map_err(|error| Failure::failed(format!("cannot start the event loop: {error}")))?;
    output::record_events(&mut driver, events.as_deref())?;
    for (host, answered) in state.load_hosts() {
        driver.command(|core, now| match answered {
            true => core.learn_proven_host(now, host),
            false => core.learn_host(now, host),
        });
    }
    let shares = Arc::new(Shares { roots, filter, max_files });
    driver.scan(&shares, ScanTrigger::Asked);
    let mut run = Run {
        addr,
        state,
        shares,
        trigger: ScanTrigger::Routine,
        last_scan: ScanReport::default(),
        told_unwatched: false,
        announced: false,
        names: Names::default(),
        told_unreachable: false,
        story: Story::default(),
        saved_hosts: driver.core().hosts().version(),
        next_status: Instant::now() + STATUS_INTERVAL,
        next_rescan: Instant::now() + RESCAN_INTERVAL,
        driver,
    };
    run.connect_to(connect)?;
    run.until_stopped()
}

fn bind_failure(addr: SocketAddrV4, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        ErrorKind::AddrInUse => {
            "another program, perhaps another servent, has it; choose another port with --listen"
        }
        ErrorKind::AddrNotAvailable => {
            "this machine has no such address; choose one it has with --listen"
        }
        ErrorKind::PermissionDenied => "ports below 1024 need privileges; choose a higher one",
        _ => "choose another address with --listen",
    };
    Failure::failed(format!("cannot listen on {addr}: {error}: {hint}"))
}

fn share_failure(error: &ShareError) -> Failure {
    match error {
        ShareError::Unreadable(..) => Failure::disk(error.to_string()),
        _ => Failure::usage(error.to_string()),
    }
}

fn state_failure(error: &StateError) -> Failure {
    match error {
        StateError::Locked(_) => Failure::failed(error.to_string()),
        StateError::Io(..) => Failure::disk(error.to_string()),
    }
}

/// A running servent and what it tells.
struct Run {
    driver: Driver,
    addr: SocketAddrV4,
    state: StateFolder,
    shares: Arc<Shares>,
    /// Why the next scan at `next_rescan` is to be.
    trigger: ScanTrigger,
    /// As it was told last.
    last_scan: ScanReport,
    /// The lack of watches was told.
    told_unwatched: bool,
    /// `listening on …` was printed.
    announced: bool,
    /// Host names given to `--connect`.
    names: Names,
    /// That nobody beyond this machine can connect was told.
    told_unreachable: bool,
    story: Story,
    /// The version of the host cache on disk.
    saved_hosts: u64,
    next_status: Instant,
    next_rescan: Instant,
}

impl Run {
    fn connect_to(&mut self, hosts: Vec<Host>) -> Result<(), Failure> {
        for host in hosts {
            match host {
                Host::Addr(addr) => {
                    self.driver.command(|core, now| core.add_static_peer(now, addr))
                }
                Host::Name(host, port) => {
                    self.look_up(host.clone(), port)?;
                    self.names.add(Instant::now(), host, port);
                }
            }
        }
        Ok(())
    }

    fn look_up(&self, name: String, port: u16) -> Result<(), Failure> {
        self.driver
            .resolve(name, port)
            .map_err(|error| Failure::failed(format!("cannot look up a host name: {error}")))
    }

    /// A look-up of a name ended: its address is kept in place of the one it had before.
    fn resolved(&mut self, resolved: Resolved) {
        let Resolved { host, port, addr } = resolved;
        let addr = match addr {
            Ok(addr) => addr,
            Err(text) => {
                log::warn!("{text}; trying again in a minute");
                return self.names.not_found(&host, port);
            }
        };
        let Some(Change { keep, instead_of }) = self.names.found(&host, port, addr) else { return };
        if let Some(gone) = instead_of {
            log::info!("{host} is now {keep}, no longer {gone}");
            self.driver.command(|core, _| core.remove_static_peer(gone));
        }
        self.driver.command(|core, now| core.add_static_peer(now, keep));
    }

    /// Says once that a link leads where nobody can connect back from.
    fn tell_unreachable(&mut self, conn: ConnId) {
        let mut links = self.driver.core().neighbours();
        let local = links.find(|link| link.conn == conn).map(|link| link.local_ip);
        let hint = local.and_then(|local| unreachable_hint(self.addr, local));
        if let Some(hint) = hint.filter(|_| !self.told_unreachable) {
            self.told_unreachable = true;
            log::warn!("{hint}");
        }
    }

    fn until_stopped(mut self) -> Result<(), Failure> {
        let mut events = Events::with_capacity(1024);
        loop {
            let now = Instant::now();
            let next = self.next_status.min(self.next_rescan);
            let next = self.names.next().map_or(next, |look_up| look_up.min(next));
            let wait = next.saturating_duration_since(now);
            self.driver
                .turn(&mut events, wait)
                .map_err(|error| Failure::failed(format!("the event loop failed: {error}")))?;
            while let Some(happened) = self.driver.next_happened() {
                match happened {
                    Happened::Stop => return self.stop(),
                    other => self.handle(other)?,
                }
            }
            self.handle_clock(Instant::now())?;
        }
    }

    fn stop(mut self) -> Result<(), Failure> {
        self.story.tell_left_out();
        let stats = self.driver.core().stats();
        log::info!(
            "stopped: {} received ({} dropped), {} sent",
            output::count(stats.received.total(), "descriptor", "descriptors"),
            stats.dropped_total(),
            HumanBytes(stats.bytes_out)
        );
        // Benches ask for this line.
        let (bytes, writes) = (stats.bytes_out, stats.writes);
        log::debug!(target: "servent::writes", "{bytes} bytes in {writes} writes");
        self.save_hosts();
        Ok(())
    }

    fn handle(&mut self, happened: Happened) -> Result<(), Failure> {
        match happened {
            Happened::Core(Event::StaleFile { number }) => {
                log::info!("shared file {number} is gone or changed: looking at the folders again");
                self.next_rescan = self.next_rescan.min(Instant::now() + STALE_RESCAN);
            }
            Happened::Core(event) => {
                match &event {
                    Event::LinkUp { conn, outbound: true, .. } => self.tell_unreachable(*conn),
                    Event::DialFailed { addr, .. } => self.names.failed(*addr),
                    _ => {}
                }
                self.story.tell(&event, self.driver.core().library());
            }
            Happened::Reload => {
                log::info!("looking at the shared folders again");
                self.scan(ScanTrigger::Asked);
            }
            Happened::Status => {
                self.story.tell_left_out();
                log::info!("{}", status(self.driver.core()));
            }
            Happened::Scanned(report) => {
                self.tell_scan(report);
                if !self.announced {
                    self.announced = true;
                    output::line(&format!("listening on {}", self.addr))?;
                }
            }
            Happened::Resolved(resolved) => self.resolved(resolved),
            Happened::AcceptFailed(error) => {
                let level = self.story.refusals.level(Level::Warn);
                log::log!(level, "cannot accept connections for the moment: {error}");
            }
            Happened::Stop | Happened::Saved { .. } | Happened::DiskFailed { .. } => {}
        }
        Ok(())
    }

    fn handle_clock(&mut self, now: Instant) -> Result<(), Failure> {
        if now >= self.next_rescan {
            self.scan(self.trigger);
        }
        if now >= self.next_status {
            self.next_status = now + STATUS_INTERVAL;
            self.story.status(self.driver.core());
            self.save_hosts();
        }
        while let Some((host, port)) = self.names.due(now) {
            self.look_up(host, port)?;
        }
        Ok(())
    }

    fn scan(&mut self, trigger: ScanTrigger) {
        let (wait, next) = match self.driver.scan(&self.shares, trigger) {
            true => (RESCAN_INTERVAL, ScanTrigger::Routine),
            false => (SCAN_AGAIN, trigger),
        };
        self.next_rescan = Instant::now() + wait;
        self.trigger = next;
    }

    /// Tells what a scan has found, unless it is what the one before had found.
    fn tell_scan(&mut self, report: ScanReport) {
        if report.roots.is_empty() {
            if report.asked {
                log::info!("sharing nothing; --share DIR shares a folder");
            }
            return;
        }
        if report.unwatched > 0 && !self.told_unwatched {
            self.told_unwatched = true;
            log::warn!("{}", unwatched(&report));
        }
        let last = &self.last_scan;
        let left_out = report.skipped(Skip::TooMany);
        let news = report.changed
            || report.unreadable != last.unreadable
            || left_out != last.skipped(Skip::TooMany);
        if !news && !report.asked {
            return;
        }
        log::info!("sharing {report}");
        let most = self.shares.max_files;
        if left_out > 0 && report.files() >= most as u64 {
            log::warn!("{left_out} more files are left out: --max-files is {most}");
        }
        for (path, kind) in &report.unreadable {
            match kind {
                ErrorKind::NotFound => log::warn!("no such folder: {}", path.display()),
                kind => log::warn!("cannot read {}: {kind}", path.display()),
            }
        }
        if last.roots.is_empty() {
            for root in &report.roots {
                let Some(outer) = root.covered_by.and_then(|at| report.roots.get(at)) else {
                    continue;
                };
                let (path, outer) = (root.path.display(), outer.path.display());
                log::info!("{path} is shared as part of {outer}");
            }
        }
        self.last_scan = report;
    }

    fn save_hosts(&mut self) {
        let hosts = self.driver.core().hosts();
        if hosts.version() == self.saved_hosts {
            return;
        }
        match self.state.save_hosts(hosts.iter()) {
            Ok(()) => self.saved_hosts = hosts.version(),
            Err(error) => log::warn!("cannot save the known hosts: {error}"),
        }
    }
}

/// What to say when a link leaves this machine and only loopback is listened on.
fn unreachable_hint(listening: SocketAddrV4, local: Ipv4Addr) -> Option<String> {
    if !listening.ip().is_loopback() || local.is_loopback() {
        return None;
    }
    Some(format!(
        "listening on {listening}: other machines cannot connect to this one; to be reached, listen \
         with --listen {local}:{} or --listen 0.0.0.0:{}",
        listening.port(),
        listening.port()
    ))
}

fn unwatched(report: &ScanReport) -> String {
    format!(
        "{} of {} shared folders cannot be watched: the system has no watches left, \
         /proc/sys/fs/inotify/max_user_watches says how many it gives (and max_user_instances to \
         how many programs); changes there may take {} minutes to be found, HUP finds them at once",
        report.unwatched,
        report.folders,
        RESCAN_INTERVAL.as_secs() / 60
    )
}

/// Tells what happens in words, without letting a busy network fill the log.
#[derive(Default)]
struct Story {
    answered: Quota,
    served: Quota,
    refused: Quota,
    links: Quota,
    refusals: Quota,
    /// Addresses whose failure was told.
    failing: BTreeSet<SocketAddrV4>,
    last_status: String,
}

/// How many lines of one kind came up since the last status line.
#[derive(Default)]
struct Quota(u32);

impl Quota {
    /// How many of them were left out; counts anew from here on.
    fn take_left_out(&mut self) -> u32 {
        std::mem::take(&mut self.0).saturating_sub(STORY_LINES)
    }

    fn level(&mut self, usual: Level) -> Level {
        self.0 = self.0.saturating_add(1);
        if self.0 <= STORY_LINES { usual } else { Level::Debug }
    }
}

impl Story {
    fn tell(&mut self, event: &Event, library: &Library) {
        match event {
            Event::LinkUp { addr, outbound: true, .. } => {
                self.failing.remove(addr);
                log::log!(self.links.level(Level::Info), "joined {addr}");
            }
            Event::LinkUp { addr, .. } => {
                log::log!(self.links.level(Level::Info), "{addr} joined us")
            }
            Event::LinkDown { addr, reason, .. } => {
                log::log!(
                    self.links.level(Level::Info),
                    "lost {addr}: {}",
                    shown(&reason.to_string())
                );
            }
            Event::DialFailed { addr, reason } => {
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
                let (name, bytes) = (shown(name), HumanBytes(*bytes));
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

    /// What the lines that were left out since the last call were about, and how many they were.
    fn left_out(&mut self) -> Vec<String> {
        let Story { answered, served, refused, links, refusals, .. } = self;
        let kinds = [
            (links, "links joined or lost"),
            (answered, "searches answered"),
            (served, "uploads ended"),
            (refused, "requests refused"),
            (refusals, "failures to accept connections"),
        ];
        let counted = kinds.into_iter().map(|(quota, what)| (quota.take_left_out(), what));
        let left_out = counted.filter(|(count, _)| *count > 0);
        left_out
            .map(|(count, what)| format!("{count} more {what} (RUST_LOG=debug shows each)"))
            .collect()
    }

    fn tell_left_out(&mut self) {
        for line in self.left_out() {
            log::info!("{line}");
        }
    }

    /// One line on how things stand, if it would say something new.
    fn status(&mut self, core: &Servent) {
        self.tell_left_out();
        self.failing.clear();
        let line = status(core);
        if line != self.last_status {
            log::info!("{line}");
            self.last_status = line;
        }
    }
}

/// How things stand, in a line.
fn status(core: &Servent) -> String {
    let stats = core.stats();
    let (links, hosts) = (core.neighbours().count() as u64, core.hosts().len() as u64);
    format!(
        "{}, {} known, {} received, {} dropped, {} answered, {} served",
        output::count(links, "link", "links"),
        output::count(hosts, "host", "hosts"),
        output::count(stats.received.total(), "descriptor", "descriptors"),
        stats.dropped_total(),
        output::count(stats.queries_answered, "search", "searches"),
        output::count(stats.files_served, "file", "files")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listener_on_loopback_with_links_elsewhere_is_out_of_reach() {
        let hint = |listening: &str, local: [u8; 4]| {
            unreachable_hint(listening.parse().unwrap(), local.into())
        };
        let told = hint("127.0.0.1:6346", [10, 0, 0, 7]).unwrap();
        assert!(told.contains("--listen 10.0.0.7:6346") && told.contains("--listen 0.0.0.0:6346"));
        assert_eq!(hint("127.0.0.1:6346", [127, 0, 0, 1]), None);
        assert_eq!(hint("0.0.0.0:6346", [10, 0, 0, 7]), None);
        assert_eq!(hint("10.0.0.7:6346", [10, 0, 0, 7]), None);
    }
}
