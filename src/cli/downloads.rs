//! `servent downloads`: lists the downloads of a running servent and steers them.

use super::exit::Failure;
use super::status::transfers;
use super::steer_args::DownloadsArgs;
use super::{finding, output};
use crate::control::params::{IdParams, NoParams};
use crate::control::results::TransferRow;
use serde_json::Value;

pub(super) fn run(args: &DownloadsArgs) -> Result<(), Failure> {
    let mut client = finding::find_running(&args.list.steer)?;
    let Some(action) = args.action else {
        let rows: Vec<Value> = client.ask("transfers", &NoParams {})?;
        let of_downloads = |row: &Value| row["direction"] == "down";
        let rows: Vec<Value> = rows.into_iter().filter(of_downloads).collect();
        if args.list.json {
            return output::json(&rows);
        }
        let rows: Result<Vec<TransferRow>, _> =
            rows.into_iter().map(serde_json::from_value).collect();
        let rows = rows.map_err(|error| Failure::failed(format!("unreadable answer: {error}")))?;
        return transfers::print(&rows, "no downloads");
    };
    let (method, done) = action.method();
    let mut failure = None;
    for &id in &args.ids {
        match client.call(method, &IdParams { id }) {
            Ok(result) if args.list.json => output::json(&result)?,
            Ok(_) => output::line(&format!("{id} {done}"))?,
            Err(error) => {
                if args.ids.len() > 1 {
                    log::warn!("{error}");
                }
                failure.get_or_insert(error);
            }
        }
    }
    failure.map_or(Ok(()), |error| Err(error.into()))
}
