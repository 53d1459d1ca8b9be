//! A running network seen from outside: its processes, and what nodes say of their links.

use super::control::{self, NetworkStatus};
use super::feed;
use super::folder::{Conditions, Network, RunFolder};
use super::process;
use super::shared::files_in;
use super::tail::{Carried, EventTail, Tail};
use crate::control::results::LinkRow;
use crate::driver::EventRecord;
use crate::wire::Dialect;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddrV4;

/// The state of a network, as of the last refresh.
pub struct View {
    /// Its run folder.
    pub folder: RunFolder,
    /// Its description.
    pub network: Network,
    status: NetworkStatus,
    carried: Tail,
    /// Peers of the standing links of each node, and what it says of them.
    linked: Vec<BTreeMap<SocketAddrV4, Linked>>,
    /// Links by the peer that the dialling node sees.
    relays: BTreeMap<SocketAddrV4, usize>,
    /// Links by the dialled node and the peer it sees. Ports are reused, also towards other nodes.
    dialled: BTreeMap<(usize, SocketAddrV4), usize>,
}

/// A link as one of its ends sees it.
#[derive(Clone, Copy, Debug)]
struct Linked {
    dialect: Dialect,
    /// Whether the query routing table of its peer is complete.
    is_routed: bool,
}

/// The state of one node.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// The address it listens on.
    pub addr: SocketAddrV4,
    /// `up`, or how it ended.
    pub state: String,
    /// Its process, while it runs.
    pub pid: Option<u32>,
    /// Links of the plan that stand.
    pub links: usize,
    /// Links of the plan.
    pub planned_links: usize,
    /// Files it shares; `None` where its folders cannot be read.
    pub files: Option<usize>,
    /// Faults of its links, and how many links have each.
    pub faults: BTreeMap<String, usize>,
    /// Its resident memory in bytes, where the system reports it.
    pub resident_bytes: Option<u64>,
}

impl View {
    /// The network in `folder`.
    ///
    /// # Errors
    /// When there is none, or it is not running.
    pub fn open(folder: &RunFolder) -> io::Result<View> {
        let mut view = View::unasked(folder)?;
        view.look()?;
        Ok(view)
    }

    /// The network in `folder`, before its nodes were asked.
    ///
    /// # Errors
    /// As [`View::open`].
    pub(super) fn unasked(folder: &RunFolder) -> io::Result<View> {
        let network = folder.network()?;
        let nodes = network.nodes.len();
        let status = control::status(folder)?;
        Ok(View {
            folder: folder.clone(),
            relays: status.links.iter().map(|link| link.relay).zip(0..).collect(),
            status,
            carried: Tail::new(folder.links()),
            linked: (0..nodes).map(|_| BTreeMap::new()).collect(),
            dialled: BTreeMap::new(),
            network,
        })
    }

    /// Asks again.
    ///
    /// # Errors
    /// When the network is not running or its folder cannot be read.
    pub fn refresh(&mut self) -> io::Result<()> {
        self.refresh_status()?;
        self.look()
    }

    /// Asks the keeper again, and no node.
    ///
    /// # Errors
    /// When the network is not running, or another one has taken its place.
    pub(super) fn refresh_status(&mut self) -> io::Result<()> {
        let status = control::status(&self.folder)?;
        // Numbers of nodes and links mean nothing in another network.
        let relays = |status: &NetworkStatus| -> Vec<SocketAddrV4> {
            status.links.iter().map(|link| link.relay).collect()
        };
        if status.nodes.len() != self.status.nodes.len() || relays(&status) != relays(&self.status)
        {
            let text = format!(
                "the network in {} was stopped, and another one started there",
                self.folder.path().display()
            );
            return Err(io::Error::new(io::ErrorKind::NotConnected, text));
        }
        self.status = status;
        Ok(())
    }

    fn look(&mut self) -> io::Result<()> {
        for node in 0..self.network.nodes.len() {
            if !self.network.nodes[node].is_ours() || self.status.nodes[node].stalled {
                // The one says nothing, the other can say nothing now.
                continue;
            }
            // A servent that has just been started may not answer yet.
            let rows = match self.is_running(node) {
                true => feed::links(&self.folder.control(node)).unwrap_or_default(),
                false => Vec::new(),
            };
            self.set_links(node, &rows);
        }
        self.read_carried()
    }

