//! Starting and stopping a network.

use super::control::{KeeperRequest, tell};
use super::folder::{Conditions, Link, Network, Node, RunFolder, cannot_write};
use super::process::{self, poll_for};
use super::view::View;
use crate::plan::Plan;
use crate::plan::catalogue::some_files;
use crate::plan::roles::{PlannedLink, Roles};
use crate::plan::topology::Graph;
use crate::rng::Rng;
use crate::wire::Dialect;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;
use uuid::Uuid;

/// Most nodes of a network of processes; the simulator takes more.
pub const MAX_NODES: usize = 1_000;
/// All links stand within this time, plus [`LINK_TIMEOUT_PER_NODE`] for each node.
const LINK_TIMEOUT: Duration = Duration::from_secs(30);
/// See [`LINK_TIMEOUT`].
const LINK_TIMEOUT_PER_NODE: Duration = Duration::from_millis(100);
/// The keeper listens within this time.
const KEEPER_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval of looking at a network in the foreground.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Time from TERM to KILL.
const STOP_TIMEOUT: Duration = Duration::from_secs(6);
/// Last lines of a log that an error message quotes.
const LOG_LINES: usize = 5;

/// A network whose keeper is a child of this process.
#[derive(Debug)]
pub struct Started {
    /// Its run folder.
    pub folder: RunFolder,
    keeper: Child,
}

/// Starts the network of `plan` over `graph` in `folder` and waits until every link stands. Every node
/// listens on `port` of its own address. With `attached` the network stops when this process ends.
/// The wait ends when `stop` returns true.
///
/// # Errors
/// When a part fails to start; the others are stopped and the folder is removed.
pub fn up(
    folder: &RunFolder,
    (plan, graph): (&Plan, &Graph),
    port: u16,
    attached: bool,
    stop: &dyn Fn() -> bool,
) -> io::Result<Started> {
    if graph.names.len() > MAX_NODES {
        let text = format!(
            "at most {MAX_NODES} real servents can be started, the plan has {}: servent sim takes \
             more",
            graph.names.len()
        );
        return Err(io::Error::new(ErrorKind::InvalidInput, text));
    }
    let network = network_of(folder, plan, graph, port)?;
    folder.create(&network)?;
    let started = share_files(folder, plan, &network)
        .map_err(cannot_write(folder.path()))
        .and_then(|()| start_keeper(folder, &network, attached))
        .map(|keeper| Started { folder: folder.clone(), keeper });
    let ready = started.and_then(|started| {
        wait_until_linked(folder, stop)?;
        tell(folder, &KeeperRequest::Arm)?;
        Ok(started)
    });
    if ready.is_err() {
        process::end_all(&network.id, STOP_TIMEOUT)?;
        folder.remove()?;
    }
    // Ctrl-C also ends the processes being waited for: their failure is part of the interruption.
    ready.map_err(|error| if stop() { interrupted() } else { error })
}

/// The error of an interrupted command.
pub(super) fn interrupted() -> io::Error {
    io::Error::new(ErrorKind::Interrupted, "interrupted")
}

fn network_of(folder: &RunFolder, plan: &Plan, graph: &Graph, port: u16) -> io::Result<Network> {
    let addrs = addrs(graph.names.len(), port)?;
    let roles = Roles::new(plan, graph).map_err(io::Error::other)?;
    let node = |(number, (name, addr)): (usize, (&String, SocketAddrV4))| {
        let place = plan.places.get(name).cloned().unwrap_or_default();
        let share = match place.folders.is_empty() {
            true if plan.files > 0 => vec![folder.share(number)],
            _ => place.folders.iter().map(std::path::absolute).collect::<io::Result<_>>()?,
        };
        Ok(Node {
            name: name.clone(),
            addr,
            share,
            command: place.command,
            leaf: roles.is_leaf(number),
            dialect: roles.dials(number).map_or("auto", Dialect::name).to_owned(),
        })
    };
    let nodes = graph.names.iter().zip(addrs).enumerate().map(node);
    let nodes = nodes.collect::<io::Result<Vec<_>>>()?;
    // A foreign servent is dialled where possible: not every one can be given addresses to dial.
    let plain = |&(a, b): &(usize, usize)| match nodes[a].is_ours() {
        true => Link { from: a, to: b },
        false => Link { from: b, to: a },
    };
    let planned = |link: &PlannedLink| Link { from: link.from, to: link.to };
    let links = match roles.are_plain() {
        true => graph.edges.iter().map(plain).collect(),
        false => roles.links().iter().map(planned).collect(),
    };
    let conditions = Conditions {
        delay: plan.latency.unwrap_or_default(),
        bandwidth: plan.bandwidth,
        window: plan.window.unwrap_or(Conditions::default().window),
        split: plan.split,
        ..Conditions::default()
    };
    Ok(Network {
        id: Uuid::new_v4().simple().to_string(),
        seed: plan.seed,
        ttl: plan.ttl,
        queries: plan.queries,
        from: plan.from.clone(),
        links,
        conditions,
        faults: plan.faults.clone(),
        nodes,
    })
}

