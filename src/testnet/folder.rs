//! The run folder: everything one network has on disk, and what it is made of.

use crate::plan::Faults;
use crate::plan::topology::Graph;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::Duration;

const NETWORK: &str = "testnet.json";
const SOCKET: &str = "control";
const NODES: &str = "nodes";
const LINKS: &str = "links.jsonl";
const KEEPER_LOG: &str = "keeper.log";
const SEARCHES: &str = "searches";

/// The longest path a Unix socket can have, less its final zero.
const MAX_SOCKET_PATH: usize = 107;

/// What a network is made of; fixed from its start to its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Network {
    /// Marks its processes, in their environment.
    pub id: String,
    /// Where the randomness of its faults comes from.
    pub seed: u64,
    /// TTL of the searches of its plan.
    pub ttl: u8,
    /// How many there are.
    pub queries: usize,
    /// The node they start from, by name; otherwise random ones.
    pub from: Option<String>,
    /// Who takes part.
    pub nodes: Vec<Node>,
    /// Who is linked with whom.
    pub links: Vec<Link>,
    /// How links behave unless told otherwise.
    pub conditions: Conditions,
    /// What goes wrong when all links have stood.
    pub faults: Faults,
}

/// A place in the network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// Its name in the plan.
    pub name: String,
    /// Where it listens.
    pub addr: SocketAddrV4,
    /// Folders it shares.
    pub share: Vec<PathBuf>,
    /// Another program than a servent of ours; empty is none.
    pub command: Vec<String>,
}

impl Node {
    /// Whether it is a servent of ours, which tells what it sees.
    pub fn is_ours(&self) -> bool {
        self.command.is_empty()
    }
}

/// Two nodes that keep a link, by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The one that dials.
    pub from: usize,
    /// The one that is dialled.
    pub to: usize,
}

/// How a link behaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// One-way delay.
    pub delay: Duration,
    /// Bytes per second, each way.
    pub bandwidth: Option<u64>,
    /// Bytes under way or unread, each way, before the writer has to wait.
    pub window: usize,
    /// What is written arrives in pieces, cut at random.
    pub split: bool,
    /// Nothing gets through, and nobody is told.
    pub blackhole: bool,
    /// The dialled side takes in a trickle only.
    pub slow_reader: bool,
}

impl Default for Conditions {
    fn default() -> Conditions {
        Conditions {
            delay: Duration::ZERO,
            bandwidth: None,
            window: 65_536,
            split: false,
            blackhole: false,
            slow_reader: false,
        }
    }
}

impl Conditions {
    /// How the link behaves, in words: what differs from `plan`. Empty when nothing does.
    pub fn differences(&self, plan: &Conditions) -> Vec<String> {
        let mut out = Vec::new();
        if self.delay != plan.delay {
            out.push(format!("delay {:?}", self.delay));
        }
        if self.bandwidth != plan.bandwidth {
            out.push(
                self.bandwidth.map_or_else(
                    || "no bandwidth limit".to_owned(),
                    |rate| format!("{rate} bytes/s"),
                ),
            );
        }
        let marks = [
            (self.blackhole && !plan.blackhole, "blackhole"),
            (self.slow_reader && !plan.slow_reader, "slow reader"),
        ];
        out.extend(marks.into_iter().filter(|(is, _)| *is).map(|(_, what)| what.to_owned()));
        out
    }
}

impl Network {
    /// The number of the node called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn node(&self, name: &str) -> io::Result<usize> {
        self.nodes.iter().position(|node| node.name == name).ok_or_else(|| {
            let (first, last) = (&self.nodes[0].name, &self.nodes[self.nodes.len() - 1].name);
            let text = format!(
                "there is no node called \"{name}\"; the {} nodes are called \"{first}\" to \
                 \"{last}\"",
                self.nodes.len()
            );
            io::Error::new(ErrorKind::InvalidInput, text)
        })
    }

    /// Who is linked with whom, for drawing.
    pub fn graph(&self) -> Graph {
        let names = self.nodes.iter().map(|node| node.name.clone()).collect();
        Graph { names, edges: self.links.iter().map(|link| (link.from, link.to)).collect() }
    }

    /// How many links a node has.
    pub fn degree(&self, node: usize) -> usize {
        self.links.iter().filter(|link| link.from == node || link.to == node).count()
    }
}

