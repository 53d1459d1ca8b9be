//! `servent get`: files by their URLs, one after the other.

use super::args::GetArgs;
use super::exit::Failure;
use super::fetch::fetch;
use super::oneshot::OneShot;
use super::output;
use super::settings::parse_host;
use crate::transfer::download::Source;
use crate::transfer::url::TransferUrl;

pub(super) fn run(args: &GetArgs) -> Result<(), Failure> {
    let parse = |text: &String| {
        text.parse::<TransferUrl>().map_err(|error| Failure::usage(format!("{text}: {error}")))
    };
    let urls = args.urls.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let mut shot = OneShot::new()?;
    let mut first_failure = None;
    for url in urls {
        match get(&mut shot, &url, args) {
            Ok(()) => {}
            Err(failure) if failure.is_interrupt() => return Err(failure),
            Err(failure) if first_failure.is_none() => first_failure = Some(failure),
            Err(failure) => log::error!("{}", failure.text()),
        }
    }
    first_failure.map_or(Ok(()), Err)
}

fn get(shot: &mut OneShot, url: &TransferUrl, args: &GetArgs) -> Result<(), Failure> {
    let host = parse_host(&format!("{}:{}", url.host, url.port))?;
    let addr = shot.address_of(host)?;
    let source = Source { addr, index: url.index, name: url.name.clone(), size: None };
    let path = fetch(shot, source, &args.output, &mut |_| Ok(()))?;
    output::line(&path.display().to_string())
}
