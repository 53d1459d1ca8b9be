//! The processes of the nodes: started, signalled, reaped.

use super::super::control::NodeStatus;
use super::super::folder::{Network, Node, RunFolder};
use super::super::process;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::io;
use std::net::SocketAddrV4;
use std::process::{Child, Command};

/// Links for guests, such as searches, beyond those of the plan.
const GUEST_LINKS: usize = 32;
/// TTL limit of a node: the highest, so that the plan decides how far a search goes.
const MAX_TTL: &str = "15";

/// The process of one node, or how it ended.
#[derive(Default)]
struct NodeProcess {
    child: Option<Child>,
    ended: Option<String>,
    wanted_down: bool,
    by_plan: bool,
    stalled: bool,
}

pub(super) struct Children {
    folder: RunFolder,
    network: Network,
    processes: Vec<NodeProcess>,
}

impl Children {
    pub(super) fn new(folder: RunFolder, network: Network) -> Children {
        let processes = network.nodes.iter().map(|_| NodeProcess::default()).collect();
        Children { folder, network, processes }
    }

    /// Starts a node; `dials` are the addresses of its static peers.
    pub(super) fn start(&mut self, node: usize, dials: &[SocketAddrV4]) -> io::Result<()> {
        let described = &self.network.nodes[node];
        let mut command = match described.is_ours() {
            true => self.servent(node, dials)?,
            false => self.foreign(described, node, dials),
        };
        let log = OpenOptions::new().create(true).append(true).open(self.folder.log(node))?;
        command.stdout(log.try_clone()?).stderr(log).current_dir(self.folder.node(node));
        process::mark(&mut command, &self.network.id);
        let child = command.spawn().map_err(|error| {
            let program = command.get_program().to_string_lossy();
            io::Error::new(error.kind(), format!("node \"{}\": {program}: {error}", described.name))
        })?;
        self.processes[node] = NodeProcess { child: Some(child), ..NodeProcess::default() };
        Ok(())
    }

    fn servent(&self, node: usize, dials: &[SocketAddrV4]) -> io::Result<Command> {
        let described = &self.network.nodes[node];
        let folder = self.folder.node(node);
        let max_links = self.network.degree(node) + GUEST_LINKS;
        let mut command = process::command(&std::env::current_exe()?);
        command.args([
            "run",
            "--listen",
            &described.addr.to_string(),
            "--links",
            "0",
            "--no-pings",
        ]);
        command.args(["--max-links", &max_links.to_string(), "--ttl", MAX_TTL]);
        command.args(["--dialect", &described.dialect]);
        if described.leaf {
            command.args(["--role", "leaf"]);
        }
        command.arg("--state").arg(folder.join("state"));
        command.arg("--control").arg(self.folder.control(node));
        command.arg("--events").arg(self.folder.events(node));
        for share in &described.share {
            command.arg("--share").arg(share);
        }
        for addr in dials {
            command.args(["--connect", &addr.to_string()]);
        }
        // The configuration file of the user does not apply.
        command.env("XDG_CONFIG_HOME", &folder).env("RUST_LOG", "info");
        Ok(command)
    }

    /// The command of a foreign servent. `{ip}`, `{port}`, `{dir}` and `{connect}` in its arguments are
    /// replaced; an argument with the last is repeated for each address.
    fn foreign(&self, described: &Node, node: usize, dials: &[SocketAddrV4]) -> Command {
        let fill = |argument: &String| {
            argument
                .replace("{ip}", &described.addr.ip().to_string())
                .replace("{port}", &described.addr.port().to_string())
                .replace("{dir}", &self.folder.node(node).to_string_lossy())
        };
        let mut words = described.command.iter();
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

    /// Reaps the processes that have ended; returns their nodes.
    pub(super) fn reap(&mut self) -> Vec<usize> {
        let mut ended = Vec::new();
        for (node, process) in self.processes.iter_mut().enumerate() {
            let Some(child) = &mut process.child else { continue };
            let how = match child.try_wait() {
                Ok(None) => continue,
                Ok(Some(status)) => status.to_string(),
                Err(error) => error.to_string(),
            };
            process.child = None;
            process.ended = Some(how);
            ended.push(node);
        }
        ended
    }

    /// Sends a signal to a node, if it runs.
    fn signal(&mut self, node: usize, signal: Signal) -> io::Result<()> {
        // The id belongs to the child until it is reaped.
        match &self.processes[node].child {
            Some(child) => Ok(kill_process(Pid::from_child(child), signal)?),
            None => Ok(()),
        }
    }

    /// Stops the process of a node (STOP), or resumes it (CONT).
    pub(super) fn stall(&mut self, node: usize, stalled: bool) -> io::Result<()> {
        self.processes[node].stalled = stalled;
        self.signal(node, if stalled { Signal::STOP } else { Signal::CONT })
    }

    /// Ends a node on purpose, with TERM or, if `hard`, with KILL.
    pub(super) fn end(&mut self, node: usize, hard: bool) -> io::Result<()> {
        self.processes[node].wanted_down = true;
        self.processes[node].by_plan = false;
        self.signal(node, if hard { Signal::KILL } else { Signal::TERM })?;
        // A stopped process handles the signal only after CONT.
        self.signal(node, Signal::CONT)
    }

    /// Ends a node by a fault of the plan.
    pub(super) fn end_by_plan(&mut self, node: usize, hard: bool) -> io::Result<()> {
        self.end(node, hard)?;
        self.processes[node].by_plan = true;
        Ok(())
    }

    pub(super) fn is_running(&self, node: usize) -> bool {
        self.processes[node].child.is_some()
    }

    pub(super) fn count_running(&self) -> usize {
        self.processes.iter().filter(|process| process.child.is_some()).count()
    }

    pub(super) fn status(&self) -> Vec<NodeStatus> {
        let status = |process: &NodeProcess| NodeStatus {
            pid: process.child.as_ref().map(Child::id),
            ended: process.ended.clone(),
            wanted_down: process.wanted_down,
            by_plan: process.by_plan,
            stalled: process.stalled,
        };
        self.processes.iter().map(status).collect()
    }
}
