//! Follows one search through a network of real servents: a traceroute for Queries.
//!
//! The node is told to search on its control socket, as a user would tell it, and every node tells what it
//! does with the Query and with the hits. What a node could not tell in time stands in its event log, under
//! the numbers that are missing ([`Feed`]).

use super::feed::Feed;
use super::process;
use super::search_records::SearchRecords;
use super::view::View;
use crate::control::results::SearchEnd;
use crate::driver::{EventRecord, RecordedEvent};
use crate::plan::hit_record::HitRecord;
use crate::plan::query_report::QueryReport;
use crate::plan::trace::Trace;
use crate::wire::{Guid, Kind};
use serde::Serialize;
use serde_json::json;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// Interval of reading what nodes tell.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Highest TTL of a followed search.
pub const MAX_TTL: u8 = 15;

/// Longest wait for the copies of a search, unless another is asked for.
pub const FOLLOW_TIMEOUT: Duration = Duration::from_secs(10);

/// A search to follow.
#[derive(Clone, Debug)]
pub struct Search {
    /// The number of the node it begins at.
    pub node: usize,
    /// The words to search for.
    pub words: Vec<String>,
    /// Links it may cross from that node on, 1 to [`MAX_TTL`].
    pub ttl: u8,
    /// Longest wait for copies in flight.
    pub wait: Duration,
}

/// A search that was followed.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The paths of its copies and hits.
    pub trace: Trace,
    /// Its hits.
    pub hits: Vec<HitRecord>,
    /// Copies that were sent and had not arrived when the wait ended.
    pub missing: usize,
}

/// The figures, the paths and the results of a search, as `trace --json` prints them.
#[derive(Debug, Serialize)]
pub struct Traced<'a> {
    /// Its figures.
    #[serde(flatten)]
    pub report: QueryReport,
    /// Copies in flight when the wait ended.
    pub missing: usize,
    /// The paths of its copies and hits.
    pub trace: &'a Trace,
    /// Its hits.
    pub results: &'a [HitRecord],
}

impl Followed {
    /// All of it, for a search with this TTL.
    pub fn traced(&self, ttl: u8) -> Traced<'_> {
        Traced {
            report: QueryReport::of(&self.trace, ttl, self.hits.len() as u64),
            missing: self.missing,
            trace: &self.trace,
            results: &self.hits,
        }
    }
}

/// What all nodes tell of one search.
struct Follower {
    /// Of the nodes of ours that run.
    feeds: Vec<(usize, Feed)>,
    /// Records of Queries and hits; only those of the search, once its GUID is known.
    seen: Vec<(usize, EventRecord)>,
}

/// Searches, and waits until no copy is in flight.
///
/// # Errors
/// When the node is down, the search itself fails, or the network is not running.
pub fn follow(view: &mut View, search: &Search) -> io::Result<Followed> {
    let deadline = Instant::now() + search.wait;
    view.refresh()?;
    view.must_search(search.node)?;
    let mut follower = Follower::open(view)?;
    let words = search.words.join(" ");
    let wait = search.wait.as_secs_f64() + 1.0;
    let asked = json!({"words": words, "ttl": search.ttl, "wait": wait});
    let origin = follower.feed(search.node)?;
    let request = origin.send("search", &asked)?;
    let (mut hits, mut guid) = (Vec::new(), None);
    loop {
        follower.read(guid)?;
        view.read_carried()?;
        let origin = follower.feed(search.node)?;
        if let Some(refused) = origin.take_reply(request) {
            // Only a refusal comes before the wait is over.
            let end: SearchEnd = serde_json::from_value(refused?)?;
            log::debug!("the search ended with {} hits", end.hits);
        }
        while let Some((method, params)) = origin.next_other() {
            if method == "hit"
                && let Ok(hit) = serde_json::from_value::<HitRecord>(params)
            {
                hits.push(hit);
            }
        }
        guid = guid.or_else(|| follower.seen.iter().find_map(|seen| own_query(search.node, seen)));
        let is_over = Instant::now() > deadline;
        if guid.is_some() || is_over {
            follower.keep(guid);
            let neighbour = |node, peer| view.neighbour(node, peer);
            let seen = &follower.seen;
            let records = SearchRecords::new(&view.network.nodes, &neighbour, search.node, seen);
            // A lost record may have been about a copy, and counts as one in flight.
            let missing = records.missing() + follower.lost();
            if missing == 0 && guid.is_some() && !follower.read(guid)? || is_over {
                let origin = follower.feed(search.node)?;
                hits.extend(std::iter::from_fn(|| origin.next_other()).filter_map(
                    |(method, params)| {
                        serde_json::from_value(params).ok().filter(|_| method == "hit")
                    },
                ));
                let own = view.network.nodes[search.node].addr;
                // What the node shares itself crossed no link.
                hits.retain(|hit| {
                    (hit.host.as_str(), hit.port) != (&own.ip().to_string(), own.port())
                });
                let neighbour = |node, peer| view.neighbour(node, peer);
                let seen = &follower.seen;
                let records =
                    SearchRecords::new(&view.network.nodes, &neighbour, search.node, seen);
                return Ok(Followed { trace: records.trace(&search.words), hits, missing });
            }
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// The GUID of the search, from the record that its first Query was sent.
fn own_query(origin: usize, (node, record): &(usize, EventRecord)) -> Option<Guid> {
    match &record.event {
        RecordedEvent::Originated(on) if *node == origin && on.kind == Kind::Query => Some(on.guid),
        _ => None,
    }
}

impl Follower {
    fn open(view: &View) -> io::Result<Follower> {
        process::raise_file_limit();
        let mut feeds = Vec::new();
        for (node, described) in view.network.nodes.iter().enumerate() {
            if described.is_ours() && view.is_running(node) {
                let (socket, log) = (view.folder.control(node), view.folder.events(node));
                feeds.push((node, Feed::open(&socket, log)?));
            }
        }
        Ok(Follower { feeds, seen: Vec::new() })
    }

    fn feed(&mut self, wanted: usize) -> io::Result<&mut Feed> {
        let found = self.feeds.iter_mut().find(|(node, _)| *node == wanted);
        let gone = || io::Error::new(io::ErrorKind::NotConnected, "the node has ended meanwhile");
        found.map(|(_, feed)| feed).ok_or_else(gone)
    }

    /// Reads what nodes have told, of the search with this GUID or of any. Whether that was anything.
    fn read(&mut self, guid: Option<Guid>) -> io::Result<bool> {
        let (mut any, mut gone) = (false, Vec::new());
        for (node, feed) in &mut self.feeds {
            let records = match feed.read() {
                Ok(records) => records,
                // It was killed: what it told before counts.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                    gone.push(*node);
                    continue;
                }
                Err(error) => return Err(error),
            };
            for record in records {
                let Some(on) = record.event.descriptor() else { continue };
                if matches!(on.kind, Kind::Query | Kind::QueryHit)
                    && guid.is_none_or(|guid| on.guid == guid)
                {
                    any = true;
                    self.seen.push((*node, record));
                }
            }
        }
        self.feeds.retain(|(node, _)| !gone.contains(node));
        Ok(any)
    }

    /// Forgets what is not about the search.
    fn keep(&mut self, guid: Option<Guid>) {
        self.seen.retain(|(_, record)| {
            record.event.descriptor().is_some_and(|on| Some(on.guid) == guid)
        });
    }

    /// Records known to be lost.
    fn lost(&self) -> usize {
        self.feeds.iter().map(|(_, feed)| feed.lost()).sum::<usize>()
    }
}
