//! Follows one search through a network of real servents: query traceroute.
//!
//! The search is made as a user would make it, by `servent search` through a node. Its Query is
//! found again, by its GUID, in what every node writes down. It has one link more to cross than a
//! search of the node itself; that link is left out of what is shown, so that the numbers are those
//! of a search that began at the node, and of the simulator.

use super::folder::Node;
use super::process;
use super::tail::EventTail;
use super::view::View;
use crate::driver::{EventRecord, LinkDescriptor, RecordedEvent};
use crate::plan::trace::{Step, Trace};
use crate::stats::DropReason;
use crate::wire::{Guid, Kind};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How often things are looked at while they are waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// A guest that was asked to stop does so within this time.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// The most links a search may cross here: its Query has one more.
pub const MAX_TTL: u8 = 14;

/// A search to follow.
#[derive(Clone, Debug)]
pub struct Search {
    /// The number of the node it begins at.
    pub node: usize,
    /// What it is for.
    pub words: Vec<String>,
    /// Links it may cross from that node on, 1 to [`MAX_TTL`].
    pub ttl: u8,
    /// When to give up waiting for copies that do not arrive, and for a link.
    pub wait: Duration,
}

/// What became of a search.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Its way.
    pub trace: Trace,
    /// The hits, as `servent search --json` prints them.
    pub hits: Vec<Value>,
    /// Copies that were sent and had not arrived when the time was over.
    pub missing: usize,
}

/// The guest that searches. Dropping it ends it.
struct Guest {
    child: Child,
    events: EventTail,
    /// Where it writes: what it sees, what it found, what it complains of.
    files: [PathBuf; 3],
}

