//! Links: dialling and accepting, the hello, signs of life, and keeping as many as wanted.

use super::connection::{Connection, Dialled, Link, Phase};
use super::io::{CloseReason, ConnId, Event, IoFailure, Output};
use super::send_queue::SendQueue;
use super::{LinkKey, Observation, Servent, conn_index};
use crate::config::{Role, Scope};
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::handshake::{self, Dispatch, HandshakeError};
use crate::wire::{Header, Kind};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// Every link is asked who is out there so often (0.6 draft: once a minute to a peer that may not
/// cache).
const PING_INTERVAL: Duration = Duration::from_secs(60);
/// First wait before an address the user named is dialled again, doubled up to the maximum.
const KEPT_BACKOFF: Duration = Duration::from_secs(1);
const KEPT_BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Dials to learnt hosts under way at one time.
const MAX_DIALS: usize = 8;
/// Dials to learnt hosts within [`DIAL_WINDOW`]: whoever feeds us addresses must not decide how
/// fast we try them.
const DIALS_PER_WINDOW: usize = 16;
const DIAL_WINDOW: Duration = Duration::from_secs(16);
/// So many of these to ports of one address, which may be a victim.
const DIALS_PER_ADDRESS: usize = 4;
/// Looking for a host to dial walks over all known ones: what neighbours tell causes it at most so
/// often.
const DIAL_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// A link that lasted this long was a success: only then does dialling its address start over with
/// the shortest wait. A peer that closes right after its OK is backed off from like one that refuses.
const LASTING: Duration = Duration::from_secs(20);
/// First wait before anything is dialled after this machine itself refused to (no network, no file
/// descriptors), doubled up to the maximum.
const LOCAL_PAUSE: Duration = Duration::from_secs(2);
const LOCAL_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Own addresses remembered; a machine has few.
const MAX_OWN_ADDRS: usize = 16;

/// An address the user named.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) addr: SocketAddrV4,
    /// When the peer last closed a link that we dialled.
    pub(super) ended: Option<Instant>,
    next_try: Instant,
    backoff: Duration,
}

impl Servent {
    /// Keeps a link to `addr`, whatever the scope: dials it now, and again whenever it is lost.
    pub fn keep(&mut self, now: Instant, addr: SocketAddrV4) {
        if self.kept.iter().all(|kept| kept.addr != addr) {
            self.kept.push(Kept { addr, ended: None, next_try: now, backoff: KEPT_BACKOFF });
            self.next_dial = now;
        }
    }

    /// No longer keeps a link to `addr`: one that stands stays, and is not dialled again.
    pub fn unkeep(&mut self, addr: SocketAddrV4) {
        self.kept.retain(|kept| kept.addr != addr);
    }

    /// Adds an address to those that may be dialled, if the scope allows it.
    pub fn learn_host(&mut self, now: Instant, addr: SocketAddrV4) {
        self.learn_from(now, addr, None);
    }

    /// Adds an address that answered in an earlier run.
    pub fn learn_proven_host(&mut self, now: Instant, addr: SocketAddrV4) {
        self.learn_host(now, addr);
        self.hosts.answered(addr);
    }

    pub(super) fn learn_from(&mut self, now: Instant, addr: SocketAddrV4, source: Option<LinkKey>) {
        let learnt = self.config.scope.allows(addr)
            && !self.is_own(addr)
            && self.hosts.learn(now, addr, source);
        if learnt && self.neighbours().any(|link| link.outbound && link.addr == addr) {
            self.hosts.answered(addr);
        }
        if learnt && self.config.links > 0 {
            let next = self.last_dial_check.map(|last| last + DIAL_CHECK_INTERVAL);
            self.next_dial = self.next_dial.min(next.map_or(now, |next| next.max(now)));
        }
    }

