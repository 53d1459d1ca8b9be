//! `freenet`: steepest-ascent search by the closeness of keys (Clarke et al. 2000).
//!
//! A file's key is cut from the SHA-1 of its name, so only whole names can be found; all on the way see
//! the key, none can tell who searches. A node keeps references: keys, and nodes that had them. A
//! request goes to the node of the closest key, from there on likewise, each node once. Where there is
//! no way on, or a node has seen the request before, it goes back a link and to the next closest; after
//! [`HOPS_TO_LIVE`] links it fails. The answer comes back the same way: each node on it keeps a copy and a
//! reference to the node that answered, so paths get shorter as the network is used. A file is inserted
//! along the way that a request for it would take; nothing is sent for upkeep.
//!
//! **What counts as found.** A copy in the paper is the file itself, and lives on when its source dies.
//! In this lab a file is where it is shared, so a copy is a name and the nodes it came from: an answer
//! names those, and only the live ones count. So the cache shortens ways but saves nobody's files: the
//! paper's network would do better after deaths than this table says.
//!
//! **What is simpler.** A newcomer's key is that of its address, not drawn together with the nodes
//! that hear of it; an insert keeps its copies on the way back, without sending data a third time.
//! Messages are acknowledged, as datagrams say nothing of a dead receiver.

use super::freenet_store::{Copies, References};
use super::host::{Held, Host, Io, System, Wanted};
use super::identifier::{Peer, key_of};
use super::judge::Verdict;
use super::message::{Fields, Head, Purpose, Reader};
use super::relay::ANSWER_TIMEOUT;
use crate::time::Instant;
use crate::wire::Guid;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

/// Links that a request or an insert may cross, those of ways that led nowhere included.
const HOPS_TO_LIVE: u8 = 20;

/// Nodes that hear of a newcomer.
const ANNOUNCED_TO: u8 = 10;

/// References of a node, as in the paper's simulations.
const REFERENCES: usize = 250;

/// A newcomer inserts its files when it has had time to be announced, and announces itself again if
/// nobody has answered.
const ANNOUNCE_TIME: Duration = Duration::from_secs(2);

/// A node that has accepted a request has this much time for each link it may still cross.
const TIME_PER_LINK: Duration = Duration::from_secs(1);

/// A request is remembered this long, so that a node handles it once.
const MEMORY: Duration = Duration::from_secs(60);

/// Bytes of a request remembered.
const SEEN_BYTES: usize = 16;

/// The first byte of a message.
mod op {
    pub(super) const REQUEST: u8 = 0;
    pub(super) const INSERT: u8 = 1;
    pub(super) const ACCEPTED: u8 = 2;
    pub(super) const FAILED: u8 = 3;
    pub(super) const FOUND: u8 = 4;
    pub(super) const ANNOUNCE: u8 = 5;
    pub(super) const WELCOME: u8 = 6;
}

/// A request or an insert that has come by and has no answer yet.
#[derive(Debug)]
struct Search {
    /// The node that sent it; `None` if it began here.
    from: Option<SocketAddrV4>,
    purpose: Purpose,
    /// The nodes that have the file to insert; none for a request.
    inserted: Vec<SocketAddrV4>,
    name: String,
    key: u64,
    /// Links it may still cross, and links from where it began to here.
    ttl: u8,
    hops: u8,
    tried: Vec<SocketAddrV4>,
    /// The node it was sent to, and until when that may answer.
    waits: Option<(SocketAddrV4, Instant, Stage)>,
}

/// What a node that was sent a search has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Sent,
    Accepted,
}

/// See the module documentation.
pub(super) struct Freenet {
    files: Arc<[String]>,
    known: Vec<SocketAddrV4>,
    copies: Copies,
    references: References,
    searches: BTreeMap<Guid, Search>,
    seen: BTreeMap<Guid, Instant>,
    /// When to insert the files.
    insert_at: Option<Instant>,
}

impl Freenet {
    /// A node with these files, which keeps so many copies of others.
    pub(super) fn new(files: Arc<[String]>, cache: usize) -> Freenet {
        Freenet {
            files,
            known: Vec::new(),
            copies: Copies::new(cache),
            references: References::new(REFERENCES),
            searches: BTreeMap::new(),
            seen: BTreeMap::new(),
            insert_at: None,
        }
    }

    /// The nodes that have a file, as far as this node knows.
    fn holders(&mut self, name: &str, own: SocketAddrV4) -> Vec<SocketAddrV4> {
        let mut holders = self.copies.find(name).to_vec();
        if self.files.iter().any(|file| file == name) && !holders.contains(&own) {
            holders.push(own);
        }
        holders
    }