/// Searches and waits until every copy has arrived somewhere.
///
/// # Errors
/// When the node is down, the search itself fails, or the network has died.
pub fn follow(view: &mut View, search: &Search) -> io::Result<Followed> {
    let deadline = Instant::now() + search.wait;
    view.refresh(&mut |_, _| {})?;
    view.must_run(search.node)?;
    let lost_before = view.lost_records();
    let mut guest = Guest::start(view, search)?;
    let mut seen: Vec<(usize, EventRecord)> = Vec::new();
    let (mut own, mut guid) = (Vec::new(), None);
    loop {
        own.extend(guest.events.read()?);
        let mut see = |node, record: EventRecord| {
            let kind = record.event.descriptor().map(|on| on.kind);
            if matches!(kind, Some(Kind::Query | Kind::QueryHit)) {
                seen.push((node, record));
            }
        };
        view.refresh(&mut see)?;
        guid = guid.or_else(|| own.iter().find_map(own_query));
        if let Some(guid) = guid {
            let about =
                |record: &EventRecord| record.event.descriptor().is_some_and(|on| on.guid == guid);
            seen.retain(|(_, record)| about(record));
            let neighbour = |node, peer| view.neighbour(node, peer);
            let way = Way::new(&view.network.nodes, &neighbour, search.node, &seen);
            let home = own.iter().filter(|record| is_received(&record.event) && about(record));
            // What a lost record was about is not known: it is taken for a copy.
            let lost = view.lost_records() + guest.events.lost() - lost_before;
            let missing = way.missing(home.count()).map(|count| count + lost);
            if missing == Some(0) || Instant::now() > deadline {
                let hits = guest.finish()?;
                let trace = way.trace(search);
                return Ok(Followed { trace, hits, missing: missing.unwrap_or(1) });
            }
        } else if let Some(failure) = guest.failure()? {
            return Err(io::Error::other(failure));
        } else if Instant::now() > deadline {
            let name = &view.network.nodes[search.node].name;
            let text = format!("node \"{name}\" takes no search within {:?}", search.wait);
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// The GUID of the guest's Query, once it was sent.
fn own_query(record: &EventRecord) -> Option<Guid> {
    match &record.event {
        RecordedEvent::Originated(on) if on.kind == Kind::Query => Some(on.guid),
        _ => None,
    }
}

fn is_received(event: &RecordedEvent) -> bool {
    matches!(event, RecordedEvent::Received { .. })
}

impl Guest {
    fn start(view: &View, search: &Search) -> io::Result<Guest> {
        let id = Uuid::new_v4().simple();
        let place = view.folder.searches();
        let files = ["events", "found", "said"].map(|what| place.join(format!("{id}.{what}")));
        let mut command = process::command(&std::env::current_exe()?);
        let addr = view.network.nodes[search.node].addr;
        command.args(["search", "--json", "--connect", &addr.to_string()]);
        command.args(["--ttl", &(search.ttl + 1).to_string(), "--events"]).arg(&files[0]);
        command.args(["--wait", &search.wait.as_secs_f64().to_string(), "--"]).args(&search.words);
        command.env("XDG_STATE_HOME", &place).env("RUST_LOG", "warn").stdin(Stdio::null());
        command.stdout(File::create(&files[1])?).stderr(File::create(&files[2])?);
        Ok(Guest { child: command.spawn()?, events: EventTail::new(files[0].clone()), files })
    }

    /// Why it has ended without a search, if it has.
    fn failure(&mut self) -> io::Result<Option<String>> {
        let Some(status) = self.child.try_wait()? else { return Ok(None) };
        let said = fs::read_to_string(&self.files[2])?;
        let said = said.trim().trim_start_matches("servent: ");
        Ok(Some(if said.is_empty() {
            format!("the search ended with {status}")
        } else {
            said.to_owned()
        }))
    }

    /// Ends it and takes what it has found.
    fn finish(mut self) -> io::Result<Vec<Value>> {
        self.end()?;
        let found = fs::read_to_string(&self.files[1])?;
        Ok(found.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    fn end(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_none() {
            kill_process(Pid::from_child(&self.child), Signal::INT)?;
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.child.kill()?;
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            log::debug!("ending a search: {error}");
        }
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
    }
}

/// What is known of one search.
struct Way<'a> {
    nodes: &'a [Node],
    /// The neighbour that a node sees as a peer; none for the guest.
    neighbour: &'a dyn Fn(usize, SocketAddrV4) -> Option<usize>,
    origin: usize,
    /// All about it, by node, in the order of each node.
    records: &'a [(usize, EventRecord)],
    /// What the origin sees as the guest.
    guest: Option<SocketAddrV4>,
}

impl<'a> Way<'a> {
    fn new(
        nodes: &'a [Node],
        neighbour: &'a dyn Fn(usize, SocketAddrV4) -> Option<usize>,
        origin: usize,
        records: &'a [(usize, EventRecord)],
    ) -> Way<'a> {
        let mut way = Way { nodes, neighbour, origin, records, guest: None };
        let guest = way
            .descriptors()
            .filter(|(node, record, _)| *node == origin && is_received(&record.event))
            .find_map(|(_, _, on)| neighbour(origin, on.peer).is_none().then_some(on.peer));
        way.guest = guest;
        way
    }

    fn descriptors(
        &self,
    ) -> impl Iterator<Item = (usize, &'a EventRecord, &'a LinkDescriptor)> + use<'a> {
        let on = |(node, record): &'a (usize, EventRecord)| {
            Some((*node, record, record.event.descriptor()?))
        };
        self.records.iter().filter_map(on)
    }

    /// Copies that were sent and have not arrived, when `home` of them were seen by the guest.
    /// `None` until the search has begun.
    ///
    /// Records are read with all that came of them ([`EventTail`]), and each node's in their order.
    /// So when every copy that was sent in what is read has also arrived in it, and the other way
    /// round, nothing is in flight at all.
    fn missing(&self, home: usize) -> Option<usize> {
        let guest = self.guest?;
        let mut in_flight: BTreeMap<(usize, usize, Kind), isize> = BTreeMap::new();
        let mut to_guest = 0;
        for (node, record, on) in self.descriptors() {
            let sent = record.event.is_sent();
            if node == self.origin && on.peer == guest {
                to_guest += usize::from(sent);
                continue;
            }
            let Some(other) = (self.neighbour)(node, on.peer) else { continue };
            // A foreign servent does not say what it got.
            if !self.nodes[other].is_ours() {
                continue;
            }
            if sent {
                *in_flight.entry((node, other, on.kind)).or_default() += 1;
            } else if is_received(&record.event) {
                *in_flight.entry((other, node, on.kind)).or_default() -= 1;
            }
        }
        let between: isize = in_flight.values().map(|count| count.abs()).sum();
        Some(between.unsigned_abs() + to_guest.abs_diff(home))
    }

    fn trace(&self, search: &Search) -> Trace {
        let mut trace = Trace {
            from: self.nodes[self.origin].name.clone(),
            criteria: search.words.join(" "),
            ..Trace::default()
        };
        let begun = self.descriptors().find(|(node, record, on)| {
            *node == self.origin && is_received(&record.event) && Some(on.peer) == self.guest
        });
        let begun = begun.map_or(0, |(_, record, _)| record.time);
        let mut steps: Vec<(bool, Step)> = Vec::new();
        // The step that brought each node what it handles, if that came over a link of the plan.
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
                // What a foreign servent gets is known only from who sent it.
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
                hops: on.hops.saturating_sub(u8::from(is_query)),
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

/// Orders by time. Each servent reads its clock once for all that comes in together, so the times
/// of two may disagree by that much: nobody is shown to pass on what it has not got yet.
fn in_order(steps: &mut [(bool, Step)], origin: &str) {
    steps.sort_by_key(|(_, step)| (step.hops, step.micros));
    let mut had_at: BTreeMap<(bool, String), u64> = BTreeMap::new();
    had_at.insert((true, origin.to_owned()), 0);
    for (is_query, step) in steps.iter_mut() {
        if let Some(at) = had_at.get(&(*is_query, step.from.clone())) {
            step.micros = step.micros.max(*at);
        }
        had_at.entry((*is_query, step.to.clone())).or_insert(step.micros);
    }
    steps.sort_by_key(|(_, step)| (step.micros, step.hops));
}

#[cfg(test)]
mod tests {
    use super::*;
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
        };
        (0..count).map(node).collect()
    }

    /// The guest has an address of its own behind those of the nodes.
    const GUEST: usize = 200;

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

    /// Of node 0, which passes a guest's Query on to 1 and 2, which are linked with each other.
    fn triangle() -> Vec<(usize, EventRecord)> {
        use RecordedEvent::Forwarded;
        vec![
            record(0, received, GUEST, 0),
            record(0, Forwarded, 1, 1),
            record(0, Forwarded, 2, 1),
            record(1, received, 0, 1),
            record(1, Forwarded, 2, 2),
            record(2, received, 0, 1),
            record(2, Forwarded, 1, 2),
            record(1, received, 2, 2),
            record(1, dropped, 2, 2),
            record(2, received, 1, 2),
            record(2, dropped, 1, 2),
        ]
    }

    fn neighbour(_: usize, peer: SocketAddrV4) -> Option<usize> {
        Some(usize::from(peer.ip().octets()[3])).filter(|node| *node != GUEST)
    }

    #[test]
    fn a_drop_is_of_what_the_same_node_received_last() {
        let nodes = nodes(3);
        let mut records = triangle();
        // Read in another order: the drops come last, whatever was read before them.
        records.swap(8, 9);
        // The guest sends it twice; that copy is of no link of the plan.
        records.push(record(0, received, GUEST, 0));
        records.push(record(0, dropped, GUEST, 0));
        let search = Search { node: 0, words: Vec::new(), ttl: 7, wait: Duration::ZERO };
        let way = Way::new(&nodes, &neighbour, 0, &records);
        assert_eq!(way.missing(0), Some(0));
        let trace = way.trace(&search);
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
