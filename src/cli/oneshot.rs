//! The guest servent of one-shot commands: it joins, waits for something, and leaves.

use super::exit::Failure;
use super::settings::{Host, default_state, parse_host, usual_servent};
use crate::config::{Config, Role, Scope};
use crate::driver::{Driver, DriverEvent, Listener, fresh_identity, fresh_seed, read_hosts};
use crate::library::Library;
use crate::servent::{CloseReason, Event, FileId, IoFailure, Servent};
use mio::Events;
use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most hosts of the cache that are dialled when the usual servent is not running.
const MAX_FALLBACKS: usize = 8;
/// Longest wait of one turn, so that deadlines of the caller are kept.
const MAX_TURN: Duration = Duration::from_millis(100);

/// A guest servent and its driver.
pub(super) struct OneShot {
    pub(super) driver: Driver,
    events: Events,
    /// Addresses being dialled for the first time.
    pending: BTreeSet<SocketAddrV4>,
    /// Look-ups of hosts to join through that have not ended.
    lookups: usize,
    /// Whether hosts that are looked up are dialled.
    joins: bool,
    listens: bool,
    fallbacks: Vec<SocketAddrV4>,
    /// The last reason why there is no link.
    failure: Option<Failure>,
}

/// An event for a one-shot command to act on.
pub(super) enum GuestStep {
    /// A link is up.
    Linked,
    /// Something in the core.
    Event(Event),
    /// A download is complete.
    Saved { file: FileId, path: PathBuf, servents: usize },
    /// The file of a download cannot be written.
    DiskFailed { file: FileId, text: String },
    /// A look-up by [`OneShot::address_of`] ended.
    Found(Result<SocketAddrV4, Failure>),
    /// INT or TERM arrived.
    Stop,
    /// The deadline has passed.
    Deadline,
    /// There is no link, and no dial in progress.
    Alone(Failure),
}

impl OneShot {
    /// A guest without links.
    pub(super) fn new() -> Result<OneShot, Failure> {
        let config = Config {
            role: Role::Guest,
            links: 0,
            advertise_port: 0,
            background_pings: false,
            // A guest dials no learnt host, and hits may have any address.
            scope: Scope::Public,
            ..Config::default()
        };
        let driver = Driver::new(None, |now| {
            let library = Arc::new(Library::empty());
            Servent::new(Arc::new(config), library, fresh_identity(), fresh_seed(), now)
        })
        .map_err(|error| Failure::failed(format!("cannot start the event loop: {error}")))?;
        Ok(OneShot {
            driver,
            events: Events::with_capacity(256),
            pending: BTreeSet::new(),
            lookups: 0,
            joins: false,
            listens: false,
            fallbacks: Vec::new(),
            failure: None,
        })
    }

    /// A guest that dials `hosts`, or else the servent of this machine and then hosts of its cache.
    pub(super) fn join(hosts: &[String]) -> Result<OneShot, Failure> {
        let parsed = hosts.iter().map(|text| parse_host(text)).collect::<Result<Vec<_>, _>>()?;
        let mut shot = OneShot::new()?;
        shot.joins = true;
        if parsed.is_empty() {
            let (listen, dialled) = usual_servent()?;
            if let Ok(state) = default_state(listen) {
                shot.fallbacks = read_hosts(&state).into_iter().map(|(addr, _)| addr).collect();
                shot.fallbacks.truncate(MAX_FALLBACKS);
            }
            shot.dial(dialled);
        }
        for host in parsed {
            match host {
                Host::Addr(addr) => shot.dial(addr),
                Host::Name(name, port) => {
                    shot.lookups += 1;
                    shot.look_up(name, port)?;
                }
            }
        }
        Ok(shot)
    }

    /// Waits for the next step, at most until `deadline`.
    pub(super) fn next(&mut self, deadline: Option<Instant>) -> Result<GuestStep, Failure> {
        loop {
            while let Some(event) = self.driver.next_event() {
                if let Some(step) = self.digest(event) {
                    return Ok(step);
                }
            }
            let left = deadline.map_or(MAX_TURN, |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(GuestStep::Deadline);
            }
            self.turn(left.min(MAX_TURN))?;
        }
    }

    /// The address of a host; Ctrl-C ends the look-up.
    pub(super) fn address_of(&mut self, host: Host) -> Result<SocketAddrV4, Failure> {
        match host {
            Host::Addr(addr) => return Ok(addr),
            Host::Name(name, port) => self.look_up(name, port)?,
        }
        loop {
            match self.next(None)? {
                GuestStep::Found(found) => return found,
                GuestStep::Stop => return Err(Failure::interrupted("interrupted")),
                _ => {}
            }
        }
    }

