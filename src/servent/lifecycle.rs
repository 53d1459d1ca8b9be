//! The life of a socket: dialled or accepted, what it turns out to be, kept alive, closed.

use super::connection::{Connection, Established, Handshake, Origin, Phase, Progress};
use super::dialer::Settlement;
use super::io::{CloseReason, ConnId, Event, IoFailure, Output};
use super::link_key::LinkKey;
use super::{Observation, Servent};
use crate::config::Role;
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::handshake::{Dispatch, HandshakeError, dispatch};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// Time between two Pings of ours on all links (0.6 draft: once a minute to a peer that may not
/// cache).
const PING_INTERVAL: Duration = Duration::from_secs(60);

impl Servent {
    /// Keeps a link to `addr`, whatever the scope: dials it now, and again whenever it is lost.
    pub fn add_static_peer(&mut self, now: Instant, addr: SocketAddrV4) {
        self.dialer.add_static_peer(now, addr);
    }

    /// No longer keeps a link to `addr`: one that stands stays, and is not dialled again.
    pub fn remove_static_peer(&mut self, addr: SocketAddrV4) {
        self.dialer.remove_static_peer(addr);
    }

    /// Adds an address to those that may be dialled, if the scope allows it.
    pub fn learn_host(&mut self, now: Instant, addr: SocketAddrV4) {
        self.learn_from(now, addr, None);
    }

    /// Adds an address that answered in an earlier run.
    pub fn learn_proven_host(&mut self, now: Instant, addr: SocketAddrV4) {
        self.learn_host(now, addr);
        self.dialer.answered(addr);
    }

    pub(super) fn learn_from(&mut self, now: Instant, addr: SocketAddrV4, source: Option<LinkKey>) {
        let links = &self.links;
        let linked = || links.iter().any(|(_, conn)| conn.is_dialled() && conn.remote == addr);
        self.dialer.learn(now, &self.config, addr, source, linked);
    }

    /// The port of the address given to others from now on: a guest opens its listening socket only
    /// when it has a link.
    pub fn set_advertised_port(&mut self, port: u16) {
        self.dialer.set_advertised_port(port);
    }

    /// A connection came in on the listening socket. `None` when no more sockets can be held, or no
    /// more of that address; whether there is room for a *link* is looked at when its handshake is
    /// complete, since transfers come in on the same port.
    pub fn handle_accepted(
        &mut self,
        now: Instant,
        remote: SocketAddrV4,
        local: SocketAddrV4,
    ) -> Option<ConnId> {
        let most = self.config.per_address(self.config.limits.connections_per_address);
        if self.links.inbound_of(*remote.ip()) >= most {
            return None;
        }
        self.open(now, remote, *local.ip(), Origin::Inbound, Phase::Accepted(Box::default()))
    }

    /// A connection asked for by [`Output::Connect`] is established.
    pub fn handle_connected(&mut self, now: Instant, id: ConnId, local: SocketAddrV4) {
        let Some(conn) = self.links.get_mut(id) else { return };
        conn.local_ip = *local.ip();
        self.dialer.socket_opened(*local.ip(), true);
        match &mut conn.phase {
            Phase::Dialing => {
                let (handshake, opening) = Handshake::dial();
                conn.queue.push_handshake(opening);
                conn.phase = Phase::Handshaking(Box::new(handshake));
                self.list_ready(id);
            }
            Phase::Download(transfer) => {
                let transfer = *transfer;
                self.downloads.handle_connected(now, transfer, true);
                self.drive_download(now, transfer);
            }
            Phase::PushReply(line) => {
                let line = std::mem::take(&mut **line);
                self.reply_to_push(now, id, line);
            }
            _ => {}
        }
    }

    /// A socket ended on its own: no more bytes will come. It is to be kept until
    /// [`Output::Close`], since the peer may still read.
    pub fn handle_closed(&mut self, now: Instant, id: ConnId, failure: IoFailure) {
        let Some(conn) = self.links.get_mut(id) else { return };
        match &mut conn.phase {
            // What it said before it closed is still read, in its turn.
            Phase::Link(link) if link.account.is_waiting() && failure == IoFailure::Eof => {
                link.account.end_unread();
            }
            Phase::Upload => {
                self.uploads.handle_closed(now, id, &failure);
                self.drive_upload(now, id);
            }
            Phase::Download(transfer) => {
                let transfer = *transfer;
                self.downloads.handle_closed(now, transfer, &failure);
                self.close(now, id, CloseReason::Io(failure));
                self.drive_download(now, transfer);
            }
            _ => self.close(now, id, CloseReason::Io(failure)),
        }
    }

