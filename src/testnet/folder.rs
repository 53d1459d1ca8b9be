//! The run folder of a network, and the description of the network in it.
//!
//! | path | has |
//! |---|---|
//! | `testnet.json` | the [`Network`] |
//! | `control` | the keeper's socket |
//! | `keeper.log` | the keeper's log |
//! | `page.log` | the log of its page |
//! | `http-token` | the token of its page |
//! | `links.jsonl` | which connection carries which link |
//! | `nodes/N/` | `log`, `events.jsonl`, `control` (its socket), `state/` and `share/` of a node |
//! | `searches/` | output of running searches |

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
/// Highest number of a node.
const LAST_NODE: usize = 999;
const NODES: &str = "nodes";
const LINKS: &str = "links.jsonl";
const KEEPER_LOG: &str = "keeper.log";
const SEARCHES: &str = "searches";
const PAGE_LOG: &str = "page.log";
const TOKEN: &str = "http-token";

/// The longest path a Unix socket can have, less its final zero.
const MAX_SOCKET_PATH: usize = 107;

/// A network. It does not change from start to end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Network {
    /// Identifies its processes, which have it in their environment.
    pub id: String,
    /// Seed of its faults.
    pub seed: u64,
    /// TTL of the searches of the plan.
    pub ttl: u8,
    /// Number of searches of the plan.
    pub queries: usize,
    /// Name of the node these searches start from; `None` draws one for each.
    pub from: Option<String>,
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// Its links.
    pub links: Vec<Link>,
    /// Conditions of every link, unless changed by a command.
    pub conditions: Conditions,
    /// Faults, once all links have stood.
    pub faults: Faults,
}

/// A node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// Its name in the plan.
    pub name: String,
    /// The address it listens on.
    pub addr: SocketAddrV4,
    /// Folders it shares.
    pub share: Vec<PathBuf>,
    /// The command of a foreign servent; empty for one of ours.
    pub command: Vec<String>,
    /// Whether it is a leaf, which accepts no links.
    pub leaf: bool,
    /// What it dials with, as `servent run --dialect` takes it: `0.4`, `0.6` or `auto`.
    pub dialect: String,
}

impl Node {
    /// Whether it is a servent of ours, which records events.
    pub fn is_ours(&self) -> bool {
        self.command.is_empty()
    }
}

/// A link between two nodes, by number. It speaks what `from` dials with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The node that dials.
    pub from: usize,
    /// The node that is dialled.
    pub to: usize,
}

/// The conditions of a link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// One-way delay.
    pub delay: Duration,
    /// Bytes per second, each way.
    pub bandwidth: Option<u64>,
    /// Bytes in flight or unread, each way, before the writer waits.
    pub window: usize,
    /// Bytes arrive in pieces, cut at random.
    pub split: bool,
    /// Nothing gets through; connections stay open.
    pub blackhole: bool,
    /// The dialled side reads 1 kB/s.
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
    /// The differences from `plan`, in words.
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

    /// The graph, for drawing.
    pub fn graph(&self) -> Graph {
        let names = self.nodes.iter().map(|node| node.name.clone()).collect();
        Graph { names, edges: self.links.iter().map(|link| (link.from, link.to)).collect() }
    }

    /// The node itself, or the next that is ours: another program cannot be told to search.
    pub fn searcher_near(&self, node: usize) -> usize {
        let count = self.nodes.len();
        let all = (0..count).map(|step| (node + step) % count);
        all.into_iter().find(|node| self.nodes[*node].is_ours()).unwrap_or(node)
    }

    /// Number of links of a node.
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
    /// The folder at `path`, which need not exist.
    ///
    /// # Errors
    /// When the path is too long for a socket in it, or cannot be made absolute.
    pub fn new(path: &Path) -> io::Result<RunFolder> {
        let path = std::path::absolute(path)?;
        let longest = RunFolder { path: path.clone() }.control(LAST_NODE);
        let excess = longest.as_os_str().len().saturating_sub(MAX_SOCKET_PATH);
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

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The keeper's socket.
    pub fn socket(&self) -> PathBuf {
        self.path.join(SOCKET)
    }

    /// The keeper's log.
    pub fn keeper_log(&self) -> PathBuf {
        self.path.join(KEEPER_LOG)
    }

    /// The log of its page.
    pub fn page_log(&self) -> PathBuf {
        self.path.join(PAGE_LOG)
    }

    /// The file with the token of its page.
    pub fn token(&self) -> PathBuf {
        self.path.join(TOKEN)
    }

    /// The list of relayed connections.
    pub fn links(&self) -> PathBuf {
        self.path.join(LINKS)
    }

    /// Output of running searches.
    pub fn searches(&self) -> PathBuf {
        self.path.join(SEARCHES)
    }

    /// The folder of a node, named by number: a name may be any text.
    pub fn node(&self, number: usize) -> PathBuf {
        self.path.join(NODES).join(number.to_string())
    }

    /// The generated files of a node.
    pub fn share(&self, number: usize) -> PathBuf {
        self.node(number).join("share")
    }

    /// The log of a node.
    pub fn log(&self, number: usize) -> PathBuf {
        self.node(number).join("log")
    }

    /// The control socket of a node.
    pub fn control(&self, number: usize) -> PathBuf {
        self.node(number).join(SOCKET)
    }

    /// The events of a node.
    pub fn events(&self, number: usize) -> PathBuf {
        self.node(number).join("events.jsonl")
    }

    /// Creates the folder for `network`.
    ///
    /// # Errors
    /// When it is not empty, or the disk refuses.
    pub fn create(&self, network: &Network) -> io::Result<()> {
        let cannot = cannot_write(&self.path);
        fs::create_dir_all(&self.path).map_err(&cannot)?;
        if fs::read_dir(&self.path).map_err(&cannot)?.next().is_some() {
            let text = match self.path.join(NETWORK).exists() {
                true => "there is a network in it already; \"servent testnet down\" stops it",
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
        // Written last and atomically: a folder with it is complete.
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

    /// Removes the network's files, and the folder if it has no others.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove(&self) -> io::Result<()> {
        for folder in [NODES, SEARCHES] {
            unless_absent(fs::remove_dir_all(self.path.join(folder)))?;
        }
        let of_keeper = [SOCKET, "control.new", LINKS, KEEPER_LOG];
        let of_page = [PAGE_LOG, TOKEN, "http-token.new"];
        for file in of_keeper.into_iter().chain(of_page).chain(["testnet.json.new", NETWORK]) {
            unless_absent(fs::remove_file(self.path.join(file)))?;
        }
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => unless_absent(removed),
        }
    }
}

/// Adds the path to an error of the disk. A missing parent folder is not reported as
/// [`ErrorKind::NotFound`], which stands for a missing network.
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

fn unless_absent(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
