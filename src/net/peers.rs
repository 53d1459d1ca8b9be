//! State of scripted peers and listeners.

use super::wires::Peer;
use std::collections::VecDeque;
use std::net::Ipv4Addr;

/// A scripted peer.
pub(super) struct Script {
    pub(super) ip: Ipv4Addr,
    /// The wire and the side it holds.
    pub(super) wire: usize,
    pub(super) side: usize,
    pub(super) received: Vec<u8>,
    /// It takes what arrives.
    pub(super) reads: bool,
    /// Bytes that its socket holds unread, if not what others hold.
    pub(super) window: Option<usize>,
}

/// A listener on an address outside the row of the nodes.
pub(super) enum Listener {
    Node(usize),
    /// Connections wait here to be taken.
    Scripted(VecDeque<Peer>),
    /// Dials are never answered.
    Silent,
}
