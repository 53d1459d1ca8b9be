//! `pastry`: a distributed hash table routed by prefix (Rowstron and Druschel 2001).
//!
//! A node's identifier is the SHA-1 of its address, a file's key that of its name, both cut to 64
//! bits and read as digits of 4 bits. The node whose identifier is closest to a key owns it. A message
//! goes from node to node, each of which shares one digit more with the key than the one before, to the
//! owner, which answers the searcher. So only whole names can be found, and all on the way learn who
//! searches them.
//!
//! | state | holds |
//! |---|---|
//! | leaf set | the 8 nodes before and after it on the circle |
//! | routing table | for each number of shared digits and each next digit, the closest node in the network that was met |
//!
//! Closeness is the time of a probe and its answer. A newcomer routes to its own identifier and takes a
//! row from each node on the way, the leaf set from the last. It starts at any node, not at one nearby
//! as in the paper: rows come close as nodes ask each other for them, one a [`ROUND`]. The paper's
//! neighbourhood set, which serves only that start, is left out.

use super::host::{Held, Host, Io, System, Wanted};
use super::identifier::{Peer, distance, key_of};
use super::judge::Verdict;
use super::keys::{Keys, PUBLISH_INTERVAL};
use super::message::{Fields, Head, Purpose, Reader};
use super::pastry_tables::{Tables, shared_digits};
use super::relay::{self, ANSWER_TIMEOUT, Errand, Relay, Routed};
use crate::time::Instant;
use crate::wire::Guid;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

/// Time between two keep-alives to all leaves.
const ROUND: Duration = Duration::from_secs(20);

/// Rounds between two publications of a node's files.
const PUBLISH_ROUNDS: u64 = PUBLISH_INTERVAL.as_secs() / ROUND.as_secs();

/// A leaf that said nothing for this long is dead: two keep-alives have not come.
const MAX_SILENCE: Duration = Duration::from_secs(50);

/// A newcomer that has no place by then tries again.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Links a message may cross. Prefixes grow with each link, so that is far more than it needs.
const MAX_HOPS: u8 = 32;

/// Bytes of a leaf: identifier and address. An entry has a time of 4 bytes beside.
const LEAF_BYTES: usize = 14;
const ENTRY_BYTES: usize = 18;

/// The first byte of a message, after those of [`relay`].
mod op {
    use super::relay::op::OWN;
    /// Are you there? The sender is, with its place on the circle.
    pub(super) const PROBE: u8 = OWN;
    /// I am; whether the sender should tell the time it took; leaves.
    pub(super) const ALIVE: u8 = OWN + 1;
    /// The time it took.
    pub(super) const ROUND_TRIP: u8 = OWN + 2;
    /// Nodes on the way of a newcomer; whether this is the end of it.
    pub(super) const ROWS: u8 = OWN + 3;
    /// A keep-alive; leaves.
    pub(super) const KEEP: u8 = OWN + 4;
    /// What are your leaves?
    pub(super) const ASK_LEAVES: u8 = OWN + 5;
    /// What is in this row of yours?
    pub(super) const ASK_ROW: u8 = OWN + 6;
    /// Nodes that were asked for.
    pub(super) const NODES: u8 = OWN + 7;
}

/// The stages of joining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// On the way to its place; when to try again.
    Joining(Instant),
    /// It knows its leaves and waits for them to answer probes.
    Probing,
    Placed,
}

/// See the module documentation.
pub(super) struct Pastry {
    files: Arc<[String]>,
    own: Peer,
    replicas: usize,
    /// The nodes it was told, and how often it tried to join through one of them.
    known: Vec<SocketAddrV4>,
    tries: usize,
    stage: Stage,
    tables: Tables,
    /// Probes under way and when they were sent.
    probes: BTreeMap<SocketAddrV4, Instant>,
    relay: Relay,
    keys: Keys,
    round_at: Instant,
    rounds: u64,
}

impl Pastry {
    /// A node with these files, where each key is kept by `replicas` nodes.
    pub(super) fn new(files: Arc<[String]>, addr: SocketAddrV4, replicas: usize) -> Pastry {
        let own = Peer::new(addr);
        Pastry {
            files,
            own,
            replicas,
            known: Vec::new(),
            tries: 0,
            stage: Stage::Probing,
            tables: Tables::new(own),
            probes: BTreeMap::new(),
            relay: Relay::default(),
            keys: Keys::default(),
            round_at: Instant::ZERO,
            rounds: 0,
        }
    }

