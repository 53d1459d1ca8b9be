//! One hit of a search as a JSON object: what `servent search --json` prints, and what reads it.

use serde::{Deserialize, Serialize};

/// A hit. Scripts rely on the names of the fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(schemars::JsonSchema))]
pub struct HitRecord {
    /// The file's name, as the servent gives it.
    pub name: String,
    /// Size in bytes; `u32::MAX` is unknown.
    pub size: u64,
    /// IPv4 address of the servent.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The file's number at the servent.
    pub index: u32,
    /// Claimed speed in kbit/s.
    pub speed_kbps: u32,
    /// Servent id, in hex.
    pub servent_id: String,
    /// Servents between this one and that.
    pub hops: u8,
    /// Whether the servent asks for a Push; `None` if it does not say.
    pub push: Option<bool>,
    /// Whether all its upload slots are taken; `None` if it does not say.
    pub busy: Option<bool>,
    /// Its vendor code.
    pub vendor: Option<String>,
    /// The URL for `servent get`.
    pub url: String,
}
