//! `servent get`: downloads files by their URLs, or by their numbers in the last search, a few at a time;
//! through the running servent or as a guest.

use super::args::GetArgs;
use super::exit::Failure;
use super::fetch::{self, AT_ONCE, FetchOptions, Fetches, RemoteFetches};
use super::interrupt::StopFlag;
use super::last_search;
use super::oneshot::{GuestStep, OneShot};
use super::settings::parse_host;
use super::{finding, output};
use crate::control::client::{Client, ClientError};
use crate::control::message::RpcError;
use crate::control::params::DownloadParams;
use crate::control::results::TransferRef;
use crate::daemon::hit_source;
use crate::plan::hit_record::HitRecord;
use crate::servent::Event;
use crate::transfer::download::Source;
use crate::transfer::names::{safe_local_name, search_words};
use crate::transfer::url::TransferUrl;
use crate::wire::ServentId;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Longest wait for the hits of sources that are to be asked to connect.
const ROUTE_WAIT: Duration = Duration::from_secs(10);

/// What is to be downloaded.
enum Wanted {
    Url(TransferUrl),
    /// All sources of one file.
    Hits(Vec<HitRecord>),
}

pub(super) fn run(args: &GetArgs) -> Result<(), Failure> {
    let wanted = args.wanted.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
    check_name(args, wanted.len())?;
    if args.quiet {
        fetch::be_quiet();
    }
    match finding::find_unless_guest(&args.join, false)? {
        Some(client) if args.queue => queue(client, args, wanted),
        Some(client) => through(client, args, &wanted),
        None if args.queue => Err(Failure::not_connected(
            "--queue hands a download to a running servent, and none is running; start one with \
             'servent run'",
        )),
        None => as_guest(args, &wanted),
    }
}

fn parse(text: &str) -> Result<Wanted, Failure> {
    if let Ok(number) = text.parse() {
        return last_search::file(number).map(Wanted::Hits);
    }
    let url = text.parse::<TransferUrl>();
    url.map(Wanted::Url).map_err(|error| Failure::usage(format!("{text}: {error}")))
}

fn check_name(args: &GetArgs, files: usize) -> Result<(), Failure> {
    let Some(name) = &args.name else { return Ok(()) };
    if files > 1 {
        return Err(Failure::usage(format!(
            "--name names one file, but {files} are to be downloaded"
        )));
    }
    match safe_local_name(name) == *name {
        true => Ok(()),
        false => Err(Failure::usage(format!(
            "\"{name}\" cannot be the name of a download; example: \"{}\" (--output names the \
             folder)",
            safe_local_name(name)
        ))),
    }
}

fn options(args: &GetArgs) -> FetchOptions {
    FetchOptions {
        folder: args.fetch.output.clone(),
        name: args.name.clone(),
        retry: args.fetch.retry,
        at_once: AT_ONCE,
        json: args.json,
        paths: true,
    }
}

/// Leaves the downloads to the running servent, and prints their numbers.
fn queue(mut client: Client, args: &GetArgs, wanted: Vec<Wanted>) -> Result<(), Failure> {
    let output = std::path::absolute(&args.fetch.output).map_err(|error| {
        Failure::disk(format!("cannot use {}: {error}", args.fetch.output.display()))
    })?;
    for wanted in wanted {
        let (url, hits) = match wanted {
            Wanted::Url(url) => (Some(url.to_string()), Vec::new()),
            Wanted::Hits(hits) => (None, hits),
        };
        let (output, name) = (Some(output.clone()), args.name.clone());
        let params = DownloadParams { url, hits, output, name, retry: None };
        let added: TransferRef = client.ask("download", &params).map_err(|error| match error {
            ClientError::Refused(error) if error.code == RpcError::NOT_WRITABLE => {
                Failure::disk(error.message)
            }
            other => other.into(),
        })?;
        match args.json {
            true => output::json(&added)?,
            false => output::line(&added.id.to_string())?,
        }
    }
    Ok(())
}

/// Has the running servent download, and waits for it.
fn through(client: Client, args: &GetArgs, wanted: &[Wanted]) -> Result<(), Failure> {
    let stop = StopFlag::new()?;
    let mut fetches = RemoteFetches::new(client, options(args))?;
    for wanted in wanted {
        match wanted {
            Wanted::Url(url) => fetches.offer_url(url.clone()),
            Wanted::Hits(hits) => hits.iter().for_each(|hit| fetches.offer(hit.clone())),
        }
    }
    fetches.close();
    loop {
        fetches.step()?;
        if let Some(refusal) = fetches.refusal() {
            log::info!("{refusal}; downloading as a guest instead");
            return as_guest(args, wanted);
        }
        if fetches.is_done() {
            return fetches.verdict(false);
        }
        if stop.is_set() {
            return Err(fetches.interrupt());
        }
        fetches.wait()?;
    }
}

