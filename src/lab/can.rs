//! `can`: a distributed hash table on a torus of d dimensions (Ratnasamy et al. 2001).
//!
//! The torus is divided into boxes, the zones; a file's key, cut from the SHA-1 of its name, is a point,
//! and the node in whose zone it lies owns it. A node knows the nodes whose zones share a face with its
//! own. A message goes from node to node, each time to the neighbour whose zone is closest to the point,
//! to the owner, which answers the searcher. So only whole names can be found, and all on the way learn
//! who searches them.
//!
//! | event | what happens |
//! |---|---|
//! | a node joins | the owner of a random point finds the largest of its own and its neighbours' zones; that is halved, or given whole by a node that has several |
//! | a node dies | the neighbour with the least volume takes its zone over; the others come later, one after the other, if it does not |
//! | neighbours are unknown | a node asks around for the owner of what is missing at its border, further each time, and takes it over in the end |
//! | two nodes claim a point | the one with the larger volume gives way |
//!
//! The neighbours that would take a zone over also keep copies of its keys. A node keeps several zones
//! until newcomers take them; the paper's reassignment in the background is left out. Files are
//! published anew every minute.

use super::can_zones::{
    Zone, add_zones, distance, join_halves, point_of, read_zone, read_zones, volume, without,
};
use super::host::{Held, Host, Io, System, Wanted};
use super::identifier::key_of;
use super::judge::Verdict;
use super::keys::{Keys, PUBLISH_INTERVAL};
use super::message::{Fields, Head, Purpose, Reader};
use super::relay::{self, Errand, Relay, Routed};
use crate::time::Instant;
use crate::wire::Guid;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

/// Time between two updates to all neighbours.
const ROUND: Duration = Duration::from_secs(15);

/// Rounds between two publications of a node's files.
const PUBLISH_ROUNDS: u64 = PUBLISH_INTERVAL.as_secs() / ROUND.as_secs();

/// A neighbour that said nothing for this long is dead: two updates have not come.
const MAX_SILENCE: Duration = Duration::from_secs(35);

/// The first heir takes a zone over after this time, each later one an interval after the one before.
const TAKEOVER_DELAY: Duration = Duration::from_secs(1);
const HEIR_INTERVAL: Duration = Duration::from_secs(5);

/// What is missing at the border is taken over after this time.
const GAP_TIMEOUT: Duration = Duration::from_secs(50);

/// A newcomer that has no zone by then tries again.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Links a message may cross.
const MAX_HOPS: u8 = 250;

/// Bytes of a zone and of an address.
const ZONE_BYTES: usize = 9;
const ADDR_BYTES: usize = 6;

/// The first byte of a message, after those of [`relay`].
mod op {
    use super::relay::op::OWN;
    /// The sender's zones, and its heirs.
    pub(super) const UPDATE: u8 = OWN;
    /// A zone for a newcomer, and nodes with their zones.
    pub(super) const GRANT: u8 = OWN + 1;
    /// Who owns this zone? How far to ask, and for whom.
    pub(super) const WHO: u8 = OWN + 2;
    /// Send an update to this node.
    pub(super) const MEET: u8 = OWN + 3;
}

/// What a node knows of a neighbour.
#[derive(Debug)]
struct Neighbour {
    zones: Vec<Zone>,
    heard: Instant,
    /// Its own neighbours, those first that would take over first.
    heirs: Vec<SocketAddrV4>,
}

/// A zone whose owner is dead.
#[derive(Clone, Debug)]
struct Vacancy {
    /// When to take it over.
    due: Instant,
    heirs: Vec<SocketAddrV4>,
}

