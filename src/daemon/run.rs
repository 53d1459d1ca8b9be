//! The life of a running servent: its start, its loop, its end.

use super::clients::Clients;
use super::door::{Door, MAX_CLIENTS};
use super::downloads::Transfers;
use super::error::{DaemonError, loop_failed};
use super::event_log::{self, EventLog};
use super::names::{Names, PeerChange};
use super::notify;
use super::ongoing::{AllOngoing, MAX_ONGOING};
use super::queue::{MAX_JOBS, Queue};
use super::scan_log::ScanLog;
use super::settings::{ControlPlace, Settings};
use super::web::Web;
use crate::control::place;
use crate::driver::{
    Driver, DriverEvent, Host, Listener, Resolved, ScanTrigger, ShareError, ShareRoot, Shares,
    StateError, StateFolder, fresh_seed,
};
use crate::library::Library;
use crate::servent::{ConnId, Event, Servent};
use crate::text;
use mio::Events;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Interval of status lines and of saving the host cache.
const STATUS_INTERVAL: Duration = Duration::from_secs(60);
/// Interval of periodic scans. Watches do not report everything: the system may have none left, and
/// knows nothing of changes that other machines make on a network file system.
const RESCAN_INTERVAL: Duration = Duration::from_secs(600);
/// Delay of the scan after a shared file turned out to be stale.
const STALE_RESCAN_DELAY: Duration = Duration::from_secs(5);
/// Delay of a scan that was asked for while another one was running.
const SCAN_RETRY_DELAY: Duration = Duration::from_millis(200);

/// Reads the settings again; the error is a sentence.
type Reread<'a> = &'a dyn Fn() -> Result<Settings, String>;
/// Prints a line on stdout.
type Announce<'a> = &'a dyn Fn(&str) -> io::Result<()>;

/// Runs a servent until it is stopped. `announce` prints `listening on ADDR:PORT` when the port is
/// bound, signals are handled and the first scan is finished; `reread` is called on HUP.
///
/// # Errors
/// When the servent cannot start, or its event loop fails.
pub fn run(
    settings: Settings,
    reread: Reread<'_>,
    announce: Announce<'_>,
) -> Result<(), DaemonError> {
    let share =
        |path: &PathBuf| ShareRoot::open(path).map(Arc::new).map_err(|error| share_failure(&error));
    let roots = settings.share.iter().map(share).collect::<Result<Vec<_>, _>>()?;
    let listener =
        Listener::bind(settings.listen).map_err(|error| bind_failure(settings.listen, &error))?;
    let addr = listener.addr();
    let state = match &settings.state {
        Some(folder) => folder.clone(),
        None => place::default_state(addr).map_err(|error| {
            let text = format!("no home folder for the state ({error}): name one with --state");
            DaemonError::Usage(text)
        })?,
    };
    let state = StateFolder::open(&state).map_err(|error| state_failure(&error))?;
    let queue = Queue::open(state.folder()).map_err(DaemonError::Disk)?;
    let mut driver = start_driver(&settings, listener, &state)?;
    for host in state.load_hosts() {
        driver.command(|core, now| core.learn_known_host(now, host));
    }
    driver.command(|core, _| core.keep_tallies());
    let door = open_door(&settings, addr, &state, &driver)?;
    let web = Web::open(&settings, state.folder(), driver.registry())?;
    let (filter, max_files) = (settings.filter.clone(), settings.max_files);
    let shares = Arc::new(Shares { roots, filter, max_files });
    driver.scan(&shares, ScanTrigger::Asked);
    let mut run = Run {
        addr,
        state,
        shares,
        trigger: ScanTrigger::Routine,
        scan_log: ScanLog::default(),
        announced: false,
        names: Names::default(),
        told_unreachable: false,
        event_log: EventLog::default(),
        saved_hosts: driver.core().hosts().version(),
        next_status: Instant::now() + STATUS_INTERVAL,
        next_rescan: Instant::now() + RESCAN_INTERVAL,
        started: Instant::now(),
        clients: Clients::new(door, web),
        ongoing: AllOngoing::default(),
        queue,
        transfers: Transfers::default(),
        transfers_due: Some(Instant::now()),
        taped: false,
        stops: false,
        reread,
        announce,
        driver,
        settings,
    };
    run.connect_to()?;
    run.until_stopped()
}

