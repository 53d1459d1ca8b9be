//! The 0.6 links that route for others: what a flood of Queries must know of each.

use super::link_key::LinkKey;

/// A 0.6 neighbour that routes for others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relay {
    /// Its link.
    pub(super) link: LinkKey,
    /// The largest TTL of Queries it takes.
    pub(super) max_ttl: Option<u8>,
    /// It reads GGEP.
    pub(super) ggep: bool,
    /// It has leaves: the searches of ours go to it in small steps.
    pub(super) is_ultrapeer: bool,
}