/// See the module documentation.
pub(super) struct Can {
    files: Arc<[String]>,
    dimensions: usize,
    replicas: usize,
    /// The nodes it was told, and how often it tried to join through one of them.
    known: Vec<SocketAddrV4>,
    tries: usize,
    /// Without a zone: when to try to join again.
    joining: Option<Instant>,
    zones: Vec<Zone>,
    neighbours: BTreeMap<SocketAddrV4, Neighbour>,
    vacant: BTreeMap<Zone, Vacancy>,
    /// What is missing at the border, and since when.
    gaps: BTreeMap<Zone, Instant>,
    /// When to look for gaps.
    check_at: Option<Instant>,
    relay: Relay,
    keys: Keys,
    round_at: Instant,
    rounds: u64,
}

impl Can {
    /// A node with these files, on a torus of so many dimensions, where each key is kept by `replicas`
    /// nodes.
    pub(super) fn new(files: Arc<[String]>, dimensions: usize, replicas: usize) -> Can {
        Can {
            files,
            dimensions,
            replicas,
            known: Vec::new(),
            tries: 0,
            joining: None,
            zones: Vec::new(),
            neighbours: BTreeMap::new(),
            vacant: BTreeMap::new(),
            gaps: BTreeMap::new(),
            check_at: None,
            relay: Relay::default(),
            keys: Keys::default(),
            round_at: Instant::ZERO,
            rounds: 0,
        }
    }

    /// Where the zones of live nodes do not cover the torus, or cover it twice.
    fn wrong(nodes: &[&Can]) -> Option<String> {
        let mut zones: Vec<Zone> =
            nodes.iter().flat_map(|node| node.zones.iter().copied()).collect();
        zones.sort_unstable();
        let mut end = 0;
        for zone in zones {
            if u128::from(zone.bits) != end {
                return Some(format!(
                    "zones end at {end:x}, the next one begins at {:x}",
                    zone.bits
                ));
            }
            end += zone.volume();
        }
        (end != Zone::WHOLE.volume()).then(|| format!("the last zone ends at {end:x}"))
    }

    fn owns(&self, key: u64) -> bool {
        self.zones.iter().any(|zone| zone.holds(Zone::point(key)))
    }

    fn are_beside(&self, some: &[Zone], others: &[Zone]) -> bool {
        let beside = |it: &Zone| others.iter().any(|zone| it.is_beside(*zone, self.dimensions));
        some.iter().any(beside)
    }

    fn is_beside(&self, zones: &[Zone]) -> bool {
        self.are_beside(&self.zones, zones)
    }

    /// The neighbours in the order in which they would take over.
    fn heirs(&self) -> Vec<SocketAddrV4> {
        let mut heirs: Vec<_> =
            self.neighbours.iter().map(|(a, it)| (volume(&it.zones), *a)).collect();
        heirs.sort_unstable();
        heirs.into_iter().map(|(_, addr)| addr).collect()
    }

    /// The node to pass a message to that does not belong here; `None` if there is none.
    fn next_hop(&self, key: u64, own: SocketAddrV4) -> Option<SocketAddrV4> {
        let point = point_of(key, self.dimensions);
        let ways = self.neighbours.iter().map(|(addr, it)| (distance(&it.zones, &point), *addr));
        let closest = ways.min_by(|(a, _), (b, _)| a.total_cmp(b));
        if let Some((way, addr)) = closest
            && way < distance(&self.zones, &point)
        {
            return Some(addr);
        }
        // The owner is dead: the first of its heirs has copies of its keys.
        let vacant = self.vacant.iter().find(|(zone, _)| zone.holds(Zone::point(key)));
        let heir = vacant.and_then(|(_, vacancy)| vacancy.heirs.first().copied());
        heir.filter(|heir| *heir != own)
    }

    /// Sends a message towards the owner of its key, or does here what it is for.
    fn route(&mut self, head: Head, routed: Routed, io: &mut Io) {
        let next = if self.joining.is_some() {
            self.known.get(self.tries % self.known.len().max(1)).copied()
        } else if routed.errand == Errand::Split || self.owns(routed.key) || head.hops >= MAX_HOPS {
            None
        } else {
            self.next_hop(routed.key, io.own)
        };
        match next {
            Some(addr) => self.relay.pass(addr, head, routed, io),
            None => self.arrived(head, routed, io),
        }
    }