/// The folder of one network.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// The folder at `path`, which need not be there.
    ///
    /// # Errors
    /// When the path is too long for a socket in it, or cannot be made absolute.
    pub fn new(path: &Path) -> io::Result<RunFolder> {
        let path = std::path::absolute(path)?;
        let excess = path.join("control.new").as_os_str().len().saturating_sub(MAX_SOCKET_PATH);
        if excess > 0 {
            let text = format!(
                "the path {} is {excess} bytes too long for a socket in it: choose another \
                 folder with --dir",
                path.display()
            );
            return Err(io::Error::new(ErrorKind::InvalidInput, text));
        }
        Ok(RunFolder { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The socket the keeper listens on.
    pub fn socket(&self) -> PathBuf {
        self.path.join(SOCKET)
    }

    /// What the keeper itself has to tell.
    pub fn keeper_log(&self) -> PathBuf {
        self.path.join(KEEPER_LOG)
    }

    /// Which connection carried which link.
    pub fn links(&self) -> PathBuf {
        self.path.join(LINKS)
    }

    /// What searches told, while they run.
    pub fn searches(&self) -> PathBuf {
        self.path.join(SEARCHES)
    }

    /// The folder of a node. Names may be anything, so it has its number.
    pub fn node(&self, number: usize) -> PathBuf {
        self.path.join(NODES).join(number.to_string())
    }

    /// The generated files of a node.
    pub fn share(&self, number: usize) -> PathBuf {
        self.node(number).join("share")
    }

    /// What a node prints.
    pub fn log(&self, number: usize) -> PathBuf {
        self.node(number).join("log")
    }

    /// What a node sees.
    pub fn events(&self, number: usize) -> PathBuf {
        self.node(number).join("events.jsonl")
    }

    /// Makes the folder for `network`.
    ///
    /// # Errors
    /// When there is one already, or the disk refuses.
    pub fn create(&self, network: &Network) -> io::Result<()> {
        let cannot = cannot_write(&self.path);
        fs::create_dir_all(&self.path).map_err(&cannot)?;
        if fs::read_dir(&self.path).map_err(&cannot)?.next().is_some() {
            let text = match self.path.join(NETWORK).exists() {
                true => "there is a network in it already; \"servent testnet down\" ends it",
                false => "it is not empty",
            };
            let text = format!("cannot use the folder {}: {text}", self.path.display());
            return Err(io::Error::new(ErrorKind::AlreadyExists, text));
        }
        self.fill(network).map_err(cannot)
    }

    fn fill(&self, network: &Network) -> io::Result<()> {
        for number in 0..network.nodes.len() {
            fs::create_dir_all(self.node(number))?;
        }
        fs::create_dir(self.searches())?;
        // Written last and in one step: a folder that has it is complete.
        let draft = self.path.join("testnet.json.new");
        fs::write(&draft, serde_json::to_vec_pretty(network)?)?;
        fs::rename(draft, self.path.join(NETWORK))
    }

    /// The network in it.
    ///
    /// # Errors
    /// When there is none.
    pub fn network(&self) -> io::Result<Network> {
        let path = self.path.join(NETWORK);
        let text = fs::read(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => io::Error::new(
                ErrorKind::NotFound,
                format!(
                    "there is no network in {}: \"servent testnet up\" starts one",
                    self.path.display()
                ),
            ),
            _ => io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display())),
        })?;
        serde_json::from_slice(&text)
            .map_err(|error| io::Error::other(format!("{} is damaged: {error}", path.display())))
    }

    /// Removes what the network has put here, and the folder if nothing else is in it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove(&self) -> io::Result<()> {
        for folder in [NODES, SEARCHES] {
            absent_is_fine(fs::remove_dir_all(self.path.join(folder)))?;
        }
        for file in [SOCKET, "control.new", LINKS, KEEPER_LOG, "testnet.json.new", NETWORK] {
            absent_is_fine(fs::remove_file(self.path.join(file)))?;
        }
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => absent_is_fine(removed),
        }
    }
}

/// Names the path that an error of the disk is about. That a folder on the way is not there is no
/// [`ErrorKind::NotFound`], which stands for a network that is not there.
pub(super) fn cannot_write(path: &Path) -> impl Fn(io::Error) -> io::Error + use<> {
    let path = path.to_path_buf();
    move |error| {
        let kind = match error.kind() {
            ErrorKind::NotFound => ErrorKind::NotADirectory,
            kind => kind,
        };
        io::Error::new(kind, format!("cannot write {}: {error}", path.display()))
    }
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
