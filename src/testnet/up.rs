//! Starting and ending a network.

use super::control::{Request, tell};
use super::folder::{Conditions, Link, Network, Node, RunFolder, cannot_write};
use super::view::View;
use super::{own, process};
use crate::plan::Plan;
use crate::plan::catalogue::some_files;
use crate::plan::topology::Graph;
use crate::rng::Rng;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Real processes on one machine; a plan with more belongs into the simulator.
pub const MAX_NODES: usize = 1_000;
/// How often things are looked at while they are waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// All links stand within this time and one more tenth of a second for each node, or the network is
/// given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// The keeper answers within this time.
const KEEPER_PATIENCE: Duration = Duration::from_secs(10);
/// Processes have so long to stop by themselves.
const STOP_TIMEOUT: Duration = Duration::from_secs(6);
/// Lines of a log that are shown when its servent ended.
const LOG_LINES: usize = 5;

/// A network that was started, and whose keeper is a child of this process.
#[derive(Debug)]
pub struct Started {
    /// Where it is.
    pub folder: RunFolder,
    keeper: Child,
}

/// Starts the network of `plan` over `graph` in `folder`, every node listening on `port` of an
/// address of its own, and waits until every link stands. With `attached` it ends when this process
/// does. `stop` is asked while waiting.
///
/// # Errors
/// When something is in the way; what was started is ended again, and nothing is left.
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
        tell(folder, &Request::Arm)?;
        Ok(started)
    });
    if ready.is_err() {
        own::end_all(&network.id, STOP_TIMEOUT)?;
        folder.remove()?;
    }
    // Ctrl-C also ends what was being waited for, and that is then no failure of its own.
    ready.map_err(|error| if stop() { interrupted() } else { error })
}

/// The error of what was stopped by the user.
pub(super) fn interrupted() -> io::Error {
    io::Error::new(ErrorKind::Interrupted, "interrupted")
}

fn network_of(folder: &RunFolder, plan: &Plan, graph: &Graph, port: u16) -> io::Result<Network> {
    let addrs = addrs(graph.names.len(), port)?;
    let node = |(number, (name, addr)): (usize, (&String, SocketAddrV4))| {
        let place = plan.places.get(name).cloned().unwrap_or_default();
        let share = match place.folders.is_empty() {
            true if plan.files > 0 => vec![folder.share(number)],
            _ => place.folders.iter().map(std::path::absolute).collect::<io::Result<_>>()?,
        };
        Ok(Node { name: name.clone(), addr, share, command: place.command })
    };
    let nodes = graph.names.iter().zip(addrs).enumerate().map(node);
    let nodes = nodes.collect::<io::Result<Vec<_>>>()?;
    // A foreign servent is rather dialled than told whom to dial.
    let link = |&(a, b): &(usize, usize)| match nodes[a].is_ours() {
        true => Link { from: a, to: b },
        false => Link { from: b, to: a },
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
        links: graph.edges.iter().map(link).collect(),
        conditions,
        faults: plan.faults.clone(),
        nodes,
    })
}

/// An address for each node, all in one corner of 127.0.0.0/8 that was picked at random. Where the
/// system has only 127.0.0.1, a port for each that was free a moment ago.
fn addrs(count: usize, port: u16) -> io::Result<Vec<SocketAddrV4>> {
    /// Of each 256 addresses, .0 and .255 look like something else.
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
    // Held together, so that each gets another one.
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let held = (0..count).map(bind).collect::<io::Result<Vec<_>>>()?;
    let port = |listener: &TcpListener| {
        Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr()?.port()))
    };
    held.iter().map(port).collect()
}

