//! `servent search`: originates one Query, prints hits as they arrive, and downloads files if asked.

use super::args::SearchArgs;
use super::exit::Failure;
use super::fetch::{AT_ONCE, FetchOptions, Fetches};
use super::oneshot::{GuestStep, OneShot};
use super::output::{self, Printer};
use super::values::GetMode;
use crate::servent::{Event, Hit};
use crate::wire::ServentId;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Longest wait for hits without `--wait`, from the first link on.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Without `--wait`, a search ends this long after its most recent hit.
const WAIT_AFTER_HIT: Duration = Duration::from_secs(2);

pub(super) fn run(args: SearchArgs) -> Result<(), Failure> {
    let criteria = args.words.join(" ");
    let mut shot = OneShot::join(&args.join.connect)?;
    output::record_events(&mut shot.driver, args.events.as_deref())?;
    shot.driver
        .command(|core, now| core.search(now, &criteria, Some(args.ttl)))
        .map_err(|error| Failure::usage(error.to_string()))?;
    let mut search = SearchCommand {
        fetches: Fetches::new(FetchOptions {
            folder: args.fetch.output.clone(),
            name: None,
            retry: args.fetch.retry,
            at_once: if args.get == Some(GetMode::First) { 1 } else { AT_ONCE },
            json: args.json,
            paths: false,
        }),
        printer: Printer::default(),
        args,
        deadline: None,
        latest: None,
        over: false,
        seen: BTreeSet::new(),
        sources: BTreeSet::new(),
    };
    while !search.is_done() {
        search.fetches.start_due(&mut shot)?;
        if search.is_done() {
            break;
        }
        let step = shot.next(search.next_wake())?;
        search.act(&mut shot, step)?;
    }
    search.tell_count();
    if search.seen.is_empty() {
        return Err(Failure::nothing_found(format!("nothing found for \"{criteria}\"")));
    }
    if search.has_the_one() { Ok(()) } else { search.fetches.verdict(true) }
}

struct SearchCommand {
    args: SearchArgs,
    fetches: Fetches,
    printer: Printer,
    /// End of the wait for hits; known from the first link on.
    deadline: Option<Instant>,
    /// Latest end of the wait.
    latest: Option<Instant>,
    /// Waiting for hits is over.
    over: bool,
    /// URLs of the hits so far.
    seen: BTreeSet<String>,
    /// Servents they are from.
    sources: BTreeSet<ServentId>,
}

impl SearchCommand {
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
            Some(GuestStep::Alone(failure)) if self.seen.is_empty() => return Err(failure),
            Some(GuestStep::Alone(_)) => self.stop_waiting(),
            Some(GuestStep::Stop) if !self.fetches.is_idle() => {
                return Err(self.fetches.interrupt(shot));
            }
            Some(GuestStep::Stop) if self.seen.is_empty() => {
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
        self.sources.insert(hit.servent);
        if !self.seen.insert(output::url_of(&hit).to_string()) {
            return Ok(());
        }
        if self.args.get.is_none() {
            return output::hit(&hit, self.args.json);
        }
        self.printer.print(|| output::hit(&hit, self.args.json))?;
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

    fn tell_count(&self) {
        let (hits, sources) = (self.seen.len() as u64, self.sources.len() as u64);
        if hits > 0 {
            let sources = output::count(sources, "servent", "servents");
            log::info!("{} from {sources}", output::count(hits, "hit", "hits"));
        }
    }
}
