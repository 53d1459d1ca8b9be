//! The guest servent of one-shot commands: it joins, waits for something, and leaves.

use super::exit::Failure;
use super::settings::{default_state, dialects_file, parse_host, usual_servent};
use crate::config::{Config, Role, Scope};
use crate::driver::{
    Driver, DriverEvent, Host, KnownDialect, Listener, fresh_identity, fresh_seed, read_dialects,
    read_hosts, update_dialects,
};
use crate::library::Library;
use crate::servent::{CloseReason, Event, FileId, IoFailure, KnownHost, Servent};
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
    fallbacks: Vec<KnownHost>,
    /// What earlier commands learnt of the addresses they dialled.
    dialects: Vec<KnownDialect>,
    dialects_file: Option<PathBuf>,
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
        let dialects_file = dialects_file();
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
            dialects: dialects_file.as_deref().map(read_dialects).unwrap_or_default(),
            dialects_file,
            failure: None,
        })
    }

    /// A guest that dials `hosts`, or else the servent of this machine and then hosts of its cache.
    pub(super) fn join(hosts: &[String]) -> Result<OneShot, Failure> {
        let mut shot = OneShot::new()?;
        shot.join_through(hosts)?;
        Ok(shot)
    }

    /// Dials `hosts`, or else the servent of this machine and then hosts of its cache. From here on the
    /// guest looks up no other names.
    pub(super) fn join_through(&mut self, hosts: &[String]) -> Result<(), Failure> {
        let parsed = hosts.iter().map(|text| parse_host(text)).collect::<Result<Vec<_>, _>>()?;
        self.joins = true;
        if parsed.is_empty() {
            let (listen, dialled) = usual_servent()?;
            if let Ok(state) = default_state(listen) {
                self.fallbacks = read_hosts(&state);
                self.fallbacks.truncate(MAX_FALLBACKS);
            }
            self.dial(dialled);
        }
        for host in parsed {
            match host {
                Host::Addr(addr) => self.dial(addr),
                Host::Name(name, port) => {
                    self.lookups += 1;
                    self.look_up(name, port)?;
                }
            }
        }
        Ok(())
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
        let known = self.dialects.iter().find(|known| known.addr == addr);
        let (speaks, begun) = known.map(|known| (known.speaks, known.ago())).unwrap_or_default();
        let dials_at = self.driver.command(|core, now| {
            core.add_static_peer(now, addr);
            core.recall(now, addr, speaks, &begun);
            core.dials_in(now, addr)
        });
        if !dials_at.is_zero() {
            // Rounded up: it must not be said that no time is left.
            let seconds = dials_at.as_secs() + 1;
            log::warn!(
                "{addr} was dialled twice within a minute, and a third time may get this address \
                 banned: dialling it in {seconds} s"
            );
        }
    }

    /// Keeps what was learnt of an address for later commands.
    fn remember(&mut self, addr: SocketAddrV4) {
        let Some(path) = &self.dialects_file else { return };
        let (speaks, begun) = self.driver.command(|core, now| core.known_of(now, addr));
        if speaks.is_none() && begun.is_empty() {
            return;
        }
        let known = KnownDialect::of(addr, speaks, &begun);
        if let Err(error) = update_dialects(path, &[known]) {
            log::debug!("cannot save what {addr} speaks in {}: {error}", path.display());
        }
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
                self.remember(addr);
                Some(GuestStep::Linked)
            }
            DriverEvent::Core(Event::DialFailed { addr, next: Some(_), .. }) => {
                // It is tried with the other dialect.
                self.remember(addr);
                None
            }
            DriverEvent::Core(Event::DialFailed { addr, reason, .. }) => {
                self.remember(addr);
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
            DriverEvent::Done { .. }
            | DriverEvent::Opened { .. }
            | DriverEvent::Reload
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
            for KnownHost { addr, speaks, .. } in std::mem::take(&mut self.fallbacks) {
                self.dial(addr);
                self.driver.command(|core, now| core.recall(now, addr, speaks, &[]));
            }
            return None;
        }
        self.failure.take().map(GuestStep::Alone)
    }
}

/// Peers that read a Bye are told that this servent leaves.
impl Drop for OneShot {
    fn drop(&mut self) {
        if let Err(error) = self.driver.part() {
            log::debug!("the event loop failed at the end: {error}");
        }
    }
}

fn explain(addr: SocketAddrV4, reason: &CloseReason) -> Failure {
    match reason {
        // A full 0.4 servent has no other way to refuse than to close.
        CloseReason::Io(IoFailure::Eof | IoFailure::Reset) => Failure::refused(format!(
            "{addr} closed the connection: it speaks neither Gnutella 0.4 nor 0.6, or it is full"
        )),
        CloseReason::Handshake(_) | CloseReason::Declined { .. } => {
            Failure::refused(format!("{addr} refused the link: {reason}"))
        }
        CloseReason::Timeout(_) => Failure::no_answer(format!("no answer from {addr}: {reason}")),
        CloseReason::Io(IoFailure::Refused) => Failure::not_connected(format!(
            "no servent at {addr}: {reason}; name a running one with --connect"
        )),
        _ => Failure::not_connected(format!("cannot connect to {addr}: {reason}")),
    }
}