    /// A message is at the owner of its key, or as close as it gets.
    fn arrived(&mut self, head: Head, mut routed: Routed, io: &mut Io) {
        match routed.errand {
            Errand::LookUp => relay::answer(&self.keys, head, &routed, io),
            Errand::Publish => {
                let others = self.heirs().into_iter().take(self.replicas.saturating_sub(1));
                relay::keep(&mut self.keys, head.purpose, &routed, others, io);
            }
            Errand::Join => {
                let others = self.neighbours.iter().filter(|(addr, _)| **addr != routed.origin);
                let largest = others.max_by_key(|(_, it)| volume(&it.zones));
                let largest = largest.filter(|(_, it)| volume(&it.zones) > volume(&self.zones));
                match largest.map(|(addr, _)| *addr) {
                    None => self.split(routed.origin, io),
                    Some(addr) => {
                        routed.errand = Errand::Split;
                        self.relay.pass(addr, head, routed, io);
                    }
                }
            }
            Errand::Split => self.split(routed.origin, io),
        }
    }

    /// Gives a newcomer its largest zone, or half of its only one.
    fn split(&mut self, newcomer: SocketAddrV4, io: &mut Io) {
        let Some(at) = (0..self.zones.len()).max_by_key(|&at| self.zones[at].volume()) else {
            return;
        };
        if newcomer == io.own {
            return;
        }
        let zone = match self.zones[at].halves() {
            Some([kept, given]) if self.zones.len() == 1 => {
                self.zones[at] = kept;
                given
            }
            _ => self.zones.swap_remove(at),
        };
        let known = self.neighbours.iter().filter(|(addr, _)| **addr != newcomer);
        let known = known.map(|(addr, neighbour)| (*addr, &neighbour.zones));
        let known = known.chain([(io.own, &self.zones)]);
        let grant = Fields::new().byte(op::GRANT).id(zone.bits).byte(zone.depth);
        let grant = known.fold(grant, |grant, (addr, zones)| add_zones(grant.addr(addr), zones));
        io.tell(newcomer, Purpose::Join, &grant);
        let is_given = |key: u64| zone.holds(Zone::point(key));
        for fields in self.keys.fields_of(&Fields::new().byte(relay::op::STORE), is_given) {
            io.tell(newcomer, Purpose::Join, &fields);
        }
        self.keys.remove(is_given);
        let neighbour = Neighbour { zones: vec![zone], heard: io.now, heirs: Vec::new() };
        self.neighbours.insert(newcomer, neighbour);
        self.changed(Purpose::Join, &[], io);
    }

    /// A newcomer has a zone.
    fn granted(&mut self, mut fields: Reader<'_>, io: &mut Io) -> Option<()> {
        self.zones.push(read_zone(&mut fields)?);
        let is_first = self.joining.take().is_some();
        while let (Some(addr), Some(zones)) = (fields.addr(), read_zones(&mut fields)) {
            if self.is_beside(&zones) && addr != io.own {
                let neighbour = Neighbour { zones, heard: io.now, heirs: Vec::new() };
                self.neighbours.entry(addr).or_insert(neighbour);
            }
        }
        self.changed(Purpose::Join, &[], io);
        if is_first {
            self.publish(Purpose::Publish, io);
        }
        Some(())
    }

    fn update(&self, is_answer: bool) -> Fields {
        let fields = Fields::new().byte(op::UPDATE).byte(u8::from(is_answer));
        let fields = add_zones(fields, &self.zones);
        fields.addrs(self.heirs().into_iter())
    }

    /// Its zones are others: tells all neighbours, and these nodes.
    fn changed(&mut self, purpose: Purpose, others: &[SocketAddrV4], io: &mut Io) {
        join_halves(&mut self.zones);
        let update = self.update(false);
        let others = others.iter().filter(|addr| !self.neighbours.contains_key(addr));
        let own = io.own;
        for &addr in self.neighbours.keys().chain(others).filter(|addr| **addr != own) {
            io.tell(addr, purpose, &update);
        }
        let mut neighbours = std::mem::take(&mut self.neighbours);
        neighbours.retain(|_, neighbour| self.is_beside(&neighbour.zones));
        self.neighbours = neighbours;
        self.check_after(Duration::from_secs(1), io);
    }

