//! The keeper: the process that starts the nodes of a network, relays their links, and serves the
//! control socket.
//!
//! Commands connect and disconnect; the keeper runs until it is stopped, by a request or a signal, and
//! then ends every process it has started.

mod capture;
mod children;
mod pipe;
mod relay;

use super::control::{KeeperReply, KeeperRequest, LinkStatus, NetworkStatus};
use super::folder::{Network, RunFolder};
use crate::capture::write;
use crate::plan::fault_schedule::{Fault, FaultSchedule};
use crate::rng::Rng;
use crate::time;
use children::Children;
use mio::net::{UnixListener, UnixStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use relay::Relay;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use slab::Slab;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const SIGNALS: Token = Token(0);
const CONTROL: Token = Token(1);
const PARENT: Token = Token(2);
/// Clients have tokens from here on.
const FIRST_CLIENT: usize = 3;
/// Most clients at one time.
const MAX_CLIENTS: usize = 64;
const FIRST_RELAY: usize = FIRST_CLIENT + MAX_CLIENTS;
/// Longest request.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;
/// Most unsent bytes of a capture; further packets are left out.
const MAX_CAPTURE_BYTES: usize = 8 * 1024 * 1024;
/// Time from TERM to KILL.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to the control socket.
struct Client {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// It receives a capture.
    captures: bool,
}

struct Keeper {
    folder: RunFolder,
    network: Network,
    poll: Poll,
    signals: Signals,
    control: UnixListener,
    clients: Slab<Client>,
    relay: Relay,
    children: Children,
    faults: FaultSchedule,
    /// Start of the keeper: the origin of the times of `faults`.
    origin: Instant,
    /// The side of each node while the network is parted.
    sides: Option<Vec<bool>>,
    /// The list of relayed connections.
    carried: File,
    /// Deadline after which running processes are killed; set while the keeper stops.
    stopping: Option<Instant>,
}

/// Runs the network in `folder` until it is stopped. With `attached`, the end of standard input stops
/// it too.
///
/// # Errors
/// When the network cannot be started, or polling fails. Nothing is left running.
pub fn keep(folder: RunFolder, attached: bool) -> io::Result<()> {
    let mut keeper = Keeper::new(folder, attached)?;
    let done = keeper.start_missing().and_then(|()| keeper.run());
    if done.is_err() {
        super::process::end_all(&keeper.network.id, STOP_TIMEOUT)?;
    }
    done
}

impl Keeper {
    fn new(folder: RunFolder, attached: bool) -> io::Result<Keeper> {
        let network = folder.network()?;
        let poll = Poll::new()?;
        let registry = poll.registry();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGCHLD])?;
        registry.register(&mut signals, SIGNALS, Interest::READABLE)?;
        if attached {
            let stdin = io::stdin().as_raw_fd();
            registry.register(&mut SourceFd(&stdin), PARENT, Interest::READABLE)?;
        }
        let mut rng = Rng::new(network.seed).fork();
        let relay = Relay::new(&network, registry, FIRST_RELAY, rng.fork())?;
        let faults = FaultSchedule::new(network.faults.clone(), rng.fork());
        let carried = OpenOptions::new().create(true).append(true).open(folder.links())?;
        // Renamed when it listens: a socket that exists accepts connections.
        let draft = folder.socket().with_extension("new");
        let mut control = UnixListener::bind(&draft)?;
        std::fs::rename(draft, folder.socket())?;
        registry.register(&mut control, CONTROL, Interest::READABLE)?;
        let children = Children::new(folder.clone(), network.clone());
        Ok(Keeper {
            folder,
            network,
            poll,
            signals,
            control,
            clients: Slab::new(),
            relay,
            children,
            faults,
            origin: Instant::now(),
            sides: None,
            carried,
            stopping: None,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut next = None;
        loop {
            let fault = self.faults.next_at();
            let fault = fault.map(|at| self.origin + Duration::from_micros(at.as_micros()));
            let deadlines = [next, fault, self.stopping];
            let now = Instant::now();
            let until = deadlines.into_iter().flatten().min();
            let wait = until.map(|at| at.saturating_duration_since(now));
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in events.iter() {
                match event.token() {
                    SIGNALS => self.take_signals(),
                    CONTROL => self.accept(),
                    PARENT => self.stop(),
                    Token(token) if token < FIRST_RELAY => self.serve(token - FIRST_CLIENT),
                    _ => self.handle_relay(event),
                }
            }
            let now = Instant::now();
            while let Some((at, fault)) = self.faults.next_due(self.fault_time(now)) {
                self.fault(at, fault);
            }
            next = self.step_relay(now);
            self.flush();
            if self.stopping.is_some_and(|at| at <= now || self.children.count_running() == 0) {
                // Nodes that do not stop, and processes that foreign servents have started.
                return super::process::end_all(&self.network.id, STOP_TIMEOUT).map(|_| ());
            }
        }
    }

    fn take_signals(&mut self) {
        for signal in self.signals.pending().collect::<Vec<_>>() {
            match signal {
                SIGINT | SIGTERM => self.stop(),
                SIGCHLD => {
                    for node in self.children.reap() {
                        log::info!("node \"{}\" has ended", self.network.nodes[node].name);
                    }
                }
                // The network outlives the terminal it was started from.
                _ => {}
            }
        }
    }

    fn stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(Instant::now() + STOP_TIMEOUT);
        for node in 0..self.network.nodes.len() {
            if let Err(error) = self.children.end(node, false) {
                log::warn!("node \"{}\": {error}", self.network.nodes[node].name);
            }
        }
    }

    /// Starts every node that is not running.
    fn start_missing(&mut self) -> io::Result<()> {
        (0..self.network.nodes.len()).try_for_each(|node| self.start(node))
    }

    fn start(&mut self, node: usize) -> io::Result<()> {
        if self.children.is_running(node) || self.stopping.is_some() {
            return Ok(());
        }
        let own = self.network.links.iter().enumerate().filter(|(_, link)| link.from == node);
        let dials: Vec<_> = own.map(|(number, _)| self.relay.addr(number)).collect();
        self.children.start(node, &dials)
    }

    fn fault_time(&self, now: Instant) -> time::Instant {
        time::Instant::ZERO + now.saturating_duration_since(self.origin)
    }

    fn fault(&mut self, at: time::Instant, fault: Fault) {
        log::info!("{fault}");
        let done = match fault {
            Fault::Reset { link, .. } => {
                self.relay.reset(link);
                // The servents dial again.
                self.faults.link_made(at, link);
                Ok(())
            }
            Fault::Crash { node, .. } => self.children.end_by_plan(node, true),
            Fault::Leave { node } => self.children.end_by_plan(node, false),
            Fault::Return { node } => self.start(node),
            Fault::Stall { node } => self.children.stall(node, true),
            Fault::Resume { node } => self.children.stall(node, false),
            Fault::Partition => {
                self.partition(true);
                Ok(())
            }
            Fault::Heal => {
                self.partition(false);
                Ok(())
            }
        };
        if let Err(error) = done {
            log::warn!("{fault}: {error}");
        }
    }

    /// Blackholes the links between the two sides of a partition, or opens them again.
    fn partition(&mut self, dark: bool) {
        if dark {
            self.sides = Some(self.faults.sides(self.network.nodes.len()));
        }
        let Some(sides) = &self.sides else { return };
        for (number, link) in self.network.links.iter().enumerate() {
            if sides[link.from] != sides[link.to] {
                let conditions = self.relay.conditions(number).clone();
                self.relay.set(number, super::folder::Conditions { blackhole: dark, ..conditions });
            }
        }
        if !dark {
            self.sides = None;
        }
    }

    fn handle_relay(&mut self, event: &mio::event::Event) {
        let Keeper { relay, poll, network, carried, .. } = self;
        if let Some(opened) = relay.handle(poll.registry(), event, &network.faults)
            && let Err(error) = write_line(carried, &opened)
        {
            log::warn!("cannot write the list of connections: {error}");
        }
    }

    fn step_relay(&mut self, now: Instant) -> Option<Instant> {
        let Keeper { relay, clients, .. } = self;
        if !clients.iter().any(|(_, client)| client.captures) {
            return relay.step(now, None);
        }
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut capture = |packet: Vec<u8>| {
            let block = write::packet_block(time, &packet);
            for (_, client) in clients.iter_mut().filter(|(_, client)| client.captures) {
                if client.output.len() + block.len() <= MAX_CAPTURE_BYTES {
                    client.output.extend_from_slice(&block);
                }
            }
        };
        relay.step(now, Some(&mut capture))
    }

    fn accept(&mut self) {
        while let Ok((mut stream, _)) = self.control.accept() {
            if self.clients.len() >= MAX_CLIENTS {
                continue;
            }
            let entry = self.clients.vacant_entry();
            let token = Token(FIRST_CLIENT + entry.key());
            let both = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut stream, token, both).is_ok() {
                let (input, output) = (Vec::new(), Vec::new());
                entry.insert(Client { stream, input, output, captures: false });
            }
        }
    }

    /// Reads and answers the requests of a client; removes it when it is gone.
    fn serve(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let mut buffer = [0; 4_096];
        let gone = loop {
            match client.stream.read(&mut buffer) {
                Ok(0) => break true,
                Ok(count) if client.input.len() + count > MAX_REQUEST_BYTES => break true,
                Ok(count) => client.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break true,
            }
        };
        let mut input = std::mem::take(&mut client.input);
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = input.drain(..=end).collect();
            let (reply, captures) = match serde_json::from_slice(&line) {
                Ok(KeeperRequest::Capture) => (KeeperReply::Done, true),
                Ok(request) => (self.answer(request), false),
                Err(error) => (KeeperReply::Failed(format!("not a request: {error}")), false),
            };
            let Some(client) = self.clients.get_mut(key) else { return };
            client.output.extend(serde_json::to_vec(&reply).unwrap_or_default());
            client.output.push(b'\n');
            if captures {
                client.captures = true;
                client.output.extend(write::file_header());
            }
        }
        if let Some(client) = self.clients.get_mut(key) {
            client.input = input;
        }
        if gone {
            // Its last request has been carried out above.
            self.clients.try_remove(key);
        }
    }

    fn answer(&mut self, request: KeeperRequest) -> KeeperReply {
        let wrong = |links: &[usize], count: usize| links.iter().any(|link| *link >= count);
        let done = match request {
            KeeperRequest::Status => return KeeperReply::Status(self.status()),
            KeeperRequest::Arm => {
                let now = self.fault_time(Instant::now());
                self.faults.arm(now, self.network.nodes.len(), self.network.links.len());
                Ok(())
            }
            KeeperRequest::Set { ref links, .. } | KeeperRequest::Reset { ref links }
                if wrong(links, self.network.links.len()) =>
            {
                Err(io::Error::other("no such link"))
            }
            KeeperRequest::Set { links, conditions } => {
                for link in links {
                    self.relay.set(link, conditions.clone());
                }
                Ok(())
            }
            KeeperRequest::Reset { links } => {
                for link in links {
                    self.relay.reset(link);
                }
                Ok(())
            }
            KeeperRequest::Kill { node, .. } if node >= self.network.nodes.len() => {
                Err(io::Error::other("no such node"))
            }
            KeeperRequest::Kill { node, hard } => self.children.end(node, hard),
            KeeperRequest::Start => self.start_missing(),
            KeeperRequest::Capture => Ok(()),
            KeeperRequest::Stop => {
                self.stop();
                Ok(())
            }
        };
        done.map_or_else(|error| KeeperReply::Failed(error.to_string()), |()| KeeperReply::Done)
    }

    fn status(&self) -> NetworkStatus {
        let link = |number| LinkStatus {
            relay: self.relay.addr(number),
            conditions: self.relay.conditions(number).clone(),
            open: self.relay.open(number),
        };
        NetworkStatus {
            nodes: self.children.status(),
            links: (0..self.network.links.len()).map(link).collect(),
        }
    }

    fn flush(&mut self) {
        self.clients.retain(|_, client| {
            while !client.output.is_empty() {
                match client.stream.write(&client.output) {
                    Ok(count) => {
                        client.output.drain(..count);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => return false,
                }
            }
            true
        });
    }
}

impl Drop for Keeper {
    /// Removes the socket: without it the network is not running.
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.folder.socket());
    }
}

fn write_line(file: &mut File, value: &impl serde::Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    file.write_all(&line)
}
