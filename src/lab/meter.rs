//! The observer of a cell: counts messages and bytes by lookup, purpose and node, and keeps what was
//! found.
//!
//! It reads nothing but message heads, so all systems are counted alike. It also checks the rule
//! that holds for all of them, a copy that is named was there, and asks the system's own [`Judge`].

use super::host::{Found, Participant, Told};
use super::judge::{Judge, Verdict};
use super::message::Purpose;
use super::workload::{Lookup, Workload};
use crate::net::{Crossing, Dial, DialFate, Holder, Observer, Passed};
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::{Guid, HEADER_BYTES, Header};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::time::Duration;

/// Bytes of the two lines that open a Gnutella link.
const HANDSHAKE_BYTES: [usize; 2] = ["GNUTELLA CONNECT/0.4\n\n".len(), "GNUTELLA OK\n\n".len()];

/// Messages and their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl Traffic {
    fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
    }
}

/// How messages are spread over nodes.
#[derive(Clone, Debug)]
pub(super) struct Load {
    messages: u64,
    /// Those that each node sent or received.
    handled: Vec<u64>,
}

impl Load {
    /// What a node sent or received.
    pub(super) fn of(&self, node: usize) -> u64 {
        self.handled[node]
    }

    /// What was added to an earlier load.
    pub(super) fn since(&self, earlier: &Load) -> Load {
        let pairs = self.handled.iter().zip(&earlier.handled);
        let handled = pairs.map(|(now, before)| now - before).collect();
        Load { messages: self.messages - earlier.messages, handled }
    }

    /// The share of all messages that the busiest node sent or received.
    pub(super) fn busiest_share(&self) -> f64 {
        let busiest = self.handled.iter().max().copied().unwrap_or(0);
        busiest as f64 / self.messages.max(1) as f64
    }
}

/// A lookup and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) lookup: Lookup,
    pub(super) begun: Instant,
    pub(super) traffic: Traffic,
    pub(super) found: BTreeSet<(String, usize)>,
    /// Time to the first copy, and its hops.
    pub(super) first: Option<(Duration, usize)>,
}

/// See the module documentation.
pub(super) struct Meter<'a, P> {
    workload: &'a Workload,
    /// The address of node 0.
    first_addr: SocketAddrV4,
    pub(super) records: Vec<Record>,
    /// The record of each GUID.
    by_guid: BTreeMap<Guid, usize>,
    /// By purpose.
    totals: [Traffic; Purpose::ALL.len()],
    pub(super) load: Load,
    /// The system's own rules.
    pub(super) judge: Box<dyn Judge<P> + 'a>,
    /// The first rule that did not hold.
    pub(super) violation: Option<String>,
}

impl<'a, P> Meter<'a, P> {
    pub(super) fn new(
        workload: &'a Workload,
        first_addr: SocketAddrV4,
        judge: Box<dyn Judge<P> + 'a>,
    ) -> Meter<'a, P> {
        let load = Load { messages: 0, handled: vec![0; workload.files.len()] };
        Meter {
            workload,
            first_addr,
            records: Vec::new(),
            by_guid: BTreeMap::new(),
            totals: Default::default(),
            load,
            judge,
            violation: None,
        }
    }

    /// A rule was looked at.
    pub(super) fn heed(&mut self, verdict: Verdict) {
        if let Err(wrong) = verdict {
            self.violation.get_or_insert(wrong);
        }
    }

    /// A lookup begins.
    pub(super) fn begin(&mut self, begun: Instant, lookup: Lookup) {
        self.by_guid.insert(lookup.wanted.guid, self.records.len());
        let (traffic, found) = (Traffic::default(), BTreeSet::new());
        self.records.push(Record { lookup, begun, traffic, found, first: None });
    }

    /// All messages so far of these purposes.
    pub(super) fn total(&self, purposes: &[Purpose]) -> u64 {
        purposes.iter().map(|&purpose| self.totals[purpose as usize].messages).sum()
    }

    fn count(&mut self, (from, to): (usize, Option<usize>), header: &Header, bytes: usize) {
        let purpose = Purpose::of(header.kind);
        self.totals[purpose as usize].add(bytes);
        self.load.messages += 1;
        for node in [Some(from), to].into_iter().flatten() {
            self.load.handled[node] += 1;
        }
        if matches!(purpose, Purpose::Lookup | Purpose::Answer)
            && let Some(&record) = self.by_guid.get(&header.guid)
        {
            self.records[record].traffic.add(bytes);
        }
    }

    fn node_at(&self, addr: SocketAddrV4) -> Option<usize> {
        let node = u32::from(*addr.ip()).checked_sub(u32::from(*self.first_addr.ip()))? as usize;
        (node < self.load.handled.len()).then_some(node)
    }

    fn note(&mut self, found: Found) {
        let Some(&record) = self.by_guid.get(&found.lookup) else { return };
        for holder in found.holders {
            let node = self.node_at(holder).filter(|&node| self.workload.has(node, &found.name));
            let Some(node) = node else {
                let wrong = format!("\"{}\" was found at {holder}, which has no copy", found.name);
                self.violation.get_or_insert(wrong);
                continue;
            };
            let record = &mut self.records[record];
            let copy = (found.name.clone(), node);
            if record.lookup.copies.contains(&copy) {
                record.first.get_or_insert((found.at.since(record.begun), found.hops));
                record.found.insert(copy);
            }
        }
    }
}

impl<P: Participant> Observer<P> for Meter<'_, P> {
    fn dialled(&mut self, _dial: &Dial, _rng: &mut Rng) -> DialFate {
        let join = &mut self.totals[Purpose::Join as usize];
        HANDSHAKE_BYTES.into_iter().for_each(|bytes| join.add(bytes));
        DialFate::Arrives
    }

    fn outward(&mut self, node: usize, told: Told) {
        self.judge.told(node, &told);
        match told {
            Told::Found(found) => self.note(found),
            Told::Alias { lookup, guid } => {
                if let Some(&record) = self.by_guid.get(&lookup) {
                    self.by_guid.insert(guid, record);
                }
            }
        }
    }

    fn crossed(&mut self, crossing: &Crossing<'_>) {
        let verdict = self.judge.crossed(crossing);
        self.heed(verdict);
        if let (Holder::Node(from), Holder::Node(to)) = (crossing.from, crossing.to) {
            let header = crossing.raw.header();
            let bytes = HEADER_BYTES + header.payload_len as usize;
            self.count((from, Some(to)), &header, bytes);
        }
    }

    fn datagram(&mut self, passed: &Passed<'_>) {
        let verdict = self.judge.datagram(passed);
        self.heed(verdict);
        let Some(head) = passed.bytes.first_chunk() else { return };
        let to = passed.to.filter(|_| passed.arrived);
        self.count((passed.from, to), &Header::decode(head), passed.bytes.len());
    }
}
