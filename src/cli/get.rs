//! `servent get`: downloads files by their URLs, a few at a time.

use super::args::GetArgs;
use super::exit::Failure;
use super::fetch::{self, AT_ONCE, FetchOptions, Fetches};
use super::oneshot::{GuestStep, OneShot};
use super::settings::parse_host;
use crate::transfer::download::Source;
use crate::transfer::names::safe_local_name;
use crate::transfer::url::TransferUrl;

pub(super) fn run(args: &GetArgs) -> Result<(), Failure> {
    let parse = |text: &String| {
        text.parse::<TransferUrl>().map_err(|error| Failure::usage(format!("{text}: {error}")))
    };
    let urls = args.urls.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    check_name(args, urls.len())?;
    if args.quiet {
        fetch::be_quiet();
    }
    let mut shot = OneShot::new()?;
    let mut fetches = Fetches::new(FetchOptions {
        folder: args.fetch.output.clone(),
        name: args.name.clone(),
        retry: args.fetch.retry,
        at_once: AT_ONCE,
        json: args.json,
        paths: true,
    });
    let mut unknown = None;
    // Names first: a look-up does not process other events.
    for url in &urls {
        match source(&mut shot, url) {
            Ok(source) => fetches.offer(source),
            Err(failure) if failure.is_interrupt() => return Err(failure),
            Err(failure) => {
                log::warn!("{}", failure.text());
                unknown.get_or_insert(failure);
            }
        }
    }
    fetches.close();
    while !fetches.is_done() {
        fetches.start_due(&mut shot)?;
        if fetches.is_done() {
            break;
        }
        let step = shot.next(fetches.next_wake())?;
        if let Some(GuestStep::Stop) = fetches.digest(&shot, step)? {
            return Err(fetches.interrupt(&mut shot));
        }
    }
    let done = fetches.verdict(false);
    unknown.map_or(done, Err)
}

fn check_name(args: &GetArgs, urls: usize) -> Result<(), Failure> {
    let Some(name) = &args.name else { return Ok(()) };
    if urls > 1 {
        return Err(Failure::usage(format!("--name names one file, but {urls} URLs are given")));
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

fn source(shot: &mut OneShot, url: &TransferUrl) -> Result<Source, Failure> {
    let host = parse_host(&format!("{}:{}", url.host, url.port))?;
    let addr = shot.address_of(host)?;
    Ok(Source { addr, index: url.index, name: url.name.clone(), size: None, push: None })
}
