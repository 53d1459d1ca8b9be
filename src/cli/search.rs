//! `servent search`: originates one Query, through the running servent or as a guest, prints hits as they
//! arrive, and downloads files if asked.

mod through;

use super::args::SearchArgs;
use super::exit::Failure;
use super::fetch::{AT_ONCE, FetchOptions, Fetches};
use super::hits::Hits;
use super::oneshot::{GuestStep, OneShot};
use super::values::GetMode;
use super::{finding, output};
use crate::daemon::hit_record;
use crate::servent::{Event, Hit};
use std::time::{Duration, Instant};

/// Longest wait for hits without `--wait`, from the first link on.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Without `--wait`, a search ends this long after its most recent hit.
const WAIT_AFTER_HIT: Duration = Duration::from_secs(2);

pub(super) fn run(args: SearchArgs) -> Result<(), Failure> {
    match finding::find_unless_guest(&args.join, args.events.is_some())? {
        Some(client) => through::run(client, &args),
        None => as_guest(args),
    }
}

impl SearchArgs {
    fn criteria(&self) -> String {
        self.words.join(" ")
    }

    fn hits(&self) -> Hits {
        Hits::new(self.json, self.get.is_some())
    }

    fn fetch_options(&self) -> FetchOptions {
        FetchOptions {
            folder: self.fetch.output.clone(),
            name: None,
            retry: self.fetch.retry,
            at_once: if self.get == Some(GetMode::First) { 1 } else { AT_ONCE },
            json: self.json,
            paths: false,
        }
    }
}

fn as_guest(args: SearchArgs) -> Result<(), Failure> {
    let criteria = args.criteria();
    let mut shot = OneShot::join(&args.join.connect)?;
    output::record_events(&mut shot.driver, args.events.as_deref())?;
    shot.driver
        .command(|core, now| core.search(now, &criteria, Some(args.ttl)))
        .map_err(|error| Failure::usage(error.to_string()))?;
    let mut search = SearchCommand {
        fetches: Fetches::new(args.fetch_options()),
        hits: args.hits(),
        args,
        deadline: None,
        latest: None,
        over: false,
    };
    let searched = search.until_done(&mut shot);
    search.hits.keep();
    searched?;
    search.hits.end()?;
    if search.hits.is_empty() {
        return Err(Failure::nothing_found(format!("nothing found for \"{criteria}\"")));
    }
    if search.has_the_one() { Ok(()) } else { search.fetches.verdict(true) }
}

struct SearchCommand {
    args: SearchArgs,
    fetches: Fetches,
    hits: Hits,
    /// End of the wait for hits; known from the first link on.
    deadline: Option<Instant>,
    /// Latest end of the wait.
    latest: Option<Instant>,
    /// Waiting for hits is over.
    over: bool,
}

impl SearchCommand {
    fn until_done(&mut self, shot: &mut OneShot) -> Result<(), Failure> {
        while !self.is_done() {
            self.fetches.start_due(shot)?;
            if self.is_done() {
                break;
            }
            let step = shot.next(self.next_wake())?;
            self.act(shot, step)?;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.has_the_one() || (self.over && self.fetches.is_done())
    }

    /// `--get first` was given and one file is complete.
    fn has_the_one(&self) -> bool {
        self.args.get == Some(GetMode::First) && self.fetches.saved() > 0
    }

    /// Time of the next step: the end of the wait, or a due download.
    fn next_wake(&self) -> Option<Instant> {
        let deadline = self.deadline.filter(|_| !self.over);
        deadline.into_iter().chain(self.fetches.next_wake()).min()
    }

    fn act(&mut self, shot: &mut OneShot, step: GuestStep) -> Result<(), Failure> {
        if self.deadline.is_some_and(|at| at <= Instant::now()) {
            self.stop_waiting();
        }
        match self.fetches.digest(shot, step)? {
            None | Some(GuestStep::Deadline) => {}
            Some(GuestStep::Linked) => {
                let wait = self.args.wait.unwrap_or(MAX_WAIT);
                self.latest.get_or_insert(Instant::now() + wait);
                self.deadline = self.deadline.or(self.latest);
                if self.args.get.is_some() {
                    shot.accept_pushes();
                }
            }
            Some(GuestStep::Event(Event::Hit { hit, .. })) => self.note_hit(hit)?,
            Some(GuestStep::Alone(failure)) if self.hits.is_empty() => return Err(failure),
            Some(GuestStep::Alone(_)) => self.stop_waiting(),
            Some(GuestStep::Stop) if !self.fetches.is_idle() => {
                return Err(self.fetches.interrupt(shot));
            }
            Some(GuestStep::Stop) if self.hits.is_empty() => {
                return Err(Failure::interrupted("interrupted before anything was found"));
            }
            Some(GuestStep::Stop) => self.stop_waiting(),
            Some(_) => {}
        }
        Ok(())
    }

    /// Ends the wait for hits.
    fn stop_waiting(&mut self) {
        self.over = true;
        self.fetches.close();
    }

    /// Prints a hit that is new.
    fn note_hit(&mut self, hit: Hit) -> Result<(), Failure> {
        if self.args.wait.is_none() && !self.over {
            let enough = Instant::now() + WAIT_AFTER_HIT;
            self.deadline = self.latest.map(|latest| latest.min(enough));
        }
        if !self.hits.note(&hit_record(&hit))? || self.args.get.is_none() {
            return Ok(());
        }
        if !hit.in_scope {
            log::info!(
                "{} is out of scope for a hit from this neighbour and not connected to: its \
                 servent is asked to connect",
                hit.addr
            );
        }
        self.fetches.offer(hit.into_source());
        Ok(())
    }
}
