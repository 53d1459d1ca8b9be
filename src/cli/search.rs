//! `servent search`: one Query, its hits as they come, and their files if wanted.

use super::args::{SearchArgs, Which};
use super::exit::Failure;
use super::fetch::{Digested, Fetches, REDRAW};
use super::oneshot::{OneShot, Step};
use super::output::{self, Printer};
use crate::servent::{Event, Hit};
use crate::transfer::download::{PushVia, Source};
use crate::wire::ServentId;
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Downloads at one time.
const AT_ONCE: usize = 3;
/// How long hits are waited for at most without `--wait`, from the first link on.
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
    let mut search = Search {
        fetches: Fetches::new(&args.output),
        printer: Printer::default(),
        args,
        deadline: None,
        latest: None,
        over: false,
        seen: BTreeSet::new(),
        sources: BTreeSet::new(),
        to_get: VecDeque::new(),
        saved: false,
        failure: None,
    };
    while !search.is_done() {
        search.start_downloads(&mut shot);
        let step = shot.next(search.next_look())?;
        search.act(&mut shot, step)?;
    }
    search.tell_count();
    if search.seen.is_empty() {
        return Err(Failure::nothing_found(format!("nothing found for \"{criteria}\"")));
    }
    search.failure.map_or(Ok(()), Err)
}

struct Search {
    args: SearchArgs,
    fetches: Fetches,
    printer: Printer,
    /// When to stop waiting for hits, known from the first link on.
    deadline: Option<Instant>,
    /// When to stop at the latest, whatever still comes.
    latest: Option<Instant>,
    /// No more hits are waited for.
    over: bool,
    /// URLs of the hits so far.
    seen: BTreeSet<String>,
    /// Servents they are from.
    sources: BTreeSet<ServentId>,
    to_get: VecDeque<Hit>,
    /// A file is here.
    saved: bool,
    /// The first download that failed, unless another stood in for it.
    failure: Option<Failure>,
}

impl Search {
    fn is_done(&self) -> bool {
        let got_the_one = self.args.get == Some(Which::First) && self.saved;
        got_the_one || (self.over && self.to_get.is_empty() && self.fetches.is_empty())
    }

    /// When to look up from waiting: the end of the wait, or the next move of a bar.
    fn next_look(&self) -> Option<Instant> {
        let bar = (!self.fetches.is_empty()).then(|| Instant::now() + REDRAW);
        let deadline = self.deadline.filter(|_| !self.over);
        deadline.into_iter().chain(bar).min()
    }

    /// One download for the first hit that can be had, else a few at a time.
    fn start_downloads(&mut self, shot: &mut OneShot) {
        let most = match self.args.get {
            None => 0,
            Some(Which::First) => 1,
            Some(Which::All) => AT_ONCE,
        };
        while self.fetches.len() < most
            && let Some(hit) = self.to_get.pop_front()
        {
            if let Err(failure) = self.fetches.start(shot, source(hit)) {
                self.note_failure(failure);
            }
        }
    }

    fn act(&mut self, shot: &mut OneShot, step: Step) -> Result<(), Failure> {
        self.over |= self.deadline.is_some_and(|at| at <= Instant::now());
        match self.fetches.digest(shot, step) {
            Digested::Nothing | Digested::Other(Step::Deadline) => {}
            Digested::Ended(Ok(_)) => {
                self.saved = true;
                if self.args.get == Some(Which::First) {
                    self.failure = None;
                }
            }
            Digested::Ended(Err(failure)) => self.note_failure(failure),
            Digested::Other(Step::Linked) => {
                let wait = self.args.wait.unwrap_or(MAX_WAIT);
                self.latest.get_or_insert(Instant::now() + wait);
                self.deadline = self.deadline.or(self.latest);
                if self.args.get.is_some() {
                    shot.accept_pushes();
                }
            }
            Digested::Other(Step::Event(event)) => self.note_hit(event)?,
            Digested::Other(Step::Alone(failure)) if self.seen.is_empty() => return Err(failure),
            Digested::Other(Step::Alone(_)) => self.over = true,
            Digested::Other(Step::Stop) if !self.fetches.is_empty() => {
                return Err(self.fetches.interrupt(shot));
            }
            Digested::Other(Step::Stop) if self.seen.is_empty() => {
                return Err(Failure::interrupted("interrupted before anything was found"));
            }
            Digested::Other(Step::Stop) => {
                self.over = true;
                self.to_get.clear();
            }
            Digested::Other(_) => {}
        }
        Ok(())
    }

    /// Prints a hit that is new.
    fn note_hit(&mut self, event: Event) -> Result<(), Failure> {
        let Event::Hit { hit, .. } = event else { return Ok(()) };
        if self.args.wait.is_none() && !self.over {
            let enough = Instant::now() + WAIT_AFTER_HIT;
            self.deadline = self.latest.map(|latest| latest.min(enough));
        }
        self.sources.insert(hit.servent);
        if self.seen.insert(output::url_of(&hit).to_string()) {
            if self.args.get.is_none() {
                return output::hit(&hit, self.args.json);
            }
            self.printer.print(|| output::hit(&hit, self.args.json))?;
            self.to_get.push_back(hit);
        }
        Ok(())
    }

    fn tell_count(&self) {
        let (hits, sources) = (self.seen.len() as u64, self.sources.len() as u64);
        if hits > 0 {
            let sources = output::count(sources, "servent", "servents");
            log::info!("{} from {sources}", output::count(hits, "hit", "hits"));
        }
    }

    fn note_failure(&mut self, failure: Failure) {
        log::warn!("{}", failure.text());
        self.failure.get_or_insert(failure);
    }
}

fn source(hit: Hit) -> Source {
    Source {
        addr: hit.addr,
        index: hit.index,
        name: hit.name,
        // A size that fills the field is not known.
        size: (hit.size != u32::MAX).then_some(u64::from(hit.size)),
        push: Some(PushVia {
            servent: hit.servent,
            ttl: hit.hops.saturating_add(2),
            firewalled: hit.push == Some(true),
        }),
    }
}
