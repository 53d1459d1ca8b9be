//! Dialling: which addresses, when, and when not.
//!
//! | file | holds |
//! |---|---|
//! | `static_peers` | addresses the user named, and their backoff |
//! | `host_cache` | addresses learnt, and how dialling them went |
//! | `dialects` | which dialect they are dialled with, and how often |
//! | `own_addresses` | our own addresses, which are never dialled |
//! | `mutual` | which of two links with one servent stays |

mod dialects;
mod host_cache;
mod mutual;
mod own_addresses;
mod static_peers;

pub use host_cache::{HostCache, KnownHost};
pub(super) use mutual::Settlement;

use super::connection::Origin;
use super::io::{CloseReason, IoFailure};
use super::link_key::LinkKey;
use super::links::Links;
use crate::config::{Config, Role, Scope};
use crate::rare::Rare;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::Dialect;
use dialects::{Dialects, OTHER_DIALECT_AFTER};
use mutual::ClosedDuplicates;
use own_addresses::OwnAddresses;
use static_peers::StaticPeers;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// Dials to learnt hosts under way at one time.
const MAX_DIALS: usize = 8;
/// Dials to learnt hosts within [`DIAL_WINDOW`]: the peers that tell us addresses must not decide
/// how fast we try them.
const DIALS_PER_WINDOW: usize = 16;
const DIAL_WINDOW: Duration = Duration::from_secs(16);
/// Dials within [`DIAL_WINDOW`] to ports of one address, which may be a victim.
const DIALS_PER_ADDRESS: usize = 4;
/// Least time between two searches of the host cache that neighbours cause: each walks over all of
/// it.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// A link that lasted this long was a success: only then does dialling its address start over with
/// the shortest wait. A peer that closes right after its OK is backed off from like one that refuses.
const LASTING: Duration = Duration::from_secs(20);
/// First pause in dialling after this machine itself refused to connect (no network, no file
/// descriptors), doubled up to the maximum.
const LOCAL_PAUSE: Duration = Duration::from_secs(2);
const LOCAL_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Least time before a 0.6 servent that has refused is dialled again.
const REST_AFTER_REFUSAL: Duration = Duration::from_secs(60);
/// Longest time a servent that refuses may ask us to stay away: gtk-gnutella bans for up to an hour.
const REST_MAX: Duration = Duration::from_secs(3_600);

/// An address, where it came from, and what it is said to speak.
#[derive(Clone, Copy, Debug)]
pub(super) struct LearntHost {
    pub(super) addr: SocketAddrV4,
    pub(super) source: Option<LinkKey>,
    pub(super) speaks: Option<Dialect>,
}

/// How a dial that did not lead to a link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DialEnd {
    /// Nobody answered, or what came was in no dialect.
    Failed,
    /// The peer declined in its dialect.
    Refused,
    /// The peer ended a handshake in this dialect without a byte.
    Unanswered(Dialect),
    /// The peer answered a handshake in this dialect with a line of the other one.
    Contradicted(Dialect),
    /// The peer declined in 0.6, and asked to stay away for so long.
    Declined(Duration),
}

/// The addresses to dial, when, and how dialling them went.
#[derive(Debug)]
pub(super) struct Dialer {
    hosts: HostCache,
    static_peers: StaticPeers,
    dialects: Dialects,
    own: OwnAddresses,
    closed_duplicates: ClosedDuplicates,
    /// Learnt hosts dialled within [`DIAL_WINDOW`], oldest first.
    recent_dials: Rare<VecDeque<(Instant, Ipv4Addr)>>,
    next_round: Instant,
    /// Neighbours cause no round before this.
    next_check: Instant,
    /// Until when nothing is dialled because this machine refused to connect, and how long that
    /// pause is.
    local_pause: Option<Box<(Instant, Duration)>>,
}

impl Dialer {
    pub(super) fn new(config: &Config) -> Dialer {
        Dialer {
            hosts: HostCache::new(config.limits.host_cache_entries),
            static_peers: StaticPeers::default(),
            dialects: Dialects::default(),
            own: OwnAddresses::new(config),
            closed_duplicates: ClosedDuplicates::default(),
            recent_dials: Rare::default(),
            next_round: Instant::FAR_FUTURE,
            next_check: Instant::ZERO,
            local_pause: None,
        }
    }

    pub(super) fn hosts(&self) -> &HostCache {
        &self.hosts
    }

    /// When to dial next.
    pub(super) fn next_round(&self) -> Instant {
        self.next_round
    }

