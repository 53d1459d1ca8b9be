//! `servent search`: one Query, its hits as they come, and their files if wanted.

use super::args::{SearchArgs, Which};
use super::exit::Failure;
use super::fetch::fetch;
use super::oneshot::{OneShot, Step};
use super::output;
use crate::servent::{Event, Hit};
use crate::transfer::download::Source;
use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

pub(super) fn run(args: SearchArgs) -> Result<(), Failure> {
    let criteria = args.words.join(" ");
    let mut shot = OneShot::join(&args.join.connect)?;
    shot.driver
        .command(|core, now| core.search(now, &criteria, Some(args.ttl)))
        .map_err(|error| Failure::usage(error.to_string()))?;
    let mut search = Search { args, seen: BTreeSet::new(), to_get: VecDeque::new() };
    let mut deadline = None;
    let mut got = None;
    loop {
        match shot.next(deadline)? {
            Step::Linked if deadline.is_none() => {
                deadline = Some(Instant::now() + search.args.wait);
            }
            Step::Event(event) => search.note(event)?,
            Step::Alone(failure) if search.seen.is_empty() => return Err(failure),
            Step::Stop if search.seen.is_empty() => {
                return Err(Failure::interrupted("interrupted before anything was found"));
            }
            Step::Deadline | Step::Alone(_) | Step::Stop => break,
            Step::Linked | Step::Saved(_) | Step::Found(_) => {}
        }
        if search.args.get == Some(Which::First) && search.get_next(&mut shot, &mut got)? {
            return Ok(());
        }
    }
    if search.seen.is_empty() {
        return Err(Failure::nothing_found(format!("nothing found for \"{criteria}\"")));
    }
    if search.args.get == Some(Which::All) {
        while !search.to_get.is_empty() {
            search.get_next(&mut shot, &mut got)?;
        }
    }
    got.unwrap_or(Ok(()))
}

struct Search {
    args: SearchArgs,
    /// URLs of the hits so far.
    seen: BTreeSet<String>,
    to_get: VecDeque<Hit>,
}

impl Search {
    /// Prints a hit that is new.
    fn note(&mut self, event: Event) -> Result<(), Failure> {
        if let Event::Hit { hit, .. } = event
            && self.seen.insert(output::url_of(&hit).to_string())
        {
            output::hit(&hit, self.args.json)?;
            if self.args.get.is_some() {
                self.to_get.push_back(hit);
            }
        }
        Ok(())
    }

    /// Downloads the next hit, if there is one; true if its file is here. The first failure is
    /// kept in `got` until a download succeeds, for one that did not.
    fn get_next(
        &mut self,
        shot: &mut OneShot,
        got: &mut Option<Result<(), Failure>>,
    ) -> Result<bool, Failure> {
        let Some(hit) = self.to_get.pop_front() else { return Ok(false) };
        // A size that fills the field is not known.
        let size = (hit.size != u32::MAX).then_some(u64::from(hit.size));
        let source = Source { addr: hit.addr, index: hit.index, name: hit.name, size };
        let folder = self.args.output.clone();
        match fetch(shot, source, &folder, &mut |event| self.note(event)) {
            Ok(_) => {
                if got.is_none() {
                    *got = Some(Ok(()));
                }
                Ok(true)
            }
            Err(failure) if failure.is_interrupt() => Err(failure),
            Err(failure) => {
                log::warn!("{}", failure.text());
                if !matches!(got, Some(Err(_))) {
                    *got = Some(Err(failure));
                }
                Ok(false)
            }
        }
    }
}
