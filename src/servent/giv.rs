//! Downloads from servents that cannot be connected to: Pushes sent, and the connections they bring.
//!
//! Few connections serve many files. One on which a file is complete goes on to the next download
//! from its servent, or is kept for a while. Pushes to one servent are spaced, and repeated while
//! no connection comes: sharers connect only so often for one address (gtk-gnutella: 5 times in
//! 30 s), and a Push may be lost on its way.

use super::connection::Phase;
use super::io::{CloseReason, ConnId, Event, TransferId};
use super::transfers::Task;
use super::{LinkKey, Servent, conn_index};
use crate::time::Instant;
use crate::transfer::download::PushVia;
use crate::wire::giv::Giv;
use crate::wire::{Header, Kind, Push, ServentId};
use std::collections::VecDeque;
use std::time::Duration;

/// Least time between two Pushes to one servent.
const PUSH_SPACING: Duration = Duration::from_secs(1);

/// Most Pushes to one servent within [`PUSH_WINDOW`] (gtk-gnutella: 4 in 30 s).
const PUSHES_PER_WINDOW: usize = 4;

/// See [`PUSHES_PER_WINDOW`].
const PUSH_WINDOW: Duration = Duration::from_secs(30);

/// A Push that has led to no connection is repeated after this.
const PUSH_AGAIN: Duration = Duration::from_secs(10);

/// How long a connection is kept for the next file. Servents close an idle one after 30 s.
const IDLE_TIME: Duration = Duration::from_secs(25);

/// Connections kept idle; more are closed.
const MAX_IDLE: usize = 8;

/// The Pushes sent within the last [`PUSH_WINDOW`], oldest first.
#[derive(Debug, Default)]
pub(super) struct PushesSent(VecDeque<(Instant, ServentId)>);

impl PushesSent {
    fn note(&mut self, now: Instant, servent: ServentId) {
        while self.0.front().is_some_and(|(at, _)| now.since(*at) >= PUSH_WINDOW) {
            self.0.pop_front();
        }
        self.0.push_back((now, servent));
    }

    /// The first moment at which one more may be sent to `servent`.
    fn next_slot(&self, now: Instant, servent: ServentId) -> Instant {
        let mut latest = self.0.iter().rev().filter(|(_, to)| *to == servent).map(|(at, _)| *at);
        let spaced = latest.next().map_or(now, |at| at + PUSH_SPACING);
        let fourth = latest.nth(PUSHES_PER_WINDOW - 2).map_or(now, |at| at + PUSH_WINDOW);
        now.max(spaced).max(fourth)
    }
}

impl Servent {
    /// Gets a download a connection of its source: one that is idle, or one a Push asks for.
    pub(super) fn await_giv(&mut self, now: Instant, id: TransferId, via: PushVia) {
        if let Some(conn) = self.idle_giv(via.servent) {
            return self.adopt(now, conn, id, false);
        }
        if self.push_link(now, via.servent).is_none() {
            return self.fail_connect(now, id);
        }
        let due = self.pushes_sent.next_slot(now, via.servent);
        if let Some(task) = self.downloads.get_mut(&id) {
            task.next_push = Some(due);
        }
        if due <= now {
            self.push_again(now, id);
        }
    }

    /// A download has no use any more for its connection, on which another request may follow.
    pub(super) fn keep_giv(&mut self, now: Instant, id: TransferId) {
        let Some(task) = self.downloads.get_mut(&id) else { return };
        let push = task.download.source().push;
        let Some(conn) = task.conn.take() else { return };
        let servent = push.filter(|_| self.connection_mut(conn).is_some_and(|conn| conn.inbound));
        let Some(PushVia { servent, .. }) = servent else {
            return self.close(now, conn, CloseReason::TransferEnded);
        };
        if let Some(next) = self.awaiting(servent) {
            return self.adopt(now, conn, next, false);
        }
        let idle = self.connections.iter().filter(|(_, conn)| matches!(conn.phase, Phase::Idle(_)));
        if idle.count() >= MAX_IDLE {
            return self.close(now, conn, CloseReason::TransferEnded);
        }
        if let Some(connection) = self.connection_mut(conn) {
            connection.phase = Phase::Idle(servent);
        }
        self.set_deadline(conn, now + IDLE_TIME);
    }

    /// A connection opened with GIV: the source of a download that waits for it, or closed.
    pub(super) fn read_giv(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.connection_mut(id) else { return };
        let Phase::Opening(buffer) = &conn.phase else { return };
        let (giv, rest) = match Giv::parse(buffer) {
            Ok(None) => return,
            Ok(Some((giv, len))) => (giv, buffer[len..].to_vec()),
            Err(_) => return self.close(now, id, CloseReason::Unasked),
        };
        match self.awaiting(ServentId(giv.servent_id)) {
            Some(transfer) => {
                self.adopt(now, id, transfer, true);
                self.handle_fetched(now, transfer, &rest);
            }
            None => self.close(now, id, CloseReason::Unasked),
        }
    }

