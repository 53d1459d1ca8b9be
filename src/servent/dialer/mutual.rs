//! Two servents that dial each other keep one link.
//!
//! Of two links between the same two listening addresses both sides keep the one dialled by the
//! lower (address, port), so they agree without a word. An inbound neighbour's listening address is
//! the one in its own Pong (hops 0), believed only if its IP is that of the socket: a peer elsewhere
//! cannot have an honest link closed.
//!
//! GNU Serveez dials back every servent that dials it, again whenever that link ends. Such a peer does
//! not follow the rule: its link stays and ours is closed.

use crate::rare::Rare;
use crate::time::Instant;
use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::time::Duration;

/// A peer that dials again this soon after its second link was closed does not follow the rule.
const DIALS_AGAIN_WITHIN: Duration = Duration::from_secs(60);
/// The peer may act first: a link of ours that it closed this recently counts as settled by it.
const ENDED_WITHIN: Duration = Duration::from_secs(5);
/// Closed links remembered.
const MAX_CLOSED: usize = 64;

/// What to do about two links with one servent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::servent) enum Settlement {
    /// Nothing: there are no two, or the other side acts.
    Nothing,
    /// Close the inbound one.
    CloseInbound,
    /// The peer has closed ours: the inbound one stands for it.
    InboundStands,
    /// Close ours: the inbound one stands for it.
    CloseOutbound,
}

/// Second links that were closed lately.
#[derive(Debug, Default)]
pub(super) struct ClosedDuplicates {
    /// When, and where the peer listens, oldest first.
    recent: Rare<VecDeque<(Instant, SocketAddrV4)>>,
}

impl ClosedDuplicates {
    /// Settles which of the links with the servent at `addr` stays, for us who listen at `own`.
    /// There is an inbound one; `outbound` says whether there is one of ours, `ended` when the peer
    /// last closed one of ours.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        own: SocketAddrV4,
        addr: SocketAddrV4,
        outbound: bool,
        ended: Option<Instant>,
    ) -> Settlement {
        if own.port() == 0 {
            return Settlement::Nothing;
        }
        if !outbound {
            let settled = own > addr && ended.is_some_and(|at| now.since(at) < ENDED_WITHIN);
            return if settled { Settlement::InboundStands } else { Settlement::Nothing };
        }
        if own < addr && !self.contains(now, addr) {
            self.note(now, addr);
            return Settlement::CloseInbound;
        }
        Settlement::CloseOutbound
    }

    fn note(&mut self, now: Instant, addr: SocketAddrV4) {
        let recent = self.recent.change();
        if recent.len() == MAX_CLOSED {
            recent.pop_front();
        }
        recent.push_back((now, addr));
    }

    fn contains(&self, now: Instant, addr: SocketAddrV4) -> bool {
        let near = |at: Instant| now.since(at) < DIALS_AGAIN_WITHIN;
        self.recent.get().into_iter().flatten().any(|(at, known)| *known == addr && near(*at))
    }
}
