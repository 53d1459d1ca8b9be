//! The rules of the protocol, judged from the records of a network: each servent of ours by its own,
//! every other program by those of its neighbours.

use super::finding::Finding;
use super::view::View;
use crate::driver::{EventRecord, LinkDescriptor, RecordedEvent};
use crate::rules::{NodeRules, Rule, Sources, Violation};
use crate::stats::DropReason;
use crate::wire::{Header, Kind};
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::{Duration, SystemTime};

/// Rules that a descriptor on a link can break.
const ON_LINKS: [Rule; 6] = [
    Rule::TtlNeverGrows,
    Rule::HopsCount,
    Rule::OnlyWhatCame,
    Rule::NotBackToSource,
    Rule::ForwardedOnce,
    Rule::ReversePath,
];

/// Clocks of two servents disagree by less than this: each reads its own once a turn.
const CLOCK_SLACK_MICROS: u64 = 1_000_000;

/// The rules that were looked at, and what broke them.
struct Judge<'a> {
    /// Of the nodes.
    names: Vec<&'a str>,
    findings: BTreeMap<Rule, Finding>,
}

impl<'a> Judge<'a> {
    fn new(names: impl Iterator<Item = &'a str>) -> Judge<'a> {
        let findings = ON_LINKS.map(|rule| (rule, Finding::new(rule.statement())));
        Judge { names: names.collect(), findings: BTreeMap::from(findings) }
    }

    fn look(&mut self, node: usize, rules: &[Rule], judged: &Result<(), Violation>) {
        for rule in rules {
            let finding = self.findings.entry(*rule);
            let finding = finding.or_insert_with(|| Finding::new(rule.statement()));
            let broken = judged.as_ref().err().filter(|violation| violation.rule == *rule);
            finding.look(broken.is_none(), || {
                let detail = broken.map_or("", |violation| &violation.detail);
                format!("\"{}\" {detail}", self.names[node])
            });
        }
    }

    fn sent(&mut self, node: usize, kind: Kind, judged: &Result<(), Violation>) {
        let is_reply = matches!(kind, Kind::Pong | Kind::QueryHit);
        let rules = ON_LINKS.iter().filter(|rule| match rule {
            Rule::ReversePath => is_reply || kind == Kind::Push,
            Rule::ForwardedOnce => !is_reply,
            _ => true,
        });
        self.look(node, &rules.copied().collect::<Vec<Rule>>(), judged);
    }
}

/// Every descriptor that was sent, held against what its sender had.
pub(super) fn rules(view: &View, records: &[(usize, EventRecord)]) -> Vec<Finding> {
    let mut judge = Judge::new(view.network.nodes.iter().map(|node| node.name.as_str()));
    own_records(records, &mut judge);
    for (node, member) in view.network.nodes.iter().enumerate() {
        if !member.is_ours() {
            records_of_neighbours(view, node, records, &mut judge);
        }
    }
    judge.findings.into_values().collect()
}

/// A servent of ours as its records show it.
struct OwnView {
    /// By peer, and by which of the links with it.
    rules: NodeRules<(SocketAddrV4, usize)>,
    /// How many links there were with each peer.
    links: BTreeMap<SocketAddrV4, usize>,
    /// The descriptor that came last, until it is known whether the servent dropped it unread.
    pending: Option<LinkDescriptor>,
}

impl OwnView {
    fn new() -> OwnView {
        let (rules, links) = (NodeRules::new(Sources::First), BTreeMap::new());
        OwnView { rules, links, pending: None }
    }

    fn link(&self, peer: SocketAddrV4) -> (SocketAddrV4, usize) {
        (peer, self.links.get(&peer).copied().unwrap_or(0))
    }

