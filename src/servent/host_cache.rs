//! Addresses that may be dialled, learnt from Pongs, and how dialling them went.

use super::route_table::LinkKey;
use crate::rng::Rng;
use crate::time::Instant;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddrV4;
use std::time::Duration;

/// After a failure the next try waits this long, doubled with every further one.
const RETRY_AFTER_FAILURE: Duration = Duration::from_secs(60);
/// A servent that answered and refused is most likely full, and stays so for a while.
const RETRY_AFTER_REFUSAL: Duration = Duration::from_secs(600);
/// A host whose link ended may be tried again soon.
const RETRY_AFTER_LINK: Duration = Duration::from_secs(30);
/// So many failures in a row and the address is forgotten.
const MAX_FAILURES: u8 = 5;

#[derive(Clone, Copy, Debug)]
struct Host {
    last_seen: Instant,
    next_try: Instant,
    failures: u8,
    /// A link to it has stood.
    proven: bool,
    /// The link that told of it first; `None` for the user and the last run.
    source: Option<LinkKey>,
}

/// A bounded set of addresses.
#[derive(Debug)]
pub struct HostCache {
    hosts: BTreeMap<SocketAddrV4, Host>,
    /// How many of them each source told of.
    by_source: BTreeMap<Option<LinkKey>, usize>,
    limit: usize,
    /// Counts changes of the set, so that whoever stores it knows when to.
    version: u64,
}

impl HostCache {
    /// A cache of at most `limit` addresses.
    pub fn new(limit: usize) -> HostCache {
        HostCache { hosts: BTreeMap::new(), by_source: BTreeMap::new(), limit, version: 0 }
    }

    /// Adds an address that `source` told of, or renews it. A full cache gives up its worst address
    /// for it: the one that failed most; of these one that nobody proved, if there is one; of these
    /// one from the source that has told of most, so that none fills the cache with what it likes;
    /// and of these the one not heard of for longest.
    pub fn learn(&mut self, now: Instant, addr: SocketAddrV4, source: Option<LinkKey>) {
        if let Some(host) = self.hosts.get_mut(&addr) {
            host.last_seen = now;
            return;
        }
        if self.hosts.len() >= self.limit {
            let most = self.by_source.iter().max_by_key(|(_, count)| **count);
            let most = most.map(|(source, _)| *source);
            let worth = |host: &Host| {
                let of_most = Some(host.source) == most;
                (u8::MAX - host.failures, host.proven, !of_most, host.last_seen)
            };
            let worst = self.hosts.iter().min_by_key(|(_, host)| worth(host));
            if let Some(addr) = worst.map(|(&addr, _)| addr) {
                self.remove(addr);
            }
        }
        let host = Host { last_seen: now, next_try: now, failures: 0, proven: false, source };
        self.hosts.insert(addr, host);
        *self.by_source.entry(source).or_default() += 1;
        self.version += 1;
    }

    /// A random address that is due and that `usable` accepts.
    pub fn pick(
        &self,
        now: Instant,
        rng: &mut Rng,
        usable: impl Fn(SocketAddrV4) -> bool,
    ) -> Option<SocketAddrV4> {
        let due = || self.hosts.iter().filter(|(addr, h)| h.next_try <= now && usable(**addr));
        let count = due().count();
        if count == 0 {
            return None;
        }
        due().nth(rng.below(count)).map(|(&addr, _)| addr)
    }

    /// When the next address that is not due and that `usable` accepts will be.
    pub fn next_due(&self, now: Instant, usable: impl Fn(SocketAddrV4) -> bool) -> Option<Instant> {
        let waiting = self.hosts.iter().filter(|(addr, h)| h.next_try > now && usable(**addr));
        waiting.map(|(_, host)| host.next_try).min()
    }

    /// Nobody was there, or nobody spoke.
    pub fn failed(&mut self, now: Instant, addr: SocketAddrV4) {
        let Some(host) = self.hosts.get_mut(&addr) else { return };
        host.failures += 1;
        if host.failures >= MAX_FAILURES {
            self.remove(addr);
        } else {
            host.next_try = now + RETRY_AFTER_FAILURE * (1 << (host.failures - 1));
        }
    }

    /// It answered the hello with something other than OK.
    pub fn refused(&mut self, now: Instant, addr: SocketAddrV4) {
        if let Some(host) = self.hosts.get_mut(&addr) {
            host.next_try = now + RETRY_AFTER_REFUSAL;
        }
    }

    /// A link to it stood and ended.
    pub fn link_ended(&mut self, now: Instant, addr: SocketAddrV4) {
        if let Some(host) = self.hosts.get_mut(&addr) {
            host.failures = 0;
            host.proven = true;
            host.next_try = now + RETRY_AFTER_LINK;
        }
    }

    /// Forgets an address: it turned out to be our own, say.
    pub fn remove(&mut self, addr: SocketAddrV4) {
        if let Some(host) = self.hosts.remove(&addr) {
            self.version += 1;
            if let Entry::Occupied(mut count) = self.by_source.entry(host.source) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
    }

    /// The addresses, in order.
    pub fn addrs(&self) -> impl Iterator<Item = SocketAddrV4> + '_ {
        self.hosts.keys().copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Changes whenever an address comes or goes.
    pub fn version(&self) -> u64 {
        self.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new([127, 0, 0, 1].into(), port)
    }

    fn after(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn failures_back_off_and_end_in_oblivion() {
        let mut cache = HostCache::new(10);
        cache.learn(after(0), addr(1), None);
        let mut rng = Rng::new(1);
        let mut now = after(0);
        for wait in [60, 120, 240, 480] {
            assert_eq!(cache.pick(now, &mut rng, |_| true), Some(addr(1)));
            cache.failed(now, addr(1));
            assert_eq!(cache.pick(now, &mut rng, |_| true), None);
            let due = cache.next_due(now, |_| true).unwrap();
            assert_eq!(due.since(now), Duration::from_secs(wait));
            now = due;
        }
        cache.failed(now, addr(1));
        assert!(cache.is_empty());
    }

    #[test]
    fn a_full_cache_gives_up_its_worst() {
        let mut cache = HostCache::new(2);
        cache.learn(after(0), addr(1), None);
        cache.learn(after(1), addr(2), None);
        cache.failed(after(2), addr(2));
        cache.learn(after(3), addr(3), None);
        assert_eq!(cache.addrs().collect::<Vec<_>>(), [addr(1), addr(3)]);
        cache.learn(after(4), addr(4), None);
        assert_eq!(cache.addrs().collect::<Vec<_>>(), [addr(3), addr(4)]);
    }

    #[test]
    fn one_source_cannot_crowd_out_what_others_told_or_proved() {
        let mut cache = HostCache::new(100);
        let (liar, honest) = (LinkKey::new(1, 1), LinkKey::new(2, 1));
        cache.learn(after(0), addr(1), None);
        cache.link_ended(after(0), addr(1));
        for port in 2..12 {
            cache.learn(after(0), addr(port), Some(honest));
        }
        for port in 1_000..9_000 {
            cache.learn(after(1), addr(port), Some(liar));
        }
        assert_eq!(cache.len(), 100);
        assert!((1..12).all(|port| cache.addrs().any(|known| known == addr(port))));
    }
}
