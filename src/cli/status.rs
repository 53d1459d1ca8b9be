//! `servent status`, `links`, `transfers` and `shares`: what a running servent is doing.
//!
//! | file | has |
//! |---|---|
//! | `summary` `links` `transfers` | lines of each part, for one look or many |
//! | `watch` `view` `news` | the live screen: its loop, what it shows, what has happened |
//! | `paint` | lines on a terminal |

mod links;
pub(super) mod news;
pub(super) mod paint;
mod summary;
pub(super) mod transfers;
mod view;
mod watch;

use super::exit::Failure;
use super::finding;
use super::output::{self, shown};
use super::steer_args::{ListArgs, StatusArgs};
use crate::control::client::{Client, ClientError};
use crate::control::params::NoParams;
use crate::control::results::{LinkRow, ShareRow, Status, TransferRow};
use indicatif::HumanBytes;
use paint::{BAD, FAINT, TITLE, plain, styled};
use ratatui::text::Line;
use serde::de::DeserializeOwned;
use std::thread;
use std::time::{Duration, Instant};
use summary::{Rates, Snapshot};

/// Time between the two looks whose difference is the rates.
const RATE_INTERVAL: Duration = Duration::from_millis(500);

pub(super) fn status(args: &StatusArgs) -> Result<(), Failure> {
    if args.watch {
        return watch::run(&args.steer);
    }
    let mut client = finding::find_running(&args.steer)?;
    if args.json {
        return output::json(&client.call("status", &NoParams {})?);
    }
    let begun = Instant::now();
    let before: Status = client.ask("status", &NoParams {})?;
    thread::sleep(RATE_INTERVAL);
    let now = snapshot(&mut client)?;
    let rates = Rates::between(&before, &now.status, begun.elapsed());
    paint::print(&summary::screen(&now, &rates, paint::width()))
}

fn snapshot(client: &mut Client) -> Result<Snapshot, ClientError> {
    Ok(Snapshot {
        status: client.ask("status", &NoParams {})?,
        transfers: client.ask("transfers", &NoParams {})?,
        limits: client.ask("limits", &NoParams {})?,
    })
}

/// The rows of a list; `None` if they were printed as JSON.
fn rows<T: DeserializeOwned>(args: &ListArgs, method: &str) -> Result<Option<Vec<T>>, Failure> {
    let mut client = finding::find_running(&args.steer)?;
    if args.json {
        output::json(&client.call(method, &NoParams {})?)?;
        return Ok(None);
    }
    Ok(Some(client.ask(method, &NoParams {})?))
}

pub(super) fn links(args: &ListArgs) -> Result<(), Failure> {
    let Some(links) = rows::<LinkRow>(args, "links")? else { return Ok(()) };
    if links.is_empty() {
        return paint::print(&[Line::from("no links")]);
    }
    let mut lines = vec![links::title(false)];
    lines.extend(links.iter().map(|link| links::line_of(link, None)));
    paint::print(&lines)
}

pub(super) fn transfers(args: &ListArgs) -> Result<(), Failure> {
    match rows::<TransferRow>(args, "transfers")? {
        Some(rows) => transfers::print(&rows, "no transfers"),
        None => Ok(()),
    }
}

pub(super) fn shares(args: &ListArgs) -> Result<(), Failure> {
    let Some(shares) = rows::<ShareRow>(args, "shares")? else { return Ok(()) };
    if shares.is_empty() {
        let text = "nothing is shared; 'servent run --share DIR' shares a folder";
        return paint::print(&[Line::from(text)]);
    }
    let mut lines =
        vec![Line::from(styled(format!("{:>12}  {:>11}  FOLDER", "FILES", "SIZE"), TITLE))];
    for ShareRow { path, files, bytes, skipped, error } in &shares {
        let mut spans = vec![plain(format!(
            "{files:>12}  {:>11}  {}",
            HumanBytes(*bytes).to_string(),
            shown(path)
        ))];
        let skipped: Vec<String> = skipped
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(why, count)| format!("{count} {}", shown(&why.replace('_', " "))))
            .collect();
        if !skipped.is_empty() {
            spans.push(styled(format!("  (not shared: {})", skipped.join(", ")), FAINT));
        }
        lines.push(Line::from(spans));
        lines.extend(
            error.iter().map(|error| Line::from(styled(format!("{:27}{}", "", shown(error)), BAD))),
        );
    }
    if shares.len() > 1 {
        let files: u64 = shares.iter().map(|share| share.files).sum();
        let bytes = HumanBytes(shares.iter().map(|share| share.bytes).sum()).to_string();
        lines.push(Line::from(styled(format!("{files:>12}  {bytes:>11}  in all"), FAINT)));
    }
    paint::print(&lines)
}