    pub(super) fn add_static_peer(
        &mut self,
        now: Instant,
        addr: SocketAddrV4,
        dialect: Option<Dialect>,
    ) {
        if self.static_peers.add(now, addr, dialect) {
            self.next_round = now;
        }
    }

    pub(super) fn remove_static_peer(&mut self, addr: SocketAddrV4) {
        self.static_peers.remove(addr);
    }

    /// Adds an address to those that may be dialled, if the scope allows it and it is not our own.
    /// `speaks` is what it is said to speak; `linked` says whether we have dialled it and the link
    /// stands.
    pub(super) fn learn(
        &mut self,
        now: Instant,
        config: &Config,
        host: LearntHost,
        linked: impl FnOnce() -> bool,
    ) {
        let LearntHost { addr, source, speaks } = host;
        let allowed = config.scope.allows(addr) && !self.own.contains(addr);
        if !allowed || !self.hosts.learn(now, addr, source) {
            return;
        }
        if speaks.is_some() {
            self.hosts.set_speaks(addr, speaks);
        }
        if linked() {
            self.hosts.answered(addr);
        }
        if config.links > 0 {
            self.next_round = self.next_round.min(self.next_check.max(now));
        }
    }

    /// A link to this address stands, or stood in an earlier run.
    pub(super) fn answered(&mut self, addr: SocketAddrV4) {
        self.hosts.answered(addr);
    }

    /// A socket is open; `dialled` if we asked for it, so this machine can connect.
    pub(super) fn socket_opened(&mut self, local_ip: Ipv4Addr, dialled: bool) {
        self.own.add_local(local_ip);
        if dialled {
            self.local_pause = None;
        }
    }

    pub(super) fn socket_closed(&mut self, local_ip: Ipv4Addr) {
        self.own.remove_local(local_ip);
    }

    pub(super) fn is_own(&self, addr: SocketAddrV4) -> bool {
        self.own.contains(addr)
    }

    pub(super) fn set_advertised_port(&mut self, port: u16) {
        self.own.set_port(port);
    }

    /// Whether the user named this address.
    pub(super) fn is_static_peer(&self, addr: SocketAddrV4) -> bool {
        self.static_peers.iter().any(|(peer, _)| peer == addr)
    }

    /// An address is not dialled before `at`.
    pub(super) fn rest_until(&mut self, addr: SocketAddrV4, at: Instant) {
        self.hosts.rest_until(addr, at);
    }

    /// Settings have changed: there may be addresses to dial.
    pub(super) fn look_again(&mut self, now: Instant) {
        self.next_round = self.next_round.min(now);
    }

    /// The address we give to others on a connection whose end here is `local_ip`. Port 0 says that
    /// we cannot be connected to: we listen on loopback, and the link leads elsewhere.
    pub(super) fn advertised(&self, local_ip: Ipv4Addr) -> SocketAddrV4 {
        self.own.advertised(local_ip)
    }

