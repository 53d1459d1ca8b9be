//! Addresses that may be dialled, learnt from Pongs, and how dialling them went.

use crate::rare::Rare;
use crate::rng::Rng;
use crate::servent::link_key::LinkKey;
use crate::time::Instant;
use crate::wire::Dialect;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::time::Duration;

/// After a failure the next try waits this long, doubled with every further one.
const RETRY_AFTER_FAILURE: Duration = Duration::from_secs(60);
/// A servent that answered and refused is most likely full, and tried again much later.
const RETRY_AFTER_REFUSAL: Duration = Duration::from_secs(600);
/// A host whose link ended may be tried again soon.
const RETRY_AFTER_LINK: Duration = Duration::from_secs(30);
/// After this many failures in a row an address that is not protected is forgotten.
const MAX_FAILURES: u8 = 5;
/// The hosts with the most recent lasting links are protected: neither failures nor newly learnt
/// addresses remove them, so a servent that was offline finds its way back.
const MAX_PROTECTED: usize = 64;
/// Least time between two renewals of an address that is reported again.
const RENEW_AFTER: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
struct Host {
    last_seen: Instant,
    next_try: Instant,
    failures: u8,
    /// A link to it has stood, in this run or an earlier one.
    answered: bool,
    /// When the last link to it that lasted ended, while it is one of [`MAX_PROTECTED`].
    protected: Option<Instant>,
    /// What it speaks, as far as that is known.
    speaks: Option<Dialect>,
    /// The link that reported it first; `None` for the user and the last run.
    source: Option<LinkKey>,
}

/// Sort key of eviction: a full cache evicts the lowest.
type Worth = (bool, u8, bool, Instant, SocketAddrV4);

impl Host {
    fn worth(&self, addr: SocketAddrV4) -> Worth {
        let failures = u8::MAX - self.failures;
        (self.protected.is_some(), failures, self.answered, self.last_seen, addr)
    }
}

/// What is kept of an address between runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownHost {
    /// The address.
    pub addr: SocketAddrV4,
    /// Whether a link to it has stood, in this run or an earlier one.
    pub answered: bool,
    /// What it speaks, as far as that is known.
    pub speaks: Option<Dialect>,
}

/// A bounded set of addresses. Learning and evicting an address take O(log n).
#[derive(Debug)]
pub struct HostCache {
    hosts: BTreeMap<SocketAddrV4, Host>,
    indices: Rare<Indices>,
    limit: usize,
    /// Counts changes of what is saved between runs.
    version: u64,
}

/// The addresses in other orders.
#[derive(Debug, Default)]
struct Indices {
    /// All addresses, the first to be evicted first.
    by_worth: BTreeSet<Worth>,
    /// The same for each source.
    by_source: BTreeMap<Option<LinkKey>, BTreeSet<Worth>>,
    /// Number of addresses by source.
    counts: BTreeSet<(usize, Option<LinkKey>)>,
    protected: BTreeSet<(Instant, SocketAddrV4)>,
}

impl HostCache {
    /// A cache of at most `limit` addresses.
    pub fn new(limit: usize) -> HostCache {
        HostCache { hosts: BTreeMap::new(), indices: Rare::default(), limit, version: 0 }
    }

    /// Adds an address that `source` reported, or renews it; true if it is new.
    ///
    /// A full cache evicts an address for it, by these criteria in order: not protected; most
    /// failures; never answered; from the source that reported most addresses, so that no source
    /// can fill the cache; longest not reported.
    pub fn learn(&mut self, now: Instant, addr: SocketAddrV4, source: Option<LinkKey>) -> bool {
        if let Some(host) = self.hosts.get(&addr) {
            if now.since(host.last_seen) >= RENEW_AFTER {
                self.update(addr, |host| host.last_seen = now);
            }
            return false;
        }
        if self.hosts.len() >= self.limit
            && let Some(worst) = self.worst()
        {
            self.remove(worst);
        }
        let host = Host {
            last_seen: now,
            next_try: now,
            failures: 0,
            answered: false,
            protected: None,
            speaks: None,
            source,
        };
        self.hosts.insert(addr, host);
        self.indices.change().list(addr, host);
        self.version += 1;
        true
    }

