//! What can be asserted of a network from outside: that it stands, answers, and keeps the rules.

use super::view::View;
use crate::driver::{EventRecord, LinkDescriptor, RecordedEvent};
use crate::rng::Rng;
use crate::wire::{Deframer, Guid, Header, Kind, handshake};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A servent answers a Ping within this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// Broken rules that are named one by one; the rest is counted.
const NAMED: usize = 10;

/// So often at most a network is looked at that does not stay the same.
const LOOKS: usize = 5;

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
            false if self.wrong.len() < NAMED => self.wrong.push(what()),
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
        if all_hold || looks == LOOKS || !view.has_changed()? {
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
    let deadline = Instant::now() + PATIENCE;
    let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(addr), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(handshake::CONNECT)?;
    let mut answer = [0; handshake::OK.len()];
    stream.read_exact(&mut answer)?;
    if answer != handshake::OK {
        let text = String::from_utf8_lossy(&answer).trim().to_owned();
        return Err(io::Error::other(format!("it answered the handshake with \"{text}\"")));
    }
    let guid = Guid::random(&mut Rng::new(Uuid::new_v4().as_u64_pair().0));
    let header = Header { guid, kind: Kind::Ping, ttl: 1, hops: 0, payload_len: 0 };
    stream.write_all(&header.encode())?;
    let (mut deframer, mut buffer) = (Deframer::default(), [0; 4_096]);
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
    Err(io::Error::other(format!("no Pong within {} s", PATIENCE.as_secs())))
}

/// What is remembered of a descriptor at one node.
#[derive(Default)]
struct Known {
    /// Where it first came from, and with which TTL and hops.
    first: Option<(SocketAddrV4, u8, u8)>,
    sent_to: BTreeSet<SocketAddrV4>,
}

fn rules(view: &View, records: &[(usize, EventRecord)]) -> [Finding; 4] {
    let mut ttl = Finding::new("TTL + hops never grows, and each link costs one TTL");
    let mut back = Finding::new("nothing goes back on the link it came from");
    let mut once = Finding::new("no Query or Ping is forwarded twice to the same neighbour");
    let mut reverse = Finding::new("replies go back the way their Query or Ping came");
    let mut known: BTreeMap<(usize, Kind, Guid), Known> = BTreeMap::new();
    // How the descriptor being handled arrived, for each node.
    let mut arrived: Vec<Option<&LinkDescriptor>> = vec![None; view.network.nodes.len()];
    for (node, record) in records {
        let Some(on @ &LinkDescriptor { peer, kind, guid, .. }) = record.event.descriptor() else {
            continue;
        };
        let said = || {
            let name = &view.network.nodes[*node].name;
            let (kind, ttl, hops) = (kind.name(), on.ttl, on.hops);
            format!("\"{name}\": {kind} {guid} to {peer}, TTL {ttl}, hops {hops}")
        };
        match record.event {
            RecordedEvent::Received { .. } => {
                arrived[*node] = Some(on);
                let entry = known.entry((*node, kind, guid)).or_default();
                entry.first.get_or_insert((peer, on.ttl, on.hops));
            }
            RecordedEvent::Forwarded(_) => {
                let Some(came) = arrived[*node] else { continue };
                let sum = |on: &LinkDescriptor| u16::from(on.ttl) + u16::from(on.hops);
                let fine = sum(on) <= sum(came) && on.hops == came.hops + 1;
                ttl.look(fine, said);
                back.look(came.peer != peer, said);
                if matches!(kind, Kind::Query | Kind::Ping) {
                    let entry = known.entry((*node, kind, guid)).or_default();
                    once.look(entry.sent_to.insert(peer), said);
                } else if let Some(asked) = question_of(kind) {
                    let asked = known.get(&(*node, asked, guid)).and_then(|known| known.first);
                    reverse.look(asked.is_some_and(|(from, ..)| from == peer), said);
                }
            }
            _ => {}
        }
    }
    [ttl, back, once, reverse]
}

/// What a reply of this kind is a reply to.
fn question_of(kind: Kind) -> Option<Kind> {
    match kind {
        Kind::QueryHit => Some(Kind::Query),
        Kind::Pong => Some(Kind::Ping),
        _ => None,
    }
}
