//! The observer of one shard: notes the copies of the search under way, checks what a single descriptor
//! shows, draws what becomes of dials, and hashes all of it.

use super::node::{Outward, ServentNode};
use crate::net::{Crossing, Dial, DialFate, Holder, Observer};
use crate::plan::Faults;
use crate::plan::fault_schedule::{DialOutcome, FaultSchedule};
use crate::rng::Rng;
use crate::rules::{self, Violation};
use crate::servent::Event;
use crate::time::Instant;
use crate::wire::{Guid, Kind};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// See the module documentation.
pub(super) struct Watcher<'a> {
    faults: &'a Faults,
    pub(super) schedule: FaultSchedule,
    /// All links have stood: faults may happen from now on.
    pub(super) armed: bool,
    /// How often each kind of fault happened.
    pub(super) injected: BTreeMap<&'static str, u64>,
    /// Rules are checked.
    pub(super) oracles: bool,
    /// By node of the network: whether it is a leaf. Empty without roles.
    leaves: Arc<[bool]>,
    /// The first rule that did not hold.
    pub(super) violation: Option<Violation>,
    /// The sum of the hashes of everything that crossed a link or failed, when and where. A sum, so that
    /// it does not matter which shard saw what.
    pub(super) trace: u64,
    /// GUIDs of all searches.
    pub(super) asked: BTreeSet<Guid>,
    /// The search under way.
    pub(super) search: Option<Guid>,
    /// When nodes may begin to forget its GUID and to take its copies for new ones.
    pub(super) forgotten_at: Instant,
    /// The search lasted until then.
    pub(super) outlasted: bool,
    /// What crossed links for the search, in the order it did.
    pub(super) seen: Vec<Seen>,
    /// The nodes here, and which of them have had the search's Query.
    nodes: Range<usize>,
    settled: Vec<bool>,
    /// Results of the search.
    pub(super) hits: u64,
    /// Descriptors and bytes that crossed links for the search: Queries and hits.
    pub(super) search_descriptors: u64,
    pub(super) search_bytes: u64,
    pub(super) bytes: u64,
    pub(super) descriptors: u64,
    /// Descriptors that arrived in one read with what ended their link, behind it.
    pub(super) untaken: u64,
    /// Descriptors seen, and those the reading node had received, before the present read.
    before: (u64, u64),
}

/// A descriptor of the search under way that crossed a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) at: Instant,
    /// Its place among all that happened at that time.
    pub(super) order: u64,
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) wire: u32,
    pub(super) kind: Kind,
    pub(super) ttl: u8,
    pub(super) hops: u8,
}

impl<'a> Watcher<'a> {
    /// Watches these nodes.
    pub(super) fn new(
        faults: &'a Faults,
        schedule: FaultSchedule,
        oracles: bool,
        leaves: Arc<[bool]>,
        nodes: Range<usize>,
    ) -> Watcher<'a> {
        Watcher {
            faults,
            schedule,
            armed: false,
            injected: BTreeMap::new(),
            oracles,
            leaves,
            violation: None,
            trace: 0,
            asked: BTreeSet::new(),
            search: None,
            forgotten_at: Instant::FAR_FUTURE,
            outlasted: false,
            seen: Vec::new(),
            settled: vec![false; nodes.len()],
            nodes,
            hits: 0,
            search_descriptors: 0,
            search_bytes: 0,
            bytes: 0,
            descriptors: 0,
            untaken: 0,
            before: (0, 0),
        }
    }

    /// All links stand: faults may happen.
    pub(super) fn arm(&mut self, now: Instant, nodes: usize, wires: usize) {
        self.armed = true;
        self.schedule.arm(now, nodes, wires);
    }

    /// A search begins, whose GUID nodes remember until `forgotten_at`.
    pub(super) fn begin(&mut self, guid: Guid, forgotten_at: Instant) {
        self.asked.insert(guid);
        self.search = Some(guid);
        (self.forgotten_at, self.outlasted) = (forgotten_at, false);
        self.settled.fill(false);
        self.hits = 0;
        (self.search_descriptors, self.search_bytes) = (0, 0);
    }

    /// Counts a fault and puts it into the trace.
    pub(super) fn note_fault(&mut self, now: Instant, kind: &'static str, subject: usize) {
        *self.injected.entry(kind).or_default() += 1;
        let kind = kind.bytes().fold(0, |hash, byte| mix(hash, byte.into()));
        let hash = mix(mix(now.as_micros(), subject as u64), kind);
        self.trace = self.trace.wrapping_add(hash);
    }

    fn note(&mut self, (from, to): (usize, usize), crossing: &Crossing<'_>) {
        let header = crossing.raw.header().encode();
        let (words, rest) = header.as_chunks::<8>();
        let rest = rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        let ends = (from as u64) << 32 | to as u64;
        let place = mix(mix(crossing.at.as_micros(), crossing.order), ends);
        let words = words.iter().map(|word| u64::from_le_bytes(*word));
        let hash = words.fold(mix(place, rest), mix);
        self.trace = self.trace.wrapping_add(hash);
    }

    fn follow(&mut self, (from, to): (usize, usize), crossing: &Crossing<'_>) {
        let header = crossing.raw.header();
        let number = |node: usize| u32::try_from(node).expect("at most 10,000,000 nodes");
        self.seen.push(Seen {
            at: crossing.at,
            order: crossing.order,
            from: number(from),
            to: number(to),
            wire: crossing.wire,
            kind: header.kind,
            ttl: header.ttl,
            hops: header.hops,
        });
        if header.kind == Kind::Query
            && let Some(node) = self.settled.get_mut(to - self.nodes.start)
        {
            *node = true;
        }
    }
}