    fn worst(&self) -> Option<SocketAddrV4> {
        let class = |worth: &Worth| (worth.0, worth.1, worth.2);
        let indices = self.indices.get()?;
        let worst = indices.by_worth.first()?;
        let (_, most) = indices.counts.last()?;
        let of_most = indices.by_source.get(most).and_then(BTreeSet::first);
        let chosen = of_most.filter(|of_most| class(of_most) == class(worst)).unwrap_or(worst);
        Some(chosen.4)
    }

    /// A random address that is due and that `usable` accepts. Takes O(n).
    pub fn pick(
        &self,
        now: Instant,
        rng: &mut Rng,
        usable: impl Fn(SocketAddrV4) -> bool,
    ) -> Option<SocketAddrV4> {
        let due = self.hosts.iter().filter(|(addr, host)| host.next_try <= now && usable(**addr));
        let due: Vec<SocketAddrV4> = due.map(|(&addr, _)| addr).collect();
        (!due.is_empty()).then(|| due[rng.below(due.len())])
    }

    /// When the next address that is not due and that `usable` accepts will be. Takes O(n).
    pub fn next_due(&self, now: Instant, usable: impl Fn(SocketAddrV4) -> bool) -> Option<Instant> {
        let waiting = self.hosts.iter().filter(|(addr, h)| h.next_try > now && usable(**addr));
        waiting.map(|(_, host)| host.next_try).min()
    }

    /// A dial failed, the peer did not complete the handshake, or the link ended at once.
    pub fn failed(&mut self, now: Instant, addr: SocketAddrV4) {
        let Some(host) = self.hosts.get(&addr) else { return };
        let failures = (host.failures + 1).min(MAX_FAILURES);
        if failures == MAX_FAILURES && host.protected.is_none() {
            return self.remove(addr);
        }
        self.update(addr, |host| {
            host.failures = failures;
            host.next_try = now + RETRY_AFTER_FAILURE * (1 << (failures - 1));
        });
    }

    /// It answered the handshake with something other than OK.
    pub fn refused(&mut self, now: Instant, addr: SocketAddrV4) {
        self.update(addr, |host| host.next_try = now + RETRY_AFTER_REFUSAL);
    }

    /// A link to it stands, or stood in an earlier run.
    pub fn answered(&mut self, addr: SocketAddrV4) {
        if self.hosts.get(&addr).is_some_and(|host| !host.answered) {
            self.version += 1;
            self.update(addr, |host| host.answered = true);
        }
    }

    /// What an address speaks, as far as that is known.
    pub fn speaks(&self, addr: SocketAddrV4) -> Option<Dialect> {
        self.hosts.get(&addr)?.speaks
    }

    /// An address speaks this dialect, or is said to; with `None`, that is not known any more.
    pub fn set_speaks(&mut self, addr: SocketAddrV4, speaks: Option<Dialect>) {
        let Some(host) = self.hosts.get_mut(&addr) else { return };
        if host.speaks != speaks {
            host.speaks = speaks;
            self.version += 1;
        }
    }

    /// The next try is not before `at`.
    pub fn rest_until(&mut self, addr: SocketAddrV4, at: Instant) {
        self.update(addr, |host| host.next_try = host.next_try.max(at));
    }

    /// The next try is at `at`.
    pub fn try_at(&mut self, addr: SocketAddrV4, at: Instant) {
        self.update(addr, |host| host.next_try = at);
    }

    /// A link to it ended after it had lasted a while.
    pub fn link_ended(&mut self, now: Instant, addr: SocketAddrV4) {
        self.answered(addr);
        let Some(host) = self.hosts.get(&addr) else { return };
        let protected = &mut self.indices.change().protected;
        if let Some(at) = host.protected {
            protected.remove(&(at, addr));
        }
        protected.insert((now, addr));
        let oldest = if protected.len() > MAX_PROTECTED { protected.pop_first() } else { None };
        self.update(addr, |host| {
            host.failures = 0;
            host.protected = Some(now);
            host.next_try = host.next_try.max(now + RETRY_AFTER_LINK);
        });
        if let Some((_, oldest)) = oldest {
            self.update(oldest, |host| host.protected = None);
        }
    }

    /// Forgets an address, for example because it is our own.
    pub fn remove(&mut self, addr: SocketAddrV4) {
        if let Some(host) = self.hosts.remove(&addr) {
            let indices = self.indices.change();
            indices.unlist(addr, host);
            if let Some(at) = host.protected {
                indices.protected.remove(&(at, addr));
            }
            self.version += 1;
        }
    }