/// Nodes without folders of their own share generated files, empty inside.
fn share_files(folder: &RunFolder, plan: &Plan, network: &Network) -> io::Result<()> {
    let mut rng = Rng::new(plan.seed);
    for (number, node) in network.nodes.iter().enumerate() {
        let (mut rng, share) = (rng.fork(), folder.share(number));
        if node.share != [share.clone()] {
            continue;
        }
        fs::create_dir_all(&share)?;
        for file in some_files(plan.files, &mut rng) {
            // Takes no room on most disks.
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
        // Ctrl-C is for the commands that come and go, not for a network that stays.
        command.process_group(0);
    }
    let log = File::create(folder.keeper_log()).map_err(cannot_write(&folder.keeper_log()))?;
    command.stdout(Stdio::null()).stderr(log).env("RUST_LOG", "info");
    own::mark(&mut command, &network.id);
    let mut keeper = command.spawn()?;
    let deadline = Instant::now() + KEEPER_PATIENCE;
    while !folder.socket().exists() {
        if let Some(status) = keeper.try_wait()? {
            let text = last_lines(&folder.keeper_log());
            return Err(io::Error::other(format!("the keeper ended with {status}: {text}")));
        }
        if Instant::now() > deadline {
            return Err(io::Error::other("the keeper of the network does not come up"));
        }
        thread::sleep(LOOK_AGAIN);
    }
    Ok(keeper)
}

/// Waits until every link between nodes that run stands.
///
/// # Errors
/// When it takes too long, a servent ends, or `stop` says so.
fn wait_until_linked(folder: &RunFolder, stop: &dyn Fn() -> bool) -> io::Result<()> {
    let mut view = View::open(folder)?;
    let nodes = u32::try_from(view.network.nodes.len()).unwrap_or(u32::MAX);
    let deadline = Instant::now() + PATIENCE + Duration::from_millis(100) * nodes;
    let lossy = view.network.faults.refuse > 0.0 || view.network.faults.silent > 0.0;
    loop {
        view.refresh(&mut |_, _| {})?;
        if let Some((node, how)) = view.casualties().first() {
            let text = format!(
                "node \"{}\" ended: {how}; the last it said:\n{}",
                view.network.nodes[*node].name,
                last_lines(&folder.log(*node))
            );
            return Err(io::Error::other(text));
        }
        let (standing, planned) = (view.standing(), view.network.links.len());
        let dark = (0..planned).filter(|link| view.is_dark(*link)).count();
        if standing + dark >= planned {
            return Ok(());
        }
        if stop() {
            return Err(interrupted());
        }
        if Instant::now() > deadline {
            let why = if lossy { ": dials fail, as the plan wants it" } else { "" };
            let text = format!("only {standing} of {planned} links stand{why}");
            return Err(io::Error::new(ErrorKind::TimedOut, text));
        }
        thread::sleep(LOOK_AGAIN);
    }
}

fn last_lines(log: &std::path::Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let text = text.unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// Starts what does not run, and waits until every link stands again. Says how many were started.
///
/// # Errors
/// When there is no network, or it does not come together.
pub fn heal(folder: &RunFolder, stop: &dyn Fn() -> bool) -> io::Result<usize> {
    let before = View::open(folder)?;
    let missing = (0..before.network.nodes.len()).filter(|node| !before.is_running(*node)).count();
    tell(folder, &Request::Start)?;
    wait_until_linked(folder, stop)?;
    Ok(missing)
}

/// Ends the network in `folder` and removes what it has put there. Says how many processes had
/// outlived their keeper.
///
/// # Errors
/// When there is no network, or something is left.
pub fn down(folder: &RunFolder) -> io::Result<usize> {
    let network = folder.network()?;
    let kept = tell(folder, &Request::Stop).is_ok();
    if kept {
        let deadline = Instant::now() + STOP_TIMEOUT;
        while folder.socket().exists() && Instant::now() < deadline {
            thread::sleep(LOOK_AGAIN);
        }
    }
    let left = own::end_all(&network.id, STOP_TIMEOUT)?;
    folder.remove()?;
    Ok(if kept { 0 } else { left })
}

impl Started {
    /// Leaves the network to itself.
    pub fn detach(self) {}

    /// Waits for the end of the network, or for `stop`, which ends it, and removes what it has put on
    /// disk. Only for one that is attached.
    ///
    /// # Errors
    /// What the system says, and when the keeper failed.
    pub fn wait(mut self, stop: &dyn Fn() -> bool) -> io::Result<()> {
        let status = loop {
            if let Some(status) = self.keeper.try_wait()? {
                break status;
            }
            if stop() {
                drop(self.keeper.stdin.take());
            }
            thread::sleep(LOOK_AGAIN);
        };
        let said = last_lines(&self.folder.keeper_log());
        own::end_all(&self.folder.network()?.id, STOP_TIMEOUT)?;
        self.folder.remove()?;
        match status.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("the keeper ended with {status}: {said}"))),
        }
    }
}