/// Adds a word to a hash: quick, and good enough to tell runs apart that nobody made alike on purpose.
fn mix(hash: u64, word: u64) -> u64 {
    let factors = [hash ^ 0x9e37_79b9_7f4a_7c15, word ^ 0xd1b5_4a32_d192_ed03].map(u128::from);
    let product = factors[0] * factors[1];
    #[expect(clippy::cast_possible_truncation, reason = "folding the halves is the point")]
    let folded = (product >> 64) as u64 ^ product as u64;
    folded
}

impl<N: ServentNode> Observer<N> for Watcher<'_> {
    fn dialled(&mut self, dial: &Dial, rng: &mut Rng) -> DialFate {
        if !self.armed {
            return DialFate::Arrives;
        }
        self.schedule.link_made(dial.at, dial.wire);
        match self.faults.dial(rng) {
            DialOutcome::Connects => DialFate::Arrives,
            DialOutcome::Refused => {
                self.note_fault(dial.at, "refused dial", dial.wire);
                DialFate::Refused
            }
            DialOutcome::Silent => {
                self.note_fault(dial.at, "silent dial", dial.wire);
                DialFate::Swallowed
            }
        }
    }

    fn cut(&mut self, at: Instant, wire: usize) {
        self.note_fault(at, "reset", wire);
    }

    fn outward(&mut self, _node: usize, what: Outward) {
        if let Outward::Event(Event::Hit { search, .. }) = what {
            self.hits += u64::from(self.search == Some(search) && !self.outlasted);
        }
    }

    fn delivering(&mut self, node: &N, bytes: usize) {
        self.bytes += bytes as u64;
        self.before = (self.descriptors, node.servent().stats().received.total());
    }

    fn crossed(&mut self, crossing: &Crossing<'_>) {
        let (at, header) = (crossing.at, crossing.raw.header());
        let (Holder::Node(from), Holder::Node(to)) = (crossing.from, crossing.to) else { return };
        self.descriptors += 1;
        self.note((from, to), crossing);
        if self.oracles
            && self.leaves.get(from).is_some_and(|leaf| *leaf)
            && let Err(violation) = rules::of_leaf(&header)
        {
            let violation = violation.by(format_args!("node {from}")).at(at);
            self.violation.get_or_insert(violation);
        }
        if self.search == Some(header.guid) {
            self.search_descriptors += 1;
            self.search_bytes += crossing.raw.frame().len() as u64;
            self.outlasted |= at >= self.forgotten_at;
            if !self.outlasted {
                self.follow((from, to), crossing);
            }
        } else if self.oracles && header.kind == Kind::Query && !self.asked.contains(&header.guid) {
            let violation = rules::unasked(&header).by(format_args!("node {from}")).at(at);
            self.violation.get_or_insert(violation);
        }
    }

    fn delivered(&mut self, node: &N, open: bool) {
        if !open {
            let seen = self.descriptors - self.before.0;
            let taken = node.servent().stats().received.total() - self.before.1;
            self.untaken += seen.saturating_sub(taken);
        }
    }

    fn alarm(&self) -> Option<Instant> {
        match self.violation {
            Some(_) => Some(Instant::ZERO),
            None => self.schedule.next_at(),
        }
    }

    fn is_settled(&self, node: usize) -> bool {
        let here = node.checked_sub(self.nodes.start);
        here.and_then(|node| self.settled.get(node)).is_some_and(|settled| *settled)
    }
}