    /// Takes in the links that a node has told of.
    pub(super) fn set_links(&mut self, node: usize, rows: &[LinkRow]) {
        let linked = rows.iter().filter_map(|row| {
            let dialect = Dialect::named(&row.dialect)?;
            let is_routed = row.routed == Some(true);
            Some((row.addr.parse().ok()?, Linked { dialect, is_routed }))
        });
        self.linked[node] = linked.collect();
    }

    /// Reads which connections the keeper carries; after a node was asked: the keeper lists a connection
    /// before a node sees it.
    pub(super) fn read_carried(&mut self) -> io::Result<()> {
        for carried in self.carried.read::<Carried>()? {
            let Some(link) = self.network.links.get(carried.link) else { continue };
            self.dialled.insert((link.to, carried.to_sees), carried.link);
        }
        Ok(())
    }

    /// All that the nodes have recorded so far, those of each in order.
    ///
    /// # Errors
    /// When their logs cannot be read.
    pub(super) fn records(&self) -> io::Result<Vec<(usize, EventRecord)>> {
        let mut records = Vec::new();
        for node in 0..self.network.nodes.len() {
            let own = EventTail::new(self.folder.events(node)).read()?;
            records.extend(own.into_iter().map(|record| (node, record)));
        }
        Ok(records)
    }

    /// The link that `node` sees as `peer`; none for guests.
    pub fn link_of(&self, node: usize, peer: SocketAddrV4) -> Option<usize> {
        let links = &self.network.links;
        let dialled = self.dialled.get(&(node, peer));
        let relay = || self.relays.get(&peer).filter(|link| links[**link].from == node);
        dialled.or_else(relay).copied()
    }

    /// The neighbour that `node` sees as `peer`.
    pub fn neighbour(&self, node: usize, peer: SocketAddrV4) -> Option<usize> {
        let link = self.network.links[self.link_of(node, peer)?];
        Some(if link.from == node { link.to } else { link.from })
    }

    /// Whether the process of a node runs.
    pub fn is_running(&self, node: usize) -> bool {
        self.status.nodes[node].pid.is_some()
    }

    /// The process of a node, while it runs.
    pub(super) fn pid(&self, node: usize) -> Option<u32> {
        self.status.nodes[node].pid
    }

    /// Whether the plan has stopped the process of a node for a while.
    pub(super) fn is_stalled(&self, node: usize) -> bool {
        self.status.nodes[node].stalled
    }

