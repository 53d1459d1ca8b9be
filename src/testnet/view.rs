//! A running network seen from outside: its processes, and the events that nodes record.

use super::control::{self, NetworkStatus};
use super::folder::{Conditions, Network, RunFolder};
use super::process;
use super::shared::files_in;
use super::tail::{Carried, EventTail, Tail};
use crate::driver::{EventRecord, RecordedEvent};
use crate::wire::Dialect;
use crate::wire::qrp::QRP;
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
    events: Vec<EventTail>,
    carried: Tail,
    /// Peers of the standing links of each node, and what these speak.
    linked: Vec<BTreeMap<SocketAddrV4, Dialect>>,
    /// Query routing messages by node and the peer it had them from, since their link stands.
    routed: BTreeMap<(usize, SocketAddrV4), usize>,
    /// Links by the peer that the dialling node sees.
    relays: BTreeMap<SocketAddrV4, usize>,
    /// Links by the dialled node and the peer it sees. Ports are reused, also towards other nodes.
    dialled: BTreeMap<(usize, SocketAddrV4), usize>,
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
        let mut view = View::unread(folder)?;
        view.refresh(&mut |_, _| {})?;
        Ok(view)
    }

    /// The network in `folder` with no event read: the first refresh shows all events.
    ///
    /// # Errors
    /// See [`View::open`].
    pub(super) fn unread(folder: &RunFolder) -> io::Result<View> {
        let network = folder.network()?;
        let nodes = 0..network.nodes.len();
        let status = control::status(folder)?;
        Ok(View {
            folder: folder.clone(),
            relays: status.links.iter().map(|link| link.relay).zip(0..).collect(),
            status,
            events: nodes.clone().map(|node| EventTail::new(folder.events(node))).collect(),
            carried: Tail::new(folder.links()),
            linked: nodes.map(|_| BTreeMap::new()).collect(),
            routed: BTreeMap::new(),
            dialled: BTreeMap::new(),
            network,
        })
    }

    /// Reads what is new, and passes each record to `see` with the number of its node.
    ///
    /// # Errors
    /// When the network is not running or its folder cannot be read.
    pub fn refresh(&mut self, see: &mut dyn FnMut(usize, EventRecord)) -> io::Result<()> {
        self.status = control::status(&self.folder)?;
        let records =
            self.events.iter_mut().map(EventTail::read).collect::<io::Result<Vec<_>>>()?;
        // Read after them: the keeper lists a connection before a node sees it.
        for carried in self.carried.read::<Carried>()? {
            let Some(link) = self.network.links.get(carried.link) else { continue };
            self.dialled.insert((link.to, carried.to_sees), carried.link);
        }
        for (node, records) in records.into_iter().enumerate() {
            for record in records {
                self.note(node, &record.event);
                see(node, record);
            }
        }
        Ok(())
    }

    fn note(&mut self, node: usize, event: &RecordedEvent) {
        let linked = &mut self.linked[node];
        match event {
            RecordedEvent::Start { .. } => linked.clear(),
            RecordedEvent::LinkUp { peer, dialect, .. } => {
                linked.insert(*peer, *dialect);
                self.routed.remove(&(node, *peer));
            }
            RecordedEvent::LinkDown { peer, .. } => {
                linked.remove(peer);
            }
            RecordedEvent::Received { descriptor, .. } if descriptor.kind == QRP => {
                *self.routed.entry((node, descriptor.peer)).or_default() += 1;
            }
            _ => {}
        }
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

    /// Checks that a guest can link with a node, to search from it.
    ///
    /// # Errors
    /// When its process does not run, or when it is a leaf; the message says what to do.
    pub fn must_take_guests(&self, node: usize) -> io::Result<()> {
        let described = &self.network.nodes[node];
        if described.leaf {
            let ultrapeer = &self.network.nodes[self.network.host_of_guests(node)].name;
            let text = format!(
                "node \"{}\" is a leaf, which accepts no links: search from its ultrapeer \
                 \"{ultrapeer}\"",
                described.name
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if self.is_running(node) {
            return Ok(());
        }
        let text = format!(
            "node \"{}\" is down ({}); \"servent testnet up\" starts it again",
            self.network.nodes[node].name,
            self.state(node)
        );
        Err(io::Error::new(io::ErrorKind::NotConnected, text))
    }

    /// `up`, or how the process of a node ended.
    fn state(&self, node: usize) -> String {
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

    /// Number of records of all nodes that are known to be lost.
    pub(super) fn lost_records(&self) -> usize {
        self.events.iter().map(EventTail::lost).sum()
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
        spoken.find(|(_, dialect)| **dialect != wanted).map(|(_, dialect)| *dialect)
    }

    /// Whether the ultrapeer of a leaf has its route table: a RESET and a PATCH at least.
    fn is_routed(&self, link: usize) -> bool {
        let ends = self.network.links[link];
        let nodes = &self.network.nodes;
        let tables = self.routed.iter().filter(|((node, _), _)| *node == ends.to);
        let of_link = |peer: &SocketAddrV4| self.link_of(ends.to, *peer) == Some(link);
        !nodes[ends.from].leaf
            || !nodes[ends.from].is_ours()
            || !nodes[ends.to].is_ours()
            || tables.into_iter().any(|((_, peer), messages)| *messages > 1 && of_link(peer))
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
    fn faults_of(&self, node: usize) -> BTreeMap<String, usize> {
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