    /// A connection came in on the listening socket. `None` when no more sockets can be held, or no
    /// more of that address; whether there is room for a *link* is looked at when its hello is
    /// complete, since transfers come in on the same port.
    pub fn handle_accepted(
        &mut self,
        now: Instant,
        remote: SocketAddrV4,
        local: SocketAddrV4,
    ) -> Option<ConnId> {
        let ip = *remote.ip();
        if self.visitors.of(ip) >= self.per_address(self.config.limits.connections_per_address) {
            return None;
        }
        let id = self.open(now, remote, None, *local.ip(), Phase::Opening(Vec::new()))?;
        self.connections[id.index()].inbound = true;
        self.visitors.add(ip);
        Some(id)
    }

    /// A limit on what one address may have. On loopback all share one.
    pub(super) fn per_address(&self, limit: usize) -> usize {
        if self.config.scope == Scope::Loopback { usize::MAX } else { limit }
    }

    /// A connection asked for by [`Output::Connect`] stands.
    pub fn handle_connected(&mut self, now: Instant, id: ConnId, local: SocketAddrV4) {
        let Some(conn) = self.connection_mut(id) else { return };
        conn.local_ip = *local.ip();
        self.local_ips.add(*local.ip());
        // This machine can connect.
        self.local_pause = None;
        let Some(conn) = self.connection_mut(id) else { return };
        match conn.phase {
            Phase::Dialing => {
                conn.phase = Phase::Opening(Vec::new());
                conn.queue.push_bytes(handshake::CONNECT);
                self.mark_dirty(id.index as usize);
            }
            Phase::Fetching(transfer) => self.handle_fetch_connected(now, transfer, true),
            Phase::Giving(ref mut line) => {
                let line = std::mem::take(line);
                self.give(now, id, line.into_vec());
            }
            _ => {}
        }
    }

    /// A socket ended on its own: no more bytes will come. It is to be kept until
    /// [`Output::Close`], since the peer may still read.
    pub fn handle_closed(&mut self, now: Instant, id: ConnId, failure: IoFailure) {
        let Some(conn) = self.connection_mut(id) else { return };
        match &mut conn.phase {
            // What it said before it closed is still read, in its turn.
            Phase::Link(link) if link.account.is_waiting() && failure == IoFailure::Eof => {
                link.ended = true;
            }
            Phase::Upload(_) => self.upload_ended(now, id, &failure),
            Phase::Fetching(transfer) => {
                let transfer = *transfer;
                self.fetch_ended(now, id, transfer, &failure);
            }
            _ => self.close(now, id, CloseReason::Io(failure)),
        }
    }

    /// Bytes came. Whether anything more is to be read from the connection is told by
    /// [`Output::Close`].
    pub fn handle_bytes(&mut self, now: Instant, id: ConnId, bytes: &[u8]) {
        self.stats.bytes_in += bytes.len() as u64;
        self.budget.heard(now, id);
        let Some(conn) = self.connection_mut(id) else { return };
        match &mut conn.phase {
            Phase::Link(_) => self.handle_stream(now, id, bytes),
            Phase::Opening(buffer) if !conn.inbound => {
                buffer.extend_from_slice(bytes);
                let read = handshake::read_answer(buffer);
                self.finish_hello(now, id, read);
            }
            Phase::Opening(buffer) => {
                buffer.extend_from_slice(bytes);
                match handshake::dispatch(buffer) {
                    Dispatch::NeedMore => {}
                    Dispatch::Gnutella => {
                        let read = handshake::read_hello(buffer);
                        self.finish_hello(now, id, read);
                    }
                    Dispatch::Http => {
                        let bytes = std::mem::take(buffer);
                        self.start_upload(now, id, &bytes);
                    }
                    Dispatch::Giv => self.read_giv(now, id),
                    Dispatch::Unknown => {
                        self.close(now, id, CloseReason::Unasked);
                    }
                }
            }
            Phase::Upload(uploading) => {
                uploading.upload.handle_bytes(now, bytes);
                self.drive_upload(now, id);
            }
            Phase::Fetching(transfer) => {
                let transfer = *transfer;
                self.handle_fetched(now, transfer, bytes);
            }
            Phase::Idle(_) => self.close(now, id, CloseReason::Unasked),
            Phase::Dialing | Phase::Giving(_) => {}
        }
    }

