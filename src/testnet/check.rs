//! What can be asserted of a network from outside: that it stands, answers, and keeps the rules.

use super::view::View;
use crate::driver::{EventRecord, LinkDescriptor, RecordedEvent};
use crate::rng::Rng;
use crate::rules::{NodeRules, Rule, Sources, Violation};
use crate::wire::{Deframer, Guid, Header, Kind, handshake};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant, SystemTime};
use uuid::Uuid;

/// How long a servent may take to answer a Ping.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Violations of a rule that are listed; the rest is counted.
const MAX_NAMED: usize = 10;

/// How often the check is repeated because processes started or ended meanwhile.
const MAX_LOOKS: usize = 5;

/// One thing that was asserted.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What should hold.
    pub rule: &'static str,
    /// How often it was looked at.
    pub looked_at: usize,
    /// Where it does not hold.
    pub wrong: Vec<String>,
    /// More of them.
    pub more_wrong: usize,
}

impl Finding {
    fn new(rule: &'static str) -> Finding {
        Finding { rule, looked_at: 0, wrong: Vec::new(), more_wrong: 0 }
    }

    fn look(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.looked_at += 1;
        match holds {
            true => {}
            false if self.wrong.len() < MAX_NAMED => self.wrong.push(what()),
            false => self.more_wrong += 1,
        }
    }

    /// Whether it holds everywhere.
    pub fn holds(&self) -> bool {
        self.wrong.is_empty()
    }
}

/// Looks at everything; again, if a servent ended or started meanwhile and something seemed wrong.
///
/// # Errors
/// When the network has died, or its records cannot be read.
pub fn check(folder: &super::RunFolder) -> io::Result<Vec<Finding>> {
    let mut looks = 0;
    loop {
        let (mut view, mut records) = (View::unread(folder)?, Vec::new());
        view.refresh(&mut |node, record| records.push((node, record)))?;
        let mut findings = vec![processes(&view), links(&view), answers(&view)];
        findings.extend(rules(&view, &records));
        looks += 1;
        let all_hold = findings.iter().all(Finding::holds);
        if all_hold || looks == MAX_LOOKS || !view.has_changed()? {
            return Ok(findings);
        }
    }
}

fn processes(view: &View) -> Finding {
    let mut finding = Finding::new("every servent that was not ended on purpose runs");
    for (number, node) in view.network.nodes.iter().enumerate() {
        let fine = view.is_running(number) || view.is_wanted_down(number);
        finding.look(fine, || format!("\"{}\" does not", node.name));
    }
    finding
}

fn links(view: &View) -> Finding {
    let mut finding = Finding::new("every link between servents that run stands at both ends");
    for (number, link) in view.network.links.iter().enumerate() {
        if !view.is_running(link.from) || !view.is_running(link.to) || view.is_dark(number) {
            continue;
        }
        let nodes = &view.network.nodes;
        finding.look(view.stands(number), || {
            format!("\"{}\" to \"{}\" does not", nodes[link.from].name, nodes[link.to].name)
        });
    }
    finding
}

fn answers(view: &View) -> Finding {
    let mut finding = Finding::new("every servent answers a Ping with its own address");
    let running = view.network.nodes.iter().enumerate().filter(|(node, _)| view.is_running(*node));
    for (_, node) in running {
        match ping(node.addr) {
            Ok(addr) => finding.look(addr == node.addr, || {
                format!("\"{}\" on {} says it listens on {addr}", node.name, node.addr)
            }),
            Err(error) => finding.look(false, || format!("\"{}\": {error}", node.name)),
        }
    }
    finding
}