    /// The first live node whose leaves are not the nearest live nodes on either side.
    fn wrong(nodes: &[&Pastry]) -> Option<String> {
        let mut right: Vec<Tables> = Vec::new();
        let mut peers: Vec<Peer> = nodes.iter().map(|node| node.own).collect();
        peers.sort_unstable();
        for node in nodes {
            let at = peers.binary_search(&node.own).unwrap_or(0);
            let mut tables = Tables::new(node.own);
            for step in 1..=peers.len().min(9) {
                tables.add_leaf(peers[(at + step) % peers.len()], Instant::ZERO);
                tables.add_leaf(peers[(at + peers.len() - step) % peers.len()], Instant::ZERO);
            }
            right.push(tables);
        }
        let wrong = nodes.iter().zip(&right).find(|(node, it)| node.tables.leaves() != it.leaves());
        wrong.map(|(node, _)| format!("the leaves of {} are not its neighbours", node.own.addr))
    }

    fn is_placed(&self) -> bool {
        self.stage == Stage::Placed
    }

    /// Sends a message towards the owner of its key, or does here what it is for.
    fn route(&mut self, head: Head, routed: Routed, io: &mut Io) {
        let is_join = routed.errand == Errand::Join;
        let next = match self.stage {
            Stage::Joining(_) => self.known.get(self.tries % self.known.len().max(1)).copied(),
            _ => {
                // A newcomer may be known from an earlier life, and is no way to itself.
                let except = is_join.then_some(routed.origin);
                let next = self.tables.next_hop(routed.key, except);
                let next = next.filter(|_| head.hops < MAX_HOPS).map(|peer| peer.addr);
                if is_join {
                    self.give_rows(head, routed.origin, next.is_none(), io);
                }
                next
            }
        };
        match next {
            Some(addr) => self.relay.pass(addr, head, routed, io),
            None => self.arrived(head, routed, io),
        }
    }

    /// A message is at the owner of its key.
    fn arrived(&mut self, head: Head, routed: Routed, io: &mut Io) {
        match routed.errand {
            Errand::LookUp => relay::answer(&self.keys, head, &routed, io),
            Errand::Publish => {
                let closest = self.tables.closest(routed.key).into_iter().take(self.replicas);
                let others = closest.filter(|peer| *peer != self.own).map(|peer| peer.addr);
                relay::keep(&mut self.keys, head.purpose, &routed, others, io);
            }
            Errand::Join | Errand::Split => {}
        }
    }

    /// Gives a newcomer on its way the rows that it can use, and its leaves at the end.
    fn give_rows(&self, head: Head, newcomer: SocketAddrV4, is_end: bool, io: &mut Io) {
        let shared = shared_digits(self.own.id, Peer::new(newcomer).id);
        let first = usize::from(head.hops.saturating_sub(1)).min(shared);
        let mut peers: Vec<Peer> = (first..=shared).flat_map(|row| self.tables.row(row)).collect();
        peers.push(self.own);
        if is_end {
            peers.extend(self.tables.leaves());
        }
        let fields = Fields::new().byte(op::ROWS).byte(u8::from(is_end));
        let addrs: Vec<_> = peers.iter().map(|peer| peer.addr).collect();
        io.tell(newcomer, Purpose::Join, &fields.addrs(addrs.into_iter()));
    }

    fn send_join(&mut self, io: &mut Io) {
        self.stage = Stage::Joining(io.now + JOIN_TIMEOUT);
        let (key, origin) = (self.own.id, io.own);
        let join = Routed { errand: Errand::Join, key, origin, name: String::new() };
        self.route(Head::new(Purpose::Join, Guid::default()), join, io);
        io.wake_after(JOIN_TIMEOUT);
    }

    fn purpose(&self) -> Purpose {
        if self.is_placed() { Purpose::Upkeep } else { Purpose::Join }
    }

    fn probe(&mut self, addr: SocketAddrV4, fields: &Fields, io: &mut Io) {
        if addr != io.own && !self.probes.contains_key(&addr) {
            self.probes.insert(addr, io.now);
            io.tell(addr, self.purpose(), fields);
            io.wake_after(ANSWER_TIMEOUT);
        }
    }