    /// Sends a search to the next node, or back.
    fn forward(&mut self, guid: Guid, io: &mut Io) {
        let Some(search) = self.searches.get_mut(&guid) else { return };
        let Search { from, tried, .. } = &*search;
        let is_new = |it: SocketAddrV4| it != io.own && Some(it) != *from && !tried.contains(&it);
        let next = self.references.closest(search.key, is_new).filter(|_| search.ttl > 0);
        let Some(next) = next else { return self.fail(guid, io) };
        search.ttl -= 1;
        search.tried.push(next);
        search.waits = Some((next, io.now + ANSWER_TIMEOUT, Stage::Sent));
        let (ttl, hops) = (search.ttl, search.hops + 1);
        let head = Head { ttl, hops, ..Head::new(search.purpose, guid) };
        let fields = Fields::new();
        let fields = match search.inserted.is_empty() {
            true => fields.byte(op::REQUEST).text(&search.name),
            false => fields.byte(op::INSERT).text(&search.name),
        };
        io.send(next, head, &fields.addrs(search.inserted.iter().copied()));
        io.wake_after(ANSWER_TIMEOUT);
    }

    /// A search has come to an end here without a copy: that of an insert leaves one.
    fn fail(&mut self, guid: Guid, io: &mut Io) {
        let Some(search) = self.searches.remove(&guid) else { return };
        let Some(from) = search.from else { return };
        if let Some(source) = search.inserted.first() {
            self.references.add(search.key, *source);
            self.copies.keep(&search.name, &search.inserted);
        }
        io.send(from, failed(&search, guid), &Fields::new().byte(op::FAILED));
    }

    /// A copy was found, at the node `source`: passes the answer back.
    fn found(
        &mut self,
        guid: Guid,
        (hops, source): (u8, SocketAddrV4),
        holders: &[SocketAddrV4],
        io: &mut Io,
    ) {
        let Some(search) = self.searches.remove(&guid) else { return };
        let Search { from, name, key, .. } = search;
        if source != io.own {
            self.references.add(key, source);
        }
        self.copies.keep(&name, holders);
        match from {
            Some(from) => {
                let head = Head { hops, ..Head::new(answers(search.purpose), guid) };
                let fields = Fields::new().byte(op::FOUND).addr(source).text(&name);
                io.send(from, head, &fields.addrs(holders.iter().copied()));
            }
            None if search.inserted.is_empty() => {
                io.found(guid, &name, holders.to_vec(), hops.into());
            }
            None => {}
        }
    }

    /// A request or an insert comes by.
    fn came_by(
        &mut self,
        from: SocketAddrV4,
        head: Head,
        mut fields: Reader<'_>,
        io: &mut Io,
    ) -> Option<()> {
        let (name, inserted) = (fields.text()?.to_owned(), fields.addrs()?);
        let Head { purpose, guid, ttl, hops } = head;
        let (key, tried) = (key_of(&name), Vec::new());
        let from = Some(from);
        let search = Search { from, purpose, inserted, name, key, ttl, hops, tried, waits: None };
        if self.seen.insert(guid, io.now).is_some() {
            io.send(from?, failed(&search, guid), &Fields::new().byte(op::FAILED));
            return Some(());
        }
        let mut holders = self.holders(&search.name, io.own);
        if holders.is_empty() {
            let accepted = Head::new(answers(purpose), guid);
            io.send(from?, accepted, &Fields::new().byte(op::ACCEPTED));
            self.searches.insert(guid, search);
            self.forward(guid, io);
        } else {
            holders.retain(|holder| !search.inserted.contains(holder));
            holders.extend(&search.inserted);
            self.searches.insert(guid, search);
            self.found(guid, (hops, io.own), &holders, io);
        }
        Some(())
    }

    /// The node that a search was sent to says that it has accepted it, failed or found a copy.
    fn answered(
        &mut self,
        (code, from): (u8, SocketAddrV4),
        head: Head,
        mut fields: Reader<'_>,
        io: &mut Io,
    ) -> Option<()> {
        let search = self.searches.get_mut(&head.guid)?;
        search.waits.take_if(|(to, ..)| *to == from)?;
        match code {
            op::ACCEPTED => {
                let time = TIME_PER_LINK * (u32::from(search.ttl) + 1);
                search.waits = Some((from, io.now + time, Stage::Accepted));
                io.wake_after(time);
            }
            op::FAILED => {
                search.ttl = search.ttl.min(head.ttl);
                self.forward(head.guid, io);
            }
            op::FOUND => {
                let (source, _) = (fields.addr()?, fields.text()?);
                self.found(head.guid, (head.hops, source), &fields.addrs()?, io);
            }
            _ => return None,
        }
        Some(())
    }

