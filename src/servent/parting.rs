//! The end of a connection: at once, or after a last word.
//!
//! A link with a peer that reads Bye is told why it ends, and a 0.6 peer that asks for a link why it gets
//! none. The socket then stays until the word has left, for [`PARTING_TIME`] at most; nothing the peer
//! says meanwhile counts.

use super::connection::{Connection, Features, Link, Parting, Phase};
use super::dialer::DialEnd;
use super::encoded::EncodedDescriptor;
use super::io::{CloseReason, ConnId, Event, IoFailure};
use super::{Observation, Servent};
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::handshake::HandshakeError;
use crate::wire::handshake06::{FirstLine, Headers, Leg};
use crate::wire::{Bye, Deframer, Guid, Header, Kind};
use std::net::SocketAddrV4;
use std::time::Duration;

/// How long a last word may take. gtk-gnutella waits 30 s; ours are shorter than one segment.
const PARTING_TIME: Duration = Duration::from_secs(5);

impl Servent {
    /// Ends a connection, whichever side wanted it; with a Bye if the peer reads it and we chose the end.
    pub(super) fn close(&mut self, now: Instant, id: ConnId, reason: CloseReason) {
        match self.links.link(id) {
            Some(link) if link.peer().features.has(Features::BYE) => match reason.bye_code() {
                Some(code) => self.say_bye(now, id, code, reason),
                None => self.drop_socket(now, id, reason),
            },
            _ => self.drop_socket(now, id, reason),
        }
    }

    /// Ends all links: this servent stops. What they are told leaves with the next polls.
    pub fn shut_down(&mut self, now: Instant) {
        let all: Vec<ConnId> = self.links.iter().map(|(id, _)| id).collect();
        all.into_iter().for_each(|id| self.close(now, id, CloseReason::Shutdown));
    }

    /// Whether last words are still on their way.
    pub fn is_parting(&self) -> bool {
        self.links.sockets().any(|(_, conn)| matches!(conn.phase, Phase::Parting(_)))
    }