    /// Others told of these nodes: probes those that would be leaves or fill an empty place, and one of
    /// those that may be closer than the node in their place.
    fn consider(&mut self, addrs: Vec<SocketAddrV4>, io: &mut Io) {
        let fields = Fields::new().byte(op::PROBE);
        let mut others = Vec::new();
        for addr in addrs {
            if addr == io.own || self.tables.has_leaf(addr) {
                continue;
            }
            let peer = Peer::new(addr);
            match self.tables.entry(peer.id) {
                Some(entry) if entry.peer != peer && !self.tables.wants_leaf(peer.id) => {
                    others.push(addr);
                }
                Some(_) if !self.tables.wants_leaf(peer.id) => {}
                _ => self.probe(addr, &fields, io),
            }
        }
        if !others.is_empty() {
            let other = others[io.rng.below(others.len())];
            self.probe(other, &fields, io);
        }
    }

    /// A node said something itself. Whether it is a new leaf.
    fn heard(&mut self, addr: SocketAddrV4, round_trip: Option<Duration>, io: &mut Io) -> bool {
        let peer = Peer::new(addr);
        self.tables.add_entry(peer, round_trip);
        let is_new = self.tables.add_leaf(peer, io.now);
        if is_new && self.is_placed() {
            self.hand_over(peer, io);
        }
        is_new
    }

    /// Gives a new leaf the keys that it owns now and this node owned before.
    fn hand_over(&mut self, to: Peer, io: &mut Io) {
        let is_its = |key: u64| {
            let mut others = self.tables.closest(key).into_iter().filter(|peer| *peer != self.own);
            distance(to.id, key) <= distance(self.own.id, key) && others.next() == Some(to)
        };
        let start = Fields::new().byte(relay::op::STORE);
        for fields in self.keys.fields_of(&start, is_its) {
            io.tell(to.addr, Purpose::Upkeep, &fields);
        }
    }

    /// A node is dead: asks the farthest leaf on its side for leaves, another of its row for that row.
    fn forget(&mut self, addr: SocketAddrV4, io: &mut Io) {
        let (leaf, row) = self.tables.forget(addr);
        if let Some(helper) = leaf.and_then(|leaf| self.tables.farthest_towards(leaf.id)) {
            self.probe(helper.addr, &Fields::new().byte(op::ASK_LEAVES), io);
        }
        if let Some(row) = row {
            self.ask_row(row, io);
        }
    }

    fn ask_row(&mut self, row: usize, io: &mut Io) {
        let peers = self.tables.row(row);
        if !peers.is_empty() {
            let peer = peers[io.rng.below(peers.len())];
            self.probe(peer.addr, &Fields::new().byte(op::ASK_ROW).number(row), io);
        }
    }

    /// What was asked of a node is answered.
    fn answered(&mut self, from: SocketAddrV4, io: &mut Io) -> Option<Duration> {
        let round_trip = io.now.since(self.probes.remove(&from)?);
        self.heard(from, Some(round_trip), io);
        Some(round_trip)
    }

    /// It has its place when all nodes it was told of have answered or are dead.
    fn settle(&mut self, io: &mut Io) {
        if self.stage == Stage::Probing && self.probes.is_empty() {
            self.stage = Stage::Placed;
            self.publish(Purpose::Publish, io);
        }
    }

    fn publish(&mut self, purpose: Purpose, io: &mut Io) {
        for name in Arc::clone(&self.files).iter() {
            let (errand, key) = (Errand::Publish, key_of(name));
            let routed = Routed { errand, key, origin: io.own, name: name.clone() };
            self.route(Head::new(purpose, Guid::default()), routed, io);
        }
    }

    fn leaf_addrs(&self) -> impl ExactSizeIterator<Item = SocketAddrV4> {
        self.tables.leaves().into_iter().map(|peer| peer.addr)
    }

    fn round(&mut self, io: &mut Io) {
        self.rounds += 1;
        if io.now > Instant::ZERO + MAX_SILENCE {
            let then = Instant::ZERO + io.now.since(Instant::ZERO + MAX_SILENCE);
            for dead in self.tables.silent_since(then) {
                self.forget(dead.addr, io);
            }
        }
        let nearest = self.tables.nearest();
        for leaf in self.tables.leaves() {
            let fields = Fields::new().byte(op::KEEP);
            let fields = match nearest.contains(&Some(leaf)) {
                true => fields.addrs(self.leaf_addrs()),
                false => fields.addrs([].into_iter()),
            };
            io.tell(leaf.addr, Purpose::Upkeep, &fields);
        }
        let rows = self.tables.used_rows();
        if !rows.is_empty() {
            self.ask_row(rows[io.rng.below(rows.len())], io);
        }
        if self.rounds.is_multiple_of(PUBLISH_ROUNDS) {
            self.keys.expire(io.now);
            self.publish(Purpose::Upkeep, io);
        }
    }

