//! The paths of one search, put together from the events that nodes have recorded of it.

use super::folder::Node;
use crate::driver::{EventRecord, LinkDescriptor, RecordedEvent};
use crate::plan::trace::{Step, Trace};
use crate::stats::DropReason;
use crate::wire::Kind;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;

/// The records of one search in a network.
pub(super) struct SearchRecords<'a> {
    nodes: &'a [Node],
    /// The neighbour that a node sees as a peer; `None` for others.
    neighbour: &'a dyn Fn(usize, SocketAddrV4) -> Option<usize>,
    origin: usize,
    /// Records with the GUID of the search and their nodes, those of one node in order.
    records: &'a [(usize, EventRecord)],
}

impl<'a> SearchRecords<'a> {
    pub(super) fn new(
        nodes: &'a [Node],
        neighbour: &'a dyn Fn(usize, SocketAddrV4) -> Option<usize>,
        origin: usize,
        records: &'a [(usize, EventRecord)],
    ) -> SearchRecords<'a> {
        SearchRecords { nodes, neighbour, origin, records }
    }

    fn descriptors(
        &self,
    ) -> impl Iterator<Item = (usize, &'a EventRecord, &'a LinkDescriptor)> + use<'a> {
        let on = |(node, record): &'a (usize, EventRecord)| {
            Some((*node, record, record.event.descriptor()?))
        };
        self.records.iter().filter_map(on)
    }

    /// Number of copies in flight.
    ///
    /// A record is read together with its consequences ([`Feed`](super::feed::Feed)), and those of one node
    /// in order. So when every copy that the records say was sent has arrived according to them, and the
    /// other way round, nothing is in flight.
    pub(super) fn missing(&self) -> usize {
        let mut in_flight: BTreeMap<(usize, usize, Kind), isize> = BTreeMap::new();
        for (node, record, on) in self.descriptors() {
            let Some(other) = (self.neighbour)(node, on.peer) else { continue };
            // A foreign servent does not record what it receives.
            if !self.nodes[other].is_ours() {
                continue;
            }
            if record.event.is_sent() {
                *in_flight.entry((node, other, on.kind)).or_default() += 1;
            } else if is_received(&record.event) {
                *in_flight.entry((other, node, on.kind)).or_default() -= 1;
            }
        }
        let between: isize = in_flight.values().map(|count| count.abs()).sum();
        between.unsigned_abs()
    }

    pub(super) fn trace(&self, words: &[String]) -> Trace {
        let mut trace = Trace {
            from: self.nodes[self.origin].name.clone(),
            criteria: words.join(" "),
            ..Trace::default()
        };
        let begun = self
            .descriptors()
            .find(|(node, record, _)| *node == self.origin && record.event.is_sent());
        let begun = begun.map_or(0, |(_, record, _)| record.time);
        let mut steps: Vec<(bool, Step)> = Vec::new();
        // For each node the step by which its current descriptor came.
        let mut handled: BTreeMap<usize, Option<usize>> = BTreeMap::new();
        for (node, record, on) in self.descriptors() {
            if let RecordedEvent::Dropped { reason, .. } = record.event {
                let twice = matches!(reason, DropReason::Duplicate | DropReason::OwnEcho);
                if let Some(Some(at)) = handled.get(&node) {
                    steps[*at].1.duplicate |= twice;
                }
                continue;
            }
            let other = (self.neighbour)(node, on.peer);
            if is_received(&record.event) {
                handled.insert(node, other.map(|_| steps.len()));
            }
            let Some(other) = other else { continue };
            let (from, to) = match &record.event {
                event if is_received(event) => (other, node),
                // What a foreign servent receives is known only from the sender.
                event if event.is_sent() && !self.nodes[other].is_ours() => (node, other),
                _ => continue,
            };
            let is_query = on.kind == Kind::Query;
            let before = |(query, step): &&(bool, Step)| *query && step.to == self.nodes[to].name;
            let known = !self.nodes[to].is_ours() && steps.iter().any(|step| before(&step));
            let step = Step {
                micros: record.time.saturating_sub(begun),
                from: self.nodes[from].name.clone(),
                to: self.nodes[to].name.clone(),
                ttl: on.ttl,
                hops: on.hops,
                duplicate: is_query && known,
            };
            steps.push((is_query, step));
        }
        in_order(&mut steps, &trace.from);
        let (copies, hits) = steps.into_iter().partition(|(is_query, _)| *is_query);
        let plain = |steps: Vec<(bool, Step)>| steps.into_iter().map(|(_, step)| step).collect();
        (trace.copies, trace.hits) = (plain(copies), plain(hits));
        trace
    }
}

