//! Recent Pongs, kept per link, to answer Pings without flooding them (0.6 draft, 2.2.4).

use super::route_table::LinkKey;
use crate::time::Instant;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddrV4;
use std::time::Duration;

/// What a Pong said, and how far it had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedPong {
    /// Where the servent accepts connections.
    pub addr: SocketAddrV4,
    /// Files it shares.
    pub files: u32,
    /// KiB it shares.
    pub kib: u32,
    /// Hops of the Pong as it reached us.
    pub hops: u8,
}

/// The last few Pongs of every link.
#[derive(Debug)]
pub struct PongCache {
    links: BTreeMap<LinkKey, VecDeque<(Instant, CachedPong)>>,
    per_link: usize,
    max_age: Duration,
}

impl PongCache {
    /// Keeps `per_link` Pongs of each link, each for `max_age`.
    pub fn new(per_link: usize, max_age: Duration) -> PongCache {
        PongCache { links: BTreeMap::new(), per_link, max_age }
    }

    /// Remembers a Pong that `link` delivered; an older one of the same address makes way.
    pub fn insert(&mut self, now: Instant, link: LinkKey, pong: CachedPong) {
        let pongs = self.links.entry(link).or_default();
        pongs.retain(|(_, known)| known.addr != pong.addr);
        if pongs.len() == self.per_link {
            pongs.pop_front();
        }
        pongs.push_back((now, pong));
    }

    /// Forgets what a closed link delivered.
    pub fn forget(&mut self, link: LinkKey) {
        self.links.remove(&link);
    }

    /// Up to `count` Pongs that `asker` did not deliver itself, newest first and as far as
    /// possible one of every link before a second of any; no address twice, the nearest counts.
    pub fn answer(&self, now: Instant, asker: LinkKey, count: usize) -> Vec<CachedPong> {
        let others = || self.links.iter().filter(|(link, _)| **link != asker);
        let mut chosen: Vec<CachedPong> = Vec::new();
        for depth in 0..self.per_link {
            for (_, pongs) in others() {
                let Some((at, pong)) = pongs.iter().rev().nth(depth) else { continue };
                if now.since(*at) >= self.max_age {
                    continue;
                }
                if let Some(known) = chosen.iter_mut().find(|known| known.addr == pong.addr) {
                    if pong.hops < known.hops {
                        *known = *pong;
                    }
                } else if chosen.len() < count {
                    chosen.push(*pong);
                }
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pong(port: u16) -> CachedPong {
        let addr = SocketAddrV4::new([127, 0, 0, 1].into(), port);
        CachedPong { addr, files: 0, kib: 0, hops: 0 }
    }

    #[test]
    fn answers_come_from_other_links_in_turn_and_expire() {
        let (a, b, c) = (LinkKey::new(1, 1), LinkKey::new(2, 1), LinkKey::new(3, 1));
        let mut cache = PongCache::new(2, Duration::from_secs(10));
        let now = Instant::ZERO;
        for port in [1, 2, 3] {
            cache.insert(now, a, pong(port));
        }
        cache.insert(now, b, pong(10));
        let ports = |now, asker, count| -> Vec<u16> {
            cache.answer(now, asker, count).iter().map(|pong| pong.addr.port()).collect()
        };
        assert_eq!(ports(now, c, 10), [3, 10, 2], "port 1 made way");
        assert_eq!(ports(now, c, 2), [3, 10]);
        assert_eq!(ports(now, a, 10), [10], "not what the asker told us");
        assert!(ports(now + Duration::from_secs(10), c, 10).is_empty());
    }
}