fn start_driver(
    settings: &Settings,
    listener: Listener,
    state: &StateFolder,
) -> Result<Driver, DaemonError> {
    let (addr, identity) = (listener.addr(), state.identity());
    let mut config = settings.config.clone();
    config.advertise_port = settings.advertise_port.unwrap_or(addr.port());
    config.listen_ip = *addr.ip();
    let mut driver = Driver::new(Some(listener), |now| {
        let library = Arc::new(Library::empty());
        Servent::new(Arc::new(config), library, identity, fresh_seed(), now)
    })
    .map_err(|error| DaemonError::Failed(format!("cannot start the event loop: {error}")))?;
    if let Some(path) = &settings.events {
        driver.record_events(path).map_err(|error| {
            DaemonError::Disk(format!("cannot write events to {}: {error}", path.display()))
        })?;
    }
    Ok(driver)
}

fn open_door(
    settings: &Settings,
    addr: SocketAddrV4,
    state: &StateFolder,
    driver: &Driver,
) -> Result<Option<Door>, DaemonError> {
    let path = match &settings.control {
        ControlPlace::Off => return Ok(None),
        ControlPlace::At(path) => path.clone(),
        ControlPlace::Usual => place::default_socket(addr, state.folder()),
    };
    if path.parent() == Some(state.folder()) {
        remove_sockets(state.folder());
    }
    Door::open(&path, driver.registry()).map(Some).map_err(DaemonError::Failed)
}

/// Removes the sockets in a state folder, which is locked: those of servents that were killed, each with
/// its own port.
fn remove_sockets(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let paths = entries.filter_map(io::Result::ok).map(|entry| entry.path());
    for path in paths.filter(|path| path.extension().is_some_and(|it| it == "sock")) {
        let _ = fs::remove_file(path);
    }
}

fn bind_failure(addr: SocketAddrV4, error: &io::Error) -> DaemonError {
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
    DaemonError::Failed(format!("cannot listen on {addr}: {error}: {hint}"))
}

fn share_failure(error: &ShareError) -> DaemonError {
    match error {
        ShareError::Unreadable(..) => DaemonError::Disk(error.to_string()),
        _ => DaemonError::Usage(error.to_string()),
    }
}

fn state_failure(error: &StateError) -> DaemonError {
    match error {
        StateError::Locked(_) => DaemonError::Failed(error.to_string()),
        StateError::Io(..) => DaemonError::Disk(error.to_string()),
    }
}

/// A running servent and its logs.
pub(super) struct Run<'a> {
    pub(super) driver: Driver,
    pub(super) settings: Settings,
    pub(super) reread: Reread<'a>,
    announce: Announce<'a>,
    /// The address listened on.
    pub(super) addr: SocketAddrV4,
    pub(super) state: StateFolder,
    pub(super) shares: Arc<Shares>,
    /// The trigger of the scan at `next_rescan`.
    trigger: ScanTrigger,
    pub(super) scan_log: ScanLog,
    /// `listening on …` was printed.
    announced: bool,
    /// Host names given to `--connect`.
    pub(super) names: Names,
    /// The warning that other machines cannot connect was logged.
    told_unreachable: bool,
    event_log: EventLog,
    /// The version of the host cache on disk.
    saved_hosts: u64,
    next_status: Instant,
    next_rescan: Instant,
    pub(super) started: Instant,
    pub(super) clients: Clients,
    pub(super) ongoing: AllOngoing,
    pub(super) queue: Queue,
    pub(super) transfers: Transfers,
    /// When transfers have something to do; in the past if something happened to them.
    transfers_due: Option<Instant>,
    /// Observations are kept for subscribers.
    pub(super) taped: bool,
    /// A client asked to stop.
    pub(super) stops: bool,
}