    /// A moment named by [`Servent::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(id) = self.timers.pop_due(now) {
            let Some(conn) = self.connection_mut(id) else { continue };
            conn.scheduled = Instant::FAR_FUTURE;
            let deadline = conn.deadline;
            if deadline <= now {
                self.handle_deadline(now, id);
            } else {
                self.set_deadline(id, deadline);
            }
        }
        if self.next_push_deadline().is_some_and(|at| at <= now) {
            self.handle_push_deadlines(now);
        }
        if self.next_ping <= now {
            self.next_ping = now + PING_INTERVAL;
            for at in 0..self.links.len() {
                self.send_own_ping(now, self.links[at] as usize, self.config.ttl);
            }
        }
        if self.next_dial <= now {
            self.dial_wanted(now);
        }
        self.serve_waiting(now);
    }

    /// Moves a connection's deadline; its timer entry only if that comes up too late.
    pub(super) fn set_deadline(&mut self, id: ConnId, deadline: Instant) {
        let Some(conn) = self.connection_mut(id) else { return };
        conn.deadline = deadline;
        if deadline < conn.scheduled {
            let before = std::mem::replace(&mut conn.scheduled, deadline);
            self.timers.cancel(before, id);
            self.timers.schedule(deadline, id);
        }
    }

    /// Holds one more socket; `None` when there are too many that are not just silent.
    pub(super) fn open(
        &mut self,
        now: Instant,
        remote: SocketAddrV4,
        dialled: Option<Dialled>,
        local_ip: Ipv4Addr,
        phase: Phase,
    ) -> Option<ConnId> {
        if self.connections.len() >= self.config.limits.max_connections && !self.evict(now) {
            return None;
        }
        let generation = self.next_generation;
        self.next_generation = self.next_generation.wrapping_add(1);
        let deadline = now + self.config.limits.handshake_timeout;
        if !local_ip.is_unspecified() {
            self.local_ips.add(local_ip);
        }
        let index = self.connections.insert(Connection {
            generation,
            remote,
            local_ip,
            dialled,
            inbound: false,
            phase,
            deadline,
            scheduled: deadline,
            queue: SendQueue::default(),
            listed: false,
            blocked: false,
        });
        let id = ConnId { index: conn_index(index), generation };
        self.timers.schedule(deadline, id);
        Some(id)
    }

    /// Closes the connection that has been idle for longest: it has not said what it wants, or uses
    /// HTTP without an upload under way. Silence must not keep others out.
    fn evict(&mut self, now: Instant) -> bool {
        let idle = |(_, conn): &(usize, &Connection)| {
            conn.inbound
                && match &conn.phase {
                    Phase::Opening(_) => true,
                    Phase::Upload(uploading) => uploading.file.is_none(),
                    _ => false,
                }
        };
        // HTTP connections without an upload go first: a peer that wants a file soon holds a slot.
        let rank = |conn: &Connection| (matches!(conn.phase, Phase::Opening(_)), conn.deadline);
        let oldest = self.connections.iter().filter(idle).min_by_key(|(_, conn)| rank(conn));
        let Some((index, conn)) = oldest else { return false };
        let id = ConnId { index: conn_index(index), generation: conn.generation };
        self.close(now, id, CloseReason::Full);
        true
    }

    /// False when no more sockets can be held.
    fn dial(&mut self, now: Instant, addr: SocketAddrV4, why: Dialled) -> bool {
        let opened = self.open(now, addr, Some(why), Ipv4Addr::UNSPECIFIED, Phase::Dialing);
        self.outputs.extend(opened.map(|conn| Output::Connect { conn, addr }));
        opened.is_some()
    }

    /// Acts on what reading a hello or its answer gave.
    fn finish_hello(
        &mut self,
        now: Instant,
        id: ConnId,
        read: Result<Option<usize>, HandshakeError>,
    ) {
        let consumed = match read {
            Ok(None) => return,
            Ok(Some(consumed)) => consumed,
            Err(error) => return self.close(now, id, CloseReason::Handshake(error)),
        };
        let guest = self.config.role == Role::Guest;
        let Some(conn) = self.connection_mut(id) else { return };
        let (inbound, ip) = (conn.inbound, *conn.remote.ip());
        let of_address = self.neighbours().filter(|link| inbound && *link.addr.ip() == ip).count();
        if self.links.len() >= self.config.max_links
            || (inbound && guest)
            || of_address >= self.per_address(self.config.limits.links_per_address)
        {
            return self.close(now, id, CloseReason::Full);
        }
        let Some(conn) = self.connection_mut(id) else { return };
        let opening = std::mem::replace(&mut conn.phase, Phase::Dialing);
        let key = self.next_link_key(id.index());
        let Some(conn) = self.connection_mut(id) else { return };
        conn.phase = Phase::Link(Box::new(Link::new(now, key)));
        if inbound {
            conn.queue.push_bytes(handshake::OK);
        }
        self.links.push(id.index);
        self.link_is_up(now, id);
        if let Phase::Opening(buffer) = opening
            && buffer.len() > consumed
        {
            self.handle_stream(now, id, &buffer[consumed..]);
        }
    }

    fn link_is_up(&mut self, now: Instant, id: ConnId) {
        let index = id.index as usize;
        self.mark_dirty(index);
        self.set_deadline(id, now + self.config.limits.keepalive_after);
        let conn = &self.connections[index];
        let (addr, outbound) = (conn.remote, conn.dialled.is_some());
        if outbound {
            self.hosts.answered(addr);
        }
        self.event(Event::LinkUp { conn: id, addr, outbound });
        self.observe(|| Observation::LinkUp { peer: addr, outbound });
        if self.config.background_pings {
            self.send_own_ping(now, index, self.config.ttl);
        }
        self.probe_new_link(index);
        if outbound {
            self.settle_duplicate(now, addr);
        }
    }

    /// Ends a connection, whoever wanted it.
    pub(super) fn close(&mut self, now: Instant, id: ConnId, reason: CloseReason) {
        if self.connection_mut(id).is_none() {
            return;
        }
        let index = id.index as usize;
        let mut conn = self.connections.remove(index);
        self.timers.cancel(conn.scheduled, id);
        if !conn.local_ip.is_unspecified() {
            self.local_ips.remove(conn.local_ip);
        }
        if conn.inbound {
            self.visitors.remove(*conn.remote.ip());
        }
        self.outputs.push_back(Output::Close { conn: id });
        let addr = conn.remote;
        if let Phase::Link(link) = &mut conn.phase {
            self.drop_unread(addr, link);
            let unsent = conn.queue.descriptors();
            self.stats.count_drops(DropReason::LinkEnded, unsent);
            self.observe(|| Observation::LinkDown { peer: addr, reason: reason.clone(), unsent });
            let lasted = now.since(link.since) >= LASTING;
            self.links.retain(|&link| link != id.index);
            self.pong_cache.forget(link.key);
            self.forget_reserve(index);
            if lasted {
                self.hosts.link_ended(now, addr);
            } else if conn.dialled.is_some() && reason != CloseReason::Duplicate {
                self.hosts.failed(now, addr);
            }
            if lasted && let Some(kept) = self.kept.iter_mut().find(|kept| kept.addr == addr) {
                kept.backoff = KEPT_BACKOFF;
            }
        } else if let CloseReason::Io(IoFailure::Local(_)) = reason {
            // No fault of the peer: nothing is dialled for a while, and nothing is forgotten.
            self.pause_dials(now);
        } else if conn.dialled.is_some() {
            let answered = matches!(conn.phase, Phase::Opening(_));
            let eof = matches!(reason, CloseReason::Io(IoFailure::Eof | IoFailure::Reset));
            if answered && (eof || matches!(reason, CloseReason::Handshake(_))) {
                self.hosts.refused(now, addr);
            } else {
                self.hosts.failed(now, addr);
            }
        }
        self.release_transfer(&conn);
        let local = matches!(reason, CloseReason::Io(IoFailure::Local(_)));
        if matches!(conn.phase, Phase::Giving(_)) && !local {
            self.push_log.failed(now + self.config.limits.push_rest, addr);
        }
        self.plan_redial(now, &conn, &reason);
        if let (Phase::Link(_), Some(_)) = (&conn.phase, conn.dialled) {
            self.dialled_link_ended(now, addr, &reason);
        }
        match conn.phase {
            Phase::Link(_) => self.event(Event::LinkDown { conn: id, addr, reason }),
            _ if conn.dialled.is_some() => self.event(Event::DialFailed { addr, reason }),
            Phase::Upload(_) | Phase::Fetching(_) | Phase::Idle(_) => {
                log::debug!("{addr}: transfer connection closed: {reason}");
            }
            _ => log::debug!("{addr}: closed before it was a link: {reason}"),
        }
    }

    fn plan_redial(&mut self, now: Instant, ended: &Connection, reason: &CloseReason) {
        if *reason == CloseReason::OwnAddress && ended.dialled.is_some() {
            self.hosts.remove(ended.remote);
            if self.own_addrs.len() < MAX_OWN_ADDRS {
                self.own_addrs.push(ended.remote);
            }
            self.kept.retain(|kept| kept.addr != ended.remote);
        }
        let dialled =
            ended.dialled.is_some() && !matches!(reason, CloseReason::Io(IoFailure::Local(_)));
        if let Some(kept) = self.kept.iter_mut().find(|k| dialled && k.addr == ended.remote) {
            kept.next_try = now + kept.backoff;
            kept.backoff = (kept.backoff * 2).min(KEPT_BACKOFF_MAX);
        }
        if !self.kept.is_empty() || self.config.links > 0 {
            self.next_dial = self.next_dial.min(now);
        }
    }

    /// This machine refused to connect: every dial would fail in the same way.
    fn pause_dials(&mut self, now: Instant) {
        let before = self.local_pause.map_or(Duration::ZERO, |(_, pause)| pause);
        if self.local_pause.is_some_and(|(until, _)| now < until) {
            return;
        }
        let pause = (before * 2).clamp(LOCAL_PAUSE, LOCAL_PAUSE_MAX);
        self.local_pause = Some((now + pause, pause));
    }

    /// Dials what is missing, and says when to look again.
    fn dial_wanted(&mut self, now: Instant) {
        self.next_dial = Instant::FAR_FUTURE;
        self.last_dial_check = Some(now);
        if let Some((until, _)) = self.local_pause.filter(|(until, _)| now < *until) {
            self.next_dial = until;
            return;
        }
        let mut room = self.config.max_links.saturating_sub(self.links.len());
        for at in 0..self.kept.len() {
            let Kept { addr, next_try, .. } = self.kept[at];
            // A neighbour that only claims to listen there does not count.
            if self.has_link_for(addr) {
                continue;
            }
            if next_try > now || room == 0 {
                self.next_dial = self.next_dial.min(next_try.max(now + KEPT_BACKOFF));
            } else if self.dial(now, addr, Dialled::Kept) {
                room -= 1;
            }
        }
        self.dial_learnt(now, room);
    }

    /// Dials learnt hosts until as many links as wanted stand or are under way.
    fn dial_learnt(&mut self, now: Instant, room: usize) {
        let learnt = |conn: &Connection| conn.dialled == Some(Dialled::Learnt);
        let (mut standing, mut dialing) = (0, 0);
        for (_, conn) in self.connections.iter().filter(|(_, conn)| learnt(conn)) {
            standing += 1;
            dialing += usize::from(!matches!(conn.phase, Phase::Link(_)));
        }
        while self.recent_dials.front().is_some_and(|(at, _)| now.since(*at) >= DIAL_WINDOW) {
            self.recent_dials.pop_front();
        }
        let wanted = self.config.links.saturating_sub(standing).min(room);
        let wanted = wanted.min(MAX_DIALS.saturating_sub(dialing));
        if wanted == 0 {
            return;
        }
        let mut connected = self.connected_addrs();
        for _ in 0..wanted {
            if self.recent_dials.len() >= DIALS_PER_WINDOW {
                let oldest = self.recent_dials.front().map_or(now, |(at, _)| *at);
                self.next_dial = self.next_dial.min(oldest + DIAL_WINDOW);
                break;
            }
            let mut rng = self.rng.fork();
            let usable = |addr| self.is_usable(addr) && !connected.contains(&addr);
            let Some(addr) = self.hosts.pick(now, &mut rng, usable) else {
                let due = self.hosts.next_due(now, usable);
                // An address that was dialled often enough may be usable again then.
                let window = self.recent_dials.front().map(|(at, _)| *at + DIAL_WINDOW);
                let next = due.into_iter().chain(window).min();
                self.next_dial = self.next_dial.min(next.unwrap_or(Instant::FAR_FUTURE));
                break;
            };
            if !self.dial(now, addr, Dialled::Learnt) {
                break;
            }
            connected.insert(addr);
            self.recent_dials.push_back((now, *addr.ip()));
        }
    }

    fn is_usable(&self, addr: SocketAddrV4) -> bool {
        let lately = self.recent_dials.iter().filter(|(_, ip)| ip == addr.ip()).count();
        lately < self.per_address(DIALS_PER_ADDRESS) && !self.is_own(addr)
    }

    /// Addresses with which there is a connection: dialled, or a neighbour says it listens there.
    fn connected_addrs(&self) -> BTreeSet<SocketAddrV4> {
        let addrs = self.connections.iter().filter_map(|(_, conn)| conn.listening_addr());
        addrs.collect()
    }

    pub(super) fn is_dialled(&self, addr: SocketAddrV4) -> bool {
        self.connections.iter().any(|(_, conn)| conn.dialled.is_some() && conn.remote == addr)
    }

    pub(super) fn is_own(&self, addr: SocketAddrV4) -> bool {
        let ip = *addr.ip();
        self.own_addrs.contains(&addr)
            || (addr.port() == self.advertised_port
                && (self.config.advertise_ip == Some(ip) || self.local_ips.of(ip) > 0))
    }

    fn handle_deadline(&mut self, now: Instant, id: ConnId) {
        let limits = &self.config.limits;
        let (keepalive, timeout, stall) =
            (limits.keepalive_after, limits.link_timeout, limits.stall_timeout);
        let conn = &mut self.connections[id.index as usize];
        let stalled = conn.queue.is_stalled(now, stall);
        let reason = match &mut conn.phase {
            Phase::Dialing | Phase::Giving(_) => CloseReason::Timeout("connection"),
            Phase::Opening(_) if conn.inbound => CloseReason::Timeout("first line"),
            Phase::Opening(_) => CloseReason::Timeout("answer to our hello"),
            Phase::Link(_) if stalled => CloseReason::Stalled,
            Phase::Link(link) if now.since(link.last_heard) >= timeout => {
                CloseReason::Timeout("sign of life")
            }
            Phase::Link(link) => {
                let silent = now.since(link.last_heard) >= keepalive;
                let ask = silent && !link.probed;
                link.probed |= silent;
                let deadline = link.last_heard + if link.probed { timeout } else { keepalive };
                conn.queue.shrink();
                if link.deframer.as_ref().is_some_and(|deframer| deframer.pending_bytes() == 0) {
                    link.deframer = None;
                }
                self.set_deadline(id, deadline);
                if ask {
                    self.send_own_ping(now, id.index as usize, 1);
                }
                return;
            }
            Phase::Idle(_) => CloseReason::TransferEnded,
            Phase::Upload(uploading) => {
                uploading.upload.handle_timeout(now);
                return self.drive_upload(now, id);
            }
            Phase::Fetching(transfer) => {
                let transfer = *transfer;
                return self.handle_fetch_timeout(now, transfer);
            }
        };
        self.close(now, id, reason);
    }

    fn send_own_ping(&mut self, now: Instant, index: usize, ttl: u8) {
        let guid = self.fresh_guid();
        self.ping_routes.set(now, &guid.0, LinkKey::OWN);
        let framed =
            self.framed(Header { guid, kind: Kind::Ping, ttl, hops: 0, payload_len: 0 }, &[]);
        self.enqueue(None, index, &framed);
    }
}