/// An address for each node, consecutive in 127.0.0.0/8 from a random start. Where the system has only
/// 127.0.0.1, a free port for each.
fn addrs(count: usize, port: u16) -> io::Result<Vec<SocketAddrV4>> {
    /// Addresses used of each 256: .0 and .255 look like network and broadcast addresses.
    const PER_BLOCK: usize = 254;
    let blocks = u8::try_from(count.div_ceil(PER_BLOCK)).map_err(io::Error::other)?;
    for attempt in Uuid::new_v4().as_bytes().chunks_exact(2) {
        let (second, third) = (1 + attempt[0] % 254, attempt[1] % (255 - blocks));
        let addr = |number: usize| {
            let block = third + u8::try_from(number / PER_BLOCK).unwrap_or(0);
            let last = 1 + u8::try_from(number % PER_BLOCK).unwrap_or(0);
            SocketAddrV4::new(Ipv4Addr::new(127, second, block, last), port)
        };
        match TcpListener::bind(addr(0)) {
            Ok(_) => return Ok((0..count).map(addr).collect()),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => return free_ports(count),
            Err(error) => {
                let text = format!("cannot listen on port {port}: {error}; choose another --port");
                return Err(io::Error::new(error.kind(), text));
            }
        }
    }
    let text = format!(
        "something listens on port {port} of every address, perhaps a servent on 0.0.0.0: choose \
         another --port"
    );
    Err(io::Error::new(ErrorKind::AddrInUse, text))
}

fn free_ports(count: usize) -> io::Result<Vec<SocketAddrV4>> {
    // All are bound at the same time, so that each gets a different port.
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let held = (0..count).map(bind).collect::<io::Result<Vec<_>>>()?;
    let port = |listener: &TcpListener| {
        Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr()?.port()))
    };
    held.iter().map(port).collect()
}

/// Creates the generated files of nodes without folders of their own: sparse, with random names.
fn share_files(folder: &RunFolder, plan: &Plan, network: &Network) -> io::Result<()> {
    let mut rng = Rng::new(plan.seed);
    for (number, node) in network.nodes.iter().enumerate() {
        let (mut rng, share) = (rng.fork(), folder.share(number));
        if node.share != [share.clone()] {
            continue;
        }
        fs::create_dir_all(&share)?;
        for file in some_files(plan.files, &mut rng) {
            File::create(share.join(&file.name))?.set_len(file.size)?;
        }
    }
    Ok(())
}

fn start_keeper(folder: &RunFolder, network: &Network, attached: bool) -> io::Result<Child> {
    let mut command = process::command(&std::env::current_exe()?);
    command.args(["testnet", "keep", "--dir"]).arg(folder.path());
    if attached {
        command.arg("--attached").stdin(Stdio::piped());
    } else {
        // Ctrl-C on the terminal must not reach a network that stays.
        command.process_group(0);
    }
    let log = File::create(folder.keeper_log()).map_err(cannot_write(&folder.keeper_log()))?;
    command.stdout(Stdio::null()).stderr(log).env("RUST_LOG", "info");
    process::mark(&mut command, &network.id);
    let mut keeper = command.spawn()?;
    let listens = poll_for(KEEPER_TIMEOUT, || match keeper.try_wait()? {
        Some(status) => Err(keeper_failure(folder, status)),
        None => Ok(folder.socket().exists().then_some(())),
    })?;
    listens.ok_or_else(|| io::Error::other("the keeper of the network does not start"))?;
    Ok(keeper)
}