    fn commit(&mut self) {
        if let Some(on) = self.pending.take() {
            self.rules.received(self.link(on.peer), &header(&on), None);
        }
    }
}

/// Servents of ours write down what they do.
fn own_records(records: &[(usize, EventRecord)], judge: &mut Judge<'_>) {
    let mut views: BTreeMap<usize, OwnView> = BTreeMap::new();
    for (node, record) in records {
        let view = views.entry(*node).or_insert_with(OwnView::new);
        match &record.event {
            RecordedEvent::Start { .. } => *view = OwnView::new(),
            RecordedEvent::LinkUp { peer, .. } => {
                view.commit();
                *view.links.entry(*peer).or_default() += 1;
                if record.event.is_up_with_leaf() {
                    view.rules.has_leaf(view.link(*peer));
                }
            }
            RecordedEvent::Received { descriptor, .. } => {
                view.commit();
                view.pending = Some(*descriptor);
            }
            RecordedEvent::Dropped { reason, .. } if !is_remembered(*reason) => view.pending = None,
            RecordedEvent::Forwarded(on) | RecordedEvent::Originated(on) => {
                view.commit();
                let judged = view.rules.sent(view.link(on.peer), &header(on), None);
                judge.sent(*node, on.kind, &judged);
            }
            _ => {}
        }
    }
}

/// Whether a servent that drops a descriptor for this reason remembers that it came.
fn is_remembered(reason: DropReason) -> bool {
    use DropReason::{Malformed, PingThrottled, QueryTooLong, TtlTooHigh};
    !matches!(reason, Malformed | PingThrottled | QueryTooLong | TtlTooHigh)
}

/// Another program is seen by its neighbours: what they sent it, it had, and what they received from
/// it, it sent. In which order it had what, they cannot tell.
fn records_of_neighbours(
    view: &View,
    node: usize,
    records: &[(usize, EventRecord)],
    judge: &mut Judge<'_>,
) {
    let mut seen = Vec::new();
    for (by, record) in records {
        let peer = match &record.event {
            RecordedEvent::LinkUp { peer, .. } | RecordedEvent::LinkDown { peer, .. } => {
                Some(*peer)
            }
            event => event.descriptor().map(|on| on.peer),
        };
        let Some(link) = peer.and_then(|peer| view.link_of(*by, peer)) else { continue };
        let ends = view.network.links[link];
        if *by != node && (ends.from == node || ends.to == node) {
            let had_before = u64::from(record.event.is_sent()) * CLOCK_SLACK_MICROS;
            seen.push((record.time.saturating_sub(had_before), link, &record.event));
        }
    }
    seen.sort_by_key(|(time, ..)| *time);
    let mut rules = NodeRules::new(Sources::Any);
    for (_, link, event) in &seen {
        let Some(on) = event.descriptor() else {
            rules.forgive();
            continue;
        };
        if event.is_sent() {
            rules.received(*link, &header(on), None);
        } else if matches!(event, RecordedEvent::Received { .. }) {
            judge.sent(node, on.kind, &rules.sent(*link, &header(on), None));
        }
    }
    queries_went_on(view, node, &seen, &rules, judge);
}

/// A Query that came a while ago has gone on. One copy that is missing cannot be told from one that
/// found a queue full; a Query that no neighbour got can, where links stand and nothing fails.
fn queries_went_on(
    view: &View,
    node: usize,
    seen: &[(u64, usize, &RecordedEvent)],
    rules: &NodeRules<usize>,
    judge: &mut Judge<'_>,
) {
    let links = view.network.links.iter().enumerate();
    let own = links.filter(|(_, ends)| ends.from == node || ends.to == node);
    let links: Vec<usize> = own.map(|(link, _)| link).collect();
    let is_prompt = |link: &usize| {
        let slack = Duration::from_micros(CLOCK_SLACK_MICROS);
        view.stands(*link) && view.fault(*link).is_empty() && view.conditions(*link).delay < slack
    };
    if !view.network.faults.is_none() || !links.iter().all(is_prompt) {
        return;
    }
    let of_links = seen.iter().filter(|(_, _, event)| event.descriptor().is_none());
    let stand_since = of_links.map(|(time, ..)| *time).max().unwrap_or(0);
    let settled = unix_micros().saturating_sub(2 * CLOCK_SLACK_MICROS);
    for (time, _, event) in seen {
        let Some(on) = event.descriptor().filter(|on| on.kind == Kind::Query) else { continue };
        // `time` is that of a copy on its way to the node, less the slack.
        if event.is_sent() && (stand_since..settled).contains(&(time + CLOCK_SLACK_MICROS)) {
            judge.look(node, &[Rule::Reach], &rules.went_on(&on.guid, &links));
        }
    }
}

fn unix_micros() -> u64 {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(unix.as_micros()).unwrap_or(u64::MAX)
}

fn header(on: &LinkDescriptor) -> Header {
    Header { guid: on.guid, kind: on.kind, ttl: on.ttl, hops: on.hops, payload_len: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servent::PeerRole;
    use crate::wire::Dialect;
    use crate::wire::Guid;

    const A: &str = "127.0.0.2:1";
    const B: &str = "127.0.0.3:1";

    fn on(peer: &str, kind: Kind, ttl: u8, hops: u8) -> LinkDescriptor {
        LinkDescriptor { peer: peer.parse().unwrap(), kind, guid: Guid([1; 16]), ttl, hops }
    }

    fn received(peer: &str, kind: Kind) -> RecordedEvent {
        RecordedEvent::Received { descriptor: on(peer, kind, 5, 1), payload_bytes: 0 }
    }

    fn up(peer: &str) -> RecordedEvent {
        RecordedEvent::LinkUp {
            peer: peer.parse().unwrap(),
            outbound: true,
            dialect: Dialect::V0_4,
            role: PeerRole::Servent,
        }
    }

    /// The rules that one servent broke, by its own records.
    fn broken(events: Vec<RecordedEvent>) -> Vec<&'static str> {
        let record = |event| (0, EventRecord { time: 0, seq: 0, event, last: true });
        let records: Vec<_> = events.into_iter().map(record).collect();
        let mut judge = Judge::new(["x"].into_iter());
        own_records(&records, &mut judge);
        let broken = judge.findings.into_values().filter(|finding| !finding.holds());
        broken.map(|finding| finding.rule).collect()
    }

    #[test]
    fn what_was_dropped_unread_counts_for_nothing() {
        let dropped =
            |reason| RecordedEvent::Dropped { descriptor: on(A, Kind::Ping, 5, 1), reason };
        let forwarded = || RecordedEvent::Forwarded(on(A, Kind::Ping, 4, 2));
        let came = |reason| vec![received(A, Kind::Ping), dropped(reason), received(B, Kind::Ping)];
        let with = |reason| broken([came(reason), vec![forwarded()]].concat());
        assert_eq!(with(DropReason::PingThrottled), [""; 0], "it came from B");
        assert_eq!(with(DropReason::Duplicate), [Rule::NotBackToSource.statement()]);
    }

    #[test]
    fn another_link_with_the_same_peer_is_another_link() {
        let asks = || RecordedEvent::Originated(on(A, Kind::Query, 7, 0));
        assert_eq!(broken(vec![up(A), asks(), up(A), asks()]), [""; 0]);
        let twice = broken(vec![up(A), asks(), asks()]);
        assert_eq!(twice, [Rule::ForwardedOnce.statement()]);
        let start = RecordedEvent::Start { listen: None };
        assert_eq!(broken(vec![asks(), start, asks()]), [""; 0], "another run");
    }
}
