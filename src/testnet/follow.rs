//! Follows one search through a network of real servents: query traceroute.
//!
//! The search is made as a user would make it, by `servent search` through a node. Its Query is
//! found again, by its GUID, in what every node writes down. It has one link more to cross than a
//! search of the node itself; that link is left out of what is shown, so that the numbers are those
//! of a search that began at the node, and of the simulator.

use super::process;
use super::records::{Record, Tail, What};
use super::view::View;
use crate::plan::trace::{Step, Trace};
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
    events: Tail,
    /// Where it writes: what it sees, what it found, what it complains of.
    files: [PathBuf; 3],
}

/// Searches and waits until every copy has arrived somewhere.
///
/// # Errors
/// When the search itself fails, or the network has died.
pub fn follow(view: &mut View, search: &Search) -> io::Result<Followed> {
    let deadline = Instant::now() + search.wait;
    let mut guest = Guest::start(view, search)?;
    let mut seen: Vec<(usize, Record)> = Vec::new();
    let (mut own, mut guid) = (Vec::new(), None);
    loop {
        own.extend(guest.events.read::<Record>()?);
        let mut see = |node, record: Record| {
            if matches!(record.kind.as_str(), "query" | "query_hit") {
                seen.push((node, record));
            }
        };
        view.refresh(&mut see)?;
        let is_query =
            |record: &&Record| record.event == What::Originated && record.kind == "query";
        guid = guid.or_else(|| own.iter().find(is_query).map(|record| record.guid.clone()));
        if let Some(guid) = &guid {
            seen.retain(|(_, record)| record.guid == *guid);
            let way = Way::new(view, search.node, &seen);
            let home = |record: &&Record| record.event == What::Received && record.guid == *guid;
            let missing = way.missing(own.iter().filter(home).count());
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
        Ok(Guest { child: command.spawn()?, events: Tail::new(files[0].clone()), files })
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
    view: &'a View,
    origin: usize,
    /// All about it, by node, in the order of each node.
    records: &'a [(usize, Record)],
    /// What the origin sees as the guest.
    guest: Option<SocketAddrV4>,
}

impl<'a> Way<'a> {
    fn new(view: &'a View, origin: usize, records: &'a [(usize, Record)]) -> Way<'a> {
        let from_guest = records.iter().find(|(node, record)| {
            let is_guest = |peer| view.neighbour(origin, peer).is_none();
            *node == origin && record.event == What::Received && record.peer.is_some_and(is_guest)
        });
        let guest = from_guest.and_then(|(_, record)| record.peer);
        Way { view, origin, records, guest }
    }

    /// Copies that were sent and have not arrived, when `home` of them were seen by the guest.
    /// `None` until the search has begun.
    ///
    /// Each servent writes all that it did with a descriptor down at once. So when no copy is on its
    /// way between what is read here, nothing is on its way at all.
    fn missing(&self, home: usize) -> Option<usize> {
        let guest = self.guest?;
        let mut under_way: BTreeMap<(usize, usize, &str), isize> = BTreeMap::new();
        let mut to_guest = 0;
        for (node, record) in self.records {
            let Some(peer) = record.peer else { continue };
            let sent = matches!(record.event, What::Forwarded | What::Originated);
            if *node == self.origin && peer == guest {
                to_guest += usize::from(sent);
                continue;
            }
            let Some(other) = self.view.neighbour(*node, peer) else { continue };
            // A foreign servent does not say what it got.
            let told = self.view.network.nodes[other].is_ours();
            let kind = record.kind.as_str();
            if sent && told {
                *under_way.entry((*node, other, kind)).or_default() += 1;
            } else if record.event == What::Received && told {
                *under_way.entry((other, *node, kind)).or_default() -= 1;
            }
        }
        let between: isize = under_way.values().map(|count| count.abs()).sum();
        Some(between.unsigned_abs() + to_guest.abs_diff(home))
    }

    fn trace(&self, search: &Search) -> Trace {
        let nodes = &self.view.network.nodes;
        let mut trace = Trace {
            from: nodes[self.origin].name.clone(),
            criteria: search.words.join(" "),
            ..Trace::default()
        };
        let at_origin = |(node, record): &&(usize, Record)| {
            *node == self.origin && record.event == What::Received && record.peer == self.guest
        };
        let begun = self.records.iter().find(at_origin).map_or(0, |(_, record)| record.time);
        let mut steps: Vec<(bool, Step)> = Vec::new();
        for (node, record) in self.records {
            let neighbour = record.peer.and_then(|peer| self.view.neighbour(*node, peer));
            let Some(other) = neighbour else { continue };
            let (from, to) = match record.event {
                What::Received => (other, *node),
                // What a foreign servent gets is known only from who sent it.
                What::Forwarded | What::Originated if !nodes[other].is_ours() => (*node, other),
                What::Dropped => {
                    let twice = matches!(record.reason.as_str(), "duplicate" | "own echo");
                    if let Some((_, step)) = steps.last_mut() {
                        step.duplicate |= twice;
                    }
                    continue;
                }
                _ => continue,
            };
            let is_query = record.kind == "query";
            let before = |(query, step): &&(bool, Step)| *query && step.to == nodes[to].name;
            let known = !nodes[to].is_ours() && steps.iter().any(|step| before(&step));
            let step = Step {
                micros: record.time.saturating_sub(begun),
                from: nodes[from].name.clone(),
                to: nodes[to].name.clone(),
                ttl: record.ttl,
                hops: record.hops.saturating_sub(u8::from(is_query)),
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