/// Waits until every link between running nodes stands.
///
/// # Errors
/// After a timeout, when a servent ends, or when `stop` returns true.
fn wait_until_linked(folder: &RunFolder, stop: &dyn Fn() -> bool) -> io::Result<()> {
    let mut view = View::open(folder)?;
    let nodes = u32::try_from(view.network.nodes.len()).unwrap_or(u32::MAX);
    let mut standing = 0;
    let linked = poll_for(LINK_TIMEOUT + LINK_TIMEOUT_PER_NODE * nodes, || {
        view.refresh()?;
        if let Some((node, how)) = view.casualties().first() {
            return Err(io::Error::other(format!(
                "node \"{}\" ended: {how}; its last lines:\n{}",
                view.network.nodes[*node].name,
                last_lines(&folder.log(*node))
            )));
        }
        if stop() {
            return Err(interrupted());
        }
        standing = view.standing();
        let links = view.network.links.len();
        let dark = (0..links).filter(|link| view.is_dark(*link)).count();
        Ok((standing + dark >= links).then_some(()))
    })?;
    linked.ok_or_else(|| {
        let faults = &view.network.faults;
        let lossy = faults.refuse > 0.0 || faults.silent > 0.0;
        let why = if lossy { ": dials fail, as the plan says" } else { "" };
        let text = format!("only {standing} of {} links stand{why}", view.network.links.len());
        io::Error::new(ErrorKind::TimedOut, text)
    })
}

fn keeper_failure(folder: &RunFolder, status: ExitStatus) -> io::Error {
    let log = last_lines(&folder.keeper_log());
    io::Error::other(format!("the keeper ended with {status}: {log}"))
}

fn last_lines(log: &std::path::Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let text = text.unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// Starts the nodes that are not running and waits until every link stands. Returns how many there
/// were.
///
/// # Errors
/// When there is no network, or its links do not stand in time.
pub fn heal(folder: &RunFolder, stop: &dyn Fn() -> bool) -> io::Result<usize> {
    let before = View::open(folder)?;
    let missing = (0..before.network.nodes.len()).filter(|node| !before.is_running(*node)).count();
    tell(folder, &KeeperRequest::Start)?;
    wait_until_linked(folder, stop)?;
    Ok(missing)
}

/// Stops the network in `folder` and removes its files. Returns how many processes had outlived their
/// keeper.
///
/// # Errors
/// When there is no network, or a process or file is left.
pub fn down(folder: &RunFolder) -> io::Result<usize> {
    let network = folder.network()?;
    let kept = tell(folder, &KeeperRequest::Stop).is_ok();
    if kept {
        poll_for(STOP_TIMEOUT, || Ok((!folder.socket().exists()).then_some(())))?;
    }
    let left = process::end_all(&network.id, STOP_TIMEOUT)?;
    folder.remove()?;
    Ok(if kept { 0 } else { left })
}

impl Started {
    /// Leaves the network running.
    pub fn detach(self) {}

    /// Waits until the network ends, or stops it when `stop` returns true; then removes its files. For
    /// an attached network.
    ///
    /// # Errors
    /// When the keeper failed, or the system refuses.
    pub fn wait(mut self, stop: &dyn Fn() -> bool) -> io::Result<()> {
        let status = loop {
            if let Some(status) = self.keeper.try_wait()? {
                break status;
            }
            if stop() {
                drop(self.keeper.stdin.take());
            }
            thread::sleep(POLL_INTERVAL);
        };
        let failure = keeper_failure(&self.folder, status);
        process::end_all(&self.folder.network()?.id, STOP_TIMEOUT)?;
        self.folder.remove()?;
        match status.success() {
            true => Ok(()),
            false => Err(failure),
        }
    }
}
