//! What the methods return. Scripts rely on the names of the fields; more may come.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What `status` returns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The version of the program.
    pub version: String,
    /// The id in this servent's hits, in hex.
    pub servent_id: String,
    /// `ADDR:PORT` it listens on.
    pub listen: String,
    /// `ADDR:PORT` others are told to reach it at; `None` while no link has shown which.
    pub advertise: Option<String>,
    /// Seconds since it started.
    pub uptime_s: f64,
    /// `ultrapeer` or `leaf`.
    pub role: String,
    /// Its links.
    pub links: LinkCounts,
    /// Hosts it may dial.
    pub hosts: usize,
    /// What it shares.
    pub share: ShareCounts,
    /// Its transfers.
    pub transfers: TransferCounts,
    /// Whether others can connect to it.
    pub reachable: Reachable,
    /// Its descriptors.
    pub descriptors: DescriptorCounts,
    /// Searches of others answered with at least one result.
    pub searches_answered: u64,
    /// Files sent in full.
    pub files_served: u64,
    /// Bytes read from all sockets.
    pub bytes_in: u64,
    /// Bytes written to all sockets.
    pub bytes_out: u64,
    /// `ADDR:PORT` of the page and the metrics, if they are served.
    pub http: Option<String>,
}

/// Links by direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LinkCounts {
    /// Others dialled, leaves aside.
    #[serde(rename = "in")]
    pub inbound: usize,
    /// This servent dialled.
    pub out: usize,
    /// Leaves of this servent.
    pub leaves: usize,
    /// Most links, leaves aside.
    pub max: usize,
}

/// What is shared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShareCounts {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Transfers by direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TransferCounts {
    /// Uploads.
    pub up: usize,
    /// Downloads that are active.
    pub down: usize,
    /// Downloads that wait for their turn or for a source.
    pub queued: usize,
}

/// Whether other servents can connect to this one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reachable {
    /// Whether a connection from outside ever came.
    pub inbound_seen: bool,
    /// `ADDR:PORT` of the first one.
    pub inbound_from: Option<String>,
    /// This servent's address as neighbours see it.
    pub seen_as: Vec<String>,
    /// Why it is or is not reachable, and what to do.
    pub reason: String,
}

/// Descriptors since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DescriptorCounts {
    /// Arrived, by kind: `ping pong query query_hit push bye other`.
    pub received: BTreeMap<String, u64>,
    /// Passed on, by kind.
    pub forwarded: BTreeMap<String, u64>,
    /// Of its own making, by kind.
    pub originated: BTreeMap<String, u64>,
    /// Dropped, by reason in snake case.
    pub dropped: BTreeMap<String, u64>,
}

/// One of the list that `links` returns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LinkRow {
    /// The neighbour's end of the socket.
    pub addr: String,
    /// `in` or `out`.
    pub direction: String,
    /// `0.4` or `0.6`.
    pub dialect: String,
    /// `servent`, `ultrapeer` or `leaf`.
    pub role: String,
    /// Its program, as it names itself.
    pub agent: Option<String>,
    /// Seconds since the link stands.
    pub since_s: f64,
    /// Descriptors that arrived.
    pub received: u64,
    /// Descriptors sent to it.
    pub sent: u64,
    /// Descriptors from it that went no further, and copies its queue had no room for.
    pub dropped: u64,
    /// Whether its query routing table is complete; `None` where it has none to send.
    pub routed: Option<bool>,
    /// Bytes waiting to be sent.
    pub queue_bytes: usize,
}

/// One of the list that `hosts` returns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostRow {
    /// Its address.
    pub addr: String,
    /// `0.4` or `0.6`, if known.
    pub dialect: Option<String>,
    /// Whether a link with it stood, or stands.
    pub answered: bool,
}

/// One of the list that `shares` returns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShareRow {
    /// The folder.
    pub path: String,
    /// Files shared of it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files and folders of it that are not shared, and why.
    pub skipped: BTreeMap<String, u64>,
    /// Why the last scan could not read all of it.
    pub error: Option<String>,
}

/// State of a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TransferState {
    /// Its turn has not come.
    #[default]
    Queued,
    /// It waits for a source that is busy, broke off or is searched for.
    Waiting,
    /// Bytes move, or a source is being asked.
    Active,
    /// Held by the user.
    Paused,
    /// Complete.
    Done,
    /// Given up; `retry` starts it again.
    Failed,
}

impl TransferState {
    /// Its word in JSON and on a screen.
    pub const fn name(self) -> &'static str {
        match self {
            TransferState::Queued => "queued",
            TransferState::Waiting => "waiting",
            TransferState::Active => "active",
            TransferState::Paused => "paused",
            TransferState::Done => "done",
            TransferState::Failed => "failed",
        }
    }
}

/// One of the list that `transfers` returns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TransferRow {
    /// Names it; uploads and downloads share the numbers.
    pub id: u64,
    /// `up` or `down`.
    pub direction: String,
    /// The file's name.
    pub name: String,
    /// Its size in bytes, once known.
    pub size: Option<u64>,
    /// Bytes that are here, or were sent.
    pub done: u64,
    /// Bytes per second, over the last seconds.
    pub rate: u64,
    /// Its state.
    pub state: TransferState,
    /// Of a download its sources, of an upload who gets it: `ADDR:PORT`.
    pub sources: Vec<String>,
    /// Why it waits or has failed.
    pub error: Option<String>,
    /// Of a download the complete file, else its partial one.
    pub path: Option<String>,
    /// Seconds until the next try, if it waits for one.
    pub next_try_s: Option<f64>,
    /// Of a failed download the exit code that `servent get` has for its failure.
    pub exit_code: Option<u8>,
    /// Of a complete download whether the same file was here before.
    pub already_here: bool,
    /// Servents whose bytes a download has.
    pub joined_from: usize,
}

/// One of the list that `limits` returns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LimitRow {
    /// What is limited, in snake case.
    pub name: String,
    /// How much of it is used.
    pub used: u64,
    /// How much there may be.
    pub limit: u64,
}

/// One of the list that `log` returns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogRow {
    /// Unix time in milliseconds.
    pub time: u64,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// The line.
    pub text: String,
}

/// What `search` returns, when the wait for hits is over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchEnd {
    /// The GUID of the search, as in its hits.
    pub search: String,
    /// How many hits there were.
    pub hits: u64,
}

/// What `ping` returns, when the wait for Pongs is over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PingEnd {
    /// The GUID of the Ping, as in its Pongs.
    pub ping: String,
    /// How many Pongs there were.
    pub pongs: u64,
}

/// What `download`, `pause`, `resume`, `cancel` and `retry` return.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TransferRef {
    /// The download.
    pub id: u64,
}

/// What `connect` and `disconnect` return.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PeerRef {
    /// The address, or the name that is being looked up.
    pub addr: String,
}

/// What `set` returns: all that it can set, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// Bytes per second for all uploads together; 0 is no limit.
    pub upload_limit: u64,
    /// Uploads at one time.
    pub max_uploads: usize,
    /// Outbound links kept with learnt hosts.
    pub links: usize,
    /// Most links.
    pub max_links: usize,
    /// What is logged.
    pub log: String,
}

/// What `subscribe` returns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Subscribed {
    /// What the client is told of from now on.
    pub events: Vec<super::params::Topic>,
    /// Number that the next record will have at least.
    pub next_seq: u64,
}

/// What `rescan` and `stop` return: that they have begun.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Done {}