    /// A newcomer is on its walk.
    fn announced(&mut self, head: Head, newcomer: SocketAddrV4, io: &mut Io) {
        if newcomer == io.own {
            return;
        }
        let mut others = self.references.nodes();
        others.retain(|other| *other != newcomer);
        self.references.add(Peer::new(newcomer).id, newcomer);
        io.tell(newcomer, Purpose::Join, &Fields::new().byte(op::WELCOME));
        if let Some(ttl) = head.ttl.checked_sub(1).filter(|_| !others.is_empty()) {
            let next = others[io.rng.below(others.len())];
            io.send(next, Head { ttl, ..head }, &Fields::new().byte(op::ANNOUNCE).addr(newcomer));
        }
    }

    fn announce(&mut self, io: &mut Io) {
        if self.known.is_empty() {
            return;
        }
        let known = self.known[io.rng.below(self.known.len())];
        let head = Head { ttl: ANNOUNCED_TO - 1, ..Head::new(Purpose::Join, Guid::default()) };
        io.send(known, head, &Fields::new().byte(op::ANNOUNCE).addr(io.own));
    }

    fn insert(&mut self, io: &mut Io) {
        for name in Arc::clone(&self.files).iter() {
            let guid = Guid::random(&mut io.rng);
            self.begin(guid, Purpose::Publish, name, vec![io.own], io);
        }
    }

    fn begin(
        &mut self,
        guid: Guid,
        purpose: Purpose,
        name: &str,
        inserted: Vec<SocketAddrV4>,
        io: &mut Io,
    ) {
        self.seen.insert(guid, io.now);
        let search = Search {
            from: None,
            purpose,
            inserted,
            name: name.to_owned(),
            key: key_of(name),
            ttl: HOPS_TO_LIVE,
            hops: 0,
            tried: Vec::new(),
            waits: None,
        };
        self.searches.insert(guid, search);
        self.forward(guid, io);
    }
}

/// What answers a message of this purpose.
fn answers(purpose: Purpose) -> Purpose {
    if purpose == Purpose::Lookup { Purpose::Answer } else { purpose }
}

/// The head of the answer that a search has failed, with the links that it may still cross.
fn failed(search: &Search, guid: Guid) -> Head {
    Head { ttl: search.ttl, ..Head::new(answers(search.purpose), guid) }
}

/// The rule at all times: no node keeps more copies or references than it may.
pub(super) fn rule(live: &[(usize, &Host<Freenet>)]) -> Verdict {
    let is_full = |it: &Freenet| it.copies.is_over() || it.references.is_over();
    match live.iter().find(|(_, host)| is_full(host.system())) {
        Some((node, _)) => Err(format!("node {node} keeps more copies or references than it may")),
        None => Ok(()),
    }
}

impl System for Freenet {
    fn join(&mut self, known: &[SocketAddrV4], io: &mut Io) {
        self.known = known.to_vec();
        self.announce(io);
        self.insert_at = Some(io.now + ANNOUNCE_TIME);
        io.wake_after(ANNOUNCE_TIME);
    }

    fn look_up(&mut self, wanted: &Wanted, io: &mut Io) {
        let copies = self.copies.find(&wanted.text).to_vec();
        if copies.is_empty() {
            self.begin(wanted.guid, Purpose::Lookup, &wanted.text, Vec::new(), io);
        } else {
            io.found(wanted.guid, &wanted.text, copies, 0);
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
            op::REQUEST | op::INSERT => self.came_by(from, head, fields, io)?,
            op::ANNOUNCE => self.announced(head, fields.addr()?, io),
            op::WELCOME => self.references.add(Peer::new(from).id, from),
            code => self.answered((code, from), head, fields, io)?,
        }
        Some(())
    }

    fn timeout(&mut self, io: &mut Io) {
        let now = io.now;
        self.seen.retain(|_, at| now.since(*at) < MEMORY);
        let late = self.searches.iter_mut().filter_map(|(guid, search)| {
            let (to, _, stage) = search.waits.take_if(|(_, until, _)| *until <= now)?;
            Some((*guid, to, stage))
        });
        for (guid, to, stage) in late.collect::<Vec<_>>() {
            if stage == Stage::Sent {
                self.references.forget(to);
            }
            self.forward(guid, io);
        }
        if self.insert_at.take_if(|at| *at <= now).is_some() {
            if self.references.nodes().is_empty() && !self.known.is_empty() {
                self.announce(io);
                self.insert_at = Some(now + ANNOUNCE_TIME);
            } else {
                self.insert(io);
            }
        }
        let waits = self.searches.values().filter_map(|it| it.waits.map(|(_, until, _)| until));
        if let Some(next) = waits.chain(self.insert_at).min() {
            io.wake_after(next.since(now));
        }
    }