impl Run<'_> {
    fn connect_to(&mut self) -> Result<(), DaemonError> {
        self.settings.connect.clone().into_iter().try_for_each(|host| self.keep_link(host))
    }

    /// Keeps a link with a host from now on.
    pub(super) fn keep_link(&mut self, host: Host) -> Result<(), DaemonError> {
        match host {
            Host::Addr(addr) => {
                self.driver.command(|core, now| core.add_static_peer(now, addr));
            }
            Host::Name(host, port) => {
                self.look_up(host.clone(), port)?;
                if !self.names.contains(&host, port) {
                    self.names.add(Instant::now(), host, port);
                }
            }
        }
        Ok(())
    }

    /// Tables of this room with their limits.
    pub(super) fn own_limits(&self) -> Vec<(&'static str, usize, usize)> {
        let clients = self.clients.door.as_ref().map_or(0, Door::len);
        let http = self.web_clients();
        vec![
            ("control_clients", clients, MAX_CLIENTS),
            ("http_clients", http.0, http.1),
            ("searches_under_way", self.ongoing.len(), MAX_ONGOING),
            ("downloads_listed", self.queue.len(), MAX_JOBS),
        ]
    }

    /// Where the page is.
    pub(super) fn http_addr(&self) -> Option<SocketAddrV4> {
        self.clients.web.as_ref().map(Web::addr)
    }

    fn look_up(&self, name: String, port: u16) -> Result<(), DaemonError> {
        self.driver
            .resolve(name, port)
            .map_err(|error| DaemonError::Failed(format!("cannot look up a host name: {error}")))
    }

    /// Something happened that transfers may act on.
    pub(super) fn touch_transfers(&mut self) {
        self.transfers_due = Some(Instant::now());
    }

    /// A look-up ended: the new address replaces the one the name had before.
    fn resolved(&mut self, resolved: Resolved) {
        if self.looked_up(&resolved) {
            return;
        }
        let Resolved { host, port, addr } = resolved;
        let addr = match addr {
            Ok(addr) => addr,
            Err(text) => {
                log::warn!("{text}; trying again in a minute");
                return self.names.not_found(&host, port);
            }
        };
        let Some(PeerChange { keep, instead_of }) = self.names.found(&host, port, addr) else {
            return;
        };
        if let Some(gone) = instead_of {
            log::info!("{host} is now {keep}, no longer {gone}");
            self.driver.command(|core, _| core.remove_static_peer(gone));
        }
        self.driver.command(|core, now| core.add_static_peer(now, keep));
    }

    /// Warns once that the peers of a link cannot connect to this servent.
    fn tell_unreachable(&mut self, conn: ConnId) {
        let mut links = self.driver.core().neighbours();
        let local = links.find(|link| link.conn == conn).map(|link| link.local_ip);
        let hint = local.and_then(|local| unreachable_hint(self.addr, local));
        if let Some(hint) = hint.filter(|_| !self.told_unreachable) {
            self.told_unreachable = true;
            log::warn!("{hint}");
        }
    }

    fn until_stopped(mut self) -> Result<(), DaemonError> {
        let mut events = Events::with_capacity(1024);
        loop {
            let now = Instant::now();
            let next = self.next_status.min(self.next_rescan);
            let due = [
                self.names.next(),
                self.ongoing.next(),
                self.transfers_due,
                self.clients.deadline(now),
            ];
            let next = due.into_iter().flatten().fold(next, Instant::min);
            let wait = match self.clients.is_busy() {
                true => Duration::ZERO,
                false => next.saturating_duration_since(now),
            };
            self.driver.turn(&mut events, wait).map_err(loop_failed)?;
            self.clients.handle(self.driver.registry(), &events);
            self.serve_clients();
            self.serve_web();
            self.tell_records();
            self.clients.tell_missed();
            while let Some(event) = self.driver.next_event() {
                let Some(event) = self.digest_transfer(event) else {
                    self.transfers_due = Some(now);
                    continue;
                };
                match event {
                    DriverEvent::Stop => return self.stop(),
                    other => self.handle(other)?,
                }
            }
            self.handle_clock(Instant::now())?;
            self.clients.flush();
            if self.stops {
                return self.stop();
            }
        }
    }

    fn stop(mut self) -> Result<(), DaemonError> {
        self.event_log.tell_left_out();
        notify::tell("STOPPING=1");
        self.driver.part().map_err(loop_failed)?;
        if let Some(door) = &mut self.clients.door {
            door.flush_all();
        }
        let stats = self.driver.core().stats();
        log::info!(
            "stopped: {} received ({} dropped), {} sent",
            text::count(stats.received.total(), "descriptor", "descriptors"),
            stats.dropped_total(),
            text::bytes(stats.bytes_out)
        );
        // Read by benches.
        let (bytes, writes) = (stats.bytes_out, stats.writes);
        log::debug!(target: "servent::writes", "{bytes} bytes in {writes} writes");
        self.save_hosts();
        Ok(())
    }

    fn handle(&mut self, event: DriverEvent) -> Result<(), DaemonError> {
        match event {
            DriverEvent::Core(Event::StaleFile { number }) => {
                log::info!("shared file {number} is gone or changed: scanning the shared folders");
                self.next_rescan = self.next_rescan.min(Instant::now() + STALE_RESCAN_DELAY);
            }
            DriverEvent::Core(event) => {
                match &event {
                    Event::LinkUp { conn, outbound: true, .. } => self.tell_unreachable(*conn),
                    Event::DialFailed { addr, .. } => self.names.failed(*addr),
                    _ => {}
                }
                self.answer_came(&event);
                self.upload_ended(&event);
                self.event_log.tell(&event, self.driver.core().library());
            }
            DriverEvent::Reload => self.reload(),
            DriverEvent::Status => {
                self.event_log.tell_left_out();
                log::info!("{}", event_log::status(self.driver.core()));
            }
            DriverEvent::Scanned(report) => {
                self.scan_log.tell(report, self.shares.max_files, RESCAN_INTERVAL);
                if !self.announced {
                    self.announced = true;
                    (self.announce)(&format!("listening on {}", self.addr))
                        .map_err(DaemonError::Output)?;
                    notify::tell("READY=1");
                }
            }
            DriverEvent::Resolved(resolved) => self.resolved(resolved),
            DriverEvent::AcceptFailed(error) => {
                self.event_log.accept_failed(&error);
            }
            // Those of transfers were handled before.
            _ => {}
        }
        Ok(())
    }

    fn handle_clock(&mut self, now: Instant) -> Result<(), DaemonError> {
        if now >= self.next_rescan {
            self.scan(self.trigger);
        }
        if now >= self.next_status {
            self.next_status = now + STATUS_INTERVAL;
            self.event_log.status(self.driver.core());
            self.save_hosts();
        }
        self.end_questions(now);
        if self.transfers_due.is_none() && self.driver.core().uploads() > 0 {
            self.transfers_due = Some(now);
        }
        if self.transfers_due.is_some_and(|due| due <= now) {
            self.transfers_due = self.step_transfers(now);
        }
        while let Some((host, port)) = self.names.due(now) {
            self.look_up(host, port)?;
        }
        Ok(())
    }

    pub(super) fn scan(&mut self, trigger: ScanTrigger) {
        let (wait, next) = match self.driver.scan(&self.shares, trigger) {
            true => (RESCAN_INTERVAL, ScanTrigger::Routine),
            false => (SCAN_RETRY_DELAY, trigger),
        };
        self.next_rescan = Instant::now() + wait;
        self.trigger = next;
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

/// The warning for a link beyond this machine of a servent that listens on loopback.
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