    /// Bytes arrived. Whether anything more is to be read from the connection is told by
    /// [`Output::Close`].
    pub fn handle_bytes(&mut self, now: Instant, id: ConnId, bytes: &[u8]) {
        self.stats.bytes_in += bytes.len() as u64;
        self.budget.note_sender(now, id);
        let Some(conn) = self.links.get_mut(id) else { return };
        match &mut conn.phase {
            Phase::Link(_) => self.handle_stream(now, id, bytes),
            Phase::Handshaking(handshake) => {
                let progress = handshake.handle_bytes(bytes);
                self.advance_handshake(now, id, progress);
            }
            Phase::Accepted(received) => {
                received.extend_from_slice(bytes);
                match dispatch(received) {
                    Dispatch::NeedMore => {}
                    Dispatch::Gnutella => {
                        let mut handshake = Handshake::accept();
                        let progress = handshake.handle_bytes(received);
                        conn.phase = Phase::Handshaking(Box::new(handshake));
                        self.advance_handshake(now, id, progress);
                    }
                    Dispatch::Http => {
                        let received = std::mem::take(&mut **received);
                        self.begin_upload(now, id, &received);
                    }
                    Dispatch::Giv => {
                        let received = received.to_vec();
                        self.handle_giv(now, id, &received);
                    }
                    Dispatch::Unknown => self.close(now, id, CloseReason::Unasked),
                }
            }
            Phase::Upload => {
                self.uploads.handle_bytes(now, id, bytes);
                self.drive_upload(now, id);
            }
            Phase::Download(transfer) => {
                let transfer = *transfer;
                self.downloads.handle_bytes(now, transfer, bytes);
                self.drive_download(now, transfer);
            }
            Phase::Idle(_) => self.close(now, id, CloseReason::Unasked),
            Phase::Dialing | Phase::PushReply(_) => {}
        }
    }

    fn advance_handshake(
        &mut self,
        now: Instant,
        id: ConnId,
        progress: Result<Progress, HandshakeError>,
    ) {
        let offered = match progress {
            Ok(Progress::NeedMore) => return,
            Ok(progress) => progress,
            Err(error) => return self.close(now, id, CloseReason::Handshake(error)),
        };
        if !self.has_room_for(id) {
            return self.close(now, id, CloseReason::Full);
        }
        let Some(conn) = self.links.get_mut(id) else { return };
        let established = match (offered, &mut conn.phase) {
            (Progress::Complete(established), _) => established,
            (_, Phase::Handshaking(handshake)) => {
                let (answer, established) = handshake.grant();
                conn.queue.push_handshake(answer);
                established
            }
            _ => return,
        };
        self.establish(now, id, established);
    }

    /// Whether a connection may become a link.
    fn has_room_for(&self, id: ConnId) -> bool {
        let Some(conn) = self.links.get(id) else { return false };
        let (inbound, ip) = (conn.origin == Origin::Inbound, *conn.remote.ip());
        if self.links.established().len() >= self.config.max_links {
            return false;
        }
        let most = self.config.per_address(self.config.limits.links_per_address);
        !inbound || (self.config.role != Role::Guest && self.links.links_with_ip(ip) < most)
    }

    fn establish(&mut self, now: Instant, id: ConnId, established: Established) {
        let Established { peer, rest } = established;
        let Some(key) = self.links.establish(now, id, peer) else { return };
        self.list_ready(id);
        self.set_deadline(id, now + self.config.limits.keepalive_after);
        let Some(conn) = self.links.get(id) else { return };
        let (addr, outbound) = (conn.remote, conn.is_dialled());
        if outbound {
            self.dialer.answered(addr);
        }
        self.outbox.event(Event::LinkUp { conn: id, addr, outbound });
        self.outbox.observe(|| Observation::LinkUp { peer: addr, outbound });
        if self.config.background_pings {
            self.send_own_ping(now, key, self.config.ttl);
        }
        self.send_requests(key);
        if outbound {
            self.settle_duplicate(now, addr);
        }
        if !rest.is_empty() {
            self.handle_stream(now, id, &rest);
        }
    }