    fn state(&self) -> Held {
        let seen = Held::new(self.seen.len(), SEEN_BYTES);
        self.copies.state().and(self.references.state()).and(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::super::host::{Found, Participant, Told};
    use super::*;
    use crate::net::{LinkParams, Net, Observer};
    use crate::rng::Rng;
    use std::ops::Range;

    const NODES: usize = 300;

    /// What lookups found, by GUID.
    #[derive(Default)]
    struct Answers(BTreeMap<Guid, Found>);

    impl Observer<Host<Freenet>> for Answers {
        fn outward(&mut self, _node: usize, told: Told) {
            if let Told::Found(found) = told {
                self.0.entry(found.lookup).or_insert(found);
            }
        }
    }

    fn name_of(node: usize) -> String {
        format!("striped zebra {node:04}")
    }

    /// A network where each node has one file of its own.
    fn network() -> Net<Host<Freenet>, Answers> {
        let first: SocketAddrV4 = "10.0.0.1:6346".parse().unwrap();
        let params = LinkParams::even(Duration::from_millis(20));
        let mut net = Net::new(first, params, Rng::new(2), Answers::default());
        let mut rng = Rng::new(8);
        for node in 0..NODES {
            let ip = u32::from(*first.ip()) + u32::try_from(node).unwrap();
            let addr = SocketAddrV4::new(ip.into(), 6346);
            let system = Freenet::new(Arc::new([name_of(node)]), 20);
            let number = net.add(Host::new(system, addr, Rng::new(node as u64)));
            let known: Vec<_> = (0..node.min(1)).map(|_| net.addr_of(rng.below(node))).collect();
            let now = net.now();
            net.node_mut(number).join(now, &known);
            net.turn(number);
            net.run(now + Duration::from_secs(3), now + Duration::from_secs(3));
        }
        net
    }

    /// Looks up files of others, one after the other, and returns the length of each path; that of one
    /// that led nowhere is the most it may be, as in the paper.
    fn look_up(net: &mut Net<Host<Freenet>, Answers>, seeds: Range<u64>) -> Vec<usize> {
        seeds
            .map(|seed| {
                let mut rng = Rng::new(seed);
                let (node, file) = (rng.below(NODES), rng.below(NODES));
                let (guid, text) = (Guid::random(&mut rng), name_of(file));
                let (now, wanted) = (net.now(), Wanted { guid, text, exact: true });
                net.node_mut(node).look_up(now, &wanted);
                net.turn(node);
                net.run(now + Duration::from_secs(4), now + Duration::from_secs(4));
                let found = net.observer.0.get(&guid);
                if let Some(found) = found {
                    assert_eq!(
                        found.holders,
                        [net.addr_of(file)],
                        "the node that shares it is named"
                    );
                }
                found.map_or(HOPS_TO_LIVE.into(), |found| found.hops)
            })
            .collect()
    }

    #[test]
    fn paths_get_shorter_as_the_network_is_used() {
        let mut net = network();
        let mean = |hops: &[usize]| hops.iter().sum::<usize>() as f64 / hops.len() as f64;
        let hops = look_up(&mut net, 0..5_000);
        let (early, late) = (mean(&hops[..500]), mean(&hops[4_500..]));
        assert!(late < 0.8 * early, "{early} hops at first, {late} in the end");
        for node in 0..NODES {
            let freenet = net.node(node).system();
            assert!(freenet.references.state().entries <= REFERENCES);
            assert!(freenet.copies.state().entries <= 20, "one holder each");
        }
    }

    #[test]
    fn a_search_ends_when_its_links_are_used_up_or_nobody_is_left() {
        let mut net = network();
        let (guid, now) = (Guid([7; 16]), net.now());
        let wanted = Wanted { guid, text: "nobody has this".to_owned(), exact: true };
        net.node_mut(5).look_up(now, &wanted);
        net.turn(5);
        net.run(now + Duration::from_secs(10), now + Duration::from_secs(10));
        let asked = (0..NODES).filter(|&node| net.node(node).system().seen.contains_key(&guid));
        let asked = asked.count();
        assert!((2..=usize::from(HOPS_TO_LIVE) + 1).contains(&asked), "{asked} nodes were asked");
        assert!((0..NODES).all(|node| net.node(node).system().searches.is_empty()));
        assert!(net.observer.0.is_empty());
    }
}
