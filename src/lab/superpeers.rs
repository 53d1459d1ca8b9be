//! `superpeers`: one node in ten or so indexes the files of others and floods for them (Yang and
//! Garcia-Molina 2003; Kazaa, later Gnutella).
//!
//! A leaf registers its files with [`SUPERS_OF_A_LEAF`] superpeers and sends them its lookups. A
//! superpeer answers for its leaves and itself, straight to the searcher, and floods lookups among the
//! superpeers it has links with. Only superpeers learn what is searched.

use super::addr_of;
use super::directory::{Directory, answered};
use super::host::{Held, Host, Io, System, Wanted};
use super::judge::Verdict;
use super::message::{Fields, Head, Purpose, Reader};
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::Guid;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

/// Superpeers a leaf talks to.
const SUPERS_OF_A_LEAF: usize = 2;

/// Superpeers that a superpeer seeks links with. More may seek it.
const LINKS: usize = 4;

/// Links a lookup may cross among superpeers.
const TTL: u8 = 7;

/// Time between two Pings. A node that missed [`MAX_MISSED`] of them is dropped.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// And while there are new links, which may have been made with the dead.
const REPAIR_INTERVAL: Duration = Duration::from_secs(5);
const MAX_MISSED: u8 = 2;

/// A lookup is remembered this long, so that it is flooded once.
const MEMORY: Duration = Duration::from_secs(60);

/// Other superpeers named in an answer to a Ping, and remembered.
const NAMED: usize = 4;
const MAX_SPARE: usize = 8;

/// Bytes of an address, and of a lookup remembered.
const ENTRY_BYTES: [usize; 2] = [6, 16];

/// The first byte of a message.
mod op {
    pub(super) const REGISTER: u8 = 0;
    pub(super) const LINK: u8 = 1;
    pub(super) const PING: u8 = 2;
    pub(super) const PONG: u8 = 3;
    pub(super) const QUERY: u8 = 4;
    pub(super) const HITS: u8 = 5;
}

/// The nodes that each node is told when it joins. Every so many nodes, from node 0 on, is a superpeer.
pub(super) fn introductions(nodes: usize, every: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut rng = Rng::new(seed).fork();
    let introduction = |node: usize| {
        let supers = node.div_ceil(every);
        let count = if node.is_multiple_of(every) { LINKS } else { SUPERS_OF_A_LEAF };
        let mut told = BTreeSet::new();
        while told.len() < count.min(supers) {
            told.insert(every * rng.below(supers));
        }
        told.into_iter().collect()
    };
    (0..nodes).map(introduction).collect()
}

/// See the module documentation.
pub(super) struct SuperPeers {
    files: Arc<[String]>,
    is_super: bool,
    /// Superpeers with a link, and how many Pings they have missed.
    supers: BTreeMap<SocketAddrV4, u8>,
    /// Superpeers heard of.
    spare: BTreeSet<SocketAddrV4>,
    /// On a superpeer: its leaves, what they have, and the lookups it has flooded.
    leaves: BTreeMap<SocketAddrV4, u8>,
    directory: Directory,
    seen: BTreeMap<Guid, Instant>,
}

impl SuperPeers {
    pub(super) fn new(files: Arc<[String]>, is_super: bool) -> SuperPeers {
        SuperPeers {
            files,
            is_super,
            supers: BTreeMap::new(),
            spare: BTreeSet::new(),
            leaves: BTreeMap::new(),
            directory: Directory::default(),
            seen: BTreeMap::new(),
        }
    }

    /// Links with a superpeer: as one of its kind, or as a leaf.
    fn link(&mut self, addr: SocketAddrV4, io: &mut Io) {
        self.supers.insert(addr, 0);
        if self.is_super {
            io.tell(addr, Purpose::Join, &Fields::new().byte(op::LINK));
        } else {
            let fields = Fields::new().byte(op::REGISTER);
            let fields = self.files.iter().fold(fields, |fields, name| fields.text(name));
            io.tell(addr, Purpose::Publish, &fields);
        }
    }

    /// A superpeer answers a lookup and passes it on, once.
    fn flood(
        &mut self,
        from: SocketAddrV4,
        head: Head,
        mut fields: Reader<'_>,
        io: &mut Io,
    ) -> Option<()> {
        let (searcher, text) = (fields.addr()?, fields.text()?);
        if !self.is_super || self.seen.insert(head.guid, io.now).is_some() {
            return Some(());
        }
        let hops = head.hops + 1;
        if let Some(found) = self.directory.answer(text) {
            let answer = Head { hops, ..Head::new(Purpose::Answer, head.guid) };
            io.send(searcher, answer, &Fields::new().byte(op::HITS).and(&found));
        }
        if head.ttl > 1 {
            let query = Fields::new().byte(op::QUERY).addr(searcher).text(text);
            for &other in self.supers.keys().filter(|&&other| other != from) {
                io.send(other, Head { ttl: head.ttl - 1, hops, ..head }, &query);
            }
        }
        Some(())
    }

    /// Drops links that are silent, seeks other superpeers instead, and pings.
    fn keep_links(&mut self, io: &mut Io) {
        io.wake_after(PING_INTERVAL);
        self.supers.retain(|_, missed| *missed < MAX_MISSED);
        let silent = self.leaves.extract_if(.., |_, missed| *missed >= MAX_MISSED);
        silent.for_each(|(leaf, _)| self.directory.forget(leaf));
        self.leaves.values_mut().for_each(|missed| *missed += 1);
        let wanted = if self.is_super { LINKS } else { SUPERS_OF_A_LEAF };
        while self.supers.len() < wanted {
            let others: Vec<_> =
                self.spare.iter().filter(|it| !self.supers.contains_key(it)).collect();
            if others.is_empty() {
                break;
            }
            let other = *others[io.rng.below(others.len())];
            self.spare.remove(&other);
            self.link(other, io);
            io.wake_after(REPAIR_INTERVAL);
        }
        for (addr, missed) in &mut self.supers {
            *missed += 1;
            io.tell(*addr, Purpose::Upkeep, &Fields::new().byte(op::PING));
        }
    }
}