    /// Listens on the local address of the links, so that a source can connect after a Push. Does
    /// nothing the second time. If it fails, downloads still work directly.
    pub(super) fn accept_pushes(&mut self) {
        let Some(link) = self.driver.core().neighbours().next() else { return };
        if std::mem::replace(&mut self.listens, true) {
            return;
        }
        let listening = Listener::bind(SocketAddrV4::new(link.local_ip, 0)).and_then(|listener| {
            let port = listener.addr().port();
            self.driver.listen(listener)?;
            self.driver.command(|core, _| core.set_advertised_port(port));
            Ok(())
        });
        if let Err(error) = listening {
            log::warn!("sources that cannot be connected to cannot be asked to connect: {error}");
        }
    }

    /// One turn of the loop.
    pub(super) fn turn(&mut self, wait: Duration) -> Result<(), Failure> {
        self.driver
            .turn(&mut self.events, wait)
            .map_err(|error| Failure::failed(format!("the event loop failed: {error}")))
    }

    fn dial(&mut self, addr: SocketAddrV4) {
        self.pending.insert(addr);
        self.driver.command(|core, now| core.add_static_peer(now, addr));
    }

    fn look_up(&self, name: String, port: u16) -> Result<(), Failure> {
        self.driver
            .resolve(name, port)
            .map_err(|error| Failure::failed(format!("cannot look up a host name: {error}")))
    }

    fn digest(&mut self, event: DriverEvent) -> Option<GuestStep> {
        match event {
            DriverEvent::Stop => Some(GuestStep::Stop),
            DriverEvent::Saved { file, path, servents } => {
                Some(GuestStep::Saved { file, path, servents })
            }
            DriverEvent::DiskFailed { file, text } => Some(GuestStep::DiskFailed { file, text }),
            DriverEvent::Resolved(resolved) => {
                let found = resolved.addr.map_err(Failure::not_connected);
                if !self.joins {
                    return Some(GuestStep::Found(found));
                }
                self.lookups -= 1;
                match found {
                    Ok(addr) => self.dial(addr),
                    Err(failure) => self.failure = Some(failure),
                }
                self.alone()
            }
            DriverEvent::Core(Event::LinkUp { addr, .. }) => {
                self.pending.remove(&addr);
                Some(GuestStep::Linked)
            }
            DriverEvent::Core(Event::DialFailed { addr, reason }) => {
                if self.pending.remove(&addr) {
                    self.failure = Some(explain(addr, &reason));
                }
                self.alone()
            }
            DriverEvent::Core(Event::LinkDown { addr, reason, .. }) => {
                let text = format!("the link to {addr} is gone: {reason}");
                self.failure = Some(Failure::no_answer(text));
                self.alone()
            }
            DriverEvent::Core(event) => Some(GuestStep::Event(event)),
            DriverEvent::Reload
            | DriverEvent::Status
            | DriverEvent::Scanned(_)
            | DriverEvent::AcceptFailed(_) => None,
        }
    }

    fn alone(&mut self) -> Option<GuestStep> {
        let hopeful = !self.pending.is_empty() || self.lookups > 0;
        if hopeful || self.driver.core().neighbours().next().is_some() {
            return None;
        }
        if !self.fallbacks.is_empty() {
            for addr in std::mem::take(&mut self.fallbacks) {
                self.dial(addr);
            }
            return None;
        }
        self.failure.take().map(GuestStep::Alone)
    }
}

fn explain(addr: SocketAddrV4, reason: &CloseReason) -> Failure {
    match reason {
        // A full 0.4 servent has no other way to refuse than to close.
        CloseReason::Io(IoFailure::Eof | IoFailure::Reset) => Failure::refused(format!(
            "{addr} closed the connection: it may not speak Gnutella 0.4, or it is full"
        )),
        CloseReason::Handshake(_) => Failure::refused(format!("{addr} refused the link: {reason}")),
        CloseReason::Timeout(_) => Failure::no_answer(format!("no answer from {addr}: {reason}")),
        CloseReason::Io(IoFailure::Refused) => Failure::not_connected(format!(
            "no servent at {addr}: {reason}; name a running one with --connect"
        )),
        _ => Failure::not_connected(format!("cannot connect to {addr}: {reason}")),
    }
}
