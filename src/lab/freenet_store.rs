//! What a node of [`super::freenet`] remembers: copies it has passed on, and who had which key. Both are
//! bounded; what was of use least recently goes first.

use super::host::Held;
use super::identifier::distance;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;

/// Holders remembered of one copy, the latest ones.
const MAX_HOLDERS: usize = 8;

/// Bytes of a key and an address.
const REFERENCE_BYTES: usize = 14;

/// Names and the nodes they came from.
#[derive(Debug)]
pub(super) struct Copies {
    limit: usize,
    by_name: BTreeMap<String, (u64, Vec<SocketAddrV4>)>,
    clock: u64,
}

impl Copies {
    pub(super) fn new(limit: usize) -> Copies {
        Copies { limit, by_name: BTreeMap::new(), clock: 0 }
    }

    /// Keeps a copy that came from these holders.
    pub(super) fn keep(&mut self, name: &str, holders: &[SocketAddrV4]) {
        if self.limit == 0 {
            return;
        }
        self.clock += 1;
        if !self.by_name.contains_key(name) && self.by_name.len() >= self.limit {
            let oldest = self.by_name.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.by_name.remove(&oldest);
            }
        }
        let (used, known) = self.by_name.entry(name.to_owned()).or_default();
        *used = self.clock;
        known.retain(|holder| !holders.contains(holder));
        known.extend(holders);
        known.drain(..known.len().saturating_sub(MAX_HOLDERS));
    }

    /// The holders that a copy came from; it was of use.
    pub(super) fn find(&mut self, name: &str) -> &[SocketAddrV4] {
        self.clock += 1;
        match self.by_name.get_mut(name) {
            None => &[],
            Some((used, holders)) => {
                *used = self.clock;
                holders
            }
        }
    }

    /// Whether it holds more than it may.
    pub(super) fn is_over(&self) -> bool {
        self.by_name.len() > self.limit
    }

    pub(super) fn state(&self) -> Held {
        let copies = self.by_name.iter();
        let held = copies.map(|(name, (_, holders))| Held::new(holders.len(), name.len() + 6));
        held.fold(Held::default(), Held::and)
    }
}

/// Keys and nodes that had them.
#[derive(Debug)]
pub(super) struct References {
    limit: usize,
    by_key: BTreeMap<u64, (u64, SocketAddrV4)>,
    clock: u64,
}

impl References {
    pub(super) fn new(limit: usize) -> References {
        References { limit, by_key: BTreeMap::new(), clock: 0 }
    }

    /// A node had this key.
    pub(super) fn add(&mut self, key: u64, addr: SocketAddrV4) {
        self.clock += 1;
        self.by_key.insert(key, (self.clock, addr));
        if self.by_key.len() > self.limit {
            let oldest = self.by_key.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(&key, _)| key) {
                self.by_key.remove(&oldest);
            }
        }
    }

    /// The node with the key closest to this one, of those that `is_wanted` accepts.
    pub(super) fn closest(
        &mut self,
        key: u64,
        is_wanted: impl Fn(SocketAddrV4) -> bool,
    ) -> Option<SocketAddrV4> {
        self.clock += 1;
        let wanted = self.by_key.iter_mut().filter(|(_, (_, addr))| is_wanted(*addr));
        let (_, (used, addr)) = wanted.min_by_key(|(other, _)| distance(**other, key))?;
        *used = self.clock;
        Some(*addr)
    }

    /// A node is dead.
    pub(super) fn forget(&mut self, addr: SocketAddrV4) {
        self.by_key.retain(|_, (_, other)| *other != addr);
    }

    /// The nodes named, by key; one of several keys more than once.
    pub(super) fn nodes(&self) -> Vec<SocketAddrV4> {
        self.by_key.values().map(|(_, addr)| *addr).collect()
    }

    /// Whether it holds more than it may.
    pub(super) fn is_over(&self) -> bool {
        self.by_key.len() > self.limit
    }

    pub(super) fn state(&self) -> Held {
        Held::new(self.by_key.len(), REFERENCE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(last: u8) -> SocketAddrV4 {
        SocketAddrV4::new([10, 0, 0, last].into(), 1)
    }

    #[test]
    fn the_copy_used_least_recently_goes_first() {
        let mut copies = Copies::new(2);
        copies.keep("red river", &[addr(1)]);
        copies.keep("blue ocean", &[addr(2)]);
        assert_eq!(copies.find("red river"), [addr(1)]);
        copies.keep("old guitar", &[addr(3)]);
        assert_eq!((copies.find("blue ocean").len(), copies.find("red river").len()), (0, 1));
        (0..20).for_each(|last| copies.keep("red river", &[addr(last)]));
        assert_eq!(copies.find("red river"), (12..20).map(addr).collect::<Vec<_>>());
        assert_eq!(copies.state().entries, 9);
    }

    #[test]
    fn the_closest_key_that_is_wanted_names_the_node() {
        let mut references = References::new(3);
        (1..=4).for_each(|number| references.add(10 * u64::from(number), addr(number)));
        assert_eq!(references.closest(9, |_| true), Some(addr(2)), "the first one had to go");
        assert_eq!(references.closest(9, |it| it != addr(2)), Some(addr(3)));
        references.forget(addr(4));
        assert_eq!(references.closest(u64::MAX, |it| it != addr(2)), Some(addr(3)));
        assert_eq!((references.state().entries, references.nodes()), (2, vec![addr(2), addr(3)]));
    }
}