/// Links with a servent, asks for itself only, and leaves.
fn ping(addr: SocketAddrV4) -> io::Result<SocketAddrV4> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(addr), ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(handshake::CONNECT)?;
    let (mut deframer, mut buffer) = (Deframer::default(), [0; 4_096]);
    let mut heard = Vec::new();
    let answered = loop {
        if let Some(len) = handshake::read_answer(&heard).map_err(io::Error::other)? {
            break len;
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::Error::other("it closed the connection instead of answering")),
            count => heard.extend_from_slice(&buffer[..count]),
        }
    };
    // What came with the answer is its own Pings.
    let mut descriptors = deframer.feed(&heard[answered..]);
    while descriptors.next().map_err(io::Error::other)?.is_some() {}
    let guid = Guid::random(&mut Rng::new(Uuid::new_v4().as_u64_pair().0));
    let header = Header { guid, kind: Kind::Ping, ttl: 1, hops: 0, payload_len: 0 };
    stream.write_all(&header.encode())?;
    while Instant::now() < deadline {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::Error::other("it closed the link instead of answering a Ping"));
        }
        let mut descriptors = deframer.feed(&buffer[..count]);
        while let Some(raw) = descriptors.next().map_err(io::Error::other)? {
            if raw.header().kind == Kind::Pong && raw.header().guid == guid {
                let pong = crate::wire::Pong::decode(raw.payload()).map_err(io::Error::other)?;
                if pong.addr.ip() == addr.ip() {
                    return Ok(pong.addr);
                }
            }
        }
    }
    Err(io::Error::other(format!("no Pong within {} s", ANSWER_TIMEOUT.as_secs())))
}

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

/// What rules were looked at, and what broke them.
struct Judge<'a> {
    view: &'a View,
    findings: BTreeMap<Rule, Finding>,
}

impl Judge<'_> {
    fn look(&mut self, node: usize, rules: &[Rule], judged: &Result<(), Violation>) {
        for rule in rules {
            let finding = self.findings.entry(*rule);
            let finding = finding.or_insert_with(|| Finding::new(rule.statement()));
            let broken = judged.as_ref().err().filter(|violation| violation.rule == *rule);
            finding.look(broken.is_none(), || {
                let detail = broken.map_or("", |violation| &violation.detail);
                format!("\"{}\" {detail}", self.view.network.nodes[node].name)
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
fn rules(view: &View, records: &[(usize, EventRecord)]) -> Vec<Finding> {
    let findings = ON_LINKS.map(|rule| (rule, Finding::new(rule.statement())));
    let mut judge = Judge { view, findings: BTreeMap::from(findings) };
    for (node, member) in view.network.nodes.iter().enumerate() {
        match member.is_ours() {
            true => own_records(node, records, &mut judge),
            false => records_of_neighbours(node, records, &mut judge),
        }
    }
    judge.findings.into_values().collect()
}

/// A servent of ours writes down what it does.
fn own_records(node: usize, records: &[(usize, EventRecord)], judge: &mut Judge<'_>) {
    let mut rules = NodeRules::new(Sources::First);
    for (_, record) in records.iter().filter(|(by, _)| *by == node) {
        let Some(on) = record.event.descriptor() else {
            if matches!(record.event, RecordedEvent::Start { .. }) {
                rules.forget();
            }
            continue;
        };
        if matches!(record.event, RecordedEvent::Received { .. }) {
            rules.received(on.peer, &header(on), None);
        } else if record.event.is_sent() {
            judge.sent(node, on.kind, &rules.sent(on.peer, &header(on), None));
        }
    }
}

/// Another program is seen by its neighbours: what they sent it, it had, and what they received from
/// it, it sent. In which order it had what, they cannot tell.
fn records_of_neighbours(node: usize, records: &[(usize, EventRecord)], judge: &mut Judge<'_>) {
    let (view, mut seen) = (judge.view, Vec::new());
    for (by, record) in records {
        let peer = match &record.event {
            RecordedEvent::LinkDown { peer, .. } => Some(*peer),
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
    queries_went_on(node, &seen, &rules, judge);
}

/// A Query that came a while ago has gone on. One copy that is missing cannot be told from one that
/// found a queue full; a Query that no neighbour got can.
fn queries_went_on(
    node: usize,
    seen: &[(u64, usize, &RecordedEvent)],
    rules: &NodeRules<usize>,
    judge: &mut Judge<'_>,
) {
    let links = judge.view.network.links.iter().enumerate();
    let own = links.filter(|(_, ends)| ends.from == node || ends.to == node);
    let standing: Vec<usize> =
        own.map(|(link, _)| link).filter(|link| judge.view.stands(*link)).collect();
    let settled = unix_micros().saturating_sub(2 * CLOCK_SLACK_MICROS);
    let came = seen.iter().filter(|(time, _, event)| event.is_sent() && *time < settled);
    for on in came.filter_map(|(_, _, event)| event.descriptor()) {
        if on.kind == Kind::Query {
            judge.look(node, &[Rule::Reach], &rules.went_on(&on.guid, &standing));
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
