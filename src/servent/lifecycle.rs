//! The life of a socket: dialled or accepted, what it turns out to be, kept alive, closed.

use super::Servent;
use super::connection::{Handshake, Origin, Phase};
use super::dialer::{KnownHost, LearntHost, Settlement};
use super::io::{CloseReason, ConnId, IoFailure, Output};
use crate::time::Instant;
use crate::wire::Dialect;
use crate::wire::handshake::{Dispatch, dispatch};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// Time between two Pings of ours on all links (0.6 draft: once a minute to a peer that may not
/// cache).
const PING_INTERVAL: Duration = Duration::from_secs(60);

impl Servent {
    /// Keeps a link to `addr`, whatever the scope: dials it now, and again whenever it is lost.
    pub fn add_static_peer(&mut self, now: Instant, addr: SocketAddrV4) {
        self.dialer.add_static_peer(now, addr, None);
    }

    /// The same, always dialled in this dialect.
    pub fn add_static_peer_speaking(&mut self, now: Instant, addr: SocketAddrV4, dialect: Dialect) {
        self.dialer.add_static_peer(now, addr, Some(dialect));
    }

    /// No longer keeps a link to `addr`: one that stands stays, and is not dialled again.
    pub fn remove_static_peer(&mut self, addr: SocketAddrV4) {
        self.dialer.remove_static_peer(addr);
    }

    /// Adds an address to those that may be dialled, if the scope allows it.
    pub fn learn_host(&mut self, now: Instant, addr: SocketAddrV4) {
        self.learn_from(now, LearntHost { addr, source: None, speaks: None });
    }

    /// Adds an address that an earlier run knew.
    pub fn learn_known_host(&mut self, now: Instant, host: KnownHost) {
        let KnownHost { addr, answered, speaks } = host;
        self.learn_from(now, LearntHost { addr, source: None, speaks });
        if answered {
            self.dialer.answered(addr);
        }
    }

    /// What an earlier run found out about an address: what it speaks, and how long ago the last
    /// handshakes with it were begun, the latest first.
    pub fn recall(
        &mut self,
        now: Instant,
        addr: SocketAddrV4,
        speaks: Option<Dialect>,
        begun: &[Duration],
    ) {
        self.dialer.recall(now, addr, speaks, begun.iter().copied());
    }

    /// What [`Servent::recall`] takes, of an address.
    pub fn known_of(&self, now: Instant, addr: SocketAddrV4) -> (Option<Dialect>, Vec<Duration>) {
        let (speaks, begun) = self.dialer.known_of(now, addr);
        (speaks, begun.collect())
    }

    /// How long an address that is to be dialled must wait, since it was dialled often enough.
    pub fn dials_in(&self, now: Instant, addr: SocketAddrV4) -> Duration {
        self.dialer.free_at(addr).since(now)
    }

    pub(super) fn learn_from(&mut self, now: Instant, host: LearntHost) {
        let links = &self.links;
        let linked = || links.iter().any(|(_, conn)| conn.is_dialled() && conn.remote == host.addr);
        self.dialer.learn(now, &self.config, host, linked);
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
            Phase::Dialing(dialect) => {
                let dialect = *dialect;
                self.begin_handshake(now, id, dialect);
            }
            Phase::Download(transfer) => {
                let transfer = *transfer;
                self.downloads.handle_connected(now, transfer, true);
                self.drive_download(now, transfer);
            }
            Phase::ConnectBack => self.close(now, id, CloseReason::TransferEnded),
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
            // The peer has heard our last word.
            Phase::Parting(_) => self.drop_socket(now, id, CloseReason::Io(failure)),
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
            Phase::Parting(_) => self.overhear(id, bytes),
            Phase::Dialing(_) | Phase::ConnectBack | Phase::PushReply(_) => {}
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
            let dialect = self.dialer.dialect_for(&self.config, addr);
            self.dial(now, addr, origin, Phase::Dialing(dialect));
        }
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
            let mut at = 0;
            while let Some(target) = self.links.established(at) {
                self.send_own_ping(now, target, self.config.ttl);
                at += 1;
            }
        }
        if self.dialer.next_round() <= now {
            self.dial_wanted(now);
        }
        self.step_tables(now);
        self.step_searches(now);
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
            Phase::Dialing(_) | Phase::ConnectBack | Phase::PushReply(_) => {
                CloseReason::Timeout("connection")
            }
            Phase::Accepted(_) => CloseReason::Timeout("first line"),
            Phase::Handshaking(_) if conn.is_dialled() => {
                CloseReason::Timeout("answer to our handshake")
            }
            Phase::Handshaking(handshake) if handshake.terms.is_some() => {
                CloseReason::Timeout("last leg of the handshake")
            }
            Phase::Handshaking(_) => CloseReason::Timeout("first line"),
            Phase::Parting(_) => return self.drop_socket(now, id, CloseReason::Shutdown),
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
