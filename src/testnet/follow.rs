//! Follows one search through a network of real servents: a traceroute for Queries.
//!
//! A guest, `servent search`, searches through a node as a user would. Its Query is found by GUID in
//! the events of every node. The Query has one link more to cross than one of the node itself; that
//! link is left out, so the numbers are those of a search that starts at the node, as in the
//! simulator.

use super::process::{self, poll_for};
use super::search_records::{SearchRecords, is_received};
use super::tail::EventTail;
use super::view::View;
use crate::driver::{EventRecord, RecordedEvent};
use crate::plan::hit_record::HitRecord;
use crate::plan::trace::Trace;
use crate::wire::{Guid, Kind};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Interval of reading the events.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// A guest stops within this time after INT.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Highest TTL of a followed search; its Query has one more.
pub const MAX_TTL: u8 = 14;

/// A search to follow.
#[derive(Clone, Debug)]
pub struct Search {
    /// The number of the node it begins at.
    pub node: usize,
    /// The words to search for.
    pub words: Vec<String>,
    /// Links it may cross from that node on, 1 to [`MAX_TTL`].
    pub ttl: u8,
    /// Longest wait for a link and for copies in flight.
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

/// The guest that searches. Dropping it stops it.
struct Guest {
    child: Child,
    events: EventTail,
    /// Its events, its hits, its errors.
    files: [PathBuf; 3],
}

/// Searches, and waits until no copy is in flight.
///
/// # Errors
/// When the node is down, the search itself fails, or the network is not running.
pub fn follow(view: &mut View, search: &Search) -> io::Result<Followed> {
    let deadline = Instant::now() + search.wait;
    view.refresh(&mut |_, _| {})?;
    view.must_take_guests(search.node)?;
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
            let records = SearchRecords::new(&view.network.nodes, &neighbour, search.node, &seen);
            let home = own.iter().filter(|record| is_received(&record.event) && about(record));
            // A lost record may have been about a copy, and counts as one in flight.
            let lost = view.lost_records() + guest.events.lost() - lost_before;
            let missing = records.missing(home.count()).map(|count| count + lost);
            if missing == Some(0) || Instant::now() > deadline {
                let hits = guest.finish()?;
                let trace = records.trace(&search.words);
                return Ok(Followed { trace, hits, missing: missing.unwrap_or(1) });
            }
        } else if let Some(failure) = guest.failure()? {
            return Err(io::Error::other(failure));
        } else if Instant::now() > deadline {
            let name = &view.network.nodes[search.node].name;
            let text = format!("node \"{name}\" did not accept a search within {:?}", search.wait);
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// The GUID of the guest's Query, from the record that it was sent.
fn own_query(record: &EventRecord) -> Option<Guid> {
    match &record.event {
        RecordedEvent::Originated(on) if on.kind == Kind::Query => Some(on.guid),
        _ => None,
    }
}

impl Guest {
    fn start(view: &View, search: &Search) -> io::Result<Guest> {
        let id = Uuid::new_v4().simple();
        let place = view.folder.searches();
        let files = ["events", "hits", "errors"].map(|what| place.join(format!("{id}.{what}")));
        let mut command = process::command(&std::env::current_exe()?);
        let addr = view.network.nodes[search.node].addr;
        command.args(["search", "--json", "--connect", &addr.to_string()]);
        command.args(["--ttl", &(search.ttl + 1).to_string(), "--events"]).arg(&files[0]);
        command.args(["--wait", &search.wait.as_secs_f64().to_string(), "--"]).args(&search.words);
        command.env("XDG_STATE_HOME", &place).env("RUST_LOG", "warn").stdin(Stdio::null());
        command.stdout(File::create(&files[1])?).stderr(File::create(&files[2])?);
        Ok(Guest { child: command.spawn()?, events: EventTail::new(files[0].clone()), files })
    }

    /// Why it has ended without a search, if it has ended.
    fn failure(&mut self) -> io::Result<Option<String>> {
        let Some(status) = self.child.try_wait()? else { return Ok(None) };
        let errors = fs::read_to_string(&self.files[2])?;
        Ok(Some(match errors.trim().trim_start_matches("servent: ") {
            "" => format!("the search ended with {status}"),
            error => error.to_owned(),
        }))
    }

    /// Stops it and reads its hits.
    fn finish(mut self) -> io::Result<Vec<HitRecord>> {
        self.stop()?;
        let hits = fs::read_to_string(&self.files[1])?;
        Ok(hits.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    fn stop(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_none() {
            kill_process(Pid::from_child(&self.child), Signal::INT)?;
        }
        if poll_for(STOP_TIMEOUT, || self.child.try_wait())?.is_none() {
            self.child.kill()?;
            self.child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            log::debug!("stopping a search: {error}");
        }
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
    }
}
