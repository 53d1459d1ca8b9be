//! Counts of something by IP address: inbound sockets, upload slots, own ends of sockets.

use std::net::Ipv4Addr;

/// Counts by address, sorted; an address whose count is 0 takes no room.
#[derive(Debug, Default)]
pub(super) struct PerAddressCount {
    counts: Vec<(Ipv4Addr, u32)>,
}

impl PerAddressCount {
    pub(super) fn of(&self, ip: Ipv4Addr) -> usize {
        self.find(ip).map_or(0, |at| self.counts[at].1 as usize)
    }

    pub(super) fn add(&mut self, ip: Ipv4Addr) {
        match self.find(ip) {
            Ok(at) => self.counts[at].1 += 1,
            Err(at) => {
                if self.counts.is_empty() {
                    // Often it stays alone.
                    self.counts.reserve_exact(1);
                }
                self.counts.insert(at, (ip, 1));
            }
        }
    }

    pub(super) fn remove(&mut self, ip: Ipv4Addr) {
        let Ok(at) = self.find(ip) else { return };
        self.counts[at].1 -= 1;
        if self.counts[at].1 == 0 {
            self.counts.remove(at);
        }
    }

    fn find(&self, ip: Ipv4Addr) -> Result<usize, usize> {
        self.counts.binary_search_by_key(&ip, |(known, _)| *known)
    }
}