    /// Whether to close one of the links with the servent at `addr`, of which an inbound one comes
    /// in at `local_ip`. `outbound` says whether there is one of ours.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        local_ip: Ipv4Addr,
        addr: SocketAddrV4,
        outbound: bool,
    ) -> Settlement {
        let (own, ended) = (self.advertised(local_ip), self.static_peers.ended(addr));
        self.closed_duplicates.settle(now, own, addr, outbound, ended)
    }

    /// A link ended that stood since `since`. `failed` says that this counts against its address
    /// unless it lasted.
    pub(super) fn link_ended(
        &mut self,
        now: Instant,
        addr: SocketAddrV4,
        since: Instant,
        failed: bool,
    ) {
        self.own.forget(addr);
        if now.since(since) >= LASTING {
            self.hosts.link_ended(now, addr);
            self.static_peers.reset_backoff(addr);
        } else if failed {
            self.hosts.failed(now, addr);
        }
    }

    /// The peer closed a link that we had dialled.
    pub(super) fn peer_closed(&mut self, now: Instant, addr: SocketAddrV4) {
        self.static_peers.note_end(now, addr);
    }

    /// A dial ended without a link, after [`Dialer::plan_redial`] has planned the next one. Returns the
    /// dialect that is tried instead, if there is one.
    pub(super) fn dial_failed(
        &mut self,
        now: Instant,
        config: &Config,
        addr: SocketAddrV4,
        end: DialEnd,
    ) -> Option<Dialect> {
        match end {
            DialEnd::Failed => self.hosts.failed(now, addr),
            DialEnd::Refused => self.hosts.refused(now, addr),
            DialEnd::Unanswered(spoken) | DialEnd::Contradicted(spoken) => {
                let says_so = matches!(end, DialEnd::Contradicted(_));
                if self.speaks(addr) == Some(Dialect::V0_4)
                    && (says_so || self.is_doubtful(now, config, addr))
                {
                    self.static_peers.set_speaks(addr, None);
                    self.hosts.set_speaks(addr, None);
                    self.dialects.begin(now, addr);
                }
                let known =
                    self.fixed(config, addr).is_some() || self.speaks(addr) == Some(Dialect::V0_4);
                if known || !self.dialects.unanswered(addr, spoken) {
                    self.hosts.refused(now, addr);
                    return None;
                }
                let at = now + OTHER_DIALECT_AFTER;
                self.hosts.try_at(addr, at);
                self.static_peers.try_at(addr, at);
                return Some(spoken.other());
            }
            DialEnd::Declined(rest) => {
                self.proved(addr, Dialect::V0_6);
                self.hosts.refused(now, addr);
                let until = now + rest.clamp(REST_AFTER_REFUSAL, REST_MAX);
                self.hosts.rest_until(addr, until);
                self.static_peers.rest_until(addr, until);
            }
        }
        None
    }

    /// Whether an address that is known to speak 0.4, and has closed without a byte, may speak 0.6 by now.
    /// It may just as well be full, so a servent that goes on has tried for a minute before; a one-shot
    /// command tries once.
    fn is_doubtful(&self, now: Instant, config: &Config, addr: SocketAddrV4) -> bool {
        config.role == Role::Guest || self.static_peers.waits_longest(now, addr)
    }

    /// What to dial an address with.
    pub(super) fn dialect_for(&self, config: &Config, addr: SocketAddrV4) -> Dialect {
        let fixed = self.fixed(config, addr);
        fixed.unwrap_or_else(|| self.dialects.choose(addr, self.speaks(addr)))
    }

    /// The dialect that the settings want for an address, whatever it speaks.
    fn fixed(&self, config: &Config, addr: SocketAddrV4) -> Option<Dialect> {
        let all = if config.role == Role::Leaf { Some(Dialect::V0_6) } else { config.dialect };
        self.static_peers.wanted(addr).or(all)
    }

    /// What an address speaks, as far as that is known.
    pub(super) fn speaks(&self, addr: SocketAddrV4) -> Option<Dialect> {
        self.static_peers.speaks(addr).or_else(|| self.hosts.speaks(addr))
    }

    /// A handshake with an address begins.
    pub(super) fn begin_handshake(&mut self, now: Instant, addr: SocketAddrV4) {
        if self.speaks(addr) != Some(Dialect::V0_4) {
            self.dialects.begin(now, addr);
            self.hosts.rest_until(addr, self.free_at(addr));
        }
    }

    /// What was learnt of an address in an earlier run: what it speaks, and how long ago handshakes with
    /// it were begun.
    pub(super) fn recall(
        &mut self,
        now: Instant,
        addr: SocketAddrV4,
        speaks: Option<Dialect>,
        begun: impl DoubleEndedIterator<Item = Duration>,
    ) {
        begun.rev().for_each(|ago| self.dialects.begun_before(now, addr, ago));
        if let Some(dialect) = speaks {
            self.proved(addr, dialect);
        }
    }

    /// A static peer as [`Dialer::recall`] takes it.
    pub(super) fn known_of(
        &self,
        now: Instant,
        addr: SocketAddrV4,
    ) -> (Option<Dialect>, impl Iterator<Item = Duration> + use<>) {
        (self.speaks(addr), self.dialects.begun(now, addr))
    }

    /// An address has been found to speak a dialect.
    pub(super) fn proved(&mut self, addr: SocketAddrV4, dialect: Dialect) {
        self.dialects.proved(addr, dialect);
        self.static_peers.set_speaks(addr, Some(dialect));
        self.hosts.set_speaks(addr, Some(dialect));
    }

    /// A neighbour sees us at this address.
    pub(super) fn told_own_ip(&mut self, neighbour: SocketAddrV4, ip: Ipv4Addr) {
        self.own.told_by(neighbour, ip);
    }

    /// When an address may have one more handshake.
    pub(super) fn free_at(&self, addr: SocketAddrV4) -> Instant {
        match self.speaks(addr) {
            Some(Dialect::V0_4) => Instant::ZERO,
            _ => self.dialects.free_at(addr),
        }
    }

    /// This machine refused to connect: every dial would fail in the same way. Nothing is dialled
    /// for a while, and nothing is forgotten.
    pub(super) fn pause(&mut self, now: Instant) {
        let (until, before) = self.local_pause.as_deref().copied().unwrap_or_default();
        if now >= until {
            let pause = (before * 2).clamp(LOCAL_PAUSE, LOCAL_PAUSE_MAX);
            self.local_pause = Some(Box::new((now + pause, pause)));
        }
    }

    /// A connection ended: plans when its address, if we `dialled` it, and others are tried.
    pub(super) fn plan_redial(
        &mut self,
        now: Instant,
        config: &Config,
        addr: SocketAddrV4,
        dialled: bool,
        reason: &CloseReason,
    ) {
        if dialled && *reason == CloseReason::OwnAddress {
            self.hosts.remove(addr);
            self.own.prove(addr);
            self.static_peers.remove(addr);
        }
        if dialled && !matches!(reason, CloseReason::Io(IoFailure::Local(_))) {
            self.static_peers.back_off(now, addr);
        }
        if !self.static_peers.is_empty() || config.links > 0 {
            self.next_round = self.next_round.min(now);
        }
    }

    /// The addresses to dial now, each with why; says when to look again.
    pub(super) fn targets(
        &mut self,
        now: Instant,
        config: &Config,
        links: &Links,
        rng: &mut Rng,
    ) -> Vec<(SocketAddrV4, Origin)> {
        self.next_round = Instant::FAR_FUTURE;
        self.next_check = now + CHECK_INTERVAL;
        if let Some((until, _)) = self.local_pause.as_deref().filter(|(until, _)| now < *until) {
            self.next_round = *until;
            return Vec::new();
        }
        let room = config.max_links.saturating_sub(links.neighbours());
        let mut targets = Vec::new();
        for (addr, next_try) in self.static_peers.iter() {
            // A neighbour that only claims to listen there does not count.
            if links.serves_static_peer(addr) {
                continue;
            }
            let next_try = next_try.max(self.free_at(addr));
            if next_try <= now && targets.len() < room {
                targets.push((addr, Origin::Static));
            } else {
                self.next_round = self.next_round.min(StaticPeers::retry_at(now, next_try));
            }
        }
        let room = room - targets.len();
        self.add_learnt(now, room, config, links, rng, &mut targets);
        targets
    }

    /// Adds learnt hosts, until as many links as wanted stand or are under way.
    fn add_learnt(
        &mut self,
        now: Instant,
        room: usize,
        config: &Config,
        links: &Links,
        rng: &mut Rng,
        targets: &mut Vec<(SocketAddrV4, Origin)>,
    ) {
        if let Some(dials) = self.recent_dials.get_mut() {
            while dials.front().is_some_and(|(at, _)| now.since(*at) >= DIAL_WINDOW) {
                dials.pop_front();
            }
        }
        let (learnt, dialing) = links.to_learnt_hosts();
        // A leaf asks each of its ultrapeers for all that it may answer: it has no more than it needs.
        let all = match config.role {
            Role::Leaf => links.dialled() + targets.len(),
            _ => learnt,
        };
        let wanted = config.links.saturating_sub(all).min(room);
        let wanted = wanted.min(MAX_DIALS.saturating_sub(dialing));
        if wanted == 0 {
            return;
        }
        let mut connected = links.connected_addrs();
        connected.extend(targets.iter().map(|(addr, _)| *addr));
        for _ in 0..wanted {
            let dials = self.recent_dials.get();
            let oldest = dials.and_then(VecDeque::front);
            let window_ends = oldest.map(|(at, _)| *at + DIAL_WINDOW);
            if dials.is_some_and(|dials| dials.len() >= DIALS_PER_WINDOW) {
                self.next_round = self.next_round.min(window_ends.unwrap_or(now));
                return;
            }
            let mut rng = rng.fork();
            let usable = |addr| self.is_usable(addr, config.scope) && !connected.contains(&addr);
            let Some(addr) = self.hosts.pick(now, &mut rng, usable) else {
                let due = self.hosts.next_due(now, usable);
                // An address that was dialled often enough may be usable again after the window.
                let next = due.into_iter().chain(window_ends).min();
                self.next_round = self.next_round.min(next.unwrap_or(Instant::FAR_FUTURE));
                return;
            };
            connected.insert(addr);
            self.recent_dials.change().push_back((now, *addr.ip()));
            targets.push((addr, Origin::Learnt));
        }
    }

    fn is_usable(&self, addr: SocketAddrV4, scope: Scope) -> bool {
        let most = if scope == Scope::Loopback { usize::MAX } else { DIALS_PER_ADDRESS };
        let dials = self.recent_dials.get().into_iter().flatten();
        let lately = dials.filter(|(_, ip)| ip == addr.ip()).count();
        lately < most && !self.is_own(addr)
    }
}