/// The rule of a settled network: each leaf has a superpeer, and each of its superpeers indexes all its
/// files under their words.
pub(super) fn rule(live: &[(usize, &Host<SuperPeers>)]) -> Verdict {
    let by_addr: BTreeMap<_, _> =
        live.iter().map(|(node, host)| (addr_of(*node), host.system())).collect();
    for (node, leaf) in live.iter().map(|(node, host)| (node, host.system())) {
        let mut supers = leaf.supers.keys().filter_map(|addr| by_addr.get(addr)).peekable();
        if leaf.is_super {
            continue;
        }
        if supers.peek().is_none() {
            return Err(format!("node {node} is a leaf without a superpeer"));
        }
        let addr = addr_of(*node);
        let mut pairs = supers.flat_map(|it| leaf.files.iter().map(move |name| (it, name)));
        if let Some((_, name)) = pairs.find(|(it, name)| !it.directory.has(name, addr)) {
            return Err(format!("a superpeer of node {node} does not find its \"{name}\""));
        }
    }
    Ok(())
}

impl System for SuperPeers {
    fn join(&mut self, known: &[SocketAddrV4], io: &mut Io) {
        if self.is_super {
            self.files.iter().for_each(|name| self.directory.add(name, io.own));
        }
        known.iter().for_each(|&addr| self.link(addr, io));
        io.wake_after(PING_INTERVAL);
    }

    fn look_up(&mut self, wanted: &Wanted, io: &mut Io) {
        let query = Fields::new().byte(op::QUERY).addr(io.own).text(&wanted.text);
        let head = Head { ttl: TTL, ..Head::new(Purpose::Lookup, wanted.guid) };
        if self.is_super {
            self.seen.insert(wanted.guid, io.now);
            let own = self.directory.answer(&wanted.text).map(|found| head.frame(&found));
            let read = own.as_deref().and_then(Head::read);
            for (name, holders) in read.into_iter().flat_map(|(_, fields)| answered(fields)) {
                io.found(wanted.guid, name, holders, 0);
            }
        }
        for &addr in self.supers.keys() {
            io.send(addr, head, &query);
        }
    }

    fn message(
        &mut self,
        from: SocketAddrV4,
        head: Head,
        mut fields: Reader<'_>,
        io: &mut Io,
    ) -> Option<()> {
        match fields.byte()? {
            op::REGISTER if self.is_super => {
                self.leaves.insert(from, 0);
                while let Some(name) = fields.text() {
                    self.directory.add(name, from);
                }
            }
            op::LINK => {
                self.supers.insert(from, 0);
            }
            op::PING => {
                let leaf = self.leaves.get_mut(&from).map(|missed| *missed = 0);
                let link = self.supers.get_mut(&from).map(|missed| *missed = 0);
                let others = self.supers.keys().copied().filter(|&other| other != from);
                let mut others: Vec<SocketAddrV4> = others.collect();
                while others.len() > NAMED {
                    others.swap_remove(io.rng.below(others.len()));
                }
                let answer = Fields::new().byte(op::PONG).byte(u8::from(leaf.or(link).is_some()));
                io.tell(from, Purpose::Upkeep, &answer.addrs(others.into_iter()));
            }
            op::PONG => {
                let (is_known, others) = (fields.byte()? == 1, fields.addrs()?);
                *self.supers.get_mut(&from)? = 0;
                self.spare.extend(others.into_iter().filter(|&other| other != io.own));
                while self.spare.len() > MAX_SPARE {
                    let evicted = self.spare.iter().nth(io.rng.below(self.spare.len())).copied();
                    evicted.map(|evicted| self.spare.remove(&evicted));
                }
                if !is_known {
                    self.link(from, io);
                }
            }
            op::QUERY => self.flood(from, head, fields, io)?,
            op::HITS => {
                for (name, holders) in answered(fields) {
                    io.found(head.guid, name, holders, head.hops.into());
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn timeout(&mut self, io: &mut Io) {
        self.seen.retain(|_, at| io.now.since(*at) < MEMORY);
        self.keep_links(io);
    }

    fn state(&self) -> Held {
        let [link, lookup] = ENTRY_BYTES;
        let links = self.supers.len() + self.spare.len() + self.leaves.len();
        let held = Held::new(links, link).and(Held::new(self.seen.len(), lookup));
        held.and(self.directory.state())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::host::Participant;

    #[test]
    fn a_leaf_that_is_alone_or_not_indexed_breaks_the_rule() {
        let files: Arc<[String]> = Arc::from(["red river 0001".to_owned()]);
        let node = |number: usize| {
            let system = SuperPeers::new(Arc::clone(&files), number == 0);
            Host::new(system, addr_of(number), Rng::new(1))
        };
        let (mut superpeer, mut leaf) = (node(0), node(1));
        superpeer.join(Instant::ZERO, &[]);
        assert_eq!(rule(&[(0, &superpeer)]), Ok(()));
        let alone = rule(&[(0, &superpeer), (1, &leaf)]);
        assert!(alone.is_err_and(|wrong| wrong.contains("without a superpeer")));
        leaf.join(Instant::ZERO, &[addr_of(0)]);
        let unknown = rule(&[(0, &superpeer), (1, &leaf)]);
        assert!(unknown.is_err_and(|wrong| wrong.contains("does not find its")));
    }
}