/// Whether a descriptor arrived.
pub(super) fn is_received(event: &RecordedEvent) -> bool {
    matches!(event, RecordedEvent::Received { .. })
}

/// Orders steps by time. A servent reads its clock once per turn, so the times of two servents may
/// disagree by a turn: no node is shown to forward what it has not received.
fn in_order(steps: &mut [(bool, Step)], origin: &str) {
    steps.sort_by_key(|(_, step)| (step.hops, step.micros));
    let mut received_at: BTreeMap<(bool, String), u64> = BTreeMap::new();
    received_at.insert((true, origin.to_owned()), 0);
    for (is_query, step) in steps.iter_mut() {
        if let Some(at) = received_at.get(&(*is_query, step.from.clone())) {
            step.micros = step.micros.max(*at);
        }
        received_at.entry((*is_query, step.to.clone())).or_insert(step.micros);
    }
    steps.sort_by_key(|(_, step)| (step.micros, step.hops));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Guid;
    use std::net::Ipv4Addr;

    fn addr(node: usize) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, u8::try_from(node).unwrap()), 1)
    }

    fn nodes(count: usize) -> Vec<Node> {
        let node = |number: usize| Node {
            name: number.to_string(),
            addr: addr(number),
            share: Vec::new(),
            command: Vec::new(),
            leaf: false,
            dialect: "0.4".to_owned(),
        };
        (0..count).map(node).collect()
    }

    /// A stranger's number, above those of the nodes.
    const STRANGER: usize = 200;

    fn record(
        node: usize,
        event: impl FnOnce(LinkDescriptor) -> RecordedEvent,
        peer: usize,
        hops: u8,
    ) -> (usize, EventRecord) {
        let (kind, guid) = (Kind::Query, Guid([1; 16]));
        let event = event(LinkDescriptor { peer: addr(peer), kind, guid, ttl: 7 - hops, hops });
        (node, EventRecord { time: 0, seq: 0, event, last: true })
    }

    fn received(descriptor: LinkDescriptor) -> RecordedEvent {
        RecordedEvent::Received { descriptor, payload_bytes: 0 }
    }

    fn dropped(descriptor: LinkDescriptor) -> RecordedEvent {
        RecordedEvent::Dropped { descriptor, reason: DropReason::Duplicate }
    }

    /// Node 0 asks 1 and 2, which are linked with each other.
    fn triangle() -> Vec<(usize, EventRecord)> {
        use RecordedEvent::{Forwarded, Originated};
        vec![
            record(0, Originated, 1, 0),
            record(0, Originated, 2, 0),
            record(1, received, 0, 0),
            record(1, Forwarded, 2, 1),
            record(2, received, 0, 0),
            record(2, Forwarded, 1, 1),
            record(1, received, 2, 1),
            record(1, dropped, 2, 1),
            record(2, received, 1, 1),
            record(2, dropped, 1, 1),
        ]
    }

    fn neighbour(_: usize, peer: SocketAddrV4) -> Option<usize> {
        Some(usize::from(peer.ip().octets()[3])).filter(|node| *node != STRANGER)
    }

    #[test]
    fn a_drop_is_of_what_the_same_node_received_last() {
        let nodes = nodes(3);
        let mut records = triangle();
        // The files of the nodes are read in another order: the drops come last.
        records.swap(7, 8);
        // A stranger sends it too; that copy crossed no link of the plan.
        records.push(record(0, received, STRANGER, 1));
        records.push(record(0, dropped, STRANGER, 1));
        let records = SearchRecords::new(&nodes, &neighbour, 0, &records);
        assert_eq!(records.missing(), 0);
        let trace = records.trace(&[]);
        let mut steps: Vec<(&str, &str, bool)> = trace
            .copies
            .iter()
            .map(|it| (it.from.as_str(), it.to.as_str(), it.duplicate))
            .collect();
        steps.sort_unstable();
        let expected = [("0", "1", false), ("0", "2", false), ("1", "2", true), ("2", "1", true)];
        assert_eq!(steps, expected);
    }
}
