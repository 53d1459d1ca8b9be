//! The observer of a simulated network: follows the search under way, checks the rules, draws what
//! becomes of dials, and hashes all of it.

use super::neighbours::Neighbours;
use super::node::{Outward, ServentNode};
use crate::net::{Crossing, Dial, DialFate, Holder, Observer};
use crate::plan::Faults;
use crate::plan::fault_schedule::{DialOutcome, FaultSchedule};
use crate::plan::topology::Graph;
use crate::plan::trace::Trace;
use crate::rng::Rng;
use crate::rules::{self, Flood, Scratch, Violation};
use crate::servent::Event;
use crate::time::Instant;
use crate::wire::{Guid, HEADER_BYTES, Header, Kind};
use siphasher::sip::SipHasher13;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;

/// See the module documentation.
pub(super) struct Watcher<'a> {
    pub(super) graph: &'a Graph,
    pub(super) neighbours: Neighbours,
    faults: &'a Faults,
    pub(super) schedule: FaultSchedule,
    /// All links have stood: faults may happen from now on.
    pub(super) armed: bool,
    /// How often each kind of fault happened.
    pub(super) injected: BTreeMap<&'static str, u64>,
    /// Rules are checked.
    pub(super) oracles: bool,
    /// The first rule that did not hold.
    pub(super) violation: Option<Violation>,
    /// Everything that crossed a link or failed, when and where.
    pub(super) trace: SipHasher13,
    /// GUIDs of all searches.
    pub(super) asked: BTreeSet<Guid>,
    /// The search under way.
    pub(super) search: Option<(Guid, Flood)>,
    /// When nodes may begin to forget its GUID and to take its copies for new ones.
    pub(super) forgotten_at: Instant,
    /// The search lasted until then.
    pub(super) outlasted: bool,
    /// Memory of the search before, for the next.
    pub(super) scratch: Scratch,
    /// The search being recorded, and when it began.
    pub(super) written: Option<(Instant, Trace)>,
    /// Results of the search.
    pub(super) hits: u64,
    pub(super) bytes: u64,
    pub(super) descriptors: u64,
    /// Descriptors that arrived in one read with what ended their link, behind it.
    pub(super) untaken: u64,
    /// Descriptors seen, and those the reading node had received, before the present read.
    before: (u64, u64),
}

impl<'a> Watcher<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        faults: &'a Faults,
        schedule: FaultSchedule,
        oracles: bool,
    ) -> Watcher<'a> {
        Watcher {
            graph,
            neighbours: Neighbours::new(graph),
            faults,
            schedule,
            armed: false,
            injected: BTreeMap::new(),
            oracles,
            violation: None,
            trace: SipHasher13::new_with_keys(0, 0),
            asked: BTreeSet::new(),
            search: None,
            forgotten_at: Instant::FAR_FUTURE,
            outlasted: false,
            scratch: Scratch::default(),
            written: None,
            hits: 0,
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

    /// Counts a fault and puts it into the trace.
    pub(super) fn note_fault(&mut self, now: Instant, kind: &'static str, subject: usize) {
        *self.injected.entry(kind).or_default() += 1;
        for word in [now.as_micros(), subject as u64] {
            self.trace.write(&word.to_le_bytes());
        }
        self.trace.write(kind.as_bytes());
    }

    fn note(&mut self, at: Instant, (from, to): (usize, usize), header: &Header) {
        let mut words = [0; 24 + HEADER_BYTES];
        words[..8].copy_from_slice(&at.as_micros().to_le_bytes());
        words[8..16].copy_from_slice(&(from as u64).to_le_bytes());
        words[16..24].copy_from_slice(&(to as u64).to_le_bytes());
        words[24..].copy_from_slice(&header.encode());
        self.trace.write(&words);
    }

    /// A descriptor of the search under way crossed a link.
    fn follow(&mut self, at: Instant, ends: (usize, usize), wire: usize, header: &Header) {
        let Some((_, flood)) = &mut self.search else { return };
        let judged = match header.kind {
            Kind::Query => flood.query(ends, wire, header, || self.neighbours.degree(ends.0)),
            Kind::QueryHit => flood.hit(ends.0, ends.1),
            _ => Ok(()),
        };
        if let Err(violation) = judged {
            self.violation.get_or_insert(violation.at(at));
        }
        if let Some((begun, trace)) = &mut self.written {
            let first = flood.is_first(ends.0, ends.1);
            let [from, to] = [ends.0, ends.1].map(|node| &self.graph.names[node]);
            trace.note(at.since(*begun), from, to, header, first);
        }
    }
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
            let is_watched = self.search.as_ref().is_some_and(|(guid, _)| *guid == search);
            self.hits += u64::from(is_watched && !self.outlasted);
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
        self.note(at, (from, to), &header);
        if self.search.as_ref().is_some_and(|(guid, _)| *guid == header.guid) {
            self.outlasted |= at >= self.forgotten_at;
            if !self.outlasted {
                self.follow(at, (from, to), crossing.wire, &header);
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

    fn touch(&self, node: usize) -> u64 {
        self.search.as_ref().map_or(0, |(_, flood)| flood.touch(node))
    }

    fn is_settled(&self, node: usize) -> bool {
        self.search.as_ref().is_some_and(|(_, flood)| flood.has(node))
    }
}