fn as_guest(args: &GetArgs, wanted: &[Wanted]) -> Result<(), Failure> {
    let mut shot = OneShot::new()?;
    let (mut sources, mut unknown) = (Vec::new(), None);
    // Names first: a look-up does not process other events.
    for wanted in wanted {
        match wanted {
            Wanted::Hits(hits) => {
                sources.extend(hits.iter().filter_map(|hit| hit_source(hit).ok()))
            }
            Wanted::Url(url) => match source(&mut shot, url) {
                Ok(source) => sources.push(source),
                Err(failure) if failure.is_interrupt() => return Err(failure),
                Err(failure) => {
                    log::warn!("{}", failure.text());
                    unknown.get_or_insert(failure);
                }
            },
        }
    }
    let to_push: Vec<&Source> =
        sources.iter().filter(|it| it.push.is_some_and(|via| via.firewalled)).collect();
    if !to_push.is_empty() || !args.join.connect.is_empty() {
        join(&mut shot, &args.join.connect)?;
        find_routes(&mut shot, &to_push)?;
    }
    let done = fetch_with(&mut shot, sources, options(args), false);
    unknown.map_or(done, Err)
}

/// Downloads from these sources, with connections of its own: all files, or the `first` that can be had.
pub(super) fn fetch_as_guest(
    sources: Vec<Source>,
    options: FetchOptions,
    first: bool,
) -> Result<(), Failure> {
    fetch_with(&mut OneShot::new()?, sources, options, first)
}

fn fetch_with(
    shot: &mut OneShot,
    sources: Vec<Source>,
    options: FetchOptions,
    first: bool,
) -> Result<(), Failure> {
    let mut fetches = Fetches::new(options);
    sources.into_iter().for_each(|source| fetches.offer(source));
    fetches.close();
    let is_done = |fetches: &Fetches| fetches.is_done() || first && fetches.saved() > 0;
    while !is_done(&fetches) {
        fetches.start_due(shot)?;
        if is_done(&fetches) {
            break;
        }
        let step = shot.next(fetches.next_wake())?;
        if let Some(GuestStep::Stop) = fetches.digest(shot, step)? {
            return Err(fetches.interrupt(shot));
        }
    }
    if first && fetches.saved() > 0 { Ok(()) } else { fetches.verdict(false) }
}

/// Waits for a link over which sources can be asked to connect.
fn join(shot: &mut OneShot, hosts: &[String]) -> Result<(), Failure> {
    shot.join_through(hosts)?;
    loop {
        match shot.next(None)? {
            GuestStep::Linked => {
                shot.accept_pushes();
                return Ok(());
            }
            GuestStep::Alone(failure) => {
                log::warn!("{}; sources behind a firewall cannot be reached", failure.text());
                return Ok(());
            }
            GuestStep::Stop => return Err(Failure::interrupted("interrupted")),
            _ => {}
        }
    }
}

/// Searches for files behind firewalls: a Push goes the way their hits came, and the links by which they
/// came before are gone.
fn find_routes(shot: &mut OneShot, to_push: &[&Source]) -> Result<(), Failure> {
    let mut missing: BTreeSet<ServentId> =
        to_push.iter().filter_map(|source| Some(source.push?.servent)).collect();
    let names: BTreeSet<&str> = to_push.iter().map(|source| source.name.as_str()).collect();
    for name in names {
        let words = search_words(name);
        if let Err(error) = shot.driver.command(|core, now| core.search(now, &words, None)) {
            log::debug!("no search finds \"{words}\": {error}");
        }
    }
    let deadline = Instant::now() + ROUTE_WAIT;
    while !missing.is_empty() {
        match shot.next(Some(deadline))? {
            GuestStep::Event(Event::Hit { hit, .. }) => drop(missing.remove(&hit.servent)),
            GuestStep::Deadline | GuestStep::Alone(_) => break,
            GuestStep::Stop => return Err(Failure::interrupted("interrupted")),
            _ => {}
        }
    }
    Ok(())
}

fn source(shot: &mut OneShot, url: &TransferUrl) -> Result<Source, Failure> {
    let host = parse_host(&format!("{}:{}", url.host, url.port))?;
    let addr = shot.address_of(host)?;
    Ok(Source { addr, index: url.index, name: url.name.clone(), size: None, push: None })
}