    /// Holds one more socket; `None` when there are too many that are not just idle.
    pub(super) fn open(
        &mut self,
        now: Instant,
        remote: SocketAddrV4,
        local_ip: Ipv4Addr,
        origin: Origin,
        phase: Phase,
    ) -> Option<ConnId> {
        if self.links.len() >= self.config.limits.max_connections {
            // Silence must not keep others out.
            let idle = self.links.longest_idle(|id| self.uploads.holds_slot(id))?;
            self.close(now, idle, CloseReason::Full);
        }
        let deadline = now + self.config.limits.handshake_timeout;
        self.dialer.socket_opened(local_ip, false);
        let id = self.links.open(remote, local_ip, origin, phase, deadline);
        self.timers.schedule(deadline, id);
        Some(id)
    }

    /// Dials an address. `None` when no more sockets can be held.
    pub(super) fn dial(
        &mut self,
        now: Instant,
        addr: SocketAddrV4,
        origin: Origin,
        phase: Phase,
    ) -> Option<ConnId> {
        let conn = self.open(now, addr, Ipv4Addr::UNSPECIFIED, origin, phase)?;
        self.outbox.push(Output::Connect { conn, addr });
        Some(conn)
    }

    /// Dials what is missing, as far as there are sockets.
    fn dial_wanted(&mut self, now: Instant) {
        let targets = self.dialer.targets(now, &self.config, &self.links, &mut self.rng);
        for (addr, origin) in targets {
            self.dial(now, addr, origin, Phase::Dialing);
        }
    }

    /// Ends a connection, whichever side wanted it.
    pub(super) fn close(&mut self, now: Instant, id: ConnId, reason: CloseReason) {
        let Some(mut conn) = self.links.remove(id) else { return };
        self.timers.cancel(conn.scheduled, id);
        self.dialer.socket_closed(conn.local_ip);
        self.outbox.push(Output::Close { conn: id });
        let (addr, dialled) = (conn.remote, conn.is_dialled());
        let local_failure = matches!(reason, CloseReason::Io(IoFailure::Local(_)));
        let was_link = matches!(conn.phase, Phase::Link(_));
        if was_link {
            self.end_link(now, &mut conn, &reason);
        } else if local_failure {
            self.dialer.pause(now);
        } else if dialled {
            let spoke = matches!(conn.phase, Phase::Handshaking(_));
            let ended = matches!(reason, CloseReason::Io(IoFailure::Eof | IoFailure::Reset));
            let refused = spoke && (ended || matches!(reason, CloseReason::Handshake(_)));
            self.dialer.dial_failed(now, addr, refused);
        }
        if let Some(file) = self.uploads.end(id) {
            self.close_file(file);
        }
        if matches!(conn.phase, Phase::PushReply(_)) && !local_failure {
            self.uploads.push_replies().failed(now + self.config.limits.push_rest, addr);
        }
        self.dialer.plan_redial(now, &self.config, addr, dialled, &reason);
        let by_peer = matches!(reason, CloseReason::Io(IoFailure::Eof | IoFailure::Reset));
        if was_link && dialled && by_peer {
            // If the peer chose its own of two links, that one stands for ours.
            self.dialer.peer_closed(now, addr);
            self.settle_duplicate(now, addr);
        }
        match conn.phase {
            Phase::Link(_) => self.outbox.event(Event::LinkDown { conn: id, addr, reason }),
            _ if dialled => self.outbox.event(Event::DialFailed { addr, reason }),
            Phase::Upload | Phase::Download(_) | Phase::Idle(_) => {
                log::debug!("{addr}: transfer connection closed: {reason}");
            }
            _ => log::debug!("{addr}: closed before it was a link: {reason}"),
        }
    }

    /// Accounts for a link that ended.
    fn end_link(&mut self, now: Instant, conn: &mut Connection, reason: &CloseReason) {
        let (peer, dialled) = (conn.remote, conn.is_dialled());
        let Phase::Link(link) = &mut conn.phase else { return };
        self.drop_unread(peer, link);
        let unsent = u64::from(conn.queue.descriptors());
        self.stats.count_drops(DropReason::LinkEnded, unsent);
        let reason_of = || reason.clone();
        self.outbox.observe(|| Observation::LinkDown { peer, reason: reason_of(), unsent });
        self.routing.forget_link(link.key);
        let failed = dialled && *reason != CloseReason::Duplicate;
        self.dialer.link_ended(now, peer, link.since, failed);
    }