    fn check_after(&mut self, time: Duration, io: &mut Io) {
        self.check_at = Some(self.check_at.map_or(io.now + time, |at| at.min(io.now + time)));
        io.wake_after(time);
    }

    /// A node says which zones it has.
    fn updated(&mut self, from: SocketAddrV4, mut fields: Reader<'_>, io: &mut Io) -> Option<()> {
        let is_answer = fields.byte()? == 1;
        let (zones, heirs) = (read_zones(&mut fields)?, fields.addrs()?);
        for (zone, vacancy) in std::mem::take(&mut self.vacant) {
            let left = without(&[zone], &zones);
            self.vacant.extend(left.into_iter().map(|zone| (zone, vacancy.clone())));
        }
        let left = without(&self.zones, &zones);
        if volume(&left) < volume(&self.zones) {
            if (volume(&self.zones), io.own) < (volume(&zones), from) {
                io.tell(from, Purpose::Upkeep, &self.update(false));
                return Some(());
            }
            self.zones = left;
            self.changed(Purpose::Upkeep, &[from], io);
        }
        let before = self.neighbours.remove(&from);
        let is_known = before.is_some();
        let before = before.map(|neighbour| neighbour.zones).unwrap_or_default();
        if !without(&before, &zones).is_empty() {
            self.check_after(Duration::from_secs(1), io);
        }
        let new = without(&zones, &before);
        if !new.is_empty() {
            let is_its = |key: u64| new.iter().any(|zone| zone.holds(Zone::point(key)));
            for fields in self.keys.fields_of(&Fields::new().byte(relay::op::STORE), is_its) {
                io.tell(from, Purpose::Upkeep, &fields);
            }
        }
        let is_beside = self.is_beside(&zones);
        if !is_known && !is_answer {
            io.tell(from, Purpose::Upkeep, &self.update(true));
        }
        if !is_known && !is_beside {
            // It takes this node for a neighbour, so it may not know those that are.
            let others =
                self.neighbours.iter().filter(|(_, it)| self.are_beside(&it.zones, &zones));
            let meet = Fields::new().byte(op::MEET).addr(from);
            others.for_each(|(addr, _)| io.tell(*addr, Purpose::Upkeep, &meet));
        }
        if is_beside {
            self.neighbours.insert(from, Neighbour { zones, heard: io.now, heirs });
        }
        if self.zones.is_empty() {
            self.known = vec![from];
            self.send_join(io);
        }
        Some(())
    }

    /// A node is dead: its zones are vacant, if it was a neighbour.
    fn forget(&mut self, dead: SocketAddrV4, io: &mut Io) {
        self.vacant.values_mut().for_each(|vacancy| vacancy.heirs.retain(|heir| *heir != dead));
        let Some(neighbour) = self.neighbours.remove(&dead) else { return };
        let heirs = neighbour.heirs;
        let rank = heirs.iter().position(|heir| *heir == io.own).unwrap_or(heirs.len().max(4));
        let delay = TAKEOVER_DELAY + HEIR_INTERVAL * u32::try_from(rank).unwrap_or(u32::MAX);
        for zone in neighbour.zones {
            let vacancy = Vacancy { due: io.now + delay, heirs: heirs.clone() };
            self.vacant.insert(zone, vacancy);
        }
        io.wake_after(delay);
    }

    /// Takes over what no known node has of a zone.
    fn take_over(&mut self, zone: Zone, heirs: &[SocketAddrV4], io: &mut Io) {
        let mut left = without(&[zone], &self.zones);
        for neighbour in self.neighbours.values() {
            left = without(&left, &neighbour.zones);
        }
        if !left.is_empty() {
            self.zones.append(&mut left);
            self.changed(Purpose::Upkeep, heirs, io);
        }
    }

