//! How many of something each address has.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::Ipv4Addr;

/// Counts by address; an address with none takes no room.
#[derive(Debug, Default)]
pub(super) struct Census {
    counts: BTreeMap<Ipv4Addr, usize>,
}

impl Census {
    pub(super) fn of(&self, ip: Ipv4Addr) -> usize {
        self.counts.get(&ip).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, ip: Ipv4Addr) {
        *self.counts.entry(ip).or_default() += 1;
    }

    pub(super) fn remove(&mut self, ip: Ipv4Addr) {
        if let Entry::Occupied(mut count) = self.counts.entry(ip) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}