    /// Messages between nodes that have their place.
    fn served(
        &mut self,
        code: u8,
        from: SocketAddrV4,
        head: Head,
        mut fields: Reader<'_>,
        io: &mut Io,
    ) -> Option<()> {
        match code {
            relay::op::ROUTE => {
                let routed = Relay::take(from, head, &mut fields, io)?;
                self.route(head, routed, io);
            }
            op::PROBE => {
                let is_new = self.heard(from, None, io);
                let entry = self.tables.entry(Peer::new(from).id);
                let wants_time =
                    entry.is_some_and(|it| it.peer.addr != from || it.round_trip.is_none());
                let answer = Fields::new().byte(op::ALIVE).byte(u8::from(wants_time));
                let addrs = if is_new { self.leaf_addrs().collect() } else { Vec::new() };
                io.tell(from, head.purpose, &answer.addrs(addrs.into_iter()));
            }
            op::KEEP => {
                if !self.tables.hears_leaf(from, io.now) && !self.heard(from, None, io) {
                    // It takes this node for a leaf, so it lacks nodes between the two.
                    let fields = Fields::new().byte(op::NODES).addrs(self.leaf_addrs());
                    io.tell(from, Purpose::Upkeep, &fields);
                }
                self.consider(fields.addrs()?, io);
            }
            op::ASK_LEAVES => {
                let fields = Fields::new().byte(op::NODES).addrs(self.leaf_addrs());
                io.tell(from, Purpose::Upkeep, &fields);
            }
            op::ASK_ROW => {
                let peers = self.tables.row(fields.number()?);
                let addrs = peers.iter().map(|peer| peer.addr);
                io.tell(from, Purpose::Upkeep, &Fields::new().byte(op::NODES).addrs(addrs));
            }
            _ => return None,
        }
        Some(())
    }
}

/// The rule of a settled network: leaves are the nearest nodes on either side.
pub(super) fn rule(live: &[(usize, &Host<Pastry>)]) -> Verdict {
    let nodes: Vec<&Pastry> = live.iter().map(|(_, host)| host.system()).collect();
    Pastry::wrong(&nodes).map_or(Ok(()), Err)
}

impl System for Pastry {
    fn join(&mut self, known: &[SocketAddrV4], io: &mut Io) {
        // Rounds of nodes that join together are spread.
        let first = ROUND / 1_000 * u32::try_from(1 + io.rng.below(1_000)).unwrap_or(1);
        self.round_at = io.now + first;
        io.wake_after(first);
        self.known = known.to_vec();
        if known.is_empty() {
            self.settle(io);
        } else {
            self.send_join(io);
        }
    }

    fn look_up(&mut self, wanted: &Wanted, io: &mut Io) {
        if self.is_placed() {
            let (errand, key) = (Errand::LookUp, key_of(&wanted.text));
            let routed = Routed { errand, key, origin: io.own, name: wanted.text.clone() };
            self.route(Head::new(Purpose::Lookup, wanted.guid), routed, io);
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
            relay::op::ACK => self.relay.acknowledged(from, fields.number()?),
            code @ (relay::op::COPIES | relay::op::STORE) => {
                relay::taken(&mut self.keys, (code, head), fields, io)?;
            }
            op::ROWS => {
                let (is_end, addrs) = (fields.byte()? == 1, fields.addrs()?);
                let fields = Fields::new().byte(op::PROBE);
                addrs.into_iter().for_each(|addr| self.probe(addr, &fields, io));
                if is_end && matches!(self.stage, Stage::Joining(_)) {
                    self.stage = Stage::Probing;
                }
            }
            op::ALIVE => {
                let (wants_time, addrs) = (fields.byte()? == 1, fields.addrs()?);
                let round_trip = self.answered(from, io)?;
                if wants_time {
                    let micros = usize::try_from(round_trip.as_micros()).ok()?;
                    let fields = Fields::new().byte(op::ROUND_TRIP).number(micros);
                    io.tell(from, head.purpose, &fields);
                }
                self.consider(addrs, io);
                self.settle(io);
            }
            op::NODES => {
                let addrs = fields.addrs()?;
                self.answered(from, io);
                self.consider(addrs, io);
                self.settle(io);
            }
            op::ROUND_TRIP => {
                let round_trip = Duration::from_micros(fields.number()? as u64);
                self.heard(from, Some(round_trip), io);
            }
            code if self.is_placed() => self.served(code, from, head, fields, io)?,
            _ => return None,
        }
        Some(())
    }

