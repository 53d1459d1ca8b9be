//! `servent get`: files by their URLs, a few at a time.

use super::args::GetArgs;
use super::exit::Failure;
use super::fetch::{Digested, Fetches, REDRAW};
use super::oneshot::{OneShot, Step};
use super::output::{self, Printer};
use super::settings::parse_host;
use crate::transfer::download::Source;
use crate::transfer::url::TransferUrl;
use std::collections::VecDeque;
use std::time::Instant;

/// Downloads at one time.
const AT_ONCE: usize = 3;

pub(super) fn run(args: &GetArgs) -> Result<(), Failure> {
    let parse = |text: &String| {
        text.parse::<TransferUrl>().map_err(|error| Failure::usage(format!("{text}: {error}")))
    };
    let urls = args.urls.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let mut shot = OneShot::new()?;
    let mut fetches = Fetches::new(&args.output);
    let mut failures = Failures::default();
    // Names first: while one is looked up nothing else is listened to.
    let mut waiting = VecDeque::new();
    for url in &urls {
        match source(&mut shot, url) {
            Ok(source) => waiting.push_back(source),
            Err(failure) if failure.is_interrupt() => return Err(failure),
            Err(failure) => failures.note(failure),
        }
    }
    let mut printer = Printer::default();
    while !(waiting.is_empty() && fetches.is_empty()) {
        while fetches.len() < AT_ONCE
            && let Some(source) = waiting.pop_front()
        {
            if let Err(failure) = fetches.start(&mut shot, source) {
                failures.note(failure);
            }
        }
        if fetches.is_empty() {
            continue;
        }
        let step = shot.next(Some(Instant::now() + REDRAW))?;
        match fetches.digest(&shot, step) {
            Digested::Ended(Ok(path)) => {
                printer.print(|| output::line(&path.display().to_string()))?;
            }
            Digested::Ended(Err(failure)) => failures.note(failure),
            Digested::Other(Step::Stop) => return Err(fetches.interrupt(&mut shot)),
            Digested::Other(_) | Digested::Nothing => {}
        }
    }
    failures.first.map_or(Ok(()), Err)
}

/// The first failure decides the exit code and is told last; others are told as they come.
#[derive(Default)]
struct Failures {
    first: Option<Failure>,
}

impl Failures {
    fn note(&mut self, failure: Failure) {
        match self.first {
            None => self.first = Some(failure),
            Some(_) => log::error!("{}", failure.text()),
        }
    }
}

fn source(shot: &mut OneShot, url: &TransferUrl) -> Result<Source, Failure> {
    let host = parse_host(&format!("{}:{}", url.host, url.port))?;
    let addr = shot.address_of(host)?;
    Ok(Source { addr, index: url.index, name: url.name.clone(), size: None, push: None })
}
