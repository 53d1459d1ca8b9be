//! The processes of the nodes: started, watched, ended.

use super::super::control::NodeStatus;
use super::super::folder::{Network, Node, RunFolder};
use super::super::{own, process};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::io;
use std::net::SocketAddrV4;
use std::process::{Child, Command};

/// Links of guests, such as searches, on top of those of the plan.
const GUESTS: usize = 32;
/// What a servent takes at most, so that plans decide how far a search goes.
const MAX_TTL: &str = "15";

/// The process of one node, or what became of it.
#[derive(Default)]
struct Place {
    child: Option<Child>,
    ended: Option<String>,
    wanted_down: bool,
    by_plan: bool,
    stalled: bool,
}

pub(super) struct Children {
    folder: RunFolder,
    network: Network,
    places: Vec<Place>,
}

impl Children {
    pub(super) fn new(folder: RunFolder, network: Network) -> Children {
        let places = network.nodes.iter().map(|_| Place::default()).collect();
        Children { folder, network, places }
    }

    /// Starts a node; `dials` is where it finds whom it keeps links with.
    pub(super) fn start(&mut self, node: usize, dials: &[SocketAddrV4]) -> io::Result<()> {
        let place = &self.network.nodes[node];
        let mut command = match place.is_ours() {
            true => self.servent(node, dials)?,
            false => self.foreign(place, node, dials),
        };
        let log = OpenOptions::new().create(true).append(true).open(self.folder.log(node))?;
        command.stdout(log.try_clone()?).stderr(log).current_dir(self.folder.node(node));
        own::mark(&mut command, &self.network.id);
        let child = command.spawn().map_err(|error| {
            let program = command.get_program().to_string_lossy();
            io::Error::new(error.kind(), format!("node \"{}\": {program}: {error}", place.name))
        })?;
        self.places[node] = Place { child: Some(child), ..Place::default() };
        Ok(())
    }

    fn servent(&self, node: usize, dials: &[SocketAddrV4]) -> io::Result<Command> {
        let place = &self.network.nodes[node];
        let folder = self.folder.node(node);
        let max_links = self.network.degree(node) + GUESTS;
        let mut command = process::command(&std::env::current_exe()?);
        command.args(["run", "--listen", &place.addr.to_string(), "--links", "0", "--no-pings"]);
        command.args(["--max-links", &max_links.to_string(), "--ttl", MAX_TTL]);
        command.arg("--state").arg(folder.join("state"));
        command.arg("--events").arg(self.folder.events(node));
        for share in &place.share {
            command.arg("--share").arg(share);
        }
        for addr in dials {
            command.args(["--connect", &addr.to_string()]);
        }
        // Settings of the caller's own servent are none of this one's business.
        command.env("XDG_CONFIG_HOME", &folder).env("RUST_LOG", "info");
        Ok(command)
    }

    /// Another program: `{ip}`, `{port}`, `{dir}` and `{connect}` in its arguments are filled in,
    /// the last as one argument for each host.
    fn foreign(&self, place: &Node, node: usize, dials: &[SocketAddrV4]) -> Command {
        let fill = |argument: &String| {
            argument
                .replace("{ip}", &place.addr.ip().to_string())
                .replace("{port}", &place.addr.port().to_string())
                .replace("{dir}", &self.folder.node(node).to_string_lossy())
        };
        let mut words = place.command.iter();
        let mut command = Command::new(words.next().map(fill).unwrap_or_default());
        for word in words {
            if word.contains("{connect}") {
                let each = dials.iter().map(|addr| word.replace("{connect}", &addr.to_string()));
                command.args(each);
            } else {
                command.arg(fill(word));
            }
        }
        command.stdin(std::process::Stdio::null());
        command
    }

    /// Notes what has ended.
    pub(super) fn reap(&mut self) -> Vec<usize> {
        let mut ended = Vec::new();
        for (node, place) in self.places.iter_mut().enumerate() {
            let Some(child) = &mut place.child else { continue };
            let how = match child.try_wait() {
                Ok(None) => continue,
                Ok(Some(status)) => status.to_string(),
                Err(error) => error.to_string(),
            };
            place.child = None;
            place.ended = Some(how);
            ended.push(node);
        }
        ended
    }

    /// Sends a signal to a node that runs.
    fn signal(&mut self, node: usize, signal: Signal) -> io::Result<()> {
        // Its id is its own as long as nobody has waited for it.
        match &self.places[node].child {
            Some(child) => Ok(kill_process(Pid::from_child(child), signal)?),
            None => Ok(()),
        }
    }

    /// Stops a node in its tracks, or has it go on.
    pub(super) fn stall(&mut self, node: usize, stalled: bool) -> io::Result<()> {
        self.places[node].stalled = stalled;
        self.signal(node, if stalled { Signal::STOP } else { Signal::CONT })
    }

    /// Ends a node on purpose.
    pub(super) fn end(&mut self, node: usize, hard: bool) -> io::Result<()> {
        self.places[node].wanted_down = true;
        self.places[node].by_plan = false;
        self.signal(node, if hard { Signal::KILL } else { Signal::TERM })?;
        // One that was stopped hears of it only when it goes on.
        self.signal(node, Signal::CONT)
    }

    /// Ends a node because the plan has it fail or leave.
    pub(super) fn end_by_plan(&mut self, node: usize, hard: bool) -> io::Result<()> {
        self.end(node, hard)?;
        self.places[node].by_plan = true;
        Ok(())
    }

    pub(super) fn is_running(&self, node: usize) -> bool {
        self.places[node].child.is_some()
    }

    pub(super) fn count_running(&self) -> usize {
        self.places.iter().filter(|place| place.child.is_some()).count()
    }

    pub(super) fn status(&self) -> Vec<NodeStatus> {
        let status = |place: &Place| NodeStatus {
            pid: place.child.as_ref().map(Child::id),
            ended: place.ended.clone(),
            wanted_down: place.wanted_down,
            by_plan: place.by_plan,
            stalled: place.stalled,
        };
        self.places.iter().map(status).collect()
    }
}
