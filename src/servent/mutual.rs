//! Two servents that dial each other keep one link.
//!
//! Of two links between the same two listening addresses both sides keep the one dialled by the
//! lower (address, port), so they agree without a word. An inbound neighbour's listening address is
//! the one in its own Pong (hops 0), believed only if its IP is that of the socket: a peer elsewhere
//! cannot have an honest link closed.
//!
//! GNU Serveez dials back whoever dials it, and again whenever that link ends. Such a peer does not
//! follow the rule: its link stays and ours is closed.

use super::connection::{Connection, Phase};
use super::io::{CloseReason, ConnId, IoFailure};
use super::{Servent, conn_index};
use crate::time::Instant;
use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::time::Duration;

/// A peer that dials again this soon after its second link was closed does not follow the rule.
const DIALS_AGAIN_WITHIN: Duration = Duration::from_secs(60);
/// The other side may act first: a link of ours that ended this recently counts as its doing.
const ENDED_WITHIN: Duration = Duration::from_secs(5);
/// Closes remembered.
const MAX_CLOSED: usize = 64;

/// Second links that were closed lately.
#[derive(Debug, Default)]
pub(super) struct ClosedDuplicates {
    /// When, and where the peer listens, oldest first.
    recent: VecDeque<(Instant, SocketAddrV4)>,
}

impl ClosedDuplicates {
    fn note(&mut self, now: Instant, addr: SocketAddrV4) {
        if self.recent.len() == MAX_CLOSED {
            self.recent.pop_front();
        }
        self.recent.push_back((now, addr));
    }

    fn contains(&self, now: Instant, addr: SocketAddrV4) -> bool {
        let near = |at: Instant| now.since(at) < DIALS_AGAIN_WITHIN;
        self.recent.iter().any(|(at, known)| *known == addr && near(*at))
    }
}

impl Connection {
    /// Where the neighbour at the other end listens, as far as it is known.
    pub(super) fn listening_addr(&self) -> Option<SocketAddrV4> {
        match &self.phase {
            _ if self.dialled.is_some() => Some(self.remote),
            Phase::Link(link) => {
                link.listens_on.map(|port| SocketAddrV4::new(*self.remote.ip(), port))
            }
            _ => None,
        }
    }
}

impl Servent {
    /// Closes one of two links with the servent that listens at `addr`, if there are two.
    pub(super) fn settle_duplicate(&mut self, now: Instant, addr: SocketAddrV4) {
        let Some(inbound) = self.link_with(addr, false) else { return };
        let own = self.advertised(self.connections[inbound.index()].local_ip);
        if own.port() == 0 {
            return;
        }
        let Some(outbound) = self.link_with(addr, true) else {
            let ended = self.kept.iter().find(|kept| kept.addr == addr).and_then(|k| k.ended);
            if own > addr && ended.is_some_and(|at| now.since(at) < ENDED_WITHIN) {
                self.let_stand(inbound);
            }
            return;
        };
        if own < addr && !self.closed_duplicates.contains(now, addr) {
            self.closed_duplicates.note(now, addr);
            self.close(now, inbound, CloseReason::Duplicate);
        } else {
            self.let_stand(inbound);
            self.close(now, outbound, CloseReason::Duplicate);
        }
    }

    /// A link that we dialled ended. If the peer chose its own of two links, that one stands for it.
    pub(super) fn dialled_link_ended(
        &mut self,
        now: Instant,
        addr: SocketAddrV4,
        reason: &CloseReason,
    ) {
        if matches!(reason, CloseReason::Io(IoFailure::Eof | IoFailure::Reset)) {
            if let Some(kept) = self.kept.iter_mut().find(|kept| kept.addr == addr) {
                kept.ended = Some(now);
            }
            self.settle_duplicate(now, addr);
        }
    }

    /// Whether a static peer has its link: one that we dialled, or the one of two that stayed.
    pub(super) fn has_link_for(&self, addr: SocketAddrV4) -> bool {
        let stands = |(_, conn): (usize, &Connection)| match &conn.phase {
            Phase::Link(link) => link.stands_for_ours && conn.listening_addr() == Some(addr),
            _ => false,
        };
        self.is_dialled(addr) || self.connections.iter().any(stands)
    }

    fn let_stand(&mut self, id: ConnId) {
        if let Some(link) = self.link_mut(id) {
            link.stands_for_ours = true;
        }
    }

    fn link_with(&self, addr: SocketAddrV4, outbound: bool) -> Option<ConnId> {
        let mut links = self.links.iter().map(|&index| (index, &self.connections[index as usize]));
        let (index, conn) = links.find(|(_, conn)| {
            conn.dialled.is_some() == outbound && conn.listening_addr() == Some(addr)
        })?;
        Some(ConnId { index, generation: conn.generation })
    }

    /// A name for a new link in route tables. It repeats after 65,534 links in the same slot.
    pub(super) fn next_link_key(&mut self, index: usize) -> super::LinkKey {
        if self.link_generations.len() <= index {
            self.link_generations.resize(index + 1, 0);
        }
        let generation = &mut self.link_generations[index];
        *generation = generation.wrapping_add(1);
        super::LinkKey::new(conn_index(index), (*generation).into())
    }
}