    /// When the first download that waits for its source to connect has something to do. Those
    /// that have a connection use its timer; of the others there are few.
    pub(super) fn next_push_deadline(&self) -> Option<Instant> {
        let due =
            |task: &Task| task.download.poll_timeout().into_iter().chain(task.next_push).min();
        self.waiting_for_push().filter_map(|(_, task)| due(task)).min()
    }

    pub(super) fn handle_push_deadlines(&mut self, now: Instant) {
        let waiting: Vec<TransferId> = self.waiting_for_push().map(|(&id, _)| id).collect();
        for id in waiting {
            let served = self.is_served_elsewhere(id);
            let Some(task) = self.downloads.get_mut(&id) else { continue };
            if task.download.poll_timeout().is_some_and(|at| at <= now) {
                if !served {
                    self.handle_fetch_timeout(now, id);
                    continue;
                }
                task.download.wait_on(now);
            }
            match task.next_push.is_some_and(|at| at <= now) {
                // It gets the connection when the other file is complete.
                true if served && task.pushed => task.next_push = Some(now + PUSH_AGAIN),
                true => self.push_again(now, id),
                false => {}
            }
        }
    }

    /// Sends the Push that is due for a download, if its source is still waited for.
    fn push_again(&mut self, now: Instant, id: TransferId) {
        let Some(task) = self.downloads.get(&id) else { return };
        let source = task.download.source();
        let (index, via) = (source.index, source.push);
        let Some(via) = via.filter(|_| task.download.awaited_push().is_some()) else {
            if let Some(task) = self.downloads.get_mut(&id) {
                task.next_push = None;
            }
            return;
        };
        let due = self.pushes_sent.next_slot(now, via.servent);
        let sent = due <= now && self.send_push(now, via, index);
        let Some(task) = self.downloads.get_mut(&id) else { return };
        task.next_push = Some(if due <= now { now + PUSH_AGAIN } else { due });
        if sent && !std::mem::replace(&mut task.pushed, true) {
            self.event(Event::Pushed { transfer: id });
        }
    }

    /// Sends a Push along the way the hits of its servent came. False if there is no such way, or
    /// nothing listens here for the answer.
    fn send_push(&mut self, now: Instant, via: PushVia, index: u32) -> bool {
        let Some(link) = self.push_link(now, via.servent) else { return false };
        let addr = self.advertised(self.connections[link].local_ip);
        let mut payload = Vec::with_capacity(crate::wire::PUSH_BYTES);
        Push { servent: via.servent, index, addr, extension: &[] }.encode(&mut payload);
        let guid = self.fresh_guid();
        self.push_routes.set(now, &guid.0, LinkKey::OWN);
        let header = Header { guid, kind: Kind::Push, ttl: via.ttl, hops: 0, payload_len: 0 };
        let framed = self.framed(header, &payload);
        self.enqueue(None, link, &framed);
        self.pushes_sent.note(now, via.servent);
        true
    }

    /// The link by which a Push reaches `servent`, if its answer can reach us.
    fn push_link(&mut self, now: Instant, servent: ServentId) -> Option<usize> {
        let link = self.servent_routes.get(now, &servent.0).and_then(|key| self.link_of(key))?;
        let listening = self.advertised(self.connections[link].local_ip).port() != 0;
        listening.then_some(link)
    }

    /// Hands a connection of its source to a download.
    fn adopt(&mut self, now: Instant, id: ConnId, transfer: TransferId, fresh: bool) {
        if let Some(conn) = self.connection_mut(id) {
            conn.phase = Phase::Fetching(transfer);
        }
        if let Some(task) = self.downloads.get_mut(&transfer) {
            task.conn = Some(id);
            task.next_push = None;
        }
        self.handle_fetch_connected(now, transfer, fresh);
    }

    fn idle_giv(&self, servent: ServentId) -> Option<ConnId> {
        let idle = self.connections.iter().find(|(_, conn)| match conn.phase {
            Phase::Idle(whose) => whose == servent,
            _ => false,
        });
        idle.map(|(index, conn)| ConnId { index: conn_index(index), generation: conn.generation })
    }

    /// The first download that waits for this servent to connect.
    fn awaiting(&self, servent: ServentId) -> Option<TransferId> {
        let awaited = |task: &Task| task.download.awaited_push() == Some(servent);
        self.downloads.iter().find(|(_, task)| awaited(task)).map(|(&id, _)| id)
    }

    /// Whether the source of a download gives us another file at the moment.
    fn is_served_elsewhere(&self, id: TransferId) -> bool {
        let servent = |task: &Task| task.download.source().push.map(|push| push.servent);
        let Some(wanted) = self.downloads.get(&id).and_then(servent) else { return false };
        self.downloads.values().any(|task| task.conn.is_some() && servent(task) == Some(wanted))
    }

    fn waiting_for_push(&self) -> impl Iterator<Item = (&TransferId, &Task)> {
        self.downloads.iter().filter(|(_, task)| task.conn.is_none())
    }
}