    /// Asks for the owners of what is missing at the border.
    fn check(&mut self, io: &mut Io) {
        let others = self.neighbours.values().flat_map(|neighbour| &neighbour.zones);
        let known: Vec<Zone> =
            others.chain(&self.zones).chain(self.vacant.keys()).copied().collect();
        let gaps = self.zones.iter().flat_map(|zone| zone.gaps(&known, self.dimensions));
        let before = std::mem::take(&mut self.gaps);
        for gap in gaps {
            let since = before.get(&gap).copied().unwrap_or(io.now);
            self.gaps.insert(gap, since);
        }
        for (gap, since) in self.gaps.clone() {
            let age = io.now.since(since);
            if age >= GAP_TIMEOUT {
                self.gaps.remove(&gap);
                self.take_over(gap, &[], io);
                continue;
            }
            let links = if age < ROUND { 0 } else { 1 };
            let who = Fields::new().byte(op::WHO).id(gap.bits).byte(gap.depth);
            let who = who.byte(links).addr(io.own);
            self.neighbours.keys().for_each(|addr| io.tell(*addr, Purpose::Upkeep, &who));
        }
        if !self.gaps.is_empty() {
            self.check_after(ROUND, io);
        }
    }

    /// Somebody looks for the owner of a zone: this node, a neighbour, or somebody further on.
    fn asked(&self, from: SocketAddrV4, mut fields: Reader<'_>, io: &mut Io) -> Option<()> {
        let (zone, links, origin) = (read_zone(&mut fields)?, fields.byte()?, fields.addr()?);
        if origin == io.own {
            return Some(());
        }
        let is_in = |zones: &[Zone]| zones.iter().any(|other| other.overlaps(zone));
        if is_in(&self.zones) {
            io.tell(origin, Purpose::Upkeep, &self.update(false));
        }
        let others = || self.neighbours.iter().filter(|(addr, _)| **addr != origin);
        let meet = Fields::new().byte(op::MEET).addr(origin);
        for (addr, _) in others().filter(|(_, neighbour)| is_in(&neighbour.zones)) {
            io.tell(*addr, Purpose::Upkeep, &meet);
        }
        if let Some(links) = links.checked_sub(1) {
            let who = Fields::new().byte(op::WHO).id(zone.bits).byte(zone.depth);
            let who = who.byte(links).addr(origin);
            others().filter(|(addr, _)| **addr != from).for_each(|(addr, _)| {
                io.tell(*addr, Purpose::Upkeep, &who);
            });
        }
        Some(())
    }

    fn send_join(&mut self, io: &mut Io) {
        self.joining = Some(io.now + JOIN_TIMEOUT);
        let (key, origin) = (io.rng.next_u64(), io.own);
        let join = Routed { errand: Errand::Join, key, origin, name: String::new() };
        self.route(Head::new(Purpose::Join, Guid::default()), join, io);
        io.wake_after(JOIN_TIMEOUT);
    }

    fn publish(&mut self, purpose: Purpose, io: &mut Io) {
        for name in Arc::clone(&self.files).iter() {
            let (errand, key) = (Errand::Publish, key_of(name));
            let routed = Routed { errand, key, origin: io.own, name: name.clone() };
            self.route(Head::new(purpose, Guid::default()), routed, io);
        }
    }

    fn round(&mut self, io: &mut Io) {
        self.rounds += 1;
        let is_silent = |it: &Neighbour| io.now.since(it.heard) > MAX_SILENCE;
        let silent = self.neighbours.iter().filter(|(_, neighbour)| is_silent(neighbour));
        for dead in silent.map(|(addr, _)| *addr).collect::<Vec<_>>() {
            self.forget(dead, io);
        }
        let update = self.update(false);
        self.neighbours.keys().for_each(|addr| io.tell(*addr, Purpose::Upkeep, &update));
        // Two neighbours that claim one point hear of each other.
        for (a, its) in &self.neighbours {
            let after = (std::ops::Bound::Excluded(*a), std::ops::Bound::Unbounded);
            for (b, others) in self.neighbours.range(after) {
                if its.zones.iter().any(|zone| others.zones.iter().any(|it| it.overlaps(*zone))) {
                    io.tell(*a, Purpose::Upkeep, &Fields::new().byte(op::MEET).addr(*b));
                }
            }
        }
        self.check(io);
        if self.rounds.is_multiple_of(PUBLISH_ROUNDS) {
            self.keys.expire(io.now);
            self.publish(Purpose::Upkeep, io);
        }
    }
}

