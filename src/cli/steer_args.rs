//! The arguments of commands that steer or watch a running servent.

use clap::{Args, ValueEnum};

/// Which running servent is meant.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct SteerArgs {
    /// The running servent to use, by the address it listens on or by its control socket [default: the
    /// one that listens where servent.toml says, on 127.0.0.1:6346 without it, else the only one]
    #[arg(long, value_name = "ADDR:PORT|SOCKET")]
    pub(super) servent: Option<String>,
}

/// Ends the long help of `status`.
pub(super) const STATUS_NOTES: &str = "\
Rates are those of half a second; --json prints what the servent returns, at once and without rates. \
Limits are shown from 80 % on; 'servent ctl limits' lists all.

--watch: q, Esc and Ctrl-C leave. When the servent stops, it waits for the servent to come back.";

#[derive(Debug, Args)]
#[command(after_long_help = STATUS_NOTES)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    pub(super) steer: SteerArgs,
    /// One JSON object
    #[arg(long)]
    pub(super) json: bool,
    /// A live screen: links with their rates, transfers, searches and drops as they happen
    #[arg(long, conflicts_with = "json")]
    pub(super) watch: bool,
}

/// The options of commands that print a list.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    pub(super) steer: SteerArgs,
    /// One JSON array
    #[arg(long)]
    pub(super) json: bool,
}

/// What is done to downloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum DownloadAction {
    /// Hold it
    Pause,
    /// Go on with it
    Resume,
    /// Take it off the list; its partial file stays
    Cancel,
    /// Try it again, now
    Retry,
}

impl DownloadAction {
    /// The method, and what it has done.
    pub(super) const fn method(self) -> (&'static str, &'static str) {
        match self {
            DownloadAction::Pause => ("pause", "paused"),
            DownloadAction::Resume => ("resume", "resumed"),
            DownloadAction::Cancel => ("cancel", "cancelled"),
            DownloadAction::Retry => ("retry", "tried again"),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct DownloadsArgs {
    /// What to do; without it the downloads are listed
    #[arg(value_name = "ACTION", requires = "ids")]
    pub(super) action: Option<DownloadAction>,
    /// Numbers of downloads, as the list has them
    #[arg(value_name = "ID")]
    pub(super) ids: Vec<u64>,
    #[command(flatten)]
    pub(super) list: ListArgs,
}

/// Ends the long help of `ctl`.
pub(super) const CTL_NOTES: &str = "\
The result is printed as one line of JSON, and before it one line for each notification, such as the hits \
of a search. 'servent ctl rpc.discover' describes all methods with their arguments and results, as an \
OpenRPC document. 'servent ctl subscribe' prints what happens until it is interrupted; its events are \
links, searches, transfers and drops.";

#[derive(Debug, Args)]
#[command(after_long_help = CTL_NOTES)]
pub(super) struct CtlArgs {
    /// The method, such as status, connect or rpc.discover
    #[arg(value_name = "METHOD")]
    pub(super) method: String,
    /// Its arguments: a JSON object such as '{"addr":"192.0.2.7:6346"}'
    #[arg(value_name = "JSON")]
    pub(super) params: Option<String>,
    #[command(flatten)]
    pub(super) steer: SteerArgs,
}
