//! Dialling: which addresses, when, and when not.
//!
//! | file | holds |
//! |---|---|
//! | `static_peers` | addresses the user named, and their backoff |
//! | `host_cache` | addresses learnt, and how dialling them went |
//! | `own_addresses` | our own addresses, which are never dialled |
//! | `mutual` | which of two links with one servent stays |

mod host_cache;
mod mutual;
mod own_addresses;
mod static_peers;

pub use host_cache::HostCache;
pub(super) use mutual::Settlement;

use super::connection::Origin;
use super::io::{CloseReason, IoFailure};
use super::link_key::LinkKey;
use super::links::Links;
use crate::config::{Config, Scope};
use crate::rare::Rare;
use crate::rng::Rng;
use crate::time::Instant;
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

/// The addresses to dial, when, and how dialling them went.
#[derive(Debug)]
pub(super) struct Dialer {
    hosts: HostCache,
    static_peers: StaticPeers,
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

    pub(super) fn add_static_peer(&mut self, now: Instant, addr: SocketAddrV4) {
        if self.static_peers.add(now, addr) {
            self.next_round = now;
        }
    }

    pub(super) fn remove_static_peer(&mut self, addr: SocketAddrV4) {
        self.static_peers.remove(addr);
    }

    /// Adds an address to those that may be dialled, if the scope allows it and it is not our own.
    /// `linked` says whether we have dialled it and the link stands.
    pub(super) fn learn(
        &mut self,
        now: Instant,
        config: &Config,
        addr: SocketAddrV4,
        source: Option<LinkKey>,
        linked: impl FnOnce() -> bool,
    ) {
        let allowed = config.scope.allows(addr) && !self.own.contains(addr);
        if !allowed || !self.hosts.learn(now, addr, source) {
            return;
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

    /// A dial ended without a link. `refused` says that the peer spoke and declined.
    pub(super) fn dial_failed(&mut self, now: Instant, addr: SocketAddrV4, refused: bool) {
        match refused {
            true => self.hosts.refused(now, addr),
            false => self.hosts.failed(now, addr),
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
        let room = config.max_links.saturating_sub(links.established().len());
        let mut targets = Vec::new();
        for (addr, next_try) in self.static_peers.iter() {
            // A neighbour that only claims to listen there does not count.
            if links.serves_static_peer(addr) {
                continue;
            }
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
        let (all, dialing) = links.to_learnt_hosts();
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