    /// Checks that a node can be asked to search.
    ///
    /// # Errors
    /// When its process does not run, or is of another program; the message says what to do.
    pub fn must_search(&self, node: usize) -> io::Result<()> {
        let described = &self.network.nodes[node];
        if !described.is_ours() {
            let next = self.network.nodes.iter().find(|other| other.is_ours());
            let text = format!(
                "node \"{}\" is another program, which cannot be told to search; search from one of \
                 ours{}",
                described.name,
                next.map(|node| format!(", such as \"{}\"", node.name)).unwrap_or_default()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if self.is_running(node) {
            return Ok(());
        }
        let text = format!(
            "node \"{}\" is down ({}); \"servent testnet up\" starts it again",
            described.name,
            self.state(node)
        );
        Err(io::Error::new(io::ErrorKind::NotConnected, text))
    }

    /// `up`, or how the process of a node ended.
    pub(super) fn state(&self, node: usize) -> String {
        let status = &self.status.nodes[node];
        match (&status.ended, status.wanted_down) {
            _ if status.pid.is_some() && status.stalled => "up, stalled by the plan".to_owned(),
            _ if status.pid.is_some() => "up".to_owned(),
            (Some(_), true) if status.by_plan => "stopped by the plan".to_owned(),
            (Some(_), true) => "stopped by you".to_owned(),
            (Some(how), false) => format!("ended by itself: {how}"),
            (None, _) => "not started".to_owned(),
        }
    }

    /// Whether nodes have started or ended since the last refresh.
    ///
    /// # Errors
    /// When the network is not running.
    pub(super) fn has_changed(&self) -> io::Result<bool> {
        let pids =
            |status: &NetworkStatus| status.nodes.iter().map(|it| it.pid).collect::<Vec<_>>();
        Ok(pids(&control::status(&self.folder)?) != pids(&self.status))
    }

    /// Whether a node was stopped on purpose.
    pub fn is_wanted_down(&self, node: usize) -> bool {
        self.status.nodes[node].wanted_down
    }

    /// Whether a link is blackholed, so that it need not stand.
    pub fn is_dark(&self, link: usize) -> bool {
        self.status.links[link].conditions.blackhole
    }

    /// The conditions of a link.
    pub fn conditions(&self, link: usize) -> &Conditions {
        &self.status.links[link].conditions
    }

    /// Whether a link stands at both ends. One of a leaf also carries what the leaf shares: before that
    /// its ultrapeer asks it for nothing.
    pub fn stands(&self, link: usize) -> bool {
        let ends = self.network.links[link];
        let sees = |node: usize| {
            let linked = &self.linked[node];
            !self.network.nodes[node].is_ours()
                || linked.keys().any(|peer| self.link_of(node, *peer) == Some(link))
        };
        let carried = self.status.links[link].open > 0;
        let both_run = self.is_running(ends.from) && self.is_running(ends.to);
        carried && both_run && sees(ends.from) && sees(ends.to) && self.is_routed(link)
    }

    /// What a link speaks, as its ends say, if it is not what it is dialled with.
    pub(super) fn misspeaks(&self, link: usize) -> Option<Dialect> {
        let ends = self.network.links[link];
        let wanted = Dialect::named(&self.network.nodes[ends.from].dialect)?;
        let of_link = |node: usize| {
            let linked = self.linked[node].iter();
            linked.filter(move |(peer, _)| self.link_of(node, **peer) == Some(link))
        };
        let mut spoken = [ends.from, ends.to].into_iter().flat_map(of_link);
        spoken.find(|(_, it)| it.dialect != wanted).map(|(_, it)| it.dialect)
    }

    /// Whether the ultrapeer of a leaf has its route table.
    fn is_routed(&self, link: usize) -> bool {
        let ends = self.network.links[link];
        let nodes = &self.network.nodes;
        let mut linked = self.linked[ends.to].iter();
        !nodes[ends.from].leaf
            || !nodes[ends.from].is_ours()
            || !nodes[ends.to].is_ours()
            || linked.any(|(peer, it)| it.is_routed && self.link_of(ends.to, *peer) == Some(link))
    }

    /// Number of links that stand.
    pub fn standing(&self) -> usize {
        (0..self.network.links.len()).filter(|link| self.stands(*link)).count()
    }

    /// Nodes that ended by themselves, and how.
    pub fn casualties(&self) -> Vec<(usize, String)> {
        let nodes = self.status.nodes.iter().enumerate();
        nodes
            .filter(|(_, node)| !node.wanted_down)
            .filter_map(|(number, node)| Some((number, node.ended.clone()?)))
            .collect()
    }

    /// The faults of a link, in words; empty without one.
    pub fn fault(&self, link: usize) -> String {
        self.conditions(link).differences(&self.network.conditions).join(", ")
    }

    /// Faults of the links of a node, and how many links have each.
    pub(super) fn faults_of(&self, node: usize) -> BTreeMap<String, usize> {
        let mut faults = BTreeMap::new();
        let links = self.network.links.iter().enumerate();
        for (number, _) in links.filter(|(_, link)| link.from == node || link.to == node) {
            let fault = self.fault(number);
            if !fault.is_empty() {
                *faults.entry(fault).or_default() += 1;
            }
        }
        faults
    }

    /// The state of every node.
    pub fn nodes(&self) -> Vec<NodeState> {
        let state = |(number, node): (usize, &super::folder::Node)| {
            let status = &self.status.nodes[number];
            let stands = |link: &usize| {
                let ends = self.network.links[*link];
                (ends.from == number || ends.to == number) && self.stands(*link)
            };
            NodeState {
                name: node.name.clone(),
                addr: node.addr,
                state: self.state(number),
                pid: status.pid,
                links: (0..self.network.links.len()).filter(stands).count(),
                planned_links: self.network.degree(number),
                files: files_in(&node.share).ok().map(|files| files.len()),
                faults: self.faults_of(number),
                resident_bytes: status.pid.and_then(|pid| process::memory(pid, "VmRSS")),
            }
        };
        self.network.nodes.iter().enumerate().map(state).collect()
    }
}
