//! Recent Pongs, kept per link, to answer Pings without flooding them (0.6 draft, 2.2.4).
//!
//! An address is listed once, by the nearest fresh Pong about it: a farther copy neither replaces nor
//! renews it. What a link delivered is never sent back to it (split horizon). Every servent on the way
//! keeps a Pong for at most one lifetime, so a dead host is reported for at most one lifetime more at
//! each hop.

use crate::rare::Rare;
use crate::servent::link_key::LinkKey;
use crate::time::Instant;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddrV4;
use std::time::Duration;

/// The content of a Pong, and the distance it had travelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedPong {
    /// Address at which the servent accepts connections.
    pub addr: SocketAddrV4,
    /// Files it shares.
    pub files: u32,
    /// KiB it shares.
    pub kib: u32,
    /// Hops of the Pong on arrival.
    pub hops: u8,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Instant,
    link: LinkKey,
    pong: CachedPong,
}

/// The last few Pongs of every link.
#[derive(Debug)]
pub struct PongCache {
    pongs: Rare<Pongs>,
    per_link: u32,
    max_age_millis: u32,
}

#[derive(Debug, Default)]
struct Pongs {
    by_addr: BTreeMap<SocketAddrV4, Entry>,
    /// The addresses each link reported, the least recent first.
    by_link: BTreeMap<LinkKey, VecDeque<SocketAddrV4>>,
}

impl PongCache {
    /// Keeps `per_link` Pongs of each link, each for `max_age`.
    pub fn new(per_link: usize, max_age: Duration) -> PongCache {
        let per_link = u32::try_from(per_link).unwrap_or(u32::MAX);
        let max_age_millis = u32::try_from(max_age.as_millis()).unwrap_or(u32::MAX);
        PongCache { pongs: Rare::default(), per_link, max_age_millis }
    }

    /// Pongs kept of each link.
    pub fn per_link(&self) -> usize {
        self.per_link as usize
    }

    fn max_age(&self) -> Duration {
        Duration::from_millis(self.max_age_millis.into())
    }

    /// Remembers a Pong that `link` delivered, unless a nearer one about the same address is fresh.
    /// A link at its limit loses its least recent Pong that is not its neighbour's own.
    pub fn insert(&mut self, now: Instant, link: LinkKey, pong: CachedPong) {
        let (per_link, max_age) = (self.per_link(), self.max_age());
        let pongs = self.pongs.change();
        if let Some(known) = pongs.by_addr.get(&pong.addr) {
            let fresh = now.since(known.at) < max_age;
            if fresh && known.pong.hops < pong.hops {
                return;
            }
            let before = known.link;
            pongs.unlist(before, pong.addr);
        }
        pongs.by_addr.insert(pong.addr, Entry { at: now, link, pong });
        let told = pongs.by_link.entry(link).or_default();
        told.push_back(pong.addr);
        if told.len() > per_link {
            let far = |addr: &SocketAddrV4| pongs.by_addr.get(addr).is_none_or(|e| e.pong.hops > 0);
            let worst = told.iter().position(far).unwrap_or(0);
            if let Some(addr) = told.remove(worst) {
                pongs.by_addr.remove(&addr);
            }
        }
    }

    /// Forgets what a closed link delivered.
    pub fn forget(&mut self, link: LinkKey) {
        let Some(pongs) = self.pongs.get_mut() else { return };
        for addr in pongs.by_link.remove(&link).into_iter().flatten() {
            pongs.by_addr.remove(&addr);
        }
    }

    /// Up to `count` fresh Pongs that `asker` did not deliver and that are not about `asker_addr`,
    /// its listening address: one of each link in turn, the most recent of a link first.
    pub fn answer(
        &self,
        now: Instant,
        asker: LinkKey,
        asker_addr: Option<SocketAddrV4>,
        count: usize,
    ) -> Vec<CachedPong> {
        let mut chosen: Vec<CachedPong> = Vec::new();
        let Some(pongs) = self.pongs.get() else { return chosen };
        for depth in 0..self.per_link() {
            for (_, told) in pongs.by_link.iter().filter(|(link, _)| **link != asker) {
                let addr = told.iter().rev().nth(depth);
                let Some(entry) = addr.and_then(|addr| pongs.by_addr.get(addr)) else { continue };
                let fresh = now.since(entry.at) < self.max_age();
                if fresh && Some(entry.pong.addr) != asker_addr {
                    chosen.push(entry.pong);
                }
                if chosen.len() == count {
                    return chosen;
                }
            }
        }
        chosen
    }
}

impl Pongs {
    fn unlist(&mut self, link: LinkKey, addr: SocketAddrV4) {
        if let Some(told) = self.by_link.get_mut(&link) {
            told.retain(|known| *known != addr);
            if told.is_empty() {
                self.by_link.remove(&link);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(10);

    fn addr(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new([127, 0, 0, 1].into(), port)
    }

    fn pong(port: u16, hops: u8) -> CachedPong {
        CachedPong { addr: addr(port), files: 0, kib: 0, hops }
    }

    fn links() -> [LinkKey; 3] {
        [1, 2, 3].map(|index| LinkKey::new(index, 1))
    }

    fn ports(cache: &PongCache, now: Instant, asker: LinkKey, count: usize) -> Vec<u16> {
        cache.answer(now, asker, None, count).iter().map(|pong| pong.addr.port()).collect()
    }

    #[test]
    fn answers_come_from_other_links_in_turn_and_expire() {
        let [a, b, c] = links();
        let mut cache = PongCache::new(2, AGE);
        let now = Instant::ZERO;
        for port in [1, 2, 3] {
            cache.insert(now, a, pong(port, 1));
        }
        cache.insert(now, b, pong(10, 1));
        assert_eq!(ports(&cache, now, c, 10), [3, 10, 2], "port 1 made way");
        assert_eq!(ports(&cache, now, c, 2), [3, 10]);
        assert_eq!(ports(&cache, now, a, 10), [10], "not what the asker told us");
        assert!(ports(&cache, now + AGE, c, 10).is_empty());
        cache.forget(a);
        assert_eq!(ports(&cache, now, c, 10), [10]);
    }

    #[test]
    fn the_nearest_fresh_pong_counts_and_a_farther_one_renews_nothing() {
        let [a, b, c] = links();
        let mut cache = PongCache::new(10, AGE);
        let now = Instant::ZERO;
        let hops = |cache: &PongCache, now| cache.answer(now, c, None, 9).first().map(|p| p.hops);
        cache.insert(now, a, pong(1, 3));
        cache.insert(now, b, pong(1, 0));
        let later = now + AGE / 2;
        cache.insert(later, a, pong(1, 3));
        assert_eq!(hops(&cache, later), Some(0));
        assert_eq!(hops(&cache, now + AGE), None, "the farther copy did not renew it");
        cache.insert(now + AGE, a, pong(1, 3));
        assert_eq!(hops(&cache, now + AGE), Some(3), "nothing nearer is fresh any more");
    }

    #[test]
    fn a_neighbour_is_not_displaced_by_what_it_tells_nor_told_of_itself() {
        let [a, b, _] = links();
        let mut cache = PongCache::new(3, AGE);
        cache.insert(Instant::ZERO, a, pong(1, 0));
        (2..9).for_each(|port| cache.insert(Instant::ZERO, a, pong(port, 1)));
        assert_eq!(ports(&cache, Instant::ZERO, b, 9), [8, 7, 1]);
        let told = cache.answer(Instant::ZERO, b, Some(addr(7)), 9);
        assert_eq!(told.iter().map(|pong| pong.addr.port()).collect::<Vec<_>>(), [8, 1]);
    }
}