    /// Refuses a link in the making, and says why.
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        id: ConnId,
        first: FirstLine,
        headers: Headers,
        reason: CloseReason,
    ) {
        let Some(conn) = self.links.get_mut(id) else { return };
        let mut bytes = Vec::new();
        Leg { first, headers }.write(&mut bytes);
        conn.queue.push_handshake(&bytes);
        conn.phase = Phase::Parting(Box::new(Parting { reason, link: None, dropped: 0 }));
        self.set_deadline(id, now + PARTING_TIME);
        self.list_ready(id);
    }

    fn say_bye(&mut self, now: Instant, id: ConnId, code: u16, reason: CloseReason) {
        let mut payload = Vec::new();
        Bye::write(code, &reason.to_string(), &mut payload);
        let guid = Guid::random(&mut self.rng);
        let header = Header { guid, kind: Kind::Bye, ttl: 1, hops: 0, payload_len: 0 };
        let capacity = self.config.limits.send_queue_bytes;
        let bye = EncodedDescriptor::new(header, &payload, capacity);
        let header = bye.header();
        let Some(conn) = self.links.get_mut(id) else { return };
        let (peer, cut) = (conn.remote, conn.queue.cut());
        let is_lost = matches!(reason, CloseReason::Frame(_));
        let said = conn.queue.push(&bye, None);
        let waiting = Phase::Parting(Box::new(Parting { reason, link: None, dropped: cut.into() }));
        let Phase::Link(mut link) = std::mem::replace(&mut conn.phase, waiting) else { return };
        self.stats.count_drops(DropReason::LinkEnded, cut.into());
        if said {
            self.stats.originated.add(Kind::Bye);
            self.outbox.observe(|| Observation::Originated { peer, header });
        }
        self.links.unlink(link.key);
        let is_in_step = self.leave_link(peer, &mut link) && !is_lost;
        let deframer = link.deframer.take();
        link.deframer = is_in_step.then(|| deframer.unwrap_or_default());
        if let Some(Phase::Parting(parting)) = self.links.get_mut(id).map(|conn| &mut conn.phase) {
            parting.link = Some(link);
        }
        self.set_deadline(id, now + PARTING_TIME);
        self.list_ready(id);
    }

    /// Bytes of a peer that has not heard our last word yet: counted, and nothing else.
    pub(super) fn overhear(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(conn) = self.links.get_mut(id) else { return };
        let (peer, inflates) = (conn.remote, conn.coding().inflates);
        let Phase::Parting(parting) = &mut conn.phase else { return };
        if inflates {
            return;
        }
        let Some(mut link) = parting.link.take() else { return };
        if let Some(mut deframer) = link.deframer.take()
            && self.count_unread(peer, &mut deframer.feed(bytes))
        {
            link.deframer = Some(deframer);
        }
        if let Some(Phase::Parting(parting)) = self.links.get_mut(id).map(|conn| &mut conn.phase) {
            parting.link = Some(link);
        }
    }

    /// What comes on a link that parts goes on where `deframer` stands, or cannot be followed.
    pub(super) fn overhear_from(&mut self, id: ConnId, deframer: Option<Box<Deframer>>) {
        if let Some(Phase::Parting(parting)) = self.links.get_mut(id).map(|conn| &mut conn.phase)
            && let Some(link) = &mut parting.link
        {
            link.deframer = deframer;
        }
    }

    /// Drops a socket, and accounts for what it was.
    pub(super) fn drop_socket(&mut self, now: Instant, id: ConnId, reason: CloseReason) {
        let Some(mut conn) = self.links.remove(id) else { return };
        self.timers.cancel(conn.scheduled, id);
        self.dialer.socket_closed(conn.local_ip);
        self.outbox.push(super::Output::Close { conn: id });
        let (addr, dialled) = (conn.remote, conn.is_dialled());
        // A socket that parts was ended for another reason, before.
        let reason = match &mut conn.phase {
            Phase::Parting(parting) => std::mem::replace(&mut parting.reason, reason),
            _ => reason,
        };
        let was_link = match &conn.phase {
            Phase::Parting(parting) => parting.link.is_some(),
            phase => matches!(phase, Phase::Link(_)),
        };
        let mut next = None;
        self.dialer.plan_redial(now, &self.config, addr, dialled, &reason);
        if was_link {
            self.end_link(now, &mut conn, &reason);
        } else if matches!(reason, CloseReason::Io(IoFailure::Local(_))) {
            self.dialer.pause(now);
        } else if dialled {
            next = self.dialer.dial_failed(now, &self.config, addr, dial_end(&conn, &reason));
        }
        if let Some(file) = self.uploads.end(id) {
            self.close_file(file);
        }
        let local_failure = matches!(reason, CloseReason::Io(IoFailure::Local(_)));
        if matches!(conn.phase, Phase::PushReply(_)) && !local_failure {
            self.uploads.push_replies().failed(now + self.config.limits.push_rest, addr);
        }
        let by_peer = matches!(
            reason,
            CloseReason::Bye { .. } | CloseReason::Io(IoFailure::Eof | IoFailure::Reset)
        );
        if was_link && dialled && by_peer {
            // If the peer chose its own of two links, that one stands for ours.
            self.dialer.peer_closed(now, addr);
            self.settle_duplicate(now, addr);
        }
        match conn.phase {
            _ if was_link => self.outbox.event(Event::LinkDown { conn: id, addr, reason }),
            _ if dialled => self.outbox.event(Event::DialFailed { addr, reason, next }),
            Phase::Upload | Phase::Download(_) | Phase::Idle(_) => {
                log::debug!("{addr}: transfer connection closed: {reason}");
            }
            _ => log::debug!("{addr}: closed before it was a link: {reason}"),
        }
    }

    /// Accounts for a link that ended.
    fn end_link(&mut self, now: Instant, conn: &mut Connection, reason: &CloseReason) {
        let (peer, dialled) = (conn.remote, conn.is_dialled());
        let left = u64::from(conn.queue.descriptors());
        let (dropped, since) = match &mut conn.phase {
            Phase::Link(link) => {
                self.leave_link(peer, link);
                (0, link.since)
            }
            Phase::Parting(parting) => {
                let since = parting.link.as_ref().map_or(now, |link| link.since);
                (parting.dropped, since)
            }
            _ => return,
        };
        self.stats.count_drops(DropReason::LinkEnded, left);
        let (reason_of, unsent) = (|| reason.clone(), dropped + left);
        self.outbox.observe(|| Observation::LinkDown { peer, reason: reason_of(), unsent });
        let failed = dialled && *reason != CloseReason::Duplicate;
        self.dialer.link_ended(now, peer, since, failed);
    }

    /// Nothing is routed over a link any more. Whether its stream can be followed further.
    fn leave_link(&mut self, peer: SocketAddrV4, link: &mut Link) -> bool {
        let is_in_step = self.drop_unread(peer, link);
        self.routing.forget_link(link.key);
        self.leave_modern(link.key);
        is_in_step
    }
}

/// How a dial ended that did not lead to a link.
fn dial_end(conn: &Connection, reason: &CloseReason) -> DialEnd {
    let ended = matches!(reason, CloseReason::Io(IoFailure::Eof | IoFailure::Reset));
    match (&conn.phase, reason) {
        (_, CloseReason::Declined { rest_seconds, .. }) => {
            DialEnd::Declined(Duration::from_secs((*rest_seconds).into()))
        }
        (Phase::Handshaking(handshake), _) => match handshake.dialect() {
            Some(spoken) if ended && !handshake.has_spoken => DialEnd::Unanswered(spoken),
            Some(spoken) if speaks_another(reason) => DialEnd::Contradicted(spoken),
            _ if ended || matches!(reason, CloseReason::Handshake(_)) => DialEnd::Refused,
            _ => DialEnd::Failed,
        },
        (Phase::Parting(_), _) => DialEnd::Refused,
        _ => DialEnd::Failed,
    }
}

/// Whether the peer answered in another dialect than it was asked in.
fn speaks_another(reason: &CloseReason) -> bool {
    match reason {
        CloseReason::Handshake(HandshakeError::Refused { line }) => line.starts_with("GNUTELLA/"),
        _ => false,
    }
}
