//! Which dialect an address is dialled with, and how often.
//!
//! No servent says before the handshake what it speaks, and most 0.6 servents answer 0.4 by closing
//! without a byte. So an address is tried with one dialect and, if nothing came of it, once with the
//! other. gtk-gnutella bans an address that sends a third handshake within a minute, so no address gets
//! more than two, unless it is known to speak 0.4: a 0.4 servent that is full has no other way to say
//! so than to close.

use crate::rare::Rare;
use crate::time::Instant;
use crate::wire::Dialect;
use std::net::SocketAddrV4;
use std::time::Duration;

/// Time between an end without a byte and the try with the other dialect.
pub(super) const OTHER_DIALECT_AFTER: Duration = Duration::from_secs(2);
/// Handshakes within [`HANDSHAKE_WINDOW`] with one address.
const HANDSHAKES_PER_WINDOW: usize = 2;
/// Two handshakes in less than this are one too many for a third (gtk-gnutella).
const HANDSHAKE_WINDOW: Duration = Duration::from_secs(60);
/// Addresses remembered. The dialer's own limits keep it below.
const MAX_TRIED: usize = 256;

/// Addresses with which handshakes were begun lately and that are not known to speak 0.4.
#[derive(Debug, Default)]
pub(super) struct Dialects {
    /// In the order of their first handshakes.
    tried: Rare<Vec<(SocketAddrV4, Tried)>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tried {
    /// The next dial is with this one, since the other came to nothing.
    next: Option<Dialect>,
    /// When handshakes will have been begun [`HANDSHAKE_WINDOW`] ago, the latest first.
    counts_until: [Option<Instant>; HANDSHAKES_PER_WINDOW],
}

impl Tried {
    fn is_fresh(&self, now: Instant) -> bool {
        self.counts_until[0].is_some_and(|at| at > now)
    }
}

impl Dialects {
    /// What to dial an address with that speaks `known`, as far as that is known.
    pub(super) fn choose(&self, addr: SocketAddrV4, known: Option<Dialect>) -> Dialect {
        let next = self.tried(addr).and_then(|tried| tried.next);
        next.or(known).unwrap_or(Dialect::V0_4)
    }

    /// When an address that is not known to speak 0.4 may have one more handshake.
    pub(super) fn free_at(&self, addr: SocketAddrV4) -> Instant {
        let tried = self.tried(addr);
        tried.and_then(|tried| tried.counts_until[HANDSHAKES_PER_WINDOW - 1]).unwrap_or_default()
    }

    /// A handshake begins.
    pub(super) fn begin(&mut self, now: Instant, addr: SocketAddrV4) {
        self.note(now, addr, now + HANDSHAKE_WINDOW);
    }

    /// A handshake was begun before this servent was started, `ago`.
    pub(super) fn begun_before(&mut self, now: Instant, addr: SocketAddrV4, ago: Duration) {
        if ago < HANDSHAKE_WINDOW {
            self.note(now, addr, now + (HANDSHAKE_WINDOW - ago));
        }
    }

    fn note(&mut self, now: Instant, addr: SocketAddrV4, until: Instant) {
        let all = self.tried.change();
        all.retain(|(_, tried)| tried.is_fresh(now));
        if let Some((_, tried)) = all.iter_mut().find(|(known, _)| *known == addr) {
            tried.counts_until = [Some(until), tried.counts_until[0]];
            return;
        }
        if all.len() >= MAX_TRIED {
            all.remove(0);
        }
        if all.len() < 4 {
            // Most dial few, and forget them when their links stand.
            all.reserve_exact(1);
        }
        all.push((addr, Tried { next: None, counts_until: [Some(until), None] }));
    }

    /// The link stands, and speaks `dialect`.
    pub(super) fn proved(&mut self, addr: SocketAddrV4, dialect: Dialect) {
        let Some(all) = self.tried.get_mut() else { return };
        match dialect {
            Dialect::V0_4 => all.retain(|(known, _)| *known != addr),
            Dialect::V0_6 => {
                let tried = all.iter_mut().filter(|(known, _)| *known == addr);
                tried.for_each(|(_, tried)| tried.next = None);
            }
        }
        if all.is_empty() {
            self.tried = Rare::default();
        }
    }

    /// The peer ended a handshake in `spoken` without an answer in it. Whether the other dialect is to
    /// be tried: it was not the one that was tried first.
    pub(super) fn unanswered(&mut self, addr: SocketAddrV4, spoken: Dialect) -> bool {
        let mut all = self.tried.get_mut().into_iter().flatten();
        let Some((_, tried)) = all.find(|(known, _)| *known == addr) else { return false };
        let is_second = tried.next == Some(spoken);
        tried.next = (!is_second).then(|| spoken.other());
        !is_second
    }

    /// How long ago handshakes with an address were begun, the latest first.
    pub(super) fn begun(
        &self,
        now: Instant,
        addr: SocketAddrV4,
    ) -> impl Iterator<Item = Duration> + use<> {
        let until = self.tried(addr).map(|tried| tried.counts_until).unwrap_or_default();
        until.into_iter().flatten().map(move |at| HANDSHAKE_WINDOW.saturating_sub(at.since(now)))
    }

    fn tried(&self, addr: SocketAddrV4) -> Option<&Tried> {
        let found = self.tried.get()?.iter().find(|(known, _)| *known == addr);
        found.map(|(_, tried)| tried)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_third_handshake_within_a_minute() {
        let (mut dialects, addr) = (Dialects::default(), "127.0.0.1:1".parse().unwrap());
        let second = |n| Instant::ZERO + Duration::from_secs(n);
        assert_eq!(dialects.free_at(addr), Instant::ZERO);
        dialects.begin(second(1), addr);
        assert_eq!(dialects.choose(addr, None), Dialect::V0_4);
        assert!(dialects.unanswered(addr, Dialect::V0_4), "the other one is tried");
        assert_eq!(dialects.choose(addr, None), Dialect::V0_6);
        assert_eq!(dialects.free_at(addr), Instant::ZERO, "and at once");
        dialects.begin(second(3), addr);
        assert_eq!(dialects.free_at(addr), second(61));
        assert!(!dialects.unanswered(addr, Dialect::V0_6), "both came to nothing");
        assert_eq!(dialects.choose(addr, None), Dialect::V0_4, "from the beginning");
        dialects.begin(second(61), addr);
        assert_eq!(dialects.free_at(addr), second(63));
        dialects.proved(addr, Dialect::V0_6);
        assert_eq!(dialects.free_at(addr), second(63), "it bans whom it knows, too");
        dialects.proved(addr, Dialect::V0_4);
        assert_eq!(dialects.free_at(addr), Instant::ZERO);
        assert!(dialects.tried.get().is_none(), "nothing is kept of it");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_fades() {
        let mut dialects = Dialects::default();
        let addr = |n: usize| {
            let [high, low] = u16::try_from(n).unwrap().to_be_bytes();
            SocketAddrV4::new([10, 0, high, low].into(), 1)
        };
        for n in 0..2 * MAX_TRIED {
            dialects.begin(Instant::ZERO, addr(n));
        }
        assert_eq!(dialects.tried.get().unwrap().len(), MAX_TRIED);
        dialects.begin(Instant::ZERO + HANDSHAKE_WINDOW, addr(0));
        assert_eq!(dialects.tried.get().unwrap().len(), 1);
    }
}
