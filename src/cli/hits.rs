//! The hits of a search as they come: numbered by file, each file with its sources.
//!
//! Two hits are of one file if name and size are the same. The first hit of a file takes the next number;
//! `servent get NUMBER` finds it again through the [`last_search`].

use super::exit::Failure;
use super::last_search;
use super::output::{self, Printer, count, shown};
use crate::plan::hit_record::HitRecord;
use indicatif::HumanBytes;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal};

/// Most hits kept for `servent get NUMBER`. The core accepts no more for one search.
const MAX_KEPT: usize = 100_000;

/// Prints the hits of one search and keeps them.
pub(super) struct Hits {
    json: bool,
    /// Hits in the order in which they came, without repetitions.
    hits: Vec<HitRecord>,
    urls: BTreeSet<String>,
    servents: BTreeSet<String>,
    /// Number of each file, from 1 on.
    numbers: BTreeMap<(String, u64), usize>,
    /// Name, size and number of sources of each file.
    files: Vec<(String, u64, usize)>,
    /// For searches that go on when nobody reads what they print.
    printer: Option<Printer>,
}

impl Hits {
    /// With `keeps_on` a reader of stdout that is gone is no error.
    pub(super) fn new(json: bool, keeps_on: bool) -> Hits {
        Hits {
            json,
            hits: Vec::new(),
            urls: BTreeSet::new(),
            servents: BTreeSet::new(),
            numbers: BTreeMap::new(),
            files: Vec::new(),
            printer: keeps_on.then(Printer::default),
        }
    }

    /// Whether none has come.
    pub(super) fn is_empty(&self) -> bool {
        self.urls.is_empty()
    }

    /// Prints a hit. Returns whether it is new.
    ///
    /// # Errors
    /// With code 0 when the reader of stdout is gone.
    pub(super) fn note(&mut self, hit: &HitRecord) -> Result<bool, Failure> {
        self.servents.insert(hit.servent_id.clone());
        if !self.urls.insert(hit.url.clone()) {
            return Ok(false);
        }
        let (number, source) = self.number(hit);
        if self.hits.len() < MAX_KEPT {
            self.hits.push(hit.clone());
        }
        let json = self.json;
        self.print(|| match json {
            true => output::json(hit),
            false => output::line(&text_of(hit, number, source)),
        })?;
        Ok(true)
    }

    /// The number of the file, and of the source among those of the file.
    fn number(&mut self, hit: &HitRecord) -> (usize, usize) {
        let next = self.files.len() + 1;
        let number = *self.numbers.entry((hit.name.clone(), hit.size)).or_insert(next);
        if number == next {
            self.files.push((hit.name.clone(), hit.size, 0));
        }
        let (.., sources) = &mut self.files[number - 1];
        *sources += 1;
        (number, *sources)
    }

    fn print(&mut self, print: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
        match &mut self.printer {
            Some(printer) => printer.print(print),
            None => print(),
        }
    }

    /// Ends the list: files with several sources are listed again with their number, and the log has the
    /// number of hits.
    ///
    /// # Errors
    /// As [`Hits::note`].
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        if self.is_empty() {
            return Ok(());
        }
        if !self.json && self.files.len() < self.urls.len() {
            let table = self.table();
            self.print(|| output::line(&table))?;
        }
        let hits = count(self.urls.len() as u64, "hit", "hits");
        let servents = count(self.servents.len() as u64, "servent", "servents");
        let hint = match !self.json && self.printer.is_none() && io::stdout().is_terminal() {
            true => "; servent get 1 downloads the first file",
            false => "",
        };
        log::info!("{hits} from {servents}{hint}");
        Ok(())
    }

    /// All files with their numbers of sources.
    fn table(&self) -> String {
        let mut lines = vec![format!("\n{:>4}  {:>7}  {:>11}  NAME", "FILE", "SOURCES", "SIZE")];
        for (number, (name, size, sources)) in (1..).zip(&self.files) {
            let size = HumanBytes(*size).to_string();
            lines.push(format!("{number:>4}  {sources:>7}  {size:>11}  {}", shown(name)));
        }
        lines.join("\n")
    }

    /// Keeps the files and their sources for `servent get NUMBER`, if they were printed with numbers.
    pub(super) fn keep(&self) {
        if self.json || self.is_empty() {
            return;
        }
        if let Err(error) = last_search::save(&self.hits) {
            log::debug!("cannot keep the hits for 'servent get NUMBER': {error}");
        }
    }
}

/// Two lines: number and name, and the URL.
fn text_of(hit: &HitRecord, number: usize, source: usize) -> String {
    let hops = count(hit.hops.into(), "hop", "hops");
    let mut notes = format!("{}, {hops}", HumanBytes(hit.size));
    if hit.push == Some(true) {
        notes.push_str(", behind a firewall");
    }
    if hit.busy == Some(true) {
        notes.push_str(", busy");
    }
    if source > 1 {
        notes.push_str(&format!(", source {source}"));
    }
    format!("{number}  {}  ({notes})\n  {}", shown(&hit.name), hit.url)
}