    /// The addresses with what is known of each; those that ever answered come first.
    pub fn iter(&self) -> impl Iterator<Item = KnownHost> + '_ {
        let of = |answered| {
            let hosts = self.hosts.iter().filter(move |(_, host)| host.answered == answered);
            hosts.map(move |(&addr, host)| KnownHost { addr, answered, speaks: host.speaks })
        };
        of(true).chain(of(false))
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

    /// Changes whenever an address comes, goes or answers for the first time.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Changes a host and its places in the indices.
    fn update(&mut self, addr: SocketAddrV4, change: impl FnOnce(&mut Host)) {
        let Some(host) = self.hosts.get_mut(&addr) else { return };
        let before = *host;
        change(host);
        let after = *host;
        if before.worth(addr) != after.worth(addr) {
            let indices = self.indices.change();
            indices.unlist(addr, before);
            indices.list(addr, after);
        }
    }
}

impl Indices {
    fn list(&mut self, addr: SocketAddrV4, host: Host) {
        let worth = host.worth(addr);
        self.by_worth.insert(worth);
        let of_source = self.by_source.entry(host.source).or_default();
        self.counts.remove(&(of_source.len(), host.source));
        of_source.insert(worth);
        self.counts.insert((of_source.len(), host.source));
    }

    fn unlist(&mut self, addr: SocketAddrV4, host: Host) {
        let worth = host.worth(addr);
        self.by_worth.remove(&worth);
        let Some(of_source) = self.by_source.get_mut(&host.source) else { return };
        self.counts.remove(&(of_source.len(), host.source));
        of_source.remove(&worth);
        if of_source.is_empty() {
            self.by_source.remove(&host.source);
        } else {
            self.counts.insert((of_source.len(), host.source));
        }
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
    fn failures_alone_never_remove_hosts_whose_links_lasted() {
        let mut cache = HostCache::new(100);
        for port in 1..=100 {
            cache.learn(after(0), addr(port), None);
            cache.link_ended(after(port.into()), addr(port));
        }
        for round in 0..1_000 {
            (1..=100).for_each(|port| cache.failed(after(1_000 + round), addr(port)));
        }
        let kept: Vec<u16> = cache.addrs().map(|addr| addr.port()).collect();
        assert_eq!(kept, (37..=100).collect::<Vec<_>>(), "the 64 of the latest links");
        for port in 1_000..9_000 {
            cache.learn(after(2_000), addr(port), Some(LinkKey::new(1, 1)));
        }
        assert!((37..=100).all(|port| cache.addrs().any(|known| known == addr(port))));
        let due = cache.next_due(after(2_000), |host| host == addr(50)).unwrap();
        assert_eq!(due, after(1_999 + 960), "but they are tried seldom");
    }

    /// The worst by the definition, found by looking at all.
    #[test]
    fn the_worst_is_what_a_search_of_all_finds() {
        let mut rng = Rng::new(9);
        let mut cache = HostCache::new(40);
        for step in 0..5_000u64 {
            let (now, target) = (after(step * 3), addr(1 + u16::try_from(rng.below(120)).unwrap()));
            match rng.below(8) {
                0 => cache.failed(now, target),
                1 if rng.below(5) == 0 => cache.link_ended(now, target),
                2 => cache.answered(target),
                _ => {
                    let counts =
                        |source| cache.hosts.values().filter(|host| host.source == source).count();
                    let most = cache.hosts.values().map(|h| (counts(h.source), h.source)).max();
                    let worth = |(addr, host): (&SocketAddrV4, &Host)| {
                        let other = most.is_none_or(|(_, most)| most != host.source);
                        let (protected, failures, answered, seen, _) = host.worth(*addr);
                        ((protected, failures, answered, other, seen, *addr), *addr)
                    };
                    let worst = cache.hosts.iter().map(worth).min().map(|(_, addr)| addr);
                    assert_eq!(cache.worst(), worst);
                    let source = LinkKey::new(u32::try_from(rng.below(4)).unwrap(), 1);
                    cache.learn(now, target, Some(source));
                }
            }
            let Some(indices) = cache.indices.get() else { continue };
            assert_eq!(indices.by_worth.len(), cache.len());
            assert_eq!(indices.counts.iter().map(|(count, _)| count).sum::<usize>(), cache.len());
        }
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
