//! The arguments of the methods. An argument that no method has is an error: a typing mistake must
//! not go unnoticed.

use crate::plan::hit_record::HitRecord;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// No arguments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// What `log` takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogParams {
    /// Most lines, the latest; without it all that are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<usize>,
}

/// What `search` takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchParams {
    /// Words that must all begin a word of the file's name.
    pub words: String,
    /// Links the search may cross, 1 to 15; without it the servent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// Seconds to wait for hits; without it until none has come for 2 seconds, at most 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<f64>,
}

/// What `ping` takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PingParams {
    /// Links the Ping may cross, 1 to 15; without it the servent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// Seconds to wait for Pongs; without it 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<f64>,
}

/// What `download` takes: `url`, or `hits`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DownloadParams {
    /// `http://HOST:PORT/get/INDEX/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Hits of one file, as `search` sends them: each is a source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hits: Vec<HitRecord>,
    /// The folder for the file, an absolute path; without it the servent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<PathBuf>,
    /// The name of the file; without it that of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Seconds to wait in all for sources that are busy or broke off, and no search for others when
    /// they are gone; without it the servent goes on for days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<f64>,
}

/// What `pause`, `resume`, `cancel` and `retry` take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdParams {
    /// The download, as `download` and `transfers` name it.
    pub id: u64,
}

/// What `connect` and `disconnect` take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddrParams {
    /// `HOST` or `HOST:PORT`; a name is looked up by `connect`.
    pub addr: String,
}

/// What `set` takes: what is not named stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetParams {
    /// Most bytes per second for all uploads together; 0 is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_limit: Option<u64>,
    /// Uploads at one time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_uploads: Option<usize>,
    /// Outbound links kept with learnt hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub links: Option<usize>,
    /// Most links, inbound and outbound together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_links: Option<usize>,
    /// What is logged: `off`, `error`, `warn`, `info`, `debug` or `trace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// A kind of events a client may subscribe to.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// `link_up` and `link_down`.
    Links,
    /// `received`, `forwarded`, `originated` and `answered`.
    Searches,
    /// Downloads and uploads whenever their state changes.
    Transfers,
    /// `dropped` and `refused`.
    Drops,
}

/// What `subscribe` takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscribeParams {
    /// What to be told of; replaces what was subscribed to before, and an empty list ends it.
    pub events: Vec<Topic>,
}
