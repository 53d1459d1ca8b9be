//! What our own descriptors carry in GGEP, towards peers that read it, and what is learnt from theirs.
//!
//! | where | extension | says |
//! |---|---|---|
//! | Pong | `UP` | this is an ultrapeer, with so many free places for leaves and ultrapeers |
//! | Pong | `DU` | how long it has been up, in seconds of the last day |
//! | Pong | `VC` | its vendor code and version |
//! | Pong | `IPP` | other ultrapeers, if the Ping asks for hosts with `SCP` |
//! | result | `LF` | the size of a file of 4 GiB or more, which the size field cannot say |
//! | trailer | `PUSH` | push proxies; see `push_proxies` |

use super::Servent;
use super::answers::VENDOR;
use super::budget;
use super::connection::{Connection, Features, PeerRole};
use super::dialer::LearntHost;
use super::link_key::LinkKey;
use crate::config::Role;
use crate::time::Instant;
use crate::wire::Dialect;
use crate::wire::ggep::{Ggep, GgepBuilder, put_addresses, put_number};
use std::net::SocketAddrV4;

/// Version of the layout of `UP` (gtk-gnutella: 0.1).
const UP_VERSION: u8 = 0x01;
/// Our version, as `VC` has it: major in the high half, minor in the low one.
const OWN_VERSION: u8 = 0x01;
/// `DU` is the uptime per day.
const DAY_SECONDS: u64 = 86_400;
/// Addresses in one `IPP`, sent or taken (gtk-gnutella: 10).
const MAX_HOSTS: usize = 10;

/// Whether a Ping asks for hosts.
pub(super) fn asks_for_hosts(ping_extension: &[u8]) -> bool {
    Ggep::decode_all(ping_extension).is_ok_and(|ggep| ggep.get(b"SCP").is_some())
}

/// The extension of a result for a file of this size, if the size field cannot say it.
pub(super) fn large_file(size: u64) -> Vec<u8> {
    if u32::try_from(size).is_ok() {
        return Vec::new();
    }
    let mut block = GgepBuilder::nul_free();
    block.add(b"LF", &put_number(size));
    block.finish()
}

/// The size of a result's file: `size` is what its field says.
pub(super) fn size_of(size: u32, extension: &[u8]) -> u64 {
    let blocks = crate::wire::huge::blocks(extension).filter_map(|block| match block {
        crate::wire::huge::AreaBlock::Ggep(ggep) => ggep.number(b"LF"),
        _ => None,
    });
    let large = blocks.filter(|&large| large > u64::from(u32::MAX)).max();
    large.unwrap_or(size.into())
}

impl Servent {
    /// What our own Pong carries on a link.
    pub(super) fn pong_extensions(&self, now: Instant, target: LinkKey, hosts: bool) -> Vec<u8> {
        if !self.link_has(target, Features::GGEP) {
            return Vec::new();
        }
        let mut block = GgepBuilder::new();
        if self.config.role == Role::Servent {
            let free = |most: usize, held: usize| {
                u8::try_from(most.saturating_sub(held)).unwrap_or(u8::MAX)
            };
            let leaves = free(self.config.max_leaves, self.links.leaves());
            let neighbours = free(self.config.max_links, self.links.neighbours());
            block.add(b"UP", &[UP_VERSION, leaves, neighbours]);
        }
        // The clock of a servent begins with it.
        let uptime = now.since(Instant::ZERO).as_secs().min(DAY_SECONDS);
        block.add(b"DU", &put_number(uptime));
        block.add(b"VC", &[&VENDOR[..], &[OWN_VERSION]].concat());
        if hosts {
            let others = self.links.iter().filter_map(|(_, conn)| ultrapeer(conn));
            let asker = self.links.of(target).and_then(Connection::listening_addr);
            let others =
                others.filter(|addr| self.config.scope.allows(*addr) && Some(*addr) != asker);
            let others = put_addresses(others.take(MAX_HOSTS));
            if !others.is_empty() {
                block.add(b"IPP", &others);
            }
        }
        block.finish()
    }

    /// Hosts that a Pong names beside its own servent.
    pub(super) fn learn_named_hosts(&mut self, now: Instant, source: LinkKey, extension: &[u8]) {
        let Ok(ggep) = Ggep::decode_all(extension) else { return };
        for addr in ggep.addresses(b"IPP").into_iter().take(MAX_HOSTS) {
            self.budget.charge(budget::ADDRESS);
            let speaks = Some(Dialect::V0_6);
            self.learn_from(now, LearntHost { addr, source: Some(source), speaks });
        }
    }
}

/// Where a neighbour listens that is an ultrapeer.
fn ultrapeer(conn: &Connection) -> Option<SocketAddrV4> {
    let role = conn.link()?.peer().role;
    conn.listening_addr().filter(|_| role == PeerRole::Ultrapeer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_beyond_the_field_are_written_and_read() {
        for size in [0, 5, u64::from(u32::MAX)] {
            assert_eq!(large_file(size), b"");
        }
        for size in [1_u64 << 32, 0x12_3456_7890, u64::MAX] {
            let extension = large_file(size);
            assert!(!extension.contains(&0), "a NUL would end it");
            assert_eq!(size_of(u32::MAX, &extension), size);
        }
        assert_eq!(size_of(7, b"urn:sha1:"), 7);
        let mut lie = GgepBuilder::nul_free();
        lie.add(b"LF", &put_number(1));
        assert_eq!(size_of(7, &lie.finish()), 7, "what fits the field is said there");
    }
}
