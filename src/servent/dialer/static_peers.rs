//! Static peers: the addresses the user named, dialled again whenever their link ends.

use crate::time::Instant;
use crate::wire::Dialect;
use std::net::SocketAddrV4;
use std::time::Duration;

/// First wait before a static peer is dialled again, doubled up to the maximum, in seconds.
const BACKOFF: u8 = 1;
const BACKOFF_MAX: u8 = 60;

/// An address the user named.
#[derive(Debug)]
struct StaticPeer {
    addr: SocketAddrV4,
    /// When the peer last closed a link that we dialled.
    ended: Option<Instant>,
    next_try: Instant,
    backoff_seconds: u8,
    /// The dialect it is dialled with whatever it speaks.
    wanted: Option<Dialect>,
    /// What it speaks, as far as that is known.
    speaks: Option<Dialect>,
}

/// All of them, in the order they were named.
#[derive(Debug, Default)]
pub(super) struct StaticPeers(Vec<StaticPeer>);

impl StaticPeers {
    /// Adds a peer, due at once, to be dialled with the dialect that is `wanted`. False if it is there
    /// already.
    pub(super) fn add(
        &mut self,
        now: Instant,
        addr: SocketAddrV4,
        wanted: Option<Dialect>,
    ) -> bool {
        let new = self.0.iter().all(|peer| peer.addr != addr);
        if new {
            if self.0.len() < 8 {
                // Most have few.
                self.0.reserve_exact(1);
            }
            self.0.push(StaticPeer {
                addr,
                ended: None,
                next_try: now,
                backoff_seconds: BACKOFF,
                wanted,
                speaks: None,
            });
        }
        new
    }

    pub(super) fn remove(&mut self, addr: SocketAddrV4) {
        self.0.retain(|peer| peer.addr != addr);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The peers, and when each may be tried.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketAddrV4, Instant)> {
        self.0.iter().map(|peer| (peer.addr, peer.next_try))
    }

    /// The dialect a peer is dialled with whatever it speaks.
    pub(super) fn wanted(&self, addr: SocketAddrV4) -> Option<Dialect> {
        self.0.iter().find(|peer| peer.addr == addr)?.wanted
    }

    /// What a peer speaks, as far as that is known.
    pub(super) fn speaks(&self, addr: SocketAddrV4) -> Option<Dialect> {
        self.0.iter().find(|peer| peer.addr == addr)?.speaks
    }

    /// A peer was found to speak this dialect; with `None`, that is not known any more.
    pub(super) fn set_speaks(&mut self, addr: SocketAddrV4, speaks: Option<Dialect>) {
        if let Some(peer) = self.find(addr) {
            peer.speaks = speaks;
        }
    }

    /// Whether a peer has failed so often that the next try is as far away as it ever is.
    pub(super) fn waits_longest(&self, now: Instant, addr: SocketAddrV4) -> bool {
        let longest = Duration::from_secs(BACKOFF_MAX.into());
        self.0.iter().any(|peer| peer.addr == addr && peer.next_try.since(now) >= longest)
    }

    /// The next try is not before `at`.
    pub(super) fn rest_until(&mut self, addr: SocketAddrV4, at: Instant) {
        if let Some(peer) = self.find(addr) {
            peer.next_try = peer.next_try.max(at);
        }
    }

    /// The next try is at `at`.
    pub(super) fn try_at(&mut self, addr: SocketAddrV4, at: Instant) {
        if let Some(peer) = self.find(addr) {
            peer.next_try = at;
        }
    }

    /// When to look again for a peer that could not be dialled at `now`.
    pub(super) fn retry_at(now: Instant, next_try: Instant) -> Instant {
        next_try.max(now + Duration::from_secs(BACKOFF.into()))
    }

    /// A dial came to nothing, or a link ended: the next try waits, longer each time.
    pub(super) fn back_off(&mut self, now: Instant, addr: SocketAddrV4) {
        if let Some(peer) = self.find(addr) {
            peer.next_try = now + Duration::from_secs(peer.backoff_seconds.into());
            peer.backoff_seconds = (peer.backoff_seconds * 2).min(BACKOFF_MAX);
        }
    }

    /// A link has lasted: its peer is tried again soon.
    pub(super) fn reset_backoff(&mut self, addr: SocketAddrV4) {
        if let Some(peer) = self.find(addr) {
            peer.backoff_seconds = BACKOFF;
        }
    }

    /// The peer has closed a link that we dialled.
    pub(super) fn note_end(&mut self, now: Instant, addr: SocketAddrV4) {
        if let Some(peer) = self.find(addr) {
            peer.ended = Some(now);
        }
    }

    /// When the peer last closed a link that we dialled.
    pub(super) fn ended(&self, addr: SocketAddrV4) -> Option<Instant> {
        self.0.iter().find(|peer| peer.addr == addr)?.ended
    }

    fn find(&mut self, addr: SocketAddrV4) -> Option<&mut StaticPeer> {
        self.0.iter_mut().find(|peer| peer.addr == addr)
    }
}