    /// Closes one of two links with the servent that listens at `addr`, if there are two.
    pub(super) fn settle_duplicate(&mut self, now: Instant, addr: SocketAddrV4) {
        let Some(inbound) = self.links.link_with(addr, false) else { return };
        let outbound = self.links.link_with(addr, true);
        let Some(local_ip) = self.links.get(inbound).map(|conn| conn.local_ip) else { return };
        let settlement = self.dialer.settle(now, local_ip, addr, outbound.is_some());
        if let Settlement::InboundStands | Settlement::CloseOutbound = settlement
            && let Some(link) = self.links.link_mut(inbound)
        {
            link.stands_for_ours = true;
        }
        match (settlement, outbound) {
            (Settlement::CloseInbound, _) => self.close(now, inbound, CloseReason::Duplicate),
            (Settlement::CloseOutbound, Some(outbound)) => {
                self.close(now, outbound, CloseReason::Duplicate);
            }
            _ => {}
        }
    }

    /// A moment named by [`Servent::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(id) = self.timers.pop_due(now) {
            let Some(conn) = self.links.get_mut(id) else { continue };
            conn.scheduled = Instant::FAR_FUTURE;
            let deadline = conn.deadline;
            if deadline <= now {
                self.handle_deadline(now, id);
            } else {
                self.set_deadline(id, deadline);
            }
        }
        if self.downloads.next_push_deadline().is_some_and(|at| at <= now) {
            self.handle_push_deadlines(now);
        }
        if self.next_ping <= now {
            self.next_ping = now + PING_INTERVAL;
            for at in 0..self.links.established().len() {
                self.send_own_ping(now, self.links.established()[at], self.config.ttl);
            }
        }
        if self.dialer.next_round() <= now {
            self.dial_wanted(now);
        }
        self.serve_waiting(now);
    }

    /// Moves a connection's deadline; its timer entry only if that comes up too late.
    pub(super) fn set_deadline(&mut self, id: ConnId, deadline: Instant) {
        if let Some(scheduled) = self.links.move_deadline(id, deadline) {
            self.timers.cancel(scheduled, id);
            self.timers.schedule(deadline, id);
        }
    }

    fn handle_deadline(&mut self, now: Instant, id: ConnId) {
        let stall = self.config.limits.stall_timeout;
        let Some(conn) = self.links.get(id) else { return };
        let stalled = conn.queue.is_stalled(now, stall);
        let reason = match &conn.phase {
            Phase::Dialing | Phase::PushReply(_) => CloseReason::Timeout("connection"),
            Phase::Accepted(_) => CloseReason::Timeout("first line"),
            Phase::Handshaking(_) if conn.is_dialled() => {
                CloseReason::Timeout("answer to our handshake")
            }
            Phase::Handshaking(_) => CloseReason::Timeout("first line"),
            Phase::Link(_) if stalled => CloseReason::Stalled,
            Phase::Link(_) => return self.check_keepalive(now, id),
            Phase::Idle(_) => CloseReason::TransferEnded,
            Phase::Upload => {
                self.uploads.handle_timeout(now, id);
                return self.drive_upload(now, id);
            }
            Phase::Download(transfer) => {
                let transfer = *transfer;
                self.downloads.handle_timeout(now, transfer);
                return self.drive_download(now, transfer);
            }
        };
        self.close(now, id, reason);
    }

    /// Asks a link that has been silent for a keepalive, or ends it when that did not come. Gives
    /// back what an idle link need not keep.
    fn check_keepalive(&mut self, now: Instant, id: ConnId) {
        let (keepalive, timeout) =
            (self.config.limits.keepalive_after, self.config.limits.link_timeout);
        let Some(conn) = self.links.get_mut(id) else { return };
        conn.shrink();
        let Phase::Link(link) = &mut conn.phase else { return };
        if now.since(link.last_heard) >= timeout {
            return self.close(now, id, CloseReason::Timeout("answer to our keepalive"));
        }
        if link.deframer.as_ref().is_some_and(|deframer| deframer.pending_bytes() == 0) {
            link.deframer = None;
        }
        let silent = now.since(link.last_heard) >= keepalive;
        let ask = silent && !link.keepalive_sent;
        link.keepalive_sent |= silent;
        let wait = if link.keepalive_sent { timeout } else { keepalive };
        let (key, deadline) = (link.key, link.last_heard + wait);
        self.set_deadline(id, deadline);
        if ask {
            self.send_own_ping(now, key, 1);
        }
    }
}
