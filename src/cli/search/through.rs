//! A search through the running servent: hits come from the links it has, and downloads are its own.

use super::super::args::SearchArgs;
use super::super::exit::Failure;
use super::super::fetch::RemoteFetches;
use super::super::get;
use super::super::hits::Hits;
use super::super::interrupt::StopFlag;
use super::super::values::GetMode;
use super::MAX_WAIT;
use crate::control::client::Client;
use crate::control::params::{NoParams, SearchParams};
use crate::control::results::Status;
use crate::daemon::hit_source;
use crate::plan::hit_record::HitRecord;

pub(super) fn run(mut client: Client, args: &SearchArgs) -> Result<(), Failure> {
    let fetches = match args.get {
        Some(_) => {
            let second = Client::connect(client.socket())?;
            Some(RemoteFetches::new(second, args.fetch_options())?)
        }
        None => None,
    };
    let mut search = Through { args, hits: args.hits(), fetches, found: Vec::new() };
    let searched = search.until_done(&mut client);
    search.hits.keep();
    searched?;
    search.hits.end()?;
    if search.hits.is_empty() {
        return Err(Failure::nothing_found(search.nothing_found(&mut client)));
    }
    search.fetched()
}

struct Through<'a> {
    args: &'a SearchArgs,
    hits: Hits,
    /// The downloads, with `--get`.
    fetches: Option<RemoteFetches>,
    /// The hits, for downloads that the servent cannot do.
    found: Vec<HitRecord>,
}

impl Through<'_> {
    fn until_done(&mut self, client: &mut Client) -> Result<(), Failure> {
        let stop = StopFlag::new()?;
        let wait = self.args.wait;
        let params = SearchParams {
            words: self.args.criteria(),
            ttl: Some(self.args.ttl),
            wait: wait.map(|wait| wait.as_secs_f64()),
        };
        client.follow("search", &params, wait.unwrap_or(MAX_WAIT), |said| {
            if let Some(("hit", params)) = said {
                self.note(params)?;
            }
            if stop.is_set() {
                self.stopped()?;
            }
            self.fetch_on()?;
            Ok::<bool, Failure>(!stop.is_set() && !self.has_the_one())
        })?;
        let Some(fetches) = &mut self.fetches else { return Ok(()) };
        fetches.close();
        loop {
            fetches.step()?;
            let has_the_one = self.args.get == Some(GetMode::First) && fetches.saved() > 0;
            if has_the_one || fetches.is_done() || fetches.refusal().is_some() {
                return Ok(());
            }
            if stop.is_set() {
                return Err(fetches.interrupt());
            }
            fetches.wait()?;
        }
    }

    fn note(&mut self, params: serde_json::Value) -> Result<(), Failure> {
        let hit: HitRecord = serde_json::from_value(params)
            .map_err(|error| Failure::failed(format!("the servent sent no hit: {error}")))?;
        if self.hits.note(&hit)?
            && let Some(fetches) = &mut self.fetches
        {
            self.found.push(hit.clone());
            fetches.offer(hit);
        }
        Ok(())
    }

    fn fetch_on(&mut self) -> Result<(), Failure> {
        self.fetches.as_mut().map_or(Ok(()), RemoteFetches::step)
    }

    /// INT or TERM during the wait for hits: hits are a result, a download that is cut short is none.
    fn stopped(&mut self) -> Result<(), Failure> {
        if self.hits.is_empty() {
            return Err(Failure::interrupted("interrupted before anything was found"));
        }
        match &mut self.fetches {
            Some(fetches) if !fetches.is_done() => Err(fetches.interrupt()),
            _ => Ok(()),
        }
    }

    fn has_the_one(&self) -> bool {
        let saved = self.fetches.as_ref().map_or(0, RemoteFetches::saved);
        self.args.get == Some(GetMode::First) && saved > 0
    }

    /// Ends the downloads.
    fn fetched(self) -> Result<(), Failure> {
        let has_the_one = self.has_the_one();
        let Some(fetches) = self.fetches else { return Ok(()) };
        if let Some(refusal) = fetches.refusal() {
            log::info!("{refusal}; downloading as a guest instead");
            let sources = self.found.iter().filter_map(|hit| hit_source(hit).ok()).collect();
            let first = self.args.get == Some(GetMode::First);
            return get::fetch_as_guest(sources, self.args.fetch_options(), first);
        }
        let verdict = fetches.verdict(true);
        if has_the_one { Ok(()) } else { verdict }
    }

    fn nothing_found(&self, client: &mut Client) -> String {
        let text = format!("nothing found for \"{}\"", self.args.criteria());
        match client.ask::<Status>("status", &NoParams {}) {
            Ok(Status { links, listen, .. }) if links.inbound + links.out + links.leaves == 0 => {
                format!("{text}: the servent on {listen} has no links")
            }
            _ => text,
        }
    }
}