/// The rule of a settled network: zones cover the torus, without gap or overlap.
pub(super) fn rule(live: &[(usize, &Host<Can>)]) -> Verdict {
    let nodes: Vec<&Can> = live.iter().map(|(_, host)| host.system()).collect();
    Can::wrong(&nodes).map_or(Ok(()), Err)
}

impl System for Can {
    fn join(&mut self, known: &[SocketAddrV4], io: &mut Io) {
        // Rounds of nodes that join together are spread.
        let first = ROUND / 1_000 * u32::try_from(1 + io.rng.below(1_000)).unwrap_or(1);
        self.round_at = io.now + first;
        io.wake_after(first);
        self.known = known.to_vec();
        if known.is_empty() {
            self.zones.push(Zone::WHOLE);
            self.publish(Purpose::Publish, io);
        } else {
            self.send_join(io);
        }
    }

    fn look_up(&mut self, wanted: &Wanted, io: &mut Io) {
        if self.joining.is_none() {
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
            op::GRANT => self.granted(fields, io)?,
            _ if self.joining.is_some() => return None,
            relay::op::ROUTE => {
                let routed = Relay::take(from, head, &mut fields, io)?;
                if routed.errand == Errand::Join {
                    // It may be known from an earlier life, whose zones it has lost.
                    self.forget(routed.origin, io);
                }
                self.route(head, routed, io);
            }
            op::UPDATE => self.updated(from, fields, io)?,
            op::WHO => self.asked(from, fields, io)?,
            op::MEET => io.tell(fields.addr()?, Purpose::Upkeep, &self.update(false)),
            _ => return None,
        }
        Some(())
    }

    fn timeout(&mut self, io: &mut Io) {
        while let Some((dead, head, mut routed)) = self.relay.late(io.now) {
            if self.joining.is_some() {
                continue;
            }
            self.forget(dead, io);
            if routed.errand == Errand::Split {
                routed.errand = Errand::Join;
            }
            self.route(head, routed, io);
        }
        if self.joining.is_some_and(|until| until <= io.now) {
            self.tries += 1;
            self.send_join(io);
        }
        let due = self.vacant.extract_if(.., |_, vacancy| vacancy.due <= io.now);
        for (zone, vacancy) in due.collect::<Vec<_>>() {
            self.take_over(zone, &vacancy.heirs, io);
        }
        if self.check_at.take_if(|at| *at <= io.now).is_some() {
            self.check(io);
        }
        if self.round_at <= io.now {
            self.round_at = io.now + ROUND;
            if self.joining.is_none() {
                self.round(io);
            }
        }
        let vacancies = self.vacant.values().map(|vacancy| vacancy.due);
        let others = [Some(self.round_at), self.relay.due(), self.check_at, self.joining];
        let next = vacancies.chain(others.into_iter().flatten()).min();
        io.wake_after(next.unwrap_or(self.round_at).since(io.now));
    }

    fn state(&self) -> Held {
        let neighbour = |it: &Neighbour| {
            let zones = Held::new(it.zones.len(), ZONE_BYTES + ADDR_BYTES);
            zones.and(Held::new(it.heirs.len(), ADDR_BYTES))
        };
        let neighbours = self.neighbours.values().map(neighbour);
        neighbours.fold(self.keys.state(), Held::and)
    }
}

#[cfg(test)]
#[path = "can_tests.rs"]
mod tests;