    fn timeout(&mut self, io: &mut Io) {
        let is_late = |_: &SocketAddrV4, at: &mut Instant| *at + ANSWER_TIMEOUT <= io.now;
        let late: Vec<_> = self.probes.extract_if(.., is_late).map(|(addr, _)| addr).collect();
        late.into_iter().for_each(|addr| self.forget(addr, io));
        while let Some((dead, head, routed)) = self.relay.late(io.now) {
            if let Stage::Joining(_) = self.stage {
                continue;
            }
            self.forget(dead, io);
            self.route(head, routed, io);
        }
        self.settle(io);
        if let Stage::Joining(until) = self.stage
            && until <= io.now
        {
            self.tries += 1;
            self.send_join(io);
        }
        if self.round_at <= io.now {
            self.round_at = io.now + ROUND;
            if self.is_placed() {
                self.round(io);
            }
        }
        let probe = self.probes.values().min().map(|&at| at + ANSWER_TIMEOUT);
        let due = [Some(self.round_at), self.relay.due(), probe].into_iter().flatten().min();
        io.wake_after(due.unwrap_or(self.round_at).since(io.now));
        if let Stage::Joining(until) = self.stage {
            io.wake_after(until.since(io.now));
        }
    }

    fn state(&self) -> Held {
        let leaves = Held::new(self.tables.leaves().len(), LEAF_BYTES);
        let entries = Held::new(self.tables.entries().count(), ENTRY_BYTES);
        leaves.and(entries).and(self.keys.state())
    }
}

#[cfg(test)]
mod tests {
    use super::super::host::Participant;
    use super::*;
    use crate::net::{LinkParams, Net};
    use crate::rng::Rng;

    /// A network of so many nodes, each with one file, `rounds` after the last one came.
    fn network(nodes: u32, rounds: u32) -> Net<Host<Pastry>, ()> {
        let first: SocketAddrV4 = "10.0.0.1:6346".parse().unwrap();
        let latency = (Duration::from_millis(10), Duration::from_millis(100));
        let params = LinkParams { latency, ..LinkParams::even(Duration::ZERO) };
        let mut net = Net::new(first, params, Rng::new(2), ());
        for node in 0..nodes {
            let addr = SocketAddrV4::new((u32::from(*first.ip()) + node).into(), 6346);
            let system = Pastry::new(Arc::new([format!("striped zebra {node}")]), addr, 3);
            let number = net.add(Host::new(system, addr, Rng::new(node.into())));
            let now = net.now();
            let known = if node == 0 { Vec::new() } else { vec![first] };
            net.node_mut(number).join(now, &known);
            net.turn(number);
            net.run(now + Duration::from_secs(1), now + Duration::from_secs(1));
        }
        let until = net.now() + ROUND * rounds;
        net.run(until, until);
        net
    }

    fn systems(net: &Net<Host<Pastry>, ()>, nodes: usize) -> Vec<&Pastry> {
        (0..nodes).map(|node| net.node(node).system()).collect()
    }

    #[test]
    fn leaves_come_right_and_entries_close_by_themselves() {
        let net = network(200, 12);
        let all = systems(&net, 200);
        assert_eq!(Pastry::wrong(&all), None);
        assert!(Pastry::wrong(&all[1..]).is_some(), "others know the one left out");
        let number = |addr: SocketAddrV4| (u32::from(*addr.ip()) & 0xff) as usize - 1;
        let (mut close, mut any) = (Duration::ZERO, Duration::ZERO);
        for (node, pastry) in all.iter().enumerate() {
            let row = pastry.tables.row(0);
            assert!(row.len() > 12, "{node}");
            let far: Duration =
                row.iter().map(|peer| net.latency_between(node, number(peer.addr))).sum();
            close += far / u32::try_from(row.len()).unwrap();
            any += net.latency_between(node, (node + 7) % 200);
        }
        assert!(close * 10 < any * 7, "{close:?} to entries, {any:?} to any node");
    }
}
